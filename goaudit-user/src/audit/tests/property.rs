//! Whatever somebody changes, takes out, moves or cuts off in a log of several runs, segments and epochs: it is never told
//! to be ok with the freshness that the log itself has.

use proptest::prelude::*;

use super::*;
use crate::audit::format::SEGMENT_HEADER_LEN;

/// A change; numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Change {
    /// Of bits in a byte of a segment, or of the checkpoint file.
    Bits { file: usize, at: usize, mask: u8 },
    /// A file ends there.
    Cut { file: usize, at: usize },
    /// A segment ends before one of its frames.
    CutFrames { segment: usize, frame: usize },
    /// A frame is gone.
    RemoveFrame { segment: usize, frame: usize },
    /// A frame is there twice.
    RepeatFrame { segment: usize, frame: usize },
    /// Two frames, perhaps of different segments, change places.
    SwapFrames { first: (usize, usize), second: (usize, usize) },
    /// A segment is gone, and the ones after it stay, or move up.
    RemoveSegment { segment: usize, moves: bool },
    /// A segment and all after it are gone.
    RemoveFrom { segment: usize },
    /// Two segments change their names.
    SwapSegments { first: usize, second: usize },
    /// A segment takes another one's place.
    CopySegment { from: usize, to: usize },
}

fn change() -> impl Strategy<Value = Change> {
    let n = || 0_usize..1 << 20;
    prop_oneof![
        (n(), n(), 1_u8..).prop_map(|(file, at, mask)| Change::Bits { file, at, mask }),
        (n(), n()).prop_map(|(file, at)| Change::Cut { file, at }),
        (n(), n()).prop_map(|(segment, frame)| Change::CutFrames { segment, frame }),
        (n(), n()).prop_map(|(segment, frame)| Change::RemoveFrame { segment, frame }),
        (n(), n()).prop_map(|(segment, frame)| Change::RepeatFrame { segment, frame }),
        ((n(), n()), (n(), n())).prop_map(|(first, second)| Change::SwapFrames { first, second }),
        (n(), any::<bool>()).prop_map(|(segment, moves)| Change::RemoveSegment { segment, moves }),
        n().prop_map(|segment| Change::RemoveFrom { segment }),
        (n(), n()).prop_map(|(first, second)| Change::SwapSegments { first, second }),
        (n(), n()).prop_map(|(from, to)| Change::CopySegment { from, to }),
    ]
}

/// The segments of a log, then its checkpoint file.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    segments: Vec<Vec<u8>>,
    checkpoint: Vec<u8>,
}

impl Files {
    fn file(&mut self, file: usize) -> &mut Vec<u8> {
        let count = self.segments.len() + 1;
        self.segments.get_mut(file % count).unwrap_or(&mut self.checkpoint)
    }

    /// Bytes of a segment's header and of each of its frames.
    fn parts(&self, segment: usize) -> Vec<Vec<u8>> {
        let bytes = &self.segments[segment % self.segments.len()];
        let mut frames = frame::FrameReader::new(
            std::io::Cursor::new(bytes),
            SEGMENT_HEADER_LEN as u64,
            bytes.len() as u64,
        );
        let mut parts = vec![bytes[..SEGMENT_HEADER_LEN].to_vec()];
        while let frame::Step::Frame(frame) = frames.next_frame().unwrap() {
            let from = frame.offset as usize;
            parts.push(bytes[from..from + frame.bytes.len()].to_vec());
        }
        parts
    }

    fn set(&mut self, segment: usize, parts: &[Vec<u8>]) {
        let count = self.segments.len();
        self.segments[segment % count] = parts.concat();
    }

