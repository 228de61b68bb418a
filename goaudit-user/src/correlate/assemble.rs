//! Pieces of long values wait here for the main record that they belong to.
//!
//! A program sends the texts of an exec first and the exec last, on one CPU, under one link. A piece that was
//! lost leaves a hole: the value then ends at the hole, and says so. Bounded in bytes, whatever comes.

use goaudit_ebpf::wire::{Section, Text, text};

use super::sequence::Fit;

/// Most bytes that wait under one link: more than all sections of one exec together.
const BYTES_MAX: usize = 6 * 1024 * 1024;
/// Most links that wait on one CPU: programs that interrupt one another there, each with its own buffer.
const LINKS_MAX: usize = 8;

/// A value put together from its pieces: the part before the first hole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Value {
    /// The bytes that are there.
    pub bytes: Vec<u8>,
    /// Length of the whole value; none when the kernel cannot tell.
    pub total: Option<u64>,
    /// Why this is not all of it; none when it is.
    pub cut: Option<Cut>,
    /// Of a path: its last name is no longer in its directory.
    pub deleted: bool,
}

/// Why a value is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// A piece was lost on the way.
    Lost,
    /// The kernel could not read the memory.
    Fault,
    /// Longer than what a program sends.
    Long,
}

impl Cut {
    /// In words, for `missing`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Lost => "a piece of it was lost (see the loss events of this CPU)",
            Self::Fault => "the kernel could not read all of it (memory not resident)",
            Self::Long => "longer than what is recorded: only the beginning is here",
        }
    }
}

/// What came for one link.
#[derive(Debug, Default)]
pub struct Pieces {
    link: u64,
    /// Number of records that count in the books.
    pub records: u64,
    /// Number of records that came.
    pub arrived: u64,
    /// Sequence number of the first and of the last.
    pub range: (u64, u64),
    /// Records lost right before the first.
    pub lost_before: u64,
    /// When the first one was sent (boot time, ns).
    pub since: u64,
    values: Vec<(Section, Value)>,
    bytes: usize,
}

impl Pieces {
    /// The value of a section; none if no piece of it came.
    pub fn take(&mut self, section: Section) -> Option<Value> {
        let at = self.values.iter().position(|row| row.0 == section)?;
        let mut value = self.values.swap_remove(at).1;
        let have = u64::try_from(value.bytes.len()).unwrap_or(u64::MAX);
        if value.cut.is_none() && value.total.is_some_and(|total| total > have) {
            value.cut = Some(Cut::Lost);
        }
        Some(value)
    }

    fn add(&mut self, head: &Text, section: Section, piece: &[u8]) {
        let at = self.values.iter().position(|row| row.0 == section).unwrap_or_else(|| {
            self.values.push((section, Value::default()));
            self.values.len().saturating_sub(1)
        });
        let room = BYTES_MAX.saturating_sub(self.bytes);
        let Some((_, value)) = self.values.get_mut(at) else { return };
        value.deleted |= head.header.flags & text::DELETED != 0;
        if head.total != 0 {
            value.total = Some(u64::from(head.total));
        }
        if value.cut.is_some() {
            return;
        }
        if usize::try_from(head.offset) != Ok(value.bytes.len()) {
            value.cut = Some(Cut::Lost);
            return;
        }
        let kept = piece.get(..room.min(piece.len())).unwrap_or_default();
        value.bytes.extend_from_slice(kept);
        self.bytes = self.bytes.saturating_add(kept.len());
        if kept.len() < piece.len() || head.header.flags & text::CUT != 0 {
            value.cut = Some(Cut::Long);
        } else if head.header.flags & text::FAULT != 0 {
            value.cut = Some(Cut::Fault);
        }
    }
}

/// The waiting pieces of all CPUs, the oldest link of a CPU first.
#[derive(Debug, Default)]
pub struct Assembly {
    cpus: Vec<Vec<Pieces>>,
}

