//! Cases of a log with the corpus's keys whose events are encrypted.

use goaudit_tests::age_key::RECIPIENT;
use goaudit_tests::logdir::LogDir;
use goaudit_user::audit::format::BatchHeader;
use goaudit_user::audit::{Recipients, WriterConfig};
use goaudit_user::event::Event;
use sha2::{Digest as _, Sha256};

use super::attacker::{Part, apart, together};
use super::make::{Cases, SECOND, config, run_with};
use super::patch;

/// Adds the cases.
pub(super) fn add(cases: &mut Cases, events: &[Event], folder: &LogDir) {
    let log = folder.join("encrypted");
    let encrypt_to = Some(Recipients::parse(&[RECIPIENT.to_owned()]).unwrap());
    run_with(&log, WriterConfig { encrypt_to, ..config(0) }, events, 5 * SECOND, false);
    let base = patch::read(&log);
    let threat = "encryption";
    cases.add(threat, "encrypted", &base, "ok", "were not opened: their bytes are those that were sealed");
    cases
        .add(threat, "encrypted-and-opened", &base, "ok", "every event hashes to its batch's root")
        .with_key()
        .proven();
    let segments = apart(&base);
    let last = segments.len() - 1;
    let mut swapped = segments.clone();
    swapped[last].header.wrapped_key.clone_from(&segments[0].header.wrapped_key);
    let says = "it was swapped";
    cases.add(threat, "wrapped-key-swapped", &together(&swapped, &base), "tampered", says);
    let mut swapped = segments.clone();
    swapped[0].header.wrapped_key[60] ^= 1;
    cases.add(threat, "wrapped-key-changed", &together(&swapped, &base), "tampered", says);
    let mut changed = segments.clone();
    let place = changed[last].parts.iter().rposition(Part::is_events).unwrap();
    changed[last].parts[place].body[7] ^= 1;
    let says = "does not hash to what its header says";
    cases.add(threat, "ciphertext-changed", &together(&changed, &base), "tampered", says);
    let part = &mut changed[last].parts[place];
    let batch = BatchHeader { payload_hash: Sha256::digest(&part.body).into(), ..part.batch() };
    part.set_batch(&batch);
    let files = together(&changed, &base);
    cases.add(threat, "ciphertext-and-its-hash-changed", &files, "tampered", "checkpoint's root").with_key();
    let mut changed = segments.clone();
    let part = changed[last].parts.iter_mut().find(|part| part.batch().is_records()).unwrap();
    let kind = part.batch().kind;
    *part = part.with_events(|records| {
        let digit = records[0].iter_mut().nth_back(1).unwrap();
        *digit = if *digit == b'0' { b'1' } else { b'0' };
    });
    let batch = BatchHeader { kind, ..part.batch() };
    part.set_batch(&batch);
    let files = together(&changed, &base);
    cases.add(threat, "key-commitment-changed", &files, "tampered", "does not name the batch before it");
    let mut clear = segments;
    for segment in &mut clear {
        segment.header.wrapped_key.clear();
    }
    let says = "says otherwise about encryption";
    cases.add(threat, "wrapped-keys-taken-out", &together(&clear, &base), "tampered", says);
}
