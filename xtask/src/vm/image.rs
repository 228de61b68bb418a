//! The guest image: builds the static programs and packs them with busybox into one initramfs.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::cpio::Archive;
use crate::command::{capture, cargo, command, run, shown};
use crate::workspace::{END_TO_END, STATIC_TARGET, find_program, root, target, test_files};

/// The package of the live tests.
const TESTS: &str = "goaudit-tests";

/// Test files of that package that run in the guest: those that run on any kernel, and those only for guests.
const IN_GUEST: [&str; 2] = ["lab", "live"];

/// Of those, the ones that are about the agent and its files, which are the same on every kernel, or that need a
/// program that guests have not: they run on the host. `--file` brings them into a guest all the same.
const ON_HOST: [&str; 8] = [
    "live_encryption",
    "live_kept",
    "live_loss",
    "live_reads",
    "live_replay",
    "live_strace",
    "live_tamper",
    "live_trace",
];

/// Test files that begin so build Go programs, which guests cannot: `lab_go` has some that the host built.
const GO_ON_HOST: &str = "live_go";

/// The Go programs that guests have, and their place there.
const GO_PROGRAMS: [&str; 2] = ["authz-casbin", "runtime-cases"];
const GO_FOLDER: &str = "lab/go";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    daemon:x:1:1:daemon:/:/bin/false\n\
    alice:x:1000:1000:Alice:/home/alice:/bin/sh\n\
    bob:x:1001:1001:Bob:/home/bob:/bin/sh\n\
    nobody:x:65534:65534:nobody:/:/bin/false\n";

const GROUP: &str = "root:x:0:\ndaemon:x:1:\nalice:x:1000:\nbob:x:1001:\nnogroup:x:65534:\n";

/// (folder, mode)
const FOLDERS: [(&str, u32); 15] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("lab", 0o755),
    (GO_FOLDER, 0o755),
    ("lab/tests", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/lib", 0o755),
];

/// Builds the image; returns its path. `file` narrows the test files by name, `limit` is for each of them.
pub(super) fn build(file: Option<&str>, arguments: &[String], limit: Duration) -> Result<PathBuf> {
    let programs = build_programs()?;
    let tests = build_tests(file)?;
    let plan = plan(&tests, arguments, limit)?;
    let path = target().join("lab").join(format!("guest-{}.cpio", std::process::id()));
    write(&path, &programs, &tests, &go_programs(), &plan)
        .with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}

/// A cargo command for the guest. Its own target directory: other flags would rebuild everything at each turn.
fn static_cargo(subcommand: &str) -> Command {
    let mut cargo = cargo();
    cargo
        .args([subcommand, "--quiet", "--target", STATIC_TARGET, "--target-dir"])
        .arg(target().join("lab"))
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // The image is copied into the guest's memory: debug information would be most of it. Panic messages
        // still name file and line.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_STRIP", "debuginfo");
    cargo
}

/// `goaudit` and the programs of the test package, lab-init among them.
fn build_programs() -> Result<Vec<PathBuf>> {
    let mut build = static_cargo("build");
    build.args(["--package", "goaudit-user", "--package", TESTS, "--bins"]);
    executables(build, "bin")
}

/// The live test binaries, which libtest names after their files.
fn build_tests(file: Option<&str>) -> Result<Vec<PathBuf>> {
    let names = test_files(END_TO_END, |name| {
        IN_GUEST.iter().any(|start| name.starts_with(start))
            && file.map_or_else(
                || !ON_HOST.contains(&name) && !name.starts_with(GO_ON_HOST),
                |part| name.contains(part),
            )
    })?;
    if names.is_empty() {
        bail!("no live test file named *{}*.rs in {END_TO_END}", file.unwrap_or_default());
    }
    let mut build = static_cargo("test");
    build.args(["--no-run", "--package", TESTS]);
    for name in &names {
        build.args(["--test", name]);
    }
    let mut tests = executables(build, "test")?;
    // Cargo tells them in no order. Some change the machine for good: those are the last by name.
    tests.sort();
    Ok(tests)
}

/// Runs a cargo build and returns the programs of this kind that it made, as cargo itself tells.
fn executables(mut build: Command, kind: &str) -> Result<Vec<PathBuf>> {
    build.arg("--message-format=json-render-diagnostics");
    eprintln!("$ {}", shown(&build));
    // Diagnostics go to our standard error as they come.
    let output = build.stderr(std::process::Stdio::inherit()).output().context("failed to start cargo")?;
    if !output.status.success() {
        bail!("the static build ended with {}", output.status);
    }
    let messages = String::from_utf8(output.stdout).context("cargo did not print UTF-8")?;
    Ok(messages
        .lines()
        .filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            let kinds = message.get("target")?.get("kind")?.as_array()?;
            let wanted = kinds.iter().any(|name| name.as_str() == Some(kind));
            message.get("executable")?.as_str().filter(|_| wanted).map(PathBuf::from)
        })
        .collect())
}

