//! Witnesses, cosignatures and policies about them.

use proptest::prelude::*;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::cosignature::{WitnessKey, WitnessSigner};
use crate::audit::merkle::{consistency_proof, leaf_hash, root};
use crate::audit::note::{Note, SignKey};
use crate::audit::policy::Policy;
use crate::audit::witness::{Request, SIZE_TYPE, Witness};

const LOG: &str = "example.org/log";
const NOW: u64 = 1_700_000_000;

fn log_key() -> SignKey {
    SignKey::from_seed(LOG, &[1; 32]).unwrap()
}

fn signer(name: &str) -> WitnessSigner {
    let mut seed = [2; 32];
    for (byte, letter) in seed.iter_mut().zip(name.bytes()) {
        *byte = letter;
    }
    WitnessSigner::from_seed(name, &seed).unwrap()
}

/// A log whose leaves depend on `history` after the first five.
fn leaves(n: u64, history: u64) -> Vec<[u8; 32]> {
    (0..n).map(|i| leaf_hash(&(i + if i < 5 { 0 } else { history * 1000 }).to_le_bytes())).collect()
}

fn head(n: u64, history: u64) -> Checkpoint {
    Checkpoint { origin: LOG.to_owned(), size: n, root: root(&leaves(n, history)) }
}

fn request(old: u64, new: u64, history: u64) -> Request {
    let proof = consistency_proof(&leaves(new, history), old as usize).unwrap_or_default();
    Request { old, proof, note: head(new, history).sign(&log_key()) }
}

#[test]
fn a_witness_cosigns_what_extends_what_it_cosigned_and_nothing_else() {
    let dir = super::fast_dir();
    let open = || Witness::open(dir.path(), signer("w"), vec![log_key().public().clone()]).unwrap();
    let mut witness = open();
    assert_eq!((witness.size(LOG), witness.size("other")), (Some(0), None));
    let ask = |witness: &mut Witness, request: &Request| {
        let answer = witness.add_checkpoint(request.text().as_bytes(), NOW).unwrap();
        (answer.status, answer.content_type == SIZE_TYPE, answer.body)
    };
    let status = |witness: &mut Witness, request: &Request| ask(witness, request).0;
    // Old sizes that are not the last one tell it.
    assert_eq!(ask(&mut witness, &request(3, 7, 0)), (409, true, "0\n".to_owned()));
    assert_eq!(status(&mut witness, &Request { proof: vec![[0; 32]], ..request(0, 7, 0) }), 422);
    let (code, _, line) = ask(&mut witness, &request(0, 7, 0));
    assert_eq!(code, 200);
    let note = format!("{}{line}", head(7, 0).sign(&log_key()));
    let parsed = Note::parse(note.as_bytes()).unwrap();
    assert_eq!(signer("w").public().verify(&parsed).unwrap(), Some(NOW));
    assert_eq!(signer("v").public().verify(&parsed).unwrap(), None);
    // The same again is cosigned again; it moves the time.
    assert_eq!(status(&mut witness, &request(7, 7, 0)), 200);
    assert_eq!(ask(&mut witness, &request(0, 9, 0)), (409, true, "7\n".to_owned()));
    assert_eq!(status(&mut witness, &request(7, 9, 1)), 422, "another history");
    assert_eq!(ask(&mut witness, &request(7, 7, 1)), (409, true, "7\n".to_owned()), "another root");
    assert_eq!(status(&mut witness, &request(7, 6, 0)), 400, "old is larger");
    let mut changed = request(7, 9, 0);
    changed.proof[0][0] ^= 1;
    assert_eq!(status(&mut witness, &changed), 422);
    assert_eq!(witness.size(LOG), Some(7));
    // Who it is about and who signed.
    let by = |origin: &str, seed: u8| {
        let key = SignKey::from_seed(origin, &[seed; 32]).unwrap();
        Request {
            note: Checkpoint { origin: origin.to_owned(), ..head(9, 0) }.sign(&key),
            ..request(7, 9, 0)
        }
    };
    assert_eq!(status(&mut witness, &by("example.org/other", 1)), 404);
    assert_eq!(status(&mut witness, &by(LOG, 9)), 403);
    for bad in [b"".as_slice(), b"old 7\n", b"old 07\n\n", b"old 7\n\nno note", b"\xff\xff"] {
        assert_eq!(witness.add_checkpoint(bad, NOW).unwrap().status, 400);
    }
    // A second one is refused while the first has the directory; after that it knows what the first knew.
    assert!(Witness::open(dir.path(), signer("w"), Vec::new()).is_err());
    drop(witness);
    let mut witness = open();
    assert_eq!(witness.size(LOG), Some(7));
    let mut more = request(7, 12, 0);
    // Lines of strangers, however many, are ignored and not kept.
    more.note
        .extend((0..90).map(|n| SignKey::from_seed(&format!("s{n}"), &[n; 32]).unwrap().sign_line("x\n")));
    more.note.push_str(&signer("w").cosign("something else\n", NOW));
    assert_eq!(status(&mut witness, &more), 200);
    drop(witness);
    assert_eq!(open().size(LOG), Some(12));
    // A state that it did not write is refused, not forgotten.
    let file = std::fs::read_dir(dir.path().join("logs")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&file, head(3, 0).sign(&log_key())).unwrap();
    assert!(Witness::open(dir.path(), signer("w"), vec![log_key().public().clone()]).is_err());
}

