//! Signed notes against published keys and texts (C2SP, Go's note package) and another implementation.

use proptest::prelude::*;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::{Note, NoteError, SignKey, VerifyKey};

/// Test keys that Go's note package publishes.
const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETER_SECRET: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const ENOCH: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
const PETER_LINE: &str = "\u{2014} PeterNeumann \
    x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const ENOCH_LINE: &str = "\u{2014} EnochRoot \
    rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

/// Keys of other logs, as published: C2SP's example, Tessera's test log.
const OTHERS: [&str; 2] = [
    "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx",
];

#[test]
fn published_keys_are_read_and_written() {
    for text in [PETER, ENOCH, OTHERS[0], OTHERS[1]] {
        assert_eq!(VerifyKey::parse(text).unwrap().text(), text);
    }
    let secret = SignKey::parse(PETER_SECRET).unwrap();
    assert_eq!(secret.text().as_str(), PETER_SECRET);
    assert_eq!(secret.public().text(), PETER);
    assert!(!format!("{secret:?}").contains("AYEKFALV"), "a secret is not printed");
}

#[test]
fn signing_gives_the_published_bytes() {
    let secret = SignKey::parse(PETER_SECRET).unwrap();
    assert_eq!(secret.sign(TEXT), format!("{TEXT}\n{PETER_LINE}"));
}

#[test]
fn published_notes_verify_and_unknown_lines_are_ignored() {
    let (peter, enoch) = (VerifyKey::parse(PETER).unwrap(), VerifyKey::parse(ENOCH).unwrap());
    let both = format!("{TEXT}\n{PETER_LINE}{ENOCH_LINE}");
    let note = Note::parse(both.as_bytes()).unwrap();
    assert_eq!((note.text(), note.lines().len()), (TEXT, 2));
    note.verify(&peter).unwrap();
    note.verify(&enoch).unwrap();
    let one = format!("{TEXT}\n{PETER_LINE}");
    let note = Note::parse(one.as_bytes()).unwrap();
    assert!(matches!(note.verify(&enoch), Err(NoteError::Unsigned(_))));
    let changed = one.replace("cryptography", "steganography");
    assert!(matches!(Note::parse(changed.as_bytes()).unwrap().verify(&peter), Err(NoteError::Forged(_))));
    // One good line does not make up for a bad one of the same key.
    let forged = format!("{one}{}", PETER_LINE.replace("9UG/Sffc", "9UG/SffC"));
    assert!(matches!(Note::parse(forged.as_bytes()).unwrap().verify(&peter), Err(NoteError::Forged(_))));
}

#[test]
fn mangled_keys_are_refused() {
    for (text, secret) in [(PETER, false), (PETER_SECRET, true)] {
        let is_key =
            |text: &str| if secret { SignKey::parse(text).is_ok() } else { VerifyKey::parse(text).is_ok() };
        assert!(is_key(text));
        for start in 0..=text.len() {
            for end in start..=text.len() {
                assert!(
                    (start, end) == (0, text.len()) || !is_key(&text[start..end]),
                    "{}",
                    &text[start..end]
                );
            }
        }
        for at in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] += 1;
            assert!(!is_key(std::str::from_utf8(&changed).unwrap()), "changed at {at}");
        }
    }
    for bad in [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ] {
        assert!(VerifyKey::parse(bad).is_err());
    }
    for name in ["", "a b", "a+b", "a\u{2003}b", "a\nb"] {
        assert!(SignKey::from_seed(name, &[1; 32]).is_err(), "{name:?}");
    }
}

#[test]
fn malformed_notes_are_refused() {
    for bad in [
        TEXT.to_owned(),
        format!("{TEXT}\n"),
        format!("{TEXT}\n{}", PETER_LINE.trim_end()),
        format!("\x01{TEXT}\n{PETER_LINE}"),
        format!("{TEXT}\n\u{2014} Bad Name x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ="),
        format!("{TEXT}\n{PETER_LINE}Unexpected line.\n"),
        format!("{TEXT}\n\u{2014} PeterNeumann x08g\n"),
        format!("{TEXT}\n{}", PETER_LINE.repeat(101)),
        String::new(),
    ] {
        assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let mut bytes = format!("{TEXT}\n{PETER_LINE}").into_bytes();
    bytes[0] = 0xff;
    assert!(Note::parse(&bytes).is_err());
}

#[test]
fn checkpoints_are_three_lines() {
    let key = SignKey::from_seed("example.org/log", &[3; 32]).unwrap();
    let head = Checkpoint { origin: "example.org/log".into(), size: 17, root: [9; 32] };
    let note = head.sign(&key);
    assert_eq!(Checkpoint::open(note.as_bytes(), key.public()).unwrap(), head);
    // What another implementation reads in it.
    let parsed = tlog_tiles::Checkpoint::from_bytes(head.text().as_bytes()).unwrap();
    assert_eq!((parsed.origin(), parsed.size(), parsed.hash().0), ("example.org/log", 17, [9; 32]));
    let root = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";
    assert_eq!(head.text(), format!("example.org/log\n17\n{root}\n"));
    for bad in [
        format!("example.org/log\n017\n{root}\n"),
        format!("example.org/log\n-1\n{root}\n"),
        format!("example.org/log\n\n{root}\n"),
        format!("example.org/log\n18446744073709551616\n{root}\n"),
        format!("example.org/log\n17\n{root}\nextension\n"),
        format!("\n17\n{root}\n"),
        format!("example.org/log\n17\n{root}"),
        "example.org/log\n17\nCQkJ\n".to_owned(),
    ] {
        assert!(Checkpoint::parse_text(&bad).is_err(), "{bad:?}");
    }
    let other = Checkpoint { origin: "example.org/other".into(), ..head };
    assert!(Checkpoint::open(other.sign(&key).as_bytes(), key.public()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_bytes_parse_or_are_refused_like_elsewhere(
        start in 0_usize..200, bytes in prop::collection::vec(any::<u8>(), 0..40), len in 0_usize..40
    ) {
        let mut note = format!("{TEXT}\n{PETER_LINE}{ENOCH_LINE}").into_bytes();
        let start = start.min(note.len());
        let end = (start + len).min(note.len());
        note.splice(start..end, bytes);
        let ours = Note::parse(&note).is_ok();
        let theirs = signed_note::Note::from_bytes(&note).is_ok();
        // We are not laxer than they are.
        prop_assert!(!ours || theirs);
        let _ = Checkpoint::open(&note, &VerifyKey::parse(PETER).unwrap());
        if let Ok(text) = std::str::from_utf8(&note) {
            let _ = VerifyKey::parse(text);
            let _ = Checkpoint::parse_text(text);
        }
    }

    #[test]
    fn a_signed_note_verifies_elsewhere(text in "[a-zA-Z0-9 \u{e4}\u{2014}]{0,60}", seed in any::<[u8; 32]>()) {
        let key = SignKey::from_seed("example.org/goaudit", &seed).unwrap();
        let note = key.sign(&format!("{text}\n"));
        Note::parse(note.as_bytes()).unwrap().verify(key.public()).unwrap();
        let verifier = signed_note::StandardVerifier::new(&key.public().text()).unwrap();
        let list = signed_note::VerifierList::new(vec![Box::new(verifier)]);
        let (verified, _) = signed_note::Note::from_bytes(note.as_bytes()).unwrap().verify(&list).unwrap();
        prop_assert_eq!(verified.len(), 1);
    }
}
