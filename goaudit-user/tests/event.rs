//! Laws of the event: what is stored is what comes back, and every view of it is well-formed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use goaudit_user::event::{Event, Source};
use goaudit_user::view::compact::{self, Style};
use goaudit_user::view::json::Kind;
use goaudit_user::view::{Origin, json};
use proptest::prelude::*;

#[path = "support/events.rs"]
mod events;

use events::event;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_stored_comes_back(event in event()) {
        let mut stored = Vec::new();
        event.encode(&mut stored);
        prop_assert_eq!(Kind::of_stored(&stored), Some(Kind::of(&event.payload)));
        prop_assert_eq!(Event::decode(&stored).unwrap(), event);
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_event(event in event(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut stored = Vec::new();
        event.encode(&mut stored);
        let at = at.index(stored.len());
        if let Some(byte) = stored.get_mut(at) {
            *byte ^= flip;
        }
        let _ = Event::decode(&stored);
        stored.truncate(at);
        prop_assert!(Event::decode(&stored).is_err(), "a cut event is no event");
    }

    #[test]
    fn every_view_is_one_well_formed_line(event in event(), offset in any::<i64>()) {
        let origin = Origin { seq: 3, boot_id: "b", host: "h", machine: "x86_64", realtime_minus_boottime_ns: offset };
        let mut line = Vec::new();
        json::write(&mut line, &event, &origin);
        prop_assert_eq!(line.split(|byte| *byte == b'\n').count(), 2);
        let parsed: serde_json::Value = serde_json::from_slice(&line).unwrap();
        prop_assert!(parsed.is_object());
        let mut line = Vec::new();
        compact::write(&mut line, &event, &origin, Style::default());
        let line = String::from_utf8(line).unwrap();
        prop_assert!(line.ends_with('\n') && line.chars().filter(|char| char.is_control()).count() == 1, "{:?}", line);
    }
}

/// Logs of before Go calls: a source has no key 5, which reads as no further records.
#[test]
fn a_source_of_an_older_log_is_read() {
    let source = Source { cpu: 3, first: 9, records: 1, lost_before: 0, repeats: None, more: Vec::new() };
    let mut stored = minicbor::to_vec(&source).unwrap();
    assert_eq!(minicbor::decode::<Source>(&stored).unwrap(), source);
    // Without the last entry (key 5, empty list: two bytes) and with one entry less in the map's head.
    assert_eq!(stored.split_off(stored.len() - 2), [5, 0x80]);
    *stored.first_mut().unwrap() -= 1;
    assert_eq!(minicbor::decode::<Source>(&stored).unwrap(), source);
}
