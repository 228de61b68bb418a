//! Proofs of single events, end to end: made by `prove`, checked by `verify --proof`, by Go's own packages, and by hand with
//! openssl and sha256sum as docs/verify-without-goaudit.md says.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap, index or panic is a failed test"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use goaudit_tests::ability::tell_skip;
use goaudit_tests::go_fixture::{Build, toolchain};
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_user::audit::checkpoint::Checkpoint;
use goaudit_user::audit::merkle::{
    Paths, consistency_proof, leaf_hash, verify_consistency, verify_inclusion,
};
use goaudit_user::audit::note::{SignKey, VerifyKey};
use goaudit_user::audit::{Now, ReadOptions, Reader, Writer, WriterConfig, keys};
use serde_json::Value;

const ORIGIN: &str = "example.org/goaudit/test/audit";

/// A log of real events.
fn demo(folder: &LogDir) -> (PathBuf, VerifyKey) {
    let log = folder.join("log");
    let output = goaudit().args(["demo", "-o", "none", "-w"]).arg(&log).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key = keys::load_public(&log).unwrap();
    (log, key)
}

/// A log of several segments and runs; its events are numbers as text, of many lengths.
fn many(folder: &LogDir) -> (PathBuf, VerifyKey) {
    let log = folder.join("log");
    let mut time = 5_000_000_000;
    let mut seq = 0_u64;
    for _run in 0..2 {
        let now = |time: u64| Now { realtime_ns: 1_700_000_000_000_000_000 + time, boottime_ns: time };
        let config = WriterConfig::new(ORIGIN, [7; 16], [8; 16]);
        let (mut writer, _) = Writer::open(&log, config, now(time)).unwrap();
        for batch in 0..9 {
            if batch % 4 == 3 {
                writer.force_roll();
            }
            for _ in 0..=batch * 3 {
                let event = format!("event {seq} {}", "x".repeat((seq % 90) as usize));
                assert_eq!(writer.append(event.as_bytes(), time, false, now(time)).unwrap(), seq);
                seq += 1;
                time += 1_000_000;
            }
            time += 1_001_000_000;
            writer.tick(now(time)).unwrap();
        }
        writer.close(now(time)).unwrap();
    }
    let key = keys::load_public(&log).unwrap();
    (log, key)
}

fn stored(log: &Path) -> Vec<Vec<u8>> {
    let mut reader = Reader::open(log, ReadOptions::default()).unwrap();
    let mut all = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        all.extend(batch.events().map(<[u8]>::to_vec));
    }
    all
}

fn prove(log: &Path, events: &[&str], file: &Path) -> Output {
    goaudit().arg("prove").arg(log).args(events).arg("-o").arg(file).output().unwrap()
}

fn check(file: &Path, key: &str, json: bool) -> (Option<i32>, String, String) {
    let mut command = goaudit();
    command.arg("verify").arg("--proof").arg(file).args(["--log-key", key]);
    let output = if json { command.arg("--json") } else { &mut command }.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!told.contains("panicked"), "{told}");
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), told)
}

#[test]
fn every_event_of_a_real_log_is_proven_as_replay_shows_it() {
    let folder = LogDir::new();
    let (log, key) = demo(&folder);
    let replay = goaudit().arg("replay").arg(&log).args(["-o", "json"]).output().unwrap();
    let events: Vec<Value> = String::from_utf8(replay.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let mut event: Value = serde_json::from_str(line).unwrap();
            // Told by another event of the log: a proof has only its own.
            event.as_object_mut().unwrap().remove("host");
            event
        })
        .collect();
    assert!(events.len() > 20);
    let file = folder.join("all.tlog-proof");
    let range = format!("0-{}", events.len() - 1);
    let output = prove(&log, &[&range], &file);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    // Nothing is left of the log.
    std::fs::remove_dir_all(&log).unwrap();
    let (code, told, _) = check(&file, &key.text(), true);
    assert_eq!(code, Some(0), "{told}");
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(report["verdict"], "ok");
    assert_eq!(report["freshness"], "not_proven");
    assert_eq!(report["origin"], key.name());
    let shown = report["events"].as_array().unwrap();
    assert_eq!(shown.len(), events.len());
    for (seq, (shown, event)) in shown.iter().zip(&events).enumerate() {
        let mut view = shown["event"].clone();
        view.as_object_mut().unwrap().remove("host");
        assert_eq!((shown["seq"].as_u64(), &view), (Some(seq as u64), event));
    }
    for name in ["freshness", "completeness", "times"] {
        let check = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
        assert_eq!(check["ok"], false, "{name}");
    }
    let (code, told, _) = check(&file, &key.text(), false);
    assert_eq!(code, Some(0));
    assert!(told.starts_with("OK  ") && told.contains("NOT PROVEN  freshness"), "{told}");
    assert_eq!(told.lines().filter(|line| line.starts_with("{\"schema\"")).count(), events.len());
}

