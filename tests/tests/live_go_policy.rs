//! Policy files: the version that decisions carry, and what is told when a file changes under a service.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use goaudit_tests::go_capture::{GoRecording, log_of, text};
use goaudit_tests::go_digests::{assert_digests, sha256sum};
use goaudit_tests::go_fixture::{Build, newest_version};
use goaudit_tests::goaudit::goaudit;
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use serde_json::Value;

const RULES: &str = "p, alice, /data/1, read\n";
const OTHER: &str = "p, alice, /data/1, write\n";

fn versions(recording: &GoRecording) -> BTreeSet<String> {
    recording.all("authz").map(|event| text(event, "/authz/authz_policy_version").to_owned()).collect()
}

#[test]
fn decisions_carry_the_digest_of_their_files() {
    needs!(Root, Bpf, GoUprobes);
    newest_version("decisions_carry_the_digest_of_their_files", |toolchain| {
        let program = toolchain.build(&Build::of("authz-casbin").flags(&["-ldflags=-s -w"])).unwrap();
        let folder = LogDir::new();
        let [model, rules] = ["model.conf", "policy.csv"].map(|name| folder.join(name));
        fs::write(&model, "m").unwrap();
        fs::write(&rules, RULES).unwrap();
        let file = |path: &std::path::Path| format!("--policy=casbin={}", path.display());
        let options = [&*file(&model), &*file(&rules), "--label=zone=b", "--label=env=test"];
        let recording = GoRecording::of(&options, &program, &["-now", "-calls", "20"]);
        recording.assert_sound();
        let version = format!("sha256:{}+{}", sha256sum(b"m"), sha256sum(RULES.as_bytes()));
        assert_eq!(versions(&recording), BTreeSet::from([version]));
        assert!(assert_digests(&recording, &[("env", "test"), ("zone", "b")], "labels") > 10);
        let told: Vec<_> = recording.control("policy").map(|policy| text(policy, "/sha256")).collect();
        assert_eq!(told, [sha256sum(b"m"), sha256sum(RULES.as_bytes())]);
        // A library without files has no version from files.
        let other = format!("--policy=opa={}", rules.display());
        let recording = GoRecording::of(&[&other], &program, &["-now", "-calls", "2"]);
        assert_eq!(versions(&recording), BTreeSet::from([String::new()]));
    });
}

#[test]
fn a_change_under_a_service_is_told_and_no_version_is_claimed() {
    needs!(Root, Bpf, GoUprobes);
    newest_version("a_change_under_a_service_is_told_and_no_version_is_claimed", |toolchain| {
        let program = toolchain.build(&Build::of("authz-casbin").flags(&["-ldflags=-s -w"])).unwrap();
        let folder = LogDir::new();
        let rules = folder.join("policy.csv");
        fs::write(&rules, RULES).unwrap();
        let mut record = goaudit();
        record.arg("record").arg("-w").arg(log_of(&folder)).args(["-o", "none"]);
        record.arg(format!("--policy=casbin={}", rules.display())).arg("--").arg(&program);
        // Some seconds of work.
        record.args(["-now", "-calls", "100", "-goroutines", "1", "-pause", "50ms"]);
        let child = record.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(2));
        // As editors and deployments do it; and with the time of long ago, which must not help.
        let new = folder.join("new");
        fs::write(&new, OTHER).unwrap();
        assert!(Command::new("touch").args(["-d", "2001-01-01"]).arg(&new).status().unwrap().success());
        fs::rename(&new, &rules).unwrap();
        let recording = GoRecording::after(folder, child.wait_with_output().unwrap());
        assert_eq!(recording.status.code(), Some(0), "{}", recording.told);
        let [before, after] = [RULES, OTHER].map(|rules| sha256sum(rules.as_bytes()));
        let told: Vec<&Value> = recording.control("policy").collect();
        let digests: Vec<_> = told.iter().map(|policy| text(policy, "/sha256")).collect();
        assert_eq!(digests, [&before, &after]);
        let drift = told.last().unwrap();
        assert_eq!(text(drift, "/previous"), before);
        let service = recording.all("authz").next().unwrap().pointer("/process/tgid").unwrap();
        assert_eq!(drift.get("processes").unwrap(), &serde_json::json!([service]));
        // First the version, then none, with the reason; never the new one, which nobody saw it read.
        assert_eq!(versions(&recording), BTreeSet::from([String::new(), format!("sha256:{before}")]));
        let last = recording.all("authz").last().unwrap();
        let missing = last.get("missing").unwrap().as_array().unwrap();
        let reason = missing.iter().find(|row| text(row, "/field") == "authz.authz_policy_version").unwrap();
        assert!(text(reason, "/reason").contains("changed after this process began"), "{last}");
    });
}
