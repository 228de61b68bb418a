//! B9: how long until goaudit sees anything, where 20 functions of a stripped Go program of 100 MB are to be probed.
//!
//! The program is generated: it must be large, not sensible. Nobody is compared with: tools that find functions by their
//! symbols cannot probe it at all.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::agent::program;
use super::contestant::{fresh_dir, interrupt};
use super::goal::{Goal, Limit};
use super::turns::{Contender, Figures, Measured, interleave};
use super::workload;
use crate::command::{capture, command, wait_within};
use crate::workspace::target;

const CORE: usize = 0;
const PACKAGES: usize = 40;
const FUNCTIONS: usize = 500;
/// Calls in each function: what makes it large.
const CALLS: usize = 28;
/// Functions that are probed.
const PROBED: usize = 20;
/// For this long programs are started every 5 ms.
const SECONDS: &str = "10";
/// What attaching may take.
const LIMIT: Duration = Duration::from_mins(1);

#[derive(Clone, Copy)]
struct Goaudit;

impl Contender for Goaudit {
    fn name(self) -> &'static str {
        "goaudit"
    }
}

pub(super) const GOALS: &[Goal] = &[
    Goal {
        what: "from start until the first event is sealed and shown, ms",
        limit: Limit::AtMost(500.0),
        figure: |measured| measured.median("goaudit", "first_shown_ms"),
    },
    Goal {
        what: "reading and planning 20 functions of the program, ms",
        limit: Limit::AtMost(300.0),
        figure: |measured| measured.median("goaudit", "plan_ms"),
    },
];

pub(super) fn run(turns: usize) -> Result<Measured> {
    let big = build()?;
    let profile = big.with_extension("toml");
    fs::write(&profile, functions().map(|name| declared(&name)).collect::<String>())?;
    interleave(&[Goaudit], 1, turns, |_| turn(&big, &profile))
}

fn turn(big: &Path, profile: &Path) -> Result<Figures> {
    let mut figures = Figures::new();
    figures.insert("program_mib", fs::metadata(big)?.len() as f64 / f64::from(1 << 20));
    let began = Instant::now();
    let mut inspect = Command::new(program("goaudit"));
    inspect.arg("inspect").arg("--json").arg(big);
    for name in functions() {
        inspect.args(["--function", &format!("{MODULE}/{name}")]);
    }
    capture(&mut inspect)?;
    figures.insert("plan_ms", began.elapsed().as_secs_f64() * 1e3);
    // It waits for the end of its input.
    let mut service =
        Command::new(big).stdin(Stdio::piped()).spawn().context("failed to start the program")?;
    let idle = workload::idle_program()?;
    let idle = idle.to_str().context("the target directory's path is not UTF-8")?;
    let started = std::thread::scope(|scope| -> Result<Figures> {
        let busy = scope.spawn(|| workload::run(CORE, &["exec-rate", "200", SECONDS, idle]));
        std::thread::sleep(Duration::from_millis(200));
        let figures = start(service.id(), profile);
        busy.join().map_err(|_| anyhow::anyhow!("the workload's thread panicked"))??;
        figures
    });
    drop(service.stdin.take());
    service.wait()?;
    figures.extend(started?);
    Ok(figures)
}

