//! Stored events of any bytes: decoding does not panic, and what decodes is the same after encoding again.
#![no_main]

use goaudit_user::event::Event;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(event) = Event::decode(data) {
        let mut stored = Vec::new();
        event.encode(&mut stored);
        assert_eq!(Event::decode(&stored).unwrap(), event);
    }
});