#[test]
fn cosignatures_are_not_signatures_of_something_else() {
    let (log, witness) = (log_key(), signer("w"));
    let text = head(7, 0).text();
    let cosigned = format!("{}{}", log.sign(&text), witness.cosign(&text, NOW));
    let verify = |note: &str| witness.public().verify(&Note::parse(note.as_bytes()).unwrap());
    assert_eq!(verify(&cosigned).unwrap(), Some(NOW));
    let newer = format!("{cosigned}{}", witness.cosign(&text, NOW + 5));
    assert_eq!(verify(&newer).unwrap(), Some(NOW + 5));
    let other = format!("{cosigned}{}", witness.cosign(&head(8, 0).text(), NOW));
    assert!(verify(&other).is_err(), "one good line does not make up for a bad one");
    let late = format!("{}{}", log.sign(&text), witness.cosign(&text, 1 << 63));
    assert!(verify(&late).is_err(), "times end at 2^63 - 1");
    let key = witness.public().text();
    assert_eq!(&WitnessKey::parse(&key).unwrap(), witness.public());
    assert_eq!(WitnessSigner::parse(&witness.text()).unwrap().public(), witness.public());
    assert!(WitnessKey::parse(&log.public().text()).is_err(), "a log's key is no witness's key");
    assert!(!format!("{witness:?}").contains(&witness.text().as_str()[20..]));
    for at in 0..key.len() {
        let mut changed = key.clone().into_bytes();
        changed[at] = changed[at].wrapping_add(1);
        let parsed = std::str::from_utf8(&changed).ok().and_then(|text| WitnessKey::parse(text).ok());
        assert!(parsed.is_none(), "changed at {at}");
    }
}

/// The example of the policy specification, with keys.
fn policy(change: impl Fn(&str) -> String) -> Result<Policy, crate::audit::policy::PolicyError> {
    let mut text = format!("# a comment\nlog {}\n\n", log_key().public().text());
    for name in ["X1", "X2", "X3", "Y1", "Y2"] {
        let key = signer(name).public().text();
        text += &["witness\t", name, "  ", &key, " http://", name, ".example\n"].concat();
    }
    text.push_str("group X 2 X1 X2 X3\ngroup Y any Y1 Y2\ngroup both all X Y\nquorum both\n");
    Policy::parse(change(&text).as_bytes())
}