/// Starts goaudit and waits until it has shown an event and attached everything to the process.
fn start(pid: u32, profile: &Path) -> Result<Figures> {
    let began = Instant::now();
    let mut record = Command::new(program("goaudit"));
    record.args(["record", "-o", "json", "--probe-budget", "10000", "--profile"]).arg(profile);
    record.arg("-w").arg(fresh_dir("b9")?.join("log"));
    let mut child = record
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("failed to start goaudit")?;
    let mut lines = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
    let (mut figures, mut attached, mut line) = (Figures::new(), 0, String::new());
    while attached < PROBED && began.elapsed() < LIMIT && lines.read_line(&mut line)? > 0 {
        let event: Value = serde_json::from_str(&line).context("an event is not JSON")?;
        let ms = began.elapsed().as_secs_f64() * 1e3;
        if event.get("kind").is_some_and(|kind| kind != "control") {
            figures.entry("first_shown_ms").or_insert(ms);
        }
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let ours = text("/control/program").starts_with("big.")
            && text("/control/attach_point").contains(&format!(" pid {pid}: "));
        if ours && event.pointer("/control/attached") == Some(&true.into()) {
            attached += 1;
            figures.insert("attached_ms", ms);
        }
        line.clear();
    }
    interrupt(&child)?;
    // It must not wait for us to read.
    std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
    if wait_within(&mut child, LIMIT)?.is_none() || attached < PROBED {
        bail!("{attached} of {PROBED} functions were told as attached");
    }
    Ok(figures)
}

const MODULE: &str = "goaudit.test/big";

/// Names of the probed functions, all over the program.
fn functions() -> impl Iterator<Item = String> {
    (0..PROBED).map(|at| format!("p{:02}.F{}", at * PACKAGES / PROBED, at * 7))
}

fn declared(name: &str) -> String {
    let (package, function) = name.split_once('.').unwrap_or_default();
    format!(
        "[[probe]]\nid = \"big.{package}_{}\"\nkind = \"call\"\nmodule = \"{MODULE}\"\npackage = \"{MODULE}/{package}\"\n\
         function = \"{function}\"\nsignature = \"func(a, b int, s string) (string, error)\"\n",
        function.to_lowercase()
    )
}

/// Writes the program and builds it, if it is not there.
fn build() -> Result<PathBuf> {
    let dir = target().join("bench/big-source");
    let built = target().join("bench/big");
    if built.is_file() {
        return Ok(built);
    }
    let mut main = "package main\n\nimport (\n\t\"io\"\n\t\"os\"\n".to_owned();
    let mut uses = String::new();
    for package in 0..PACKAGES {
        let folder = dir.join(format!("p{package:02}"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("p.go"), source(package))?;
        writeln!(main, "\t\"{MODULE}/p{package:02}\"")?;
        writeln!(
            uses,
            "\tfor _, f := range p{package:02}.Table {{\n\t\t_, _ = f(len(left), 1, \"s\")\n\t}}"
        )?;
    }
    write!(
        main,
        ")\n\nfunc main() {{\n\tleft, _ := io.ReadAll(os.Stdin)\n\tif len(left) == 0 {{\n\t\treturn\n\t}}\n{uses}}}\n"
    )?;
    fs::write(dir.join("main.go"), main)?;
    fs::write(dir.join("go.mod"), format!("module {MODULE}\n\ngo 1.18\n"))?;
    println!("bench: building a Go program of 100 MB, once");
    let mut go = command("go");
    go.current_dir(&dir).env("CGO_ENABLED", "0").env("GOFLAGS", "-trimpath");
    capture(go.args(["build", "-buildvcs=false", "-ldflags=-s -w", "-o"]).arg(&built).arg("."))
        .context("no large Go program")?;
    Ok(built)
}

fn source(package: usize) -> String {
    let mut text = format!(
        "package p{package:02}\n\nimport \"fmt\"\n\nvar Table = []func(int, int, string) (string, error){{\n"
    );
    let names: Vec<String> = (0..FUNCTIONS).map(|function| format!("F{function}")).collect();
    text.push_str(&["\t", &names.join(", "), ",\n}\n"].concat());
    for (function, name) in names.iter().enumerate() {
        text.push_str(&["\nfunc ", name, "(a, b int, s string) (string, error) {\n\tswitch a {\n"].concat());
        for call in 0..CALLS {
            let number = function * CALLS + call;
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "\tcase {call}:\n\t\treturn fmt.Sprintf(\"%d %s %d\", a*{number}+b, s, b^{number}), nil"
            );
        }
        text.push_str("\t}\n\treturn \"\", fmt.Errorf(\"no case %d\", a)\n}\n");
    }
    text
}
