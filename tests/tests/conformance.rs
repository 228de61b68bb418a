//! Conformance in both directions: published test cases and logs judged by our code, and our logs judged by Tessera.
//!
//! Nothing published lies in this tree: the cases come at test time, through Go's module proxy.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed unwrap, index or panic is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use goaudit_tests::ability::tell_skip;
use goaudit_tests::go_fixture::{Build, Toolchain, toolchain};
use goaudit_tests::go_module;
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_user::audit::checkpoint::Checkpoint;
use goaudit_user::audit::merkle::{
    consistency_proof, inclusion_proof, leaf_hash, root, verify_consistency, verify_inclusion,
};
use goaudit_user::audit::note::{Note, NoteError, SignKey, VerifyKey};
use goaudit_user::audit::tiles::Tiles;
use goaudit_user::audit::{Now, Writer, WriterConfig, keys};
use serde_json::Value;

const ORIGIN: &str = "example.org/goaudit/test/audit";

fn go(test: &str) -> Option<Toolchain> {
    toolchain("1.26.8").map_err(|why| tell_skip(test, "go toolchain 1.26.8", &why)).ok()
}

/// Source of a module, or the test is told as skipped.
fn module(test: &str, toolchain: &Toolchain, fixture: &str, name: &str) -> Option<PathBuf> {
    go_module::source(toolchain, fixture, name)
        .map_err(|why| tell_skip(test, "the Go module proxy", &format!("{why:#}")))
        .ok()
}

fn built(test: &str, fixture: &str) -> Option<PathBuf> {
    let toolchain = go(test)?;
    // Modules that do not come are a skip, code that does not build is a failure.
    go_module::fetch(&toolchain, fixture)
        .map_err(|why| tell_skip(test, "the Go module proxy", &format!("{why:#}")))
        .ok()?;
    Some(toolchain.build(&Build::of(fixture)).unwrap())
}