impl Assembly {
    /// Takes a piece; gives back the oldest pieces of that CPU when too many links wait there: their main
    /// record is not coming. `fit` is how the record fits into its CPU's sequence.
    pub fn add(&mut self, head: &Text, section: Section, piece: &[u8], fit: Fit) -> Option<Pieces> {
        let cpu = usize::try_from(head.header.cpu).ok()?;
        if self.cpus.len() <= cpu {
            self.cpus.resize_with(cpu.saturating_add(1), Vec::new);
        }
        let waiting = self.cpus.get_mut(cpu)?;
        let seq = head.header.seq;
        let mut orphan = None;
        let at = waiting.iter().position(|pieces| pieces.link == head.link).unwrap_or_else(|| {
            if waiting.len() >= LINKS_MAX {
                orphan = Some(waiting.remove(0));
            }
            waiting.push(Pieces {
                link: head.link,
                range: (seq, seq),
                lost_before: fit.lost_before,
                since: head.header.ktime.0,
                ..Pieces::default()
            });
            waiting.len().saturating_sub(1)
        });
        if let Some(pieces) = waiting.get_mut(at) {
            pieces.records = pieces.records.saturating_add(fit.records);
            pieces.arrived = pieces.arrived.saturating_add(1);
            pieces.range = (pieces.range.0.min(seq), pieces.range.1.max(seq));
            pieces.add(head, section, piece);
        }
        orphan
    }

    /// What came for the main record of this CPU and link.
    pub fn take(&mut self, cpu: u32, link: u64) -> Option<Pieces> {
        let waiting = usize::try_from(cpu).ok().and_then(|cpu| self.cpus.get_mut(cpu))?;
        let at = waiting.iter().position(|pieces| pieces.link == link)?;
        Some(waiting.remove(at))
    }

    /// Takes the pieces that have waited since `before` or longer (boot time, ns): their main record was lost.
    pub fn expire(&mut self, before: u64, mut orphan: impl FnMut(u32, &Pieces)) {
        for (cpu, waiting) in (0..).zip(&mut self.cpus) {
            for pieces in waiting.extract_if(.., |pieces| pieces.since <= before) {
                orphan(cpu, &pieces);
            }
        }
    }
}

/// A path of the `Exe` or `Cwd` form: NUL-terminated names from the leaf up to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// From the root with `/` in front; without it when only the last names are known. With ` (deleted)` behind, as
    /// `/proc` has it, when the last name was taken out of its directory.
    pub bytes: Vec<u8>,
}