#[test]
fn prove_writes_to_standard_output_and_names_what_it_cannot_prove() {
    let folder = LogDir::new();
    let (log, key) = demo(&folder);
    let output = goaudit().arg("prove").arg(&log).args(["3", "1-2"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let file = folder.join("case.tlog-proof");
    std::fs::write(&file, &output.stdout).unwrap();
    assert_eq!(check(&file, &key.text(), false).0, Some(0));
    let again = folder.join("again.tlog-proof");
    assert!(prove(&log, &["1", "2", "3", "2"], &again).status.success());
    assert_eq!(std::fs::read(again).unwrap(), output.stdout, "the same events, the same proof");
    for (arguments, code, named) in [
        (&["999999"][..], 1, "the log has"),
        (&["7-3"], 2, "from the smaller"),
        (&["x"], 2, "not the number of an event"),
        (&[], 2, "SEQ"),
        (&["0-70000"], 2, "65536"),
        (&["1", "--log-key", "nonsense"], 2, "nonsense"),
    ] {
        let output = goaudit().arg("prove").arg(&log).args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(named) && output.stdout.is_empty(), "{arguments:?}: {told}");
    }
    let nowhere = prove(&folder.join("nowhere"), &["1"], &file);
    assert_eq!(nowhere.status.code(), Some(1), "{}", String::from_utf8_lossy(&nowhere.stderr));
    let unwritable = prove(&log, &["1"], &folder.join("no/such/folder"));
    assert_eq!(unwritable.status.code(), Some(1));
}

#[test]
fn what_does_not_verify_ends_with_3_and_shows_no_event() {
    let folder = LogDir::new();
    let (log, key) = demo(&folder);
    let file = folder.join("case.tlog-proof");
    assert!(prove(&log, &["2", "5"], &file).status.success());
    let good = std::fs::read(&file).unwrap();
    let stranger = SignKey::from_seed(key.name(), &[9; 32]).unwrap().public().text();
    let middle = good.len() / 2;
    let mut flipped = good.clone();
    flipped[middle] ^= 1;
    for (what, bytes, by) in [
        ("another key", good.clone(), stranger.as_str()),
        ("a changed byte", flipped, &key.text()),
        ("half of it", good[..middle].to_vec(), &key.text()),
        ("nothing", Vec::new(), &key.text()),
        ("no text", vec![0xff; 100], &key.text()),
        ("a checkpoint", std::fs::read(log.join("checkpoint")).unwrap(), &key.text()),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let (code, told, _) = check(&file, by, true);
        assert_eq!(code, Some(3), "{what}: {told}");
        let report: Value = serde_json::from_str(&told).unwrap();
        assert!(report["events"].as_array().unwrap().is_empty(), "{what}");
        assert!(!report["wrong"].as_str().unwrap().is_empty(), "{what}");
        assert_eq!(check(&file, by, false).0, Some(3), "{what}");
    }
    let (code, _, told) = check(&folder.join("nothing-here"), &key.text(), false);
    assert_eq!(code, Some(1), "{told}");
    for arguments in [
        &["verify", "--proof", "x"][..],
        &["verify", "dir", "--proof", "x", "--log-key", &key.text()],
        &["verify", "--proof", "x", "--log-key", "not a key"],
        &["verify", "--proof", "x", "--expect", "y", "--log-key", &key.text()],
    ] {
        assert_eq!(goaudit().args(arguments).output().unwrap().status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_sealed_event_of_another_kind_is_proven_but_not_read() {
    let folder = LogDir::new();
    let (log, key) = many(&folder);
    let file = folder.join("case.tlog-proof");
    assert!(prove(&log, &["4"], &file).status.success());
    let (code, told, _) = check(&file, &key.text(), true);
    assert_eq!(code, Some(4), "{told}");
    let report: Value = serde_json::from_str(&told).unwrap();
    let bytes = BASE64.decode(report["events"][0]["stored"].as_str().unwrap()).unwrap();
    assert_eq!(bytes, stored(&log)[4]);
}

/// The Go program that checks proofs, with the toolchain that its modules need.
fn go(name: &str) -> Option<PathBuf> {
    match toolchain("1.26.8") {
        Ok(toolchain) => Some(toolchain.build(&Build::of("tlog")).unwrap()),
        Err(why) => {
            tell_skip(name, "go toolchain 1.26.8", &why);
            None
        }
    }
}

#[test]
fn go_packages_accept_our_proofs_and_refuse_changed_ones() {
    let Some(tlog) = go("go_packages_accept_our_proofs_and_refuse_changed_ones") else { return };
    let folder = LogDir::new();
    let (log, key) = many(&folder);
    let events = stored(&log);
    let file = folder.join("case.tlog-proof");
    let go_check = |key: &str| Command::new(&tlog).arg("check").arg(&file).arg(key).output().unwrap();
    let last = events.len() - 1;
    for asked in
        [vec!["0"], vec!["1", "2", "60", "61"], vec![&*format!("0-{last}")], vec![&*last.to_string()]]
    {
        let output = prove(&log, &asked, &file);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let output = go_check(&key.text());
        assert!(output.status.success(), "{asked:?}: {}", String::from_utf8_lossy(&output.stderr));
        let mut lines = 0;
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let (seq, hex) = line.split_once(' ').unwrap();
            let expected: String =
                events[seq.parse::<usize>().unwrap()].iter().fold(String::new(), |mut all, byte| {
                    let _ = write!(all, "{byte:02x}");
                    all
                });
            assert_eq!(hex, expected);
            lines += 1;
        }
        assert_eq!(lines, if asked[0].contains('-') { events.len() } else { asked.len() });
    }
    let good = std::fs::read(&file).unwrap();
    let stranger = SignKey::from_seed(key.name(), &[9; 32]).unwrap().public().text();
    assert!(!go_check(&stranger).status.success());
    for place in (0..good.len()).step_by(7) {
        let mut changed = good.clone();
        changed[place] ^= 1;
        std::fs::write(&file, changed).unwrap();
        let (ours, told, _) = check(&file, &key.text(), false);
        assert_eq!(ours, Some(3), "byte {place}: {told}");
        assert!(!go_check(&key.text()).status.success(), "Go takes a change of byte {place}");
    }
}

#[test]
fn go_packages_accept_our_checkpoints_as_extensions_of_each_other() {
    let Some(tlog) = go("go_packages_accept_our_checkpoints_as_extensions_of_each_other") else { return };
    let folder = LogDir::new();
    let key = SignKey::from_seed(ORIGIN, &[4; 32]).unwrap();
    let leaves: Vec<_> = (0..40_u32).map(|n| leaf_hash(&n.to_le_bytes())).collect();
    let head = |size: usize| {
        let mut paths = Paths::new(size as u64, &[]);
        leaves[..size].iter().for_each(|leaf| paths.push(*leaf));
        Checkpoint { origin: ORIGIN.to_owned(), size: size as u64, root: paths.finish().unwrap().0 }
    };
    let (mut lines, mut count) = (String::new(), 0);
    for new in 1..=leaves.len() {
        for old in 1..=new {
            let proof = consistency_proof(&leaves[..new], old).unwrap();
            let fields =
                [head(old).sign(&key).into_bytes(), head(new).sign(&key).into_bytes(), proof.concat()];
            let fields = fields.map(|field| BASE64.encode(field));
            let _ = writeln!(lines, "{}", fields.join(" "));
            count += 1;
        }
    }
    let file = folder.join("extensions");
    let run = |lines: &str| {
        std::fs::write(&file, lines).unwrap();
        Command::new(&tlog).arg("extend").arg(&file).arg(key.public().text()).output().unwrap()
    };
    let output = run(&lines);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), count.to_string());
    // Another history is refused.
    let mut other = head(5);
    other.root[0] ^= 1;
    let proof = consistency_proof(&leaves[..9], 5).unwrap().concat();
    let fields = [other.sign(&key).into_bytes(), head(9).sign(&key).into_bytes(), proof];
    assert!(!run(&fields.map(|field| BASE64.encode(field)).join(" ")).status.success());
}

#[test]
fn we_judge_go_packages_proofs_as_they_do() {
    let Some(tlog) = go("we_judge_go_packages_proofs_as_they_do") else { return };
    let output = Command::new(tlog).arg("vectors").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let hash = |text: &Value| -> [u8; 32] {
        let text = text.as_str().unwrap();
        std::array::from_fn(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap())
    };
    let mut verdicts = [0; 2];
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (old, size) = (case["old"].as_u64().unwrap(), case["size"].as_u64().unwrap());
        let (leaf, root) = (hash(&case["leaf"]), hash(&case["root"]));
        let proof: Vec<[u8; 32]> = case["proof"].as_array().unwrap().iter().map(hash).collect();
        let good = match case["kind"].as_str().unwrap() {
            "inclusion" => verify_inclusion(&leaf, old, size, &proof, &root),
            _ => verify_consistency(old, &leaf, size, &root, &proof),
        };
        // A log of nothing is extended by any: there an empty proof proves nothing, and we refuse it.
        let expected = case["good"].as_bool().unwrap() && !(case["kind"] == "consistency" && old == 0);
        assert_eq!(good, expected, "{line}");
        verdicts[usize::from(good)] += 1;
    }
    assert!(verdicts[0] > 5000 && verdicts[1] >= 420, "{verdicts:?}");
}