    fn apply(&mut self, change: &Change) {
        let count = self.segments.len();
        match *change {
            Change::Bits { file, at, mask } => {
                let bytes = self.file(file);
                // Most of a small segment is its header's zeros: aim behind it most of the time.
                let from =
                    if at % 4 > 0 && bytes.len() > SEGMENT_HEADER_LEN { SEGMENT_HEADER_LEN } else { 0 };
                let at = from + at / 4 % (bytes.len() - from);
                bytes[at] ^= mask;
            }
            Change::Cut { file, at } => {
                let bytes = self.file(file);
                bytes.truncate(at % bytes.len());
            }
            Change::CutFrames { segment, frame } => {
                let mut parts = self.parts(segment);
                parts.truncate(1 + frame % (parts.len() - 1));
                self.set(segment, &parts);
            }
            Change::RemoveFrame { segment, frame } => {
                let mut parts = self.parts(segment);
                parts.remove(1 + frame % (parts.len() - 1));
                self.set(segment, &parts);
            }
            Change::RepeatFrame { segment, frame } => {
                let mut parts = self.parts(segment);
                let at = 1 + frame % (parts.len() - 1);
                parts.insert(at, parts[at].clone());
                self.set(segment, &parts);
            }
            Change::SwapFrames { first, second } => {
                let (mut a, b) = (self.parts(first.0), self.parts(second.0));
                let (at_a, at_b) = (1 + first.1 % (a.len() - 1), 1 + second.1 % (b.len() - 1));
                let moved = std::mem::replace(&mut a[at_a], b[at_b].clone());
                self.set(first.0, &a);
                let mut b = self.parts(second.0);
                let at_b = at_b.min(b.len() - 1);
                b[at_b] = moved;
                self.set(second.0, &b);
            }
            Change::RemoveSegment { segment, moves } => {
                if moves {
                    self.segments.remove(segment % count);
                } else {
                    self.segments[segment % count].clear();
                }
            }
            Change::RemoveFrom { segment } => self.segments.truncate(segment % count),
            Change::SwapSegments { first, second } => self.segments.swap(first % count, second % count),
            Change::CopySegment { from, to } => {
                self.segments[to % count] = self.segments[from % count].clone();
            }
        }
    }
}

struct Lab {
    dir: tempfile::TempDir,
    files: Files,
    options: VerifyOptions,
}

impl Lab {
    /// Two runs of several segments and epochs.
    fn new() -> Self {
        let dir = fast_dir();
        let mut clock = Clock(5_000_000_000);
        for run in 0..2 {
            let (mut writer, _) = Writer::open(dir.path(), config(), clock.now()).unwrap();
            for segment in 0..3 {
                if segment > 0 {
                    writer.force_roll();
                }
                for batch in 0..3 {
                    let event = format!("event {run}.{segment}.{batch}");
                    writer.append(event.as_bytes(), clock.0, false, clock.now()).unwrap();
                    clock.forward_ms(if batch == 1 { 11_000 } else { 1_500 });
                    writer.tick(clock.now()).unwrap();
                }
            }
            writer.close(clock.now()).unwrap();
            clock.forward_ms(60_000);
        }
        let segments = segments(dir.path()).iter().map(|path| std::fs::read(path).unwrap()).collect();
        let checkpoint = std::fs::read(dir.path().join("checkpoint")).unwrap();
        let options = VerifyOptions {
            log_key: Some(keys::load_public(dir.path()).unwrap()),
            expect: Some(String::from_utf8(checkpoint.clone()).unwrap()),
            threads: Some(1),
            ..VerifyOptions::default()
        };
        Self { dir, files: Files { segments, checkpoint }, options }
    }

    /// Verdict and freshness of these files; none if there is nothing that could be verified. An empty segment is no file.
    fn verify(&self, files: &Files) -> Option<Report> {
        for path in segments(self.dir.path()) {
            std::fs::remove_file(path).unwrap();
        }
        for (number, bytes) in (0..).zip(&files.segments).filter(|(_, bytes)| !bytes.is_empty()) {
            std::fs::write(directory::segment_path(self.dir.path(), number), bytes).unwrap();
        }
        std::fs::write(self.dir.path().join("checkpoint"), &files.checkpoint).unwrap();
        verify(&[self.dir.path().to_owned()], &self.options, None).ok()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn nothing_that_was_changed_is_ok_and_as_fresh(changes in prop::collection::vec(change(), 1..4)) {
        thread_local!(static LAB: Lab = Lab::new());
        LAB.with(|lab| {
            let mut files = lab.files.clone();
            for change in &changes {
                if files.segments.iter().all(|bytes| bytes.len() > SEGMENT_HEADER_LEN) && !files.segments.is_empty() && !files.checkpoint.is_empty()
                    && (0..files.segments.len()).all(|segment| files.parts(segment).len() > 1)
                {
                    files.apply(change);
                }
            }
            let report = lab.verify(&files);
            let good = report.as_ref().is_some_and(|report| {
                report.verdict == Verdict::Ok && report.freshness == Freshness::Proven
            });
            prop_assert_eq!(good, files == lab.files, "{:?}", report);
            Ok(())
        })?;
    }
}
