//! The command line on any machine, without root: usage, what is no log, results to standard output.
#![expect(clippy::unwrap_used, reason = "a failed unwrap, index or panic is a failed test")]

use std::process::Output;

use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;

fn run(arguments: &[&str]) -> (Output, String) {
    let output = goaudit().args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!told.contains("panicked"), "{arguments:?}: {told}");
    (output, told)
}

#[test]
fn usage_errors_end_with_2_and_name_the_mistake() {
    for (arguments, named) in [
        (&["no-such-command"][..], "no-such-command"),
        (&["record", "--no-such-flag"], "--no-such-flag"),
        (&["record", "--for", "soon"], "soon"),
        (&["record", "--ring", "1000"], "1000"),
        (&["record", "--ring", "12parsecs"], "parsecs"),
        (&["record", "--only", "exce"], "exce"),
        (&["record", "--where", "kind =="], "expression"),
        (&["record", "--where", "no_such_field == 1"], "no_such_field"),
        (&["record", "--where", "seq == 1"], "seq"),
        (&["record", "-o", "xml"], "xml"),
        (&["trace", "main.f"], "--pid"),
        (&["trace", "f", "-p", "1"], "no name of a Go function"),
        (&["trace", "main.f", "-p", "1", "--field", "x=y"], "--signature"),
        (&["trace", "main.f", "-p", "1", "--signature", "func(a int", "--field", "x=a"], "signature"),
        (
            &["trace", "main.f", "-p", "1", "--signature", "func(name int)", "--field", "x=nme"],
            "did you mean name",
        ),
        (&["trace", "main.f", "-p", "1", "--signature", "func(a Own)"], "Own"),
        (&["trace", "main.f", "main.g", "-p", "1", "--signature", "func(a int)"], "one function"),
        (&["inspect", "/bin/true", "--function", "f", "--profile", "x"], "--profile"),
        (&["replay"], "DIRECTORY"),
        (&["verify"], "DIRECTORY"),
        (&["verify", "/nowhere", "--log-key", "not a key"], "not a key"),
        (&["completions", "no-such-shell"], "no-such-shell"),
    ] {
        let (output, told) = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(named), "{arguments:?} does not name {named}: {told}");
        assert!(output.stdout.is_empty(), "{arguments:?} printed a result");
    }
}

#[test]
fn help_and_version_are_results() {
    for arguments in [&["--help"][..], &["--version"], &["record", "--help"], &["help", "verify"]] {
        let (output, told) = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}");
        assert!(!output.stdout.is_empty() && told.is_empty(), "{arguments:?}: {told}");
    }
}

#[test]
fn derived_documents_are_printed() {
    let (output, told) = run(&["schema"]);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        schema.pointer("/properties/schema/const").and_then(|name| name.as_str()),
        Some("goaudit.event/1")
    );
    for arguments in [
        &["man"][..],
        &["man", "record"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["completions", "fish"],
    ] {
        let (output, told) = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}");
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn a_closed_pipe_is_a_normal_end() {
    for arguments in [&["schema"][..], &["demo", "-o", "json"]] {
        let mut child = goaudit().args(arguments).stdout(std::process::Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let code = child.wait().unwrap().code();
        assert_eq!(code, Some(0), "{arguments:?}");
    }
}

/// Name of a log's first segment.
const SEGMENT: &str = "seg-00000000000000000000.gal";

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let folder = LogDir::new();
    let make = |name: &str, files: &[(&str, &[u8])]| {
        let path = folder.join(name);
        std::fs::create_dir(&path).unwrap();
        for (file, content) in files {
            std::fs::write(path.join(file), content).unwrap();
        }
        path
    };
    std::fs::write(folder.join("a-file"), "no folder").unwrap();
    let random: Vec<u8> =
        (0..1250u32).flat_map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for path in [
        folder.join("nothing-here"),
        folder.join("a-file"),
        make("empty", &[]),
        make("foreign", &[("notes.txt", b"hello"), ("seg-x.gal", b"hello")]),
        make("empty-segment", &[(SEGMENT, b"")]),
        make("zeroes", &[(SEGMENT, &[0; 4096])]),
        make("text", &[(SEGMENT, b"{\"schema\":\"goaudit.event/1\"}\n")]),
        make("random", &[(SEGMENT, &random)]),
    ] {
        for command in ["verify", "replay", "hist"] {
            let (output, told) = run(&[command, path.to_str().unwrap()]);
            let code = output.status.code();
            assert!(matches!(code, Some(1 | 3)), "{command} {}: {code:?} {told}", path.display());
            let all = format!("{told}{}", String::from_utf8_lossy(&output.stdout));
            assert!(
                all.contains(path.to_str().unwrap()),
                "{command} does not name {}: {all}",
                path.display()
            );
            if command != "verify" {
                assert!(output.stdout.is_empty(), "{command} showed something of {}", path.display());
            }
        }
    }
}

#[test]
fn the_demo_plays_events_and_a_verdict() {
    let (output, told) = run(&["demo", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let kinds: std::collections::BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| {
            Some(serde_json::from_str::<serde_json::Value>(line).ok()?.get("kind")?.as_str()?.to_owned())
        })
        .collect();
    for kind in ["exec", "fork", "exit", "prctl", "ptrace", "control"] {
        assert!(kinds.contains(kind), "no {kind} in the demo: {kinds:?}");
    }
    assert!(told.contains("OK"), "no verdict: {told}");
}

#[test]
fn init_makes_a_log_shows_its_key_and_refuses_another() {
    let folder = LogDir::new();
    let log = folder.join("log");
    let init = |arguments: &[&str]| {
        goaudit()
            .arg("init")
            .arg(&log)
            .args(["--origin", "example.org/host"])
            .args(arguments)
            .output()
            .unwrap()
    };
    let output = init(&["--keep", "90", "--qr"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("somewhere else than on this host"), "{told}");
    let shown = String::from_utf8(output.stdout).unwrap();
    let (key, rest) = shown.split_once('\n').unwrap();
    assert_eq!(format!("{key}\n"), std::fs::read_to_string(log.join("keys/log.vkey")).unwrap());
    assert!(key.starts_with("example.org/host/"), "{key}");
    // The fingerprint is what sha256sum says of the key's text.
    let fingerprint = rest.lines().next().unwrap().strip_prefix("fingerprint ").unwrap();
    let text = folder.join("key");
    std::fs::write(&text, key).unwrap();
    let sum = std::process::Command::new("sha256sum").arg(&text).output().unwrap().stdout;
    assert!(String::from_utf8(sum).unwrap().starts_with(&fingerprint.replace(' ', "")), "{fingerprint}");
    let code: Vec<&str> = rest.lines().skip(1).filter(|line| line.contains('\u{2588}')).collect();
    assert!(code.len() > 15 && code.iter().all(|line| line.chars().count() > 30), "{rest}");
    // The log is whole, and its first record says what was asked for.
    let verified = goaudit().arg("verify").arg(&log).args(["--log-key", key]).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let before = std::fs::read(log.join("keys/log.key")).unwrap();
    let again = init(&[]);
    assert_eq!(again.status.code(), Some(1));
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(told.contains("there is one already") && again.stdout.is_empty(), "{told}");
    assert_eq!(std::fs::read(log.join("keys/log.key")).unwrap(), before);
    // Only the keys are left: that is a log's, too.
    std::fs::remove_file(log.join("seg-00000000000000000000.gal")).unwrap();
    assert_eq!(init(&[]).status.code(), Some(1));
}
