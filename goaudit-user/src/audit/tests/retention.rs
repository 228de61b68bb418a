//! Retention: what is old enough is given up, everything else still holds; nothing else may be missing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::audit::merkle::{Frontier, Paths, leaf_hash, root, subtree_roots, verify_inclusion};

const DAY_MS: u64 = 86_400_000;

/// A log that must be kept for ten days: a segment each five days, five of them, a run that still writes.
fn old_log(dir: &Path) -> (Writer, Clock, Vec<Vec<u8>>) {
    let mut clock = Clock(1_000_000_000);
    let mut config = config();
    config.retention = Duration::from_hours(10 * 24);
    let (mut writer, _) = Writer::open(dir, config, clock.now()).unwrap();
    let mut all = Vec::new();
    for segment in 0..5_u64 {
        if segment > 0 {
            writer.force_roll();
            all.push(format!("segment {segment}").into_bytes());
        }
        for n in 0..7_u64 {
            let event = format!("event {segment}.{n}").into_bytes();
            writer.append(&event, clock.0, false, clock.now()).unwrap();
            all.push(event);
            clock.forward_ms(if n % 3 == 0 { 12_000 } else { 1_500 });
            writer.tick(clock.now()).unwrap();
        }
        clock.forward_ms(5 * DAY_MS);
    }
    (writer, clock, all)
}

fn pruned_files(dir: &Path) -> Vec<PathBuf> {
    directory::list_segments(&dir.join("pruned")).unwrap().into_iter().map(|(_, path)| path).collect()
}

fn retention_check(report: &Report) -> &Check {
    report.checks.iter().find(|check| check.name == "retention").unwrap()
}

/// The checkpoints of a segment, whole.
fn heads(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap();
    let mut frames = frame::FrameReader::new(std::io::Cursor::new(&bytes), 4096, bytes.len() as u64);
    let mut notes = Vec::new();
    while let frame::Step::Frame(frame) = frames.next_frame().unwrap() {
        if frame.kind == format::FrameKind::Checkpoint {
            notes.push(String::from_utf8(frame.body.to_vec()).unwrap());
        }
    }
    notes
}

#[test]
fn a_checkpoint_in_what_was_pruned_is_told_to_be_not_provable() {
    let dir = fast_dir();
    let (mut writer, clock, _) = old_log(dir.path());
    let key = keys::load_public(dir.path()).unwrap();
    let all: Vec<String> = segments(dir.path()).iter().take(3).flat_map(|path| heads(path)).collect();
    let options = VerifyOptions { log_key: Some(key), threads: Some(1), ..VerifyOptions::default() };
    let (_, state) = verify_since(&[dir.path().to_owned()], &options, None).unwrap();
    assert!(writer.prune(None, clock.now()).unwrap().is_some());
    writer.close(clock.now()).unwrap();
    let mut told = std::collections::BTreeMap::<_, u32>::new();
    for note in all {
        let options = VerifyOptions { expect: Some(note), ..options.clone() };
        let report = verify(&[dir.path().to_owned()], &options, None).unwrap();
        let freshness = report.checks.iter().find(|check| check.name == "freshness").unwrap();
        match (report.verdict, report.freshness) {
            // Between two runs of pruned batches the tree is known.
            (Verdict::Ok, Freshness::Proven) => *told.entry("proven").or_default() += 1,
            (Verdict::Incomplete, Freshness::NotProven) => {
                assert!(
                    freshness.detail.starts_with("not provable, pruned: the expected checkpoint"),
                    "{freshness:?}"
                );
                *told.entry("pruned").or_default() += 1;
            }
            _ => panic!("{report:#?}"),
        }
    }
    assert!(told["pruned"] > 2 && told["proven"] > 2, "{told:?}");
    // What was verified before still counts: it is of a segment that is whole.
    let options = VerifyOptions { since: state, ..options };
    let report = verify(&[dir.path().to_owned()], &options, None).unwrap();
    assert_eq!((report.verdict, report.freshness), (Verdict::Ok, Freshness::Proven), "{report:#?}");
}

