//! Fuzz targets (tests/fuzz), run briefly: a parser of outside data must not panic.
//!
//! libFuzzer needs coverage instrumentation, which stable rustc can insert; only the address sanitizer needs
//! nightly, and safe Rust has little use for it. So no cargo-fuzz: a plain cargo build with the flags below.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::report::Row;
use crate::command::{capture, cargo, command, last_lines, run, run_within};
use crate::workspace::{STATIC_TARGET, find_program, root, target};

/// What cargo-fuzz passes, without sanitizers.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing";

/// For one target.
const BRIEFLY: Duration = Duration::from_secs(10);
const FULLY: Duration = Duration::from_mins(5);

/// Start-up and the end of a run take time of their own.
const GRACE: Duration = Duration::from_mins(1);

/// What is shown of libFuzzer's output: its counts, or the input it failed on and the panic's stack.
const STATISTICS_LINES: usize = 6;
const FAILURE_LINES: usize = 60;

pub(super) fn run_targets(full: bool) -> Vec<Row> {
    if !dir().join("Cargo.toml").is_file() {
        return vec![Row::new("fuzz", Err(anyhow::anyhow!("there is no fuzz crate in tests/fuzz")))];
    }
    // libFuzzer itself is C++.
    if find_program("c++").is_none() {
        return vec![Row::skipped("fuzz", "c++", "no C++ compiler to build libFuzzer with")];
    }
    let targets = match build().and_then(|()| names()) {
        Ok(targets) => targets,
        Err(error) => return vec![Row::new("fuzz", Err(error))],
    };
    let time = if full { FULLY } else { BRIEFLY };
    targets
        .iter()
        .map(|name| {
            let began = Instant::now();
            Row::new(&format!("fuzz {name}"), fuzz(name, time)).took(began.elapsed())
        })
        .collect()
}

fn dir() -> PathBuf {
    root().join("tests/fuzz")
}

fn fuzz_cargo(subcommand: &str) -> Command {
    let mut cargo = cargo();
    cargo.arg(subcommand).current_dir(dir());
    cargo
}

fn build() -> Result<()> {
    run(fuzz_cargo("build")
        // With a target named, build scripts and macros go without the flags.
        .args(["--quiet", "--bins", "--target", STATIC_TARGET, "--target-dir"])
        .arg(target().join("fuzz"))
        .env("RUSTFLAGS", FLAGS)
        // Parsers load nothing into the kernel: no need to build the eBPF object once more.
        .env("GOAUDIT_EBPF", "kept")
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "2")
        .env("CARGO_PROFILE_DEV_DEBUG", "1"))
}

/// The crate's targets are its programs.
fn names() -> Result<Vec<String>> {
    let told = capture(fuzz_cargo("metadata").args(["--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&told).context("cargo metadata is not JSON")?;
    let packages = metadata.get("packages").and_then(serde_json::Value::as_array).into_iter().flatten();
    Ok(packages
        .filter_map(|package| package.get("targets")?.as_array())
        .flatten()
        .filter(|target| target.get("kind").is_some_and(|kind| kind.to_string().contains("\"bin\"")))
        .filter_map(|target| target.get("name")?.as_str().map(str::to_owned))
        .collect())
}

/// A Go program to change: no chance finds the tables of one. Small and stripped, because libFuzzer changes a few bytes
/// at a time. Returns its folder and its size.
fn program_seed() -> Result<(PathBuf, u64)> {
    let folder = target().join("fuzz/seeds/program");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let program = folder.join("tiny");
    run(command("go")
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"])
        .arg(&program)
        .arg(".")
        .env("CGO_ENABLED", "0")
        .env("GOOS", "linux")
        .env("GOARCH", "amd64")
        .current_dir(root().join("tests/fixtures/go/tiny")))?;
    let metadata = fs::metadata(&program).with_context(|| format!("no {}", program.display()))?;
    Ok((folder, metadata.len()))
}

fn fuzz(name: &str, time: Duration) -> Result<()> {
    let program = target().join("fuzz").join(STATIC_TARGET).join("debug").join(name);
    // What it finds worth keeping goes to the first folder; the seeds in the tree are only read.
    let found = target().join("fuzz/corpus").join(name);
    let crashes = target().join("fuzz/crashes").join(name);
    for dir in [&found, &crashes] {
        fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    }
    let mut fuzzer = command(program);
    fuzzer.arg(&found);
    let seeds = dir().join("seeds").join(name);
    if seeds.is_dir() {
        fuzzer.arg(seeds);
    }
    if name == "program" {
        match program_seed() {
            // Inputs are as long as the seed, which is longer than libFuzzer would try.
            Ok((folder, len)) => {
                fuzzer.arg(folder).arg(format!("-max_len={len}"));
            }
            Err(error) => println!("fuzz program: no Go program to begin with: {error:#}"),
        }
    }
    fuzzer
        .arg(format!("-max_total_time={}", time.as_secs()))
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .args(["-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048", "-verbosity=1"]);
    // A line per new input would bury everything else that a run tells.
    let log = target().join("fuzz").join(format!("{name}.log"));
    let file = File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
    fuzzer.stdout(file.try_clone().context("failed to copy a file")?).stderr(file);
    let ended = run_within(&mut fuzzer, time + GRACE);
    let told = fs::read_to_string(&log).unwrap_or_default();
    match ended {
        Ok(()) => {
            println!("{}", last_lines(&told, STATISTICS_LINES));
            Ok(())
        }
        Err(error) => Err(error.context(format!(
            "{name} found a failing input; it is in {}\n{}\n",
            crashes.display(),
            last_lines(&told, FAILURE_LINES)
        ))),
    }
}
