//! Signed notes, checkpoints and keys of any bytes: no panic; what is written again is what was read; nothing verifies
//! that was not signed.
#![no_main]

use goaudit_user::audit::checkpoint::Checkpoint;
use goaudit_user::audit::note::{Note, SignKey, VerifyKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let key = SignKey::from_seed("example.org/fuzz", &[7; 32]).unwrap();
    if let Ok(note) = Note::parse(data) {
        assert!(note.text().ends_with('\n') && !note.lines().is_empty());
        assert!(note.verify(key.public()).is_err());
    }
    assert!(Checkpoint::open(data, key.public()).is_err());
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(parsed) = VerifyKey::parse(text) {
        assert_eq!(VerifyKey::parse(&parsed.text()).unwrap(), parsed);
    }
    if let Ok(parsed) = SignKey::parse(text) {
        assert_eq!(SignKey::parse(&parsed.text()).unwrap().public(), parsed.public());
    }
    if let Ok(parsed) = Checkpoint::parse_text(text) {
        assert_eq!(parsed.text(), text);
    }
    // A text that is a note's text can be signed and opened again.
    if text.ends_with('\n') && !text.bytes().any(|byte| byte < b' ' && byte != b'\n') {
        let signed = key.sign(text);
        let note = Note::parse(signed.as_bytes()).unwrap();
        assert_eq!(note.text(), text);
        note.verify(key.public()).unwrap();
    }
});