#[test]
fn what_is_old_enough_is_given_up_and_the_rest_still_verifies_and_proves() {
    let dir = fast_dir();
    let (mut writer, mut clock, all) = old_log(dir.path());
    let wanted: BTreeSet<u64> = (0..all.len() as u64).step_by(3).collect();
    let before = check(dir.path());
    writer.seal(clock.now()).unwrap();
    assert_eq!(prune::retention(dir.path()).unwrap(), Some(Duration::from_hours(10 * 24)));
    // Segments 0 to 4 are 25, 20, 15, 10 and 5 days old; the last two stay in any case.
    let pruned = writer.prune(None, clock.now()).unwrap().unwrap();
    assert_eq!(pruned.last_segment, 2);
    assert_eq!(writer.prune(None, clock.now()).unwrap(), None, "once is enough");
    let sizes: u64 = pruned_files(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!((pruned_files(dir.path()).len(), segments(dir.path()).len()), (3, 2));
    assert!(sizes < 40_000, "{sizes}");
    // The log goes on, in this run and in the next.
    writer.append(b"after", clock.0, false, clock.now()).unwrap();
    writer.close(clock.now()).unwrap();
    clock.forward_ms(1000);
    let (mut writer, opened) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    assert!(opened.clean && opened.key_chain_broken.is_none());
    writer.append(b"next run", clock.0, false, clock.now()).unwrap();
    writer.close(clock.now()).unwrap();
    let report = check(dir.path());
    assert_eq!(report.verdict, Verdict::Ok, "{report:#?}");
    assert_eq!(report.events, all.len() as u64 + 2, "pruned events are still counted");
    assert!(report.batches > before.batches);
    let retention = retention_check(&report);
    assert!(
        retention.ok && retention.detail.contains("segments 0 to 2") && retention.detail.contains("10 days"),
        "{retention:?}"
    );
    // What is left reads as before.
    let mut reader = Reader::open(dir.path(), ReadOptions::default()).unwrap();
    let mut first = None;
    let mut rest = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        first.get_or_insert(batch.meta().first_seq);
        rest.extend(batch.events().map(<[u8]>::to_vec));
    }
    let first = first.unwrap();
    assert_eq!(first, pruned.next_seq);
    assert_eq!(rest[..rest.len() - 2], all[first as usize..]);
    // Proofs of events that are there hold, of those that are not it is said why there is none.
    let kept: BTreeSet<u64> = wanted.iter().copied().filter(|seq| *seq >= first).collect();
    assert!(!kept.is_empty());
    let key = keys::load_public(dir.path()).unwrap();
    prove(dir.path(), &kept, None).unwrap().verify(&key).unwrap();
    let error = prove(dir.path(), &wanted, None).unwrap_err();
    assert!(matches!(error, ProveError::Pruned { seq: 0, .. }), "{error}");
    assert!(error.to_string().contains(&format!("events from {first} on")), "{error}");
}

#[test]
fn a_log_that_is_kept_for_ever_gives_nothing_up() {
    let dir = fast_dir();
    sample(dir.path(), 4, 2, 3);
    let now = Clock(u64::MAX / 16).now();
    let (mut writer, _) = Writer::open(dir.path(), config(), now).unwrap();
    assert_eq!(writer.prune(Some(Duration::ZERO), now).unwrap(), None);
    assert!(!dir.path().join("pruned").exists());
    writer.close(now).unwrap();
}

#[test]
fn nothing_younger_than_pinned_is_given_up_whatever_is_asked_for() {
    let dir = fast_dir();
    let (mut writer, clock, _) = old_log(dir.path());
    // Now segments 0 to 2 are 15, 10 and 5 days old.
    let now = Clock(clock.0 - 10 * DAY_MS * 1_000_000).now();
    assert_eq!(writer.prune(Some(Duration::from_hours(16 * 24)), now).unwrap(), None);
    let pruned = writer.prune(Some(Duration::from_secs(1)), now).unwrap().unwrap();
    assert_eq!(pruned.last_segment, 1);
    writer.close(clock.now()).unwrap();
}

#[test]
fn what_is_gone_without_right_is_tampering() {
    type Attack = fn(&Path, &Path);
    let attacks: [(&str, Attack, &str); 5] = [
        (
            "segments taken away",
            |_, log| {
                std::fs::remove_file(segments(log).remove(0)).unwrap();
            },
            "missing",
        ),
        (
            "a pruned form of a log that never said so",
            |pruned, log| {
                std::fs::create_dir(log.join("pruned")).unwrap();
                for path in pruned_files(pruned) {
                    std::fs::copy(&path, log.join("pruned").join(path.file_name().unwrap())).unwrap();
                    std::fs::remove_file(log.join(path.file_name().unwrap())).unwrap();
                }
            },
            "does not say so",
        ),
        (
            "a pruned segment taken away",
            |pruned, log| {
                copy(pruned, log);
                std::fs::remove_file(pruned_files(log).remove(1)).unwrap();
            },
            "missing",
        ),
        (
            "a root of a gap changed",
            |pruned, log| {
                copy(pruned, log);
                let path = pruned_files(log).remove(1);
                change_gap(&path);
            },
            "hash",
        ),
        (
            "more given up than was said",
            |pruned, log| {
                copy(pruned, log);
                let (number, path) = directory::list_segments(log).unwrap().remove(0);
                prune::replace(log, number, &path).unwrap();
            },
            "does not say so",
        ),
    ];
    for (name, attack, why) in attacks {
        let (whole, pruned) = (fast_dir(), fast_dir());
        let (mut writer, clock, _) = old_log(whole.path());
        writer.seal(clock.now()).unwrap();
        copy(whole.path(), pruned.path());
        let _ = std::fs::remove_file(pruned.path().join("place"));
        writer.close(clock.now()).unwrap();
        let (mut writer, _) = Writer::open(pruned.path(), config(), clock.now()).unwrap();
        writer.prune(None, clock.now()).unwrap().unwrap();
        writer.close(clock.now()).unwrap();
        assert_eq!(check(pruned.path()).verdict, Verdict::Ok);
        let log = whole.path();
        attack(pruned.path(), log);
        let report = check(log);
        assert_eq!(report.verdict, Verdict::Tampered, "{name}: {report:#?}");
        assert!(
            report.checks.iter().any(|check| !check.ok && check.detail.contains(why)),
            "{name}: {report:#?}"
        );
    }
}