#[test]
fn quorums_are_counted_as_the_policy_says() {
    let good = policy(str::to_owned).unwrap();
    assert_eq!(good.witnesses().len(), 5);
    assert_eq!(good.witnesses()[0].url.as_deref(), Some("http://X1.example"));
    assert!(good.covers(log_key().public()));
    assert!(!good.covers(SignKey::from_seed(LOG, &[7; 32]).unwrap().public()));
    let text = head(7, 0).text();
    for (there, met) in [
        (&["X1", "X2", "Y1"][..], true),
        (&["X1", "X2", "X3", "Y2"], true),
        (&["X1", "X2", "X3"], false),
        (&["X1", "Y1", "Y2"], false),
        (&[], false),
    ] {
        let mut note = log_key().sign(&text);
        for (age, name) in there.iter().enumerate() {
            note.push_str(&signer(name).cosign(&text, NOW + age as u64));
        }
        let quorum = good.judge(&Note::parse(note.as_bytes()).unwrap()).unwrap();
        assert_eq!((quorum.met, quorum.witnesses.len()), (met, there.len()), "{there:?}");
        assert_eq!(quorum.time(), (!there.is_empty()).then_some(NOW));
    }
    let none = policy(|text| text.replace("quorum both", "quorum none")).unwrap();
    let plain = log_key().sign(&text);
    assert!(none.judge(&Note::parse(plain.as_bytes()).unwrap()).unwrap().met);
}

#[test]
fn groups_may_be_nested_as_deep_as_a_policy_is_long() {
    let mut text = format!("witness W {}\ngroup g0 1 W\n", signer("W").public().text());
    let depth = 40_000;
    for n in 0..depth {
        text += &["group g", &(n + 1).to_string(), " 1 g", &n.to_string(), "\n"].concat();
    }
    text += &["quorum g", &depth.to_string(), "\n"].concat();
    let deep = Policy::parse(text.as_bytes()).unwrap();
    let head = head(7, 0).text();
    let plain = log_key().sign(&head);
    assert!(!deep.judge(&Note::parse(plain.as_bytes()).unwrap()).unwrap().met);
    let cosigned = plain + &signer("W").cosign(&head, NOW);
    assert!(deep.judge(&Note::parse(cosigned.as_bytes()).unwrap()).unwrap().met);
}

#[test]
fn policies_that_are_not_understood_are_refused() {
    let x1 = signer("X1").public().text();
    for (what, from, to) in [
        ("no quorum", "quorum both\n", ""),
        ("two quorums", "quorum both\n", "quorum both\nquorum X\n"),
        ("an unknown quorum", "quorum both", "quorum nobody"),
        ("an unknown member", "all X Y", "all X Z"),
        ("a member of two groups", "all X Y", "all X Y X1"),
        ("a member twice", "2 X1 X2 X3", "2 X1 X2 X2"),
        ("more than there are", "group X 2", "group X 4"),
        ("none of them", "group X 2", "group X 0"),
        ("a number with a zero", "group X 2", "group X 02"),
        ("no number", "group X 2", "group X most"),
        ("no members", "any Y1 Y2", "any"),
        ("a taken name", "group Y ", "group X1 "),
        ("none as a name", "group Y ", "group none "),
        ("an unknown word", "quorum both", "veto X1\nquorum both"),
        ("a log's key for a witness", &x1, &log_key().public().text()),
        ("one key twice", &signer("X2").public().text(), &x1),
        ("a control character", "# a", "# \x07"),
        ("too many fields", "quorum both", "quorum both X"),
        ("a log twice", "# a comment", &format!("log {}", log_key().public().text())),
    ] {
        let error = policy(|text| {
            assert!(text.contains(from), "{what}");
            text.replacen(from, to, 1)
        });
        assert!(error.is_err(), "{what}");
    }
    let error = policy(|text| text.replace("quorum both", "quorum nobody")).unwrap_err();
    assert_eq!(error.line, 12, "{error}");
}

proptest! {
    #[test]
    fn requests_read_again_as_they_were_written(old in any::<u64>(), proof in prop::collection::vec(any::<[u8; 32]>(), 0..64), note in "[ -~\n]{0,80}") {
        let request = Request { old, proof, note };
        prop_assert_eq!(Request::parse(request.text().as_bytes()), Some(request));
    }
}