/// `live_exec` of `live_exec-0123456789abcdef`.
fn test_name(path: &Path) -> Result<String> {
    let file = path.file_name().and_then(|name| name.to_str()).context("a test binary has no name")?;
    Ok(file.rsplit_once('-').map_or(file, |(name, _)| name).to_owned())
}

fn plan(tests: &[PathBuf], arguments: &[String], limit: Duration) -> Result<Value> {
    let binaries = tests
        .iter()
        .map(|path| Ok(format!("/lab/tests/{}", test_name(path)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut arguments = arguments.to_vec();
    arguments.push("--test-threads=1".to_owned());
    Ok(json!({"binaries": binaries, "arguments": arguments, "limit_seconds": limit.as_secs()}))
}

/// Stripped Go programs; none where there is no Go, which the guest's tests tell as skipped.
fn go_programs() -> Vec<PathBuf> {
    let Some(go) = find_program("go") else { return Vec::new() };
    let build = |name: &&str| {
        let program = target().join("lab").join(name);
        let mut build = command(&go);
        build
            .current_dir(root().join("tests/fixtures/go").join(name))
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-trimpath")
            .args(["build", "-buildvcs=false", "-ldflags=-s -w", "-o"])
            .arg(&program)
            .arg(".");
        match run(&mut build) {
            Ok(()) => Some(program),
            Err(error) => {
                eprintln!("no {name} in the guests: {error:#}");
                None
            }
        }
    };
    GO_PROGRAMS.iter().filter_map(build).collect()
}

fn write(
    path: &Path,
    programs: &[PathBuf],
    tests: &[PathBuf],
    go_programs: &[PathBuf],
    plan: &Value,
) -> Result<()> {
    let busybox =
        find_program("busybox").context("busybox is not there; see `cargo xtask setup --only lab`")?;
    let mut archive = Archive::new(BufWriter::new(File::create(path)?));
    for (folder, mode) in FOLDERS {
        archive.directory(folder, mode)?;
    }
    // Process 1 has no standard output without it; devtmpfs comes later.
    archive.character_device("dev/console", 0o600, (5, 1))?;
    archive.file("etc/passwd", 0o644, PASSWD.as_bytes())?;
    archive.file("etc/group", 0o644, GROUP.as_bytes())?;
    archive.file("bin/busybox", 0o755, &fs::read(&busybox)?)?;
    let applets = capture(command(&busybox).arg("--list"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        archive.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    // Scripts and tests that name /usr/bin or /sbin mean the same programs.
    archive.symlink("usr/bin", "../bin")?;
    archive.symlink("sbin", "bin")?;
    for program in programs {
        let name = program.file_name().and_then(|name| name.to_str()).context("a program has no name")?;
        let content = fs::read(program).with_context(|| format!("failed to read {}", program.display()))?;
        if name == "lab-init" {
            archive.file("init", 0o755, &content)?;
        } else {
            archive.file(&format!("bin/{name}"), 0o755, &content)?;
        }
    }
    for program in go_programs {
        let name = program.file_name().and_then(|name| name.to_str()).context("a program has no name")?;
        archive.file(&format!("{GO_FOLDER}/{name}"), 0o755, &fs::read(program)?)?;
    }
    for test in tests {
        let content = fs::read(test).with_context(|| format!("failed to read {}", test.display()))?;
        archive.file(&format!("lab/tests/{}", test_name(test)?), 0o755, &content)?;
    }
    archive.file("lab/plan.json", 0o644, plan.to_string().as_bytes())?;
    archive.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_binary_is_named_after_its_file() {
        assert_eq!(
            test_name(Path::new("/t/deps/live_exec-0123456789abcdef")).ok().as_deref(),
            Some("live_exec")
        );
    }

    #[test]
    fn parents_come_before_what_they_hold() {
        for (index, (folder, _)) in FOLDERS.iter().enumerate() {
            if let Some((parent, _)) = folder.rsplit_once('/') {
                assert!(FOLDERS.iter().take(index).any(|(before, _)| before == &parent), "{folder}");
            }
        }
    }
}
