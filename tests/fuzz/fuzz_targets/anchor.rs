//! What witnesses are asked, their keys and policies, cosigned notes and time stamps, of any bytes: no panic; what is
//! written again is what was read; nothing counts as cosigned that was not.
#![no_main]

use goaudit_user::audit::cosignature::{WitnessKey, WitnessSigner};
use goaudit_user::audit::note::Note;
use goaudit_user::audit::policy::Policy;
use goaudit_user::audit::timestamp::Stamp;
use goaudit_user::audit::witness::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(request) = Request::parse(data) {
        assert_eq!(Request::parse(request.text().as_bytes()), Some(request));
    }
    if let Ok(stamp) = Stamp::parse(data) {
        assert!(!stamp.is_of(data));
    }
    if let Ok(note) = Note::parse(data) {
        let witness = WitnessSigner::from_seed("example.org/witness", &[7; 32]).unwrap();
        assert!(!matches!(witness.public().verify(&note), Ok(Some(_))));
    }
    // A policy of any bytes judges any note.
    if let Ok(policy) = Policy::parse(data)
        && let Ok(note) = Note::parse(NOTE)
    {
        assert!(policy.judge(&note).is_ok_and(|quorum| quorum.witnesses.is_empty()));
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(key) = WitnessKey::parse(text)
    {
        assert_eq!(WitnessKey::parse(&key.text()).unwrap(), key);
    }
});

/// A note that nobody cosigned; its one line is of a key that nobody has.
const NOTE: &[u8] = "example.org/fuzz\n1\nAAAA\n\n\u{2014} example.org/fuzz AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".as_bytes();