/// Runs a Go package's own tests with some of its functions wrapped, and returns what the wrappers told: each call with the
/// verdict that the package gave. `hooked` are the functions' names, `wrappers` the Go file with the functions in their
/// place, which call them by their name with `original` before it.
fn judged(
    toolchain: &Toolchain,
    source: &Path,
    package: &str,
    file: &str,
    hooked: &[&str],
    wrappers: &str,
) -> Vec<Value> {
    let folder = LogDir::new();
    let copy = folder.join("module");
    go_module::copy(source, &copy).unwrap();
    let path = copy.join(package).join(file);
    let mut code = fs::read_to_string(&path).unwrap();
    for name in hooked {
        let (from, to) = (format!("\nfunc {name}("), format!("\nfunc original{name}("));
        assert_eq!(code.matches(&from).count(), 1, "{name}");
        code = code.replace(&from, &to);
    }
    fs::write(&path, code).unwrap();
    fs::write(copy.join(package).join("goaudit_wrappers.go"), wrappers).unwrap();
    let told = folder.join("told");
    let output = toolchain
        .go()
        .current_dir(&copy)
        .args(["test", "-mod=mod", "-count=1", &format!("./{package}")])
        .env("GOAUDIT_TOLD", &told)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    fs::read_to_string(&told).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The part of a wrapper file that writes what it is told.
const TELL: &str = r#"
func goauditTell(fields map[string]any) {
	line, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	file, err := os.OpenFile(os.Getenv("GOAUDIT_TOLD"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	if _, err := file.Write(append(line, '\n')); err != nil {
		panic(err)
	}
}
"#;

fn bytes(value: &Value) -> Vec<u8> {
    value.as_str().map(|text| BASE64.decode(text).unwrap()).unwrap_or_default()
}

/// The proof cases of transparency-dev's merkle, good and corrupted, as its own tests make and judge them.
#[test]
fn merkle_proof_cases_are_judged_as_their_authors_do() {
    let test = "merkle_proof_cases_are_judged_as_their_authors_do";
    let Some(toolchain) = go(test) else { return };
    let Some(source) = module(test, &toolchain, "tlog", "github.com/transparency-dev/merkle") else { return };
    let wrappers = r#"package proof

import (
	"encoding/json"
	"os"

	"github.com/transparency-dev/merkle"
)

func VerifyInclusion(hasher merkle.LogHasher, index, size uint64, leafHash []byte, proof [][]byte, root []byte) error {
	err := originalVerifyInclusion(hasher, index, size, leafHash, proof, root)
	goauditTell(map[string]any{"kind": "inclusion", "old": index, "size": size, "one": leafHash, "two": root, "proof": proof, "good": err == nil})
	return err
}

func VerifyConsistency(hasher merkle.LogHasher, size1, size2 uint64, proof [][]byte, root1, root2 []byte) error {
	err := originalVerifyConsistency(hasher, size1, size2, proof, root1, root2)
	goauditTell(map[string]any{"kind": "consistency", "old": size1, "size": size2, "one": root1, "two": root2, "proof": proof, "good": err == nil})
	return err
}
"#;
    let hooked = ["VerifyInclusion", "VerifyConsistency"];
    let all = judged(&toolchain, &source, "proof", "verify.go", &hooked, &format!("{wrappers}{TELL}"));
    let mut counts = BTreeMap::new();
    for case in all {
        let inclusion = case["kind"] == "inclusion";
        let (old, size) = (case["old"].as_u64().unwrap(), case["size"].as_u64().unwrap());
        let hash = |value: &Value| <[u8; 32]>::try_from(bytes(value)).ok();
        let proof: Option<Vec<[u8; 32]>> =
            case["proof"].as_array().map_or(Some(Vec::new()), |steps| steps.iter().map(hash).collect());
        // What is no hash is never read as one. Roots of trees of one size are only compared, and some cases use words.
        let ours = match (hash(&case["one"]), hash(&case["two"]), &proof) {
            (Some(one), Some(two), Some(proof)) if inclusion => {
                verify_inclusion(&one, old, size, proof, &two)
            }
            (Some(one), Some(two), Some(proof)) => verify_consistency(old, &one, size, &two, proof),
            (None, None, Some(proof)) if !inclusion && old == size => {
                let word = |value: &Value| leaf_hash(&bytes(value));
                verify_consistency(old, &word(&case["one"]), size, &word(&case["two"]), proof)
            }
            _ => false,
        };
        // A log of nothing is extended by any: there an empty proof proves nothing, and we refuse it.
        let expected = case["good"].as_bool().unwrap() && (inclusion || old != 0);
        assert_eq!(ours, expected, "{case}");
        *counts.entry((inclusion, expected)).or_insert(0) += 1;
    }
    let count = |inclusion, good| counts.get(&(inclusion, good)).copied().unwrap_or(0);
    // 98 of each kind, as the authors publish them; 5 of each are good proofs, one more is of a tree of one leaf.
    assert_eq!(count(true, true) + count(true, false), 98, "{counts:?}");
    assert!(count(false, true) + count(false, false) >= 97, "{counts:?}");
    assert_eq!((count(true, true), count(false, true)), (6, 6), "{counts:?}");
}

/// Notes and keys of Go's note package's own tests, malformed ones among them.
#[test]
fn notes_and_keys_are_judged_as_go_does() {
    let test = "notes_and_keys_are_judged_as_go_does";
    let Some(toolchain) = go(test) else { return };
    let Some(source) = module(test, &toolchain, "tlog", "golang.org/x/mod") else { return };
    let wrappers = r#"package note

import (
	"encoding/json"
	"os"
)

func NewVerifier(vkey string) (Verifier, error) {
	verifier, err := originalNewVerifier(vkey)
	goauditTell(map[string]any{"call": "verifier", "key": []byte(vkey), "good": err == nil})
	return verifier, err
}

func NewSigner(skey string) (Signer, error) {
	signer, err := originalNewSigner(skey)
	goauditTell(map[string]any{"call": "signer", "key": []byte(skey), "good": err == nil})
	return signer, err
}

func Open(msg []byte, known Verifiers) (*Note, error) {
	opened, err := originalOpen(msg, known)
	told := map[string]any{"call": "open", "note": msg, "good": err == nil}
	if err != nil {
		told["error"] = err.Error()
	}
	seen := opened
	if unverified, ok := err.(*UnverifiedNoteError); ok {
		seen = unverified.Note
	}
	if bad, ok := err.(*InvalidSignatureError); ok {
		told["forged"] = bad.Name
	}
	if seen != nil {
		told["text"], told["signers"], told["others"] = []byte(seen.Text), seen.Sigs, seen.UnverifiedSigs
	}
	goauditTell(told)
	return opened, err
}
"#;
    let hooked = ["NewVerifier", "NewSigner", "Open"];
    let all = judged(&toolchain, &source, "sumdb/note", "note.go", &hooked, &format!("{wrappers}{TELL}"));
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut counts: BTreeMap<(String, bool), usize> = BTreeMap::new();
    for case in &all {
        let good = case["good"].as_bool().unwrap();
        let call = case["call"].as_str().unwrap();
        *counts.entry((call.to_owned(), good)).or_default() += 1;
        if call == "open" {
            open_as_go(case, &known);
            continue;
        }
        let key = bytes(&case["key"]);
        let text = std::str::from_utf8(&key).unwrap_or_default();
        let verifier = VerifyKey::parse(text);
        let parsed = if call == "verifier" { verifier.is_ok() } else { SignKey::parse(text).is_ok() };
        assert_eq!(parsed, good, "{call} {}", String::from_utf8_lossy(&key));
        if let (Ok(key), "verifier") = (verifier, call) {
            known.entry(key.name().to_owned()).or_default().insert(text.to_owned());
        }
    }
    for (call, good, least) in [
        ("verifier", true, 5),
        ("verifier", false, 2000),
        ("signer", true, 3),
        ("signer", false, 100),
        ("open", true, 2),
        ("open", false, 8),
    ] {
        let count = counts.get(&(call.to_owned(), good)).copied().unwrap_or(0);
        assert!(count >= least, "{call} {good}: {count}");
    }
}

/// Judges one note as Go's `Open` did.
fn open_as_go(case: &Value, known: &BTreeMap<String, BTreeSet<String>>) {
    let stored = bytes(&case["note"]);
    let note = Note::parse(&stored);
    let error = case["error"].as_str().unwrap_or_default();
    if error == "malformed note" {
        assert!(note.is_err(), "{case}");
        return;
    }
    let note = note.unwrap_or_else(|error| panic!("{error}: {case}"));
    let verified = |name: &str| {
        let keys = known.get(name).into_iter().flatten().map(|key| VerifyKey::parse(key).unwrap());
        keys.map(|key| note.verify(&key)).collect::<Vec<_>>()
    };
    if let Some(name) = case["forged"].as_str() {
        assert!(verified(name).iter().any(|result| matches!(result, Err(NoteError::Forged(_)))), "{case}");
    }
    if !case["text"].is_string() {
        return;
    }
    assert_eq!(note.text().as_bytes(), bytes(&case["text"]), "{case}");
    let mut theirs = BTreeSet::new();
    for field in ["signers", "others"] {
        for signature in case[field].as_array().into_iter().flatten() {
            let name = signature["Name"].as_str().unwrap().to_owned();
            if field == "signers" {
                assert!(verified(&name).iter().any(Result::is_ok), "{case}");
            }
            theirs.insert((name, BASE64.decode(signature["Base64"].as_str().unwrap()).unwrap()));
        }
    }
    let ours = note
        .lines()
        .iter()
        .map(|line| (line.name.to_owned(), [&line.key_id[..], &line.signature].concat()))
        .collect();
    assert_eq!(theirs, ours, "{case}");
}

/// The log that Tessera publishes with its source: its checkpoints, tiles and entries are those that we make of its leaves.
#[test]
fn tesseras_own_log_is_the_one_that_we_would_have_made() {
    let test = "tesseras_own_log_is_the_one_that_we_would_have_made";
    let Some(toolchain) = go(test) else { return };
    let Some(source) = module(test, &toolchain, "tessera", "github.com/transparency-dev/tessera") else {
        return;
    };
    let script = fs::read_to_string(source.join("testdata/build_log.sh")).unwrap();
    let between =
        |from: &str, to: &str| script.split_once(from).unwrap().1.split_once(to).unwrap().0.to_owned();
    let key = VerifyKey::parse(&between("LOG_PUBLIC_KEY=\"", "\"")).unwrap();
    let secret = SignKey::parse(&between("LOG_PRIVATE_KEY=\"", "\"")).unwrap();
    assert_eq!(secret.public(), &key);
    let words = between("for i in ", ";");
    let words: Vec<&str> = words.split_whitespace().collect();
    assert_eq!(words.len(), 15);
    let leaves: Vec<_> = words.iter().map(|word| leaf_hash(word.as_bytes())).collect();
    let log = source.join("testdata/log");
    let mut tiles = Tiles::default();
    let mut heads = Vec::new();
    for size in 0..=words.len() {
        let stored = fs::read_to_string(log.join(format!("checkpoint.{size}"))).unwrap();
        let head = Checkpoint::open(stored.as_bytes(), &key).unwrap();
        assert_eq!((head.size, head.root), (size as u64, root(&leaves[..size])));
        assert_eq!(head.sign(&secret), stored, "Ed25519 is deterministic: we sign the same bytes");
        heads.push(head);
        if size == 0 {
            continue;
        }
        assert!(tiles.push(words[size - 1].as_bytes(), leaves[size - 1]).unwrap().is_empty());
        let head = &heads[size];
        for (index, leaf) in leaves[..size].iter().enumerate() {
            let path = inclusion_proof(&leaves[..size], index).unwrap();
            assert!(verify_inclusion(leaf, index as u64, head.size, &path, &head.root));
            let old = &heads[index + 1];
            let path = consistency_proof(&leaves[..size], index + 1).unwrap();
            assert!(verify_consistency(old.size, &old.root, head.size, &head.root, &path));
        }
    }
    let files = tiles.finish();
    assert_eq!(files.len(), 2);
    for file in files {
        assert_eq!(file.bytes, fs::read(log.join(&file.path)).unwrap(), "{}", file.path);
    }
}

/// A log of `batches` batches; returns its key.
fn log(dir: &Path, batches: u64) -> VerifyKey {
    let mut time = 5_000_000_000;
    let now = |time: u64| Now { realtime_ns: 1_700_000_000_000_000_000 + time, boottime_ns: time };
    let config = WriterConfig::new(ORIGIN, [7; 16], [8; 16]);
    let (mut writer, _) = Writer::open(dir, config, now(time)).unwrap();
    for batch in 0..batches {
        writer.append(format!("event {batch}").as_bytes(), time, false, now(time)).unwrap();
        time += 1_001_000_000;
        writer.tick(now(time)).unwrap();
    }
    writer.close(now(time)).unwrap();
    keys::load_public(dir).unwrap()
}

fn export(log: &Path, to: &Path) -> Output {
    goaudit().args(["export", "tiles"]).arg(log).arg("-o").arg(to).output().unwrap()
}

/// Tessera's own checker over what `export tiles` writes.
#[test]
fn tesseras_fsck_accepts_our_tiles_and_refuses_changed_ones() {
    let test = "tesseras_fsck_accepts_our_tiles_and_refuses_changed_ones";
    let Some(tessera) = built(test, "tessera") else { return };
    let folder = LogDir::new();
    for batches in [3, 257] {
        let (dir, out) = (folder.join(&format!("log-{batches}")), folder.join(&format!("tiles-{batches}")));
        let key = log(&dir, batches);
        let output = export(&dir, &out);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let fsck = |tiles: &Path, key: &str| {
            Command::new(&tessera).arg("fsck").arg(tiles).arg(key).output().unwrap()
        };
        let output = fsck(&out, &key.text());
        assert!(output.status.success(), "{batches}: {}", String::from_utf8_lossy(&output.stderr));
        let stranger = SignKey::from_seed(ORIGIN, &[9; 32]).unwrap().public().text();
        assert!(!fsck(&out, &stranger).status.success());
        // A change in any file is found, and so is a file that is not there. Tessera tries a while before it gives up, so
        // all are judged at once, each in a copy of its own.
        let files = files_below(&out);
        assert!(files.len() >= 3, "{files:?}");
        std::thread::scope(|scope| {
            for (number, file) in files.iter().enumerate() {
                for changed in [true, false] {
                    let copy = folder.join(&format!("copy-{batches}-{number}-{changed}"));
                    go_module::copy(&out, &copy).unwrap();
                    let path = copy.join(file.strip_prefix(&out).unwrap());
                    if changed {
                        let mut bytes = fs::read(&path).unwrap();
                        let place = bytes.len() / 2;
                        bytes[place] ^= 1;
                        fs::write(&path, bytes).unwrap();
                    } else {
                        fs::remove_file(&path).unwrap();
                    }
                    let fsck = &fsck;
                    let key = key.text();
                    scope.spawn(move || {
                        let what = if changed { "changed" } else { "without" };
                        assert!(!fsck(&copy, &key).status.success(), "{what} {}", file.display());
                    });
                }
            }
        });
    }
}

/// All files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files
}

#[test]
fn export_names_what_it_cannot_do() {
    let folder = LogDir::new();
    let (dir, out) = (folder.join("log"), folder.join("tiles"));
    log(&dir, 3);
    assert!(export(&dir, &out).status.success());
    let again = export(&dir, &out);
    assert_eq!(again.status.code(), Some(2), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(export(&folder.join("nowhere"), &folder.join("x")).status.code(), Some(1));
    // A damaged batch: its entry is not there, and nothing is made up for it.
    let segment = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "gal"))
        .unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[4096 + 30] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let damaged = export(&dir, &folder.join("damaged"));
    assert_eq!(damaged.status.code(), Some(3), "{}", String::from_utf8_lossy(&damaged.stderr));
    assert!(!folder.join("damaged/checkpoint").exists());
    let stranger = SignKey::from_seed(ORIGIN, &[9; 32]).unwrap().public().text();
    let mut other = goaudit();
    other.args(["export", "tiles"]).arg(&dir).args(["--log-key", &stranger, "-o"]).arg(folder.join("y"));
    assert_eq!(other.output().unwrap().status.code(), Some(3));
}