/// Replaces a log by another one.
fn copy(from: &Path, to: &Path) {
    for path in segments(to) {
        std::fs::remove_file(path).unwrap();
    }
    let from = format!("{}/.", from.display());
    assert!(std::process::Command::new("cp").args(["-a", &from]).arg(to).status().unwrap().success());
}

/// Changes the first root of a segment's first gap that has any, and puts the checksum right.
fn change_gap(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    let mut out = bytes[..4096].to_vec();
    let mut frames = frame::FrameReader::new(std::io::Cursor::new(&bytes), 4096, bytes.len() as u64);
    let mut changed = false;
    while let frame::Step::Frame(frame) = frames.next_frame().unwrap() {
        let mut body = frame.body.to_vec();
        if frame.kind == format::FrameKind::Gap && !body.is_empty() && !changed {
            body[5] ^= 1;
            changed = true;
        }
        frame::encode(frame.kind, frame.header, &body, &mut out);
    }
    assert!(changed);
    std::fs::write(path, out).unwrap();
}

#[test]
fn a_crash_while_pruning_leaves_a_log_that_verifies() {
    let dir = fast_dir();
    let (mut writer, clock, all) = old_log(dir.path());
    writer.seal(clock.now()).unwrap();
    let whole: Vec<_> =
        segments(dir.path()).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    writer.prune(None, clock.now()).unwrap().unwrap();
    writer.close(clock.now()).unwrap();
    let expected = all.len() as u64;
    // The pruned form is there and the segment, too: of the last, of all, of none.
    for kept in [1..3, 0..3, 2..3] {
        for (path, bytes) in &whole[kept.clone()] {
            std::fs::write(path, bytes).unwrap();
        }
        let report = check(dir.path());
        assert_eq!((report.verdict, report.events), (Verdict::Ok, expected), "{kept:?}: {report:#?}");
    }
    // The next time the rest is done.
    let (mut writer, _) = Writer::open(dir.path(), config(), clock.now()).unwrap();
    writer.prune(None, clock.now()).unwrap().unwrap();
    writer.close(clock.now()).unwrap();
    assert_eq!(pruned_files(dir.path()).len(), 4);
    assert_eq!(check(dir.path()).verdict, Verdict::Ok);
}

#[test]
fn gaps_in_trees_change_no_root_and_no_proof() {
    for size in [1_u64, 2, 3, 7, 8, 13, 32, 45] {
        let leaves: Vec<_> = (0..size).map(|n| leaf_hash(&n.to_le_bytes())).collect();
        for from in 0..size {
            for to in from..=size {
                let roots = subtree_roots(from, &leaves[from as usize..to as usize]);
                let mut frontier = Frontier::default();
                leaves[..from as usize].iter().for_each(|leaf| frontier.push(*leaf));
                assert!(frontier.extend(to, &roots));
                leaves[to as usize..].iter().for_each(|leaf| frontier.push(*leaf));
                assert_eq!(frontier.root(), root(&leaves), "{from} to {to} of {size}");
                let wanted: Vec<u64> = (0..size).filter(|n| *n < from || *n >= to).collect();
                let mut paths = Paths::new(size, &wanted);
                leaves[..from as usize].iter().for_each(|leaf| paths.push(*leaf));
                assert!(paths.extend(to, &roots));
                leaves[to as usize..].iter().for_each(|leaf| paths.push(*leaf));
                let (found, proofs) = paths.finish().unwrap();
                assert_eq!(found, root(&leaves));
                for (index, proof) in wanted.iter().zip(proofs) {
                    assert!(verify_inclusion(&leaves[*index as usize], *index, size, &proof, &found));
                }
            }
        }
    }
}
