//! Proofs of any bytes: no panic, what is read is written again as it was, and nothing is proven that was not signed.
//!
//! The first byte chooses: the bytes are a proof file; or they are the opening of an otherwise well-formed one; or they
//! change a good proof, which then proves nothing.
#![no_main]

use std::cell::OnceCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use goaudit_user::audit::note::SignKey;
use goaudit_user::audit::proof::Proof;
use goaudit_user::audit::{Now, Writer, WriterConfig, keys, prove};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static GOOD: OnceCell<(String, SignKey)> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else { return };
    GOOD.with(|good| {
        let (good, key) = good.get_or_init(good_proof);
        match mode % 3 {
            0 => refused(data, good, key),
            1 => {
                let (_, rest) = good.split_once("\nindex ").unwrap();
                let text = format!("c2sp.org/tlog-proof@v1\nextra {}\nindex {rest}", BASE64.encode(data));
                refused(text.as_bytes(), good, key);
            }
            _ => {
                let mut text = good.clone().into_bytes();
                for [a, b, new] in data.as_chunks::<3>().0 {
                    let place = usize::from(u16::from_le_bytes([*a, *b])) % text.len();
                    text[place] = *new;
                }
                refused(&text, good, key);
            }
        }
    });
});

/// Nothing but the good proof verifies.
fn refused(bytes: &[u8], good: &str, key: &SignKey) {
    let Ok(proof) = Proof::parse(bytes) else { return };
    assert_eq!(proof.text().as_bytes(), bytes);
    let verified = proof.verify(key.public()).is_ok();
    if bytes == good.as_bytes() {
        assert!(verified);
    } else if verified {
        // Lines of other signers may be added.
        assert_eq!(proof.batches, Proof::parse(good.as_bytes()).unwrap().batches);
    }
}

/// A proof of two events of a small log.
fn good_proof() -> (String, SignKey) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let now = |boottime_ns| Now { realtime_ns: 1_700_000_000_000_000_000 + boottime_ns, boottime_ns };
    let mut config = WriterConfig::new("example.org/fuzz", [7; 16], [8; 16]);
    config.seeds = Box::new(|seed| {
        *seed = [7; 32];
        Ok(())
    });
    let (mut writer, _) = Writer::open(dir.path(), config, now(1)).unwrap();
    for event in ["one", "two", "three"] {
        writer.append(event.as_bytes(), 1, false, now(1)).unwrap();
    }
    writer.close(now(1)).unwrap();
    let proof = prove(dir.path(), &[0, 2].into(), None).unwrap();
    (proof.text(), keys::load(dir.path()).unwrap().unwrap())
}