/// The commands of the page, all blocks one after another.
fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify-without-goaudit.md");
    let page = std::fs::read_to_string(path).unwrap();
    let blocks: Vec<&str> =
        page.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0).collect();
    assert!(blocks.len() >= 5, "{}", blocks.len());
    blocks.concat()
}

/// Why the page cannot be followed here.
fn page_tools() -> Result<(), String> {
    for (tool, version) in
        [("bash", "--version"), ("sha256sum", "--version"), ("basenc", "--version"), ("csplit", "--version")]
    {
        Command::new(tool).arg(version).output().map_err(|error| format!("{tool} did not start: {error}"))?;
    }
    let openssl = Command::new("openssl")
        .arg("version")
        .output()
        .map_err(|error| format!("openssl did not start: {error}"))?;
    let version = String::from_utf8_lossy(&openssl.stdout).into_owned();
    let major =
        version.split_whitespace().nth(1).and_then(|number| number.split('.').next()?.parse::<u32>().ok());
    if major.is_some_and(|major| major >= 3) {
        Ok(())
    } else {
        Err(format!("older than OpenSSL 3.0: {}", version.trim()))
    }
}

#[test]
fn proofs_are_checked_by_hand_as_the_page_says() {
    if let Err(why) = page_tools() {
        return tell_skip(
            "proofs_are_checked_by_hand_as_the_page_says",
            "openssl 3, bash and coreutils",
            &why,
        );
    }
    let folder = LogDir::new();
    let script = folder.join("check.sh");
    std::fs::write(&script, page()).unwrap();
    let by_hand = |proof: &Path, key: &str| {
        let at = tempfile::tempdir_in(folder.path()).unwrap();
        let output = Command::new("bash")
            .arg(&script)
            .current_dir(at.path())
            .env("PROOF", proof)
            .env("KEY", key)
            .env("TZ", "UTC")
            .output()
            .unwrap();
        (output, at)
    };
    let (log, key) = many(&folder);
    let events = stored(&log);
    let last = (events.len() - 1).to_string();
    let file = folder.join("case.tlog-proof");
    for asked in [vec!["0"], vec!["1", "2"], vec!["60"], vec![&*last]] {
        assert!(prove(&log, &asked, &file).status.success());
        let (output, at) = by_hand(&file, &key.text());
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{asked:?}: {told}{}", String::from_utf8_lossy(&output.stderr));
        for seq in &asked {
            assert!(told.contains(&format!("PROVEN: event {seq} of {}", key.name())), "{told}");
            let event = std::fs::read(at.path().join(format!("event.{seq}"))).unwrap();
            assert_eq!(event, events[seq.parse::<usize>().unwrap()]);
        }
        assert_eq!(told.matches("PROVEN").count(), asked.len());
        assert!(told.contains("2023-11-14 22:13:"), "the batch's times: {told}");
    }
    // Several batches, cut apart as the page says.
    assert!(prove(&log, &["1", "60", &last], &file).status.success());
    assert_eq!(by_hand(&file, &key.text()).0.status.code(), Some(3));
    let cut = Command::new("csplit")
        .args(["-s", "-z", "-f", "case.", "case.tlog-proof", "/^c2sp.org/", "{*}"])
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(cut.success());
    for part in ["case.00", "case.01", "case.02"] {
        let (output, _) = by_hand(&folder.join(part), &key.text());
        assert!(output.status.success(), "{part}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // Another key, and a change in every part of the file.
    assert!(prove(&log, &["60"], &file).status.success());
    let stranger = SignKey::from_seed(key.name(), &[9; 32]).unwrap().public().text();
    assert!(!by_hand(&file, &stranger).0.status.success());
    let good = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        // The first lines are long; of a hash one place is enough.
        let places = if number < 3 { 3 } else { 1 };
        for place in (0..places).map(|part| line.len() / 3 + part * line.len() / 6) {
            let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            let new = if line.as_bytes()[place] == b'A' { "B" } else { "A" };
            if !line.is_char_boundary(place) || !line.is_char_boundary(place + 1) {
                continue;
            }
            changed[number].replace_range(place..=place, new);
            std::fs::write(&file, changed.join("\n") + "\n").unwrap();
            let (output, _) = by_hand(&file, &key.text());
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                !output.status.success() && !told.contains("PROVEN:"),
                "line {number}, byte {place}: {told}"
            );
        }
    }
}
