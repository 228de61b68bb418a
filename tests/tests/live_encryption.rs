//! A recording into an encrypted log shows live what only the key's holder reads later.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use goaudit_tests::age_key::{IDENTITY, RECIPIENT};
use goaudit_tests::capture::{first_difference, replay, segments};
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;

#[test]
fn live_output_is_what_the_keys_holder_replays() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let (log, key) = (folder.join("log"), folder.join("key"));
    std::fs::write(&key, IDENTITY).unwrap();
    let output = goaudit().arg("init").arg(&log).args(["--encrypt-to", RECIPIENT]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    // Over several segments, each with a key of its own.
    let output = goaudit()
        .args(["record", "-o", "json", "--roll-age", "1s", "-w"])
        .arg(&log)
        .args(["--", "sh", "-c", "for i in 1 2 3; do env true; sleep 1; done"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{told}");
    assert!(told.contains(&format!("events are encrypted to {RECIPIENT}")), "{told}");
    assert!(segments(&log).len() > 2);
    let replayed = replay(&log, &["--content-key", key.to_str().unwrap()]);
    assert!(!replayed.is_empty());
    let what = first_difference(&output.stdout, &replayed);
    assert!(output.stdout == replayed, "live and replayed output differ: {what}");
    // Nobody else reads it.
    let output = goaudit().arg("replay").arg(&log).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let output = goaudit().arg("verify").arg(&log).args(["--content-key"]).arg(&key).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("every event hashes to its batch's root"));
}

#[test]
fn personal_fields_are_never_stored_or_shown_in_clear() {
    needs!(Root, Bpf, Btf);
    let folder = LogDir::new();
    let (log, key, script) = (folder.join("log"), folder.join("key"), folder.join("script"));
    std::fs::write(&key, IDENTITY).unwrap();
    // Not on the agent's own command line, which the log tells.
    std::fs::write(&script, "for i in 1 2 3; do /bin/true Tr0ub4dor; sleep 1; done\n").unwrap();
    let output = goaudit()
        .arg("init")
        .arg(&log)
        .args(["--personal", "arguments", "--personal-to", RECIPIENT, "--shred-after", "7"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let output = goaudit()
        .args(["record", "-o", "json", "--roll-age", "1s", "-w"])
        .arg(&log)
        .args(["--", "sh"])
        .arg(&script)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{told}");
    assert!(told.contains("personal fields (arguments) are encrypted to"), "{told}");
    let without = replay(&log, &[]);
    let what = first_difference(&output.stdout, &without);
    assert!(output.stdout == without, "live and replayed output differ: {what}");
    let with = String::from_utf8(replay(&log, &["--content-key", key.to_str().unwrap()])).unwrap();
    let without = String::from_utf8(without).unwrap();
    assert_eq!(with.matches("[\"/bin/true\",\"Tr0ub4dor\"]").count(), 3, "{with}");
    assert!(!without.contains("Tr0ub4dor"));
    assert!(without.contains("\"field\":\"exec.argv\",\"reason\":\"personal (arguments-"), "{without}");
    let output = goaudit().arg("verify").arg(&log).args(["--content-key"]).arg(&key).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{report}");
    assert!(report.contains("and destroyed 0; the identities that were given open"), "{report}");
}
