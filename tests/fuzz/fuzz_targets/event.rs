//! Stored events of any bytes: decoding does not panic, and what decodes is the same after encoding again. Personal fields that
//! nobody can open are told one by one.
#![no_main]

use goaudit_user::event::Event;
use goaudit_user::personal::Opener;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(event) = Event::decode(data) {
        let mut stored = Vec::new();
        event.encode(&mut stored);
        assert_eq!(Event::decode(&stored).unwrap(), event);
        let fields: usize = event.sealed.iter().flatten().map(|sealed| sealed.places.len()).sum();
        let mut opened = event.clone();
        Opener::default().open(&mut opened);
        assert_eq!(opened.missing.len(), event.missing.len() + fields);
    }
});