impl Path {
    /// Puts the names in order. An empty value is the root itself.
    pub fn from_leaf_first(value: &Value) -> Self {
        let whole = value.cut.is_none();
        let mut names: Vec<&[u8]> = value.bytes.split(|byte| *byte == 0).collect();
        // What follows the last NUL is a name that was cut, or nothing.
        names.pop();
        let mut bytes = Vec::with_capacity(value.bytes.len().saturating_add(1));
        for name in names.iter().rev().filter(|name| !name.is_empty() && **name != b"/") {
            if whole || !bytes.is_empty() {
                bytes.push(b'/');
            }
            bytes.extend_from_slice(name);
        }
        if whole && bytes.is_empty() {
            bytes.push(b'/');
        }
        if value.deleted {
            bytes.extend_from_slice(b" (deleted)");
        }
        Self { bytes }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use goaudit_ebpf::wire::Header;

    use super::*;

    fn fit(lost_before: u64) -> Fit {
        Fit { lost_before, records: 1 }
    }

    fn head(link: u64, seq: u64, offset: u32, total: u32, flags: u16) -> Text {
        let header = Header { seq, flags, ..Header::default() };
        Text { header, link, offset, total, ..Text::default() }
    }

    #[test]
    fn pieces_make_a_value() {
        let mut waiting = Assembly::default();
        waiting.add(&head(1, 4, 0, 5, 0), Section::ArgsEnv, b"abc", fit(2));
        waiting.add(&head(1, 5, 3, 5, 0), Section::ArgsEnv, b"de", fit(0));
        let mut pieces = waiting.take(0, 1).unwrap();
        assert_eq!((pieces.records, pieces.range, pieces.lost_before), (2, (4, 5), 2));
        let value = pieces.take(Section::ArgsEnv).unwrap();
        assert_eq!(value, Value { bytes: b"abcde".into(), total: Some(5), ..Value::default() });
        assert_eq!(pieces.take(Section::Cwd), None);
    }

    #[test]
    fn a_lost_piece_ends_the_value() {
        let mut waiting = Assembly::default();
        waiting.add(&head(1, 1, 0, 9, 0), Section::ArgsEnv, b"abc", fit(0));
        waiting.add(&head(1, 3, 6, 9, 0), Section::ArgsEnv, b"ghi", fit(1));
        let value = waiting.take(0, 1).unwrap().take(Section::ArgsEnv).unwrap();
        assert_eq!(
            value,
            Value { bytes: b"abc".into(), total: Some(9), cut: Some(Cut::Lost), deleted: false }
        );
        waiting.add(&head(2, 4, 0, 9, 0), Section::ArgsEnv, b"abc", fit(0));
        let value = waiting.take(0, 2).unwrap().take(Section::ArgsEnv).unwrap();
        assert_eq!(value.cut, Some(Cut::Lost), "the last piece is lost");
    }

    #[test]
    fn links_of_one_cpu_may_interleave() {
        let mut waiting = Assembly::default();
        waiting.add(&head(1, 1, 0, 2, 0), Section::Cwd, b"a", fit(0));
        waiting.add(&head(2, 2, 0, 1, 0), Section::Cwd, b"x", fit(0));
        waiting.add(&head(1, 3, 1, 2, 0), Section::Cwd, b"b", fit(0));
        let value = |pieces: Option<Pieces>| pieces.unwrap().take(Section::Cwd).unwrap().bytes;
        assert_eq!(value(waiting.take(0, 2)), b"x");
        assert_eq!(value(waiting.take(0, 1)), b"ab");
        assert!(waiting.take(0, 1).is_none());
    }

    #[test]
    fn what_nobody_fetches_is_given_back() {
        let mut waiting = Assembly::default();
        for link in 0..8 {
            assert!(waiting.add(&head(link, link + 1, 0, 0, 0), Section::Cwd, b"", fit(0)).is_none());
        }
        let orphan = waiting.add(&head(99, 50, 0, 0, 0), Section::Cwd, b"", fit(0)).unwrap();
        assert_eq!((orphan.records, orphan.range), (1, (1, 1)));
        let mut expired = Vec::new();
        waiting.expire(0, |cpu, pieces| expired.push((cpu, pieces.range.0)));
        assert_eq!(expired.len(), 8);
        assert!(waiting.take(0, 99).is_none());
    }

    #[test]
    fn paths() {
        let value = |bytes: &[u8], cut| Value { bytes: bytes.into(), total: None, cut, deleted: false };
        let path = |bytes, cut| Path::from_leaf_first(&value(bytes, cut)).bytes;
        assert_eq!(path(b"sh\0bin\0usr\0", None), b"/usr/bin/sh");
        assert_eq!(path(b"sh\0bin\0usr\0/\0", None), b"/usr/bin/sh");
        assert_eq!(path(b"", None), b"/");
        assert_eq!(path(b"\0", None), b"/");
        assert_eq!(path(b"sh\0bin\0us", Some(Cut::Long)), b"bin/sh");
        assert_eq!(path(b"\xff\0d\0", None), b"/d/\xff");
        let deleted = Value { deleted: true, ..value(b"sh\0bin\0", None) };
        assert_eq!(Path::from_leaf_first(&deleted).bytes, b"/bin/sh (deleted)");
    }
}
