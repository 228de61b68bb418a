//! Cases of a log with an HMAC chain: what its key finds when all signing keys were stolen, in time to sign everything.

use std::path::Path;

use goaudit_tests::logdir::LogDir;
use goaudit_user::audit::checkpoint::Checkpoint;
use goaudit_user::audit::epoch;
use goaudit_user::audit::format::{FrameKind, flag};
use goaudit_user::audit::hmac::HmacKey;
use goaudit_user::audit::keys;
use goaudit_user::audit::note::{Note, SignKey};

use super::attacker::{Segment, Stolen, apart, rechain, together};
use super::make::{Cases, SECOND, config, run_with, seed, short_run};
use super::patch::{self, Files};

/// The first seed of that log.
const SEEDS: u64 = 7000;
/// More seeds than it takes.
const ENOUGH: u64 = 200;

/// Signs as the log itself did: with the log's key and the key of the epoch that is in the note of that size.
fn with_all_keys(files: &Files) -> impl Fn(&Checkpoint) -> String + use<> {
    let stolen = Stolen::from(files);
    let origin = stolen.log.public().name().to_owned();
    let parts = apart(files).into_iter().flat_map(|segment| segment.parts);
    let notes: Vec<String> = parts
        .filter(|part| part.kind == FrameKind::Checkpoint)
        .map(|part| String::from_utf8(part.body).unwrap())
        .collect();
    move |head| {
        let signer = notes.iter().find_map(|note| {
            let note = Note::parse(note.as_bytes()).unwrap();
            let of_size = Checkpoint::parse_text(note.text()).unwrap().size == head.size;
            let line = note.lines().iter().find(|line| epoch::number_of(&origin, line.name).is_some())?;
            let mut keys =
                (SEEDS..SEEDS + ENOUGH).map(|count| SignKey::from_seed(line.name, &seed(count)).unwrap());
            of_size.then(|| keys.find(|key| key.public().is_signer(line)).unwrap())
        });
        head.seal(&stolen.log, Some(&signer.unwrap()))
    }
}

/// Adds the cases; `hmac.key` and `chain.vkey` go beside them.
pub(super) fn add(cases: &mut Cases, dir: &Path, folder: &LogDir) {
    let log = folder.join("chain");
    let first = HmacKey::from_seed([77; 32]);
    let mut begun = config(SEEDS);
    begun.hmac = Some(first.clone());
    run_with(&log, begun, &short_run("in a chain"), 5 * SECOND, false);
    let files = patch::read(&log);
    std::fs::write(dir.join("hmac.key"), format!("{}\n", first.text().as_str())).unwrap();
    let key = keys::load_public(&log).unwrap();
    std::fs::write(dir.join("chain.vkey"), format!("{}\n", key.text())).unwrap();
    let pinned = ["--log-key", "chain.vkey"];
    let checked = ["--log-key", "chain.vkey", "--hmac-key", "hmac.key"];

    cases.add("none", "hmac-chain", &files, "ok", "follow from the key").with(&checked).proven();
    let says = "only whoever has its key can check it";
    cases.add("none", "hmac-chain-without-its-key", &files, "ok", says).with(&pinned);
    let says = "a key was given, but the log has no HMAC chain";
    let base = cases.base.clone();
    cases.add("none", "hmac-key-but-no-chain", &base, "incomplete", says).with(&[
        "--log-key",
        "log.vkey",
        "--hmac-key",
        "hmac.key",
    ]);

    let sign = with_all_keys(&files);
    let attack = |change: &dyn Fn(&mut Vec<Segment>)| {
        let mut segments = apart(&files);
        change(&mut segments);
        let note = rechain(&mut segments, &sign);
        let mut files = together(&segments, &files);
        files.insert("checkpoint".to_owned(), note.into_bytes());
        files
    };
    assert_eq!(attack(&|_| {}), files, "with all keys the log is made again as it is");
    let edited = attack(&|segments| {
        let part = segments[0].parts.iter_mut().find(|part| part.is_events()).unwrap();
        *part = part.with_events(|events| {
            // Another event of the same run, as if it had been that one.
            events[1] = events[2].clone();
        });
    });
    let threat = "all-keys-stolen";
    let says = "only whoever has its key can check it";
    cases.add(threat, "edit-and-reseal-with-all-keys", &edited, "ok", says).with(&pinned);
    let says = "do not follow from the key";
    cases
        .add(threat, "edit-and-reseal-with-all-keys-but-checked-with-the-hmac-key", &edited, "tampered", says)
        .with(&checked);
    let without = attack(&|segments| {
        for part in segments.iter_mut().flat_map(|segment| &mut segment.parts).filter(|part| part.is_events())
        {
            let mut batch = part.batch();
            batch.flags = (batch.flags.get() & !flag::HMAC).into();
            batch.hmac_tail = [0; 32];
            part.set_batch(&batch);
        }
    });
    cases
        .add(threat, "hmac-taken-away-with-all-keys", &without, "tampered", "HMAC of a batch was taken away")
        .with(&pinned);

    let lost = folder.join("lost-chain");
    patch::write(&files, &lost);
    std::fs::remove_file(lost.join("keys/hmac.key")).unwrap();
    run_with(&lost, config(SEEDS + ENOUGH), &short_run("after the ratchet was lost"), 900 * SECOND, false);
    cases
        .add("lost-key", "the-ratchet-file-was-lost", &patch::read(&lost), "damaged", "the HMAC chain ends")
        .with(&checked);
}
