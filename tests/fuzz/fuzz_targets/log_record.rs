//! Records of a log about itself and files of epoch keys, of any bytes: no panic; there is one way to write a record, and
//! keys that are written again are the same keys.
#![no_main]

use goaudit_user::audit::epoch::EpochKeys;
use goaudit_user::audit::record::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = Record::parse(data) {
        assert_eq!(record.text().as_bytes(), data);
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(keys) = EpochKeys::parse(text, "example.org/fuzz")
    {
        let again =
            EpochKeys::parse(&EpochKeys::text(&keys.key, keys.next.as_ref()), "example.org/fuzz").unwrap();
        assert_eq!((again.number, again.key.public()), (keys.number, keys.key.public()));
    }
});
