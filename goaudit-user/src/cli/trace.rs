//! `goaudit trace`: latencies, and if asked for values, of any Go functions of one process or command.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::capture::{View, budget, duration};
use super::output::{Format, note};
use super::process::Process;
use super::recording::{self, Recording, Shown, Whom};
use super::{Exit, hist, inspect, output};
use crate::audit::RoomConfig;
use crate::correlate;
use crate::event::Text;
use crate::filter::Filter;
use crate::golang::profile::{Adhoc, Declared, Profile};
use crate::golang::target::Target;
use crate::golang::{Program, Verdict};
use crate::hist::By;
use crate::hook::go::Role;
use crate::kernel::{self, Hook};
use crate::recorder::{Config, GoConfig, Roll, WhenFull};
use crate::view::text::visible;

/// Measure calls of Go functions of one process or command, without any preparation of it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sudo goaudit trace main.handle -p 1234 --for 10s\n  sudo goaudit trace 'net/http.serverHandler.ServeHTTP' -- ./service\n  sudo goaudit trace 'example.org/shop.(*Guard).May' -p 1234 \\\n      --signature 'func(g *Guard, user string, item *Item) (ok bool, err error)' \\\n      --type Item='struct { ID int64; Name string }' --field user=user --field item=item.Name --field ok=ok\n\nPaths are those of profiles (docs/profiles.md). `goaudit inspect` tells where a function can be probed.\nExit codes: 0 ok, 1 no such process, or not a Go program, 2 usage, 4 a function cannot be probed (nothing was attached), or events were lost, 77 no privilege."
)]
pub(super) struct Args {
    /// Functions: import path (a major version may be left out), dot, and the name as Go writes it.
    #[arg(value_name = "FUNCTION", required = true)]
    functions: Vec<String>,

    /// Trace this running process.
    #[arg(short, long, value_name = "PID", required_unless_present = "command", conflicts_with = "command")]
    pid: Option<u32>,

    /// The function's signature, the receiver as first parameter, so that arguments and results are told, too.
    #[arg(long, value_name = "FUNC")]
    signature: Option<String>,

    /// A value to tell: a name and a path that begins with a parameter or result. May be repeated
    /// [default: every named parameter and result that can be read].
    #[arg(long, value_name = "NAME=PATH", value_parser = pair, requires = "signature")]
    field: Vec<(String, String)>,

    /// A type that the signature or a path names, and what it is made of. May be repeated.
    #[arg(long = "type", value_name = "NAME=TYPE", value_parser = pair, requires = "signature")]
    types: Vec<(String, String)>,

    /// Directory of the log; made if it is not there, continued if it is [default: a new one for temporary files].
    #[arg(short = 'w', long = "write", value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Stop after this long, such as `60s`.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,

    #[command(flatten)]
    view: View,

    /// Part of one CPU, in percent, that the probe of one function may cost before it is taken away
    /// [default: 2; without limit when a command is traced].
    #[arg(long, value_name = "PERCENT")]
    probe_budget: Option<f64>,

    /// Run this Go program and trace it from its first instruction.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What is shown live: what Go did, what could not be probed, and what was lost.
const SHOWN: &str =
    "kind != 'control' || (control.type == 'probe' && !control.attached) || control.type == 'loss'";

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let profile = profile(args)?;
    let process = args.pid.map(Process::open).transpose()?;
    let program = match (&process, args.command.first()) {
        (Some(process), _) => process.program(),
        (None, Some(name)) => recording::program_file(name).ok_or_else(|| {
            Exit::Error.because(format!("cannot run {}: no such program in PATH", name.display()))
        })?,
        (None, None) => return Err(Exit::Usage.because("name a process (-p) or a command")),
    };
    plan(&program, &profile)?;
    let format = Format::or_default(args.view.output);
    let directory = args.directory.clone().map_or_else(temporary, Ok)?;
    let filter = |only, expression| {
        Filter::new(only, expression).context("a filter of goaudit's own is wrong; this is a bug of goaudit")
    };
    let ended = recording::run(Recording {
        config: Config {
            directory: directory.clone(),
            origin: recording::origin(),
            batch_age: recording::batch_age(format),
            roll: Roll::default(),
            room: RoomConfig::for_disk(&directory),
            when_full: WhenFull::default(),
            kernel: kernel::Config {
                scoped: true,
                only_hooks: Some(vec![Hook::Exec, Hook::Exit]),
                ..kernel::Config::default()
            },
            correlate: correlate::Config::default(),
            filter: filter(Some("go"), None)?,
            go: Some(GoConfig {
                profile,
                all_panics: true,
                budget: budget(args.probe_budget, process.is_some())?,
                policies: Vec::new(),
                labels: Vec::new(),
            }),
            strict: false,
            tap: None,
            command: std::env::args_os().map(|arg| Text::from(arg.as_bytes())).collect(),
        },
        whom: process.as_ref().map_or(Whom::Command(&args.command), Whom::Process),
        duration: args.duration,
        shown: Shown {
            format,
            color: args.view.color.enabled(),
            utc: args.view.utc,
            filter: filter(None, Some(SHOWN))?,
            kernel_probes: false,
        },
        witnesses: (Vec::new(), Duration::ZERO),
    })?;
    let (table, calls) = hist::table_of(&directory, ended.first_seq, By::Function, ended.content.clone())?;
    if calls == 0 {
        note("no call was seen: nothing called these functions meanwhile");
    }
    match format {
        Format::Compact => {
            output::result(format!("\n{table}").as_bytes())?;
        }
        Format::None => {
            output::result(table.as_bytes())?;
        }
        // What is on standard output is JSON lines.
        Format::Json => {
            for line in table.lines() {
                note(line);
            }
        }
    }
    if std::io::stderr().is_terminal() {
        let directory = directory.display();
        note(&format!("next: goaudit replay {directory}   goaudit hist {directory}"));
    }
    Ok(ended.exit())
}

/// `NAME=VALUE`
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it must be NAME=VALUE")?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || value.is_empty() {
        return Err("neither the name nor what is behind the = may be empty".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// The functions asked for as a profile.
fn profile(args: &Args) -> anyhow::Result<Profile> {
    if args.signature.is_some() && args.functions.len() > 1 {
        return Err(Exit::Usage.because("--signature is that of one function: name one, or leave it out"));
    }
    let mut profile = Profile::default();
    for function in &args.functions {
        let asked = Adhoc {
            function,
            signature: args.signature.as_deref(),
            types: args.types.iter().cloned().collect(),
            fields: args.field.clone(),
        };
        let probe = Declared::adhoc(&asked).map_err(|error| Exit::Usage.because(error.to_string()))?;
        if !profile.probes.iter().any(|other| other.id == probe.id) {
            profile.probes.push(Arc::new(probe));
        }
    }
    Ok(profile)
}

/// Makes sure that every function can be probed, before anything is attached.
fn plan(path: &Path, profile: &Profile) -> anyhow::Result<()> {
    let failed = || format!("failed to read {}", path.display());
    let data = inspect::read(path).with_context(failed)?;
    let program = Program::parse(&data).with_context(failed)?;
    let wanted: Vec<_> = profile.probes.iter().map(|probe| probe.wanted()).collect();
    let mut refused = 0_usize;
    let rows = program.plan(&wanted, None);
    // Of several functions of a name those that are there are traced, and the others told.
    let there: Vec<&str> = rows.iter().filter(|row| row.entry.is_some()).map(|row| row.id.as_str()).collect();
    for row in &rows {
        match row.verdict {
            Verdict::Present => {}
            Verdict::InlinedAt => note(&visible(&format!("{}: {}", row.function, row.reason))),
            Verdict::InlinedOnly if there.contains(&row.id.as_str()) => {
                note(&visible(&format!("{} is not traced: {}", row.function, row.reason)));
            }
            Verdict::InlinedOnly | Verdict::Absent | Verdict::Refused => {
                refused = refused.saturating_add(1);
                note(&visible(&format!("{} cannot be probed: {}", row.function, row.reason)));
                for name in row.nearest.iter().skip(1) {
                    note(&visible(&format!("    also near: {name}")));
                }
            }
        }
    }
    // What attaching carries out; it also knows of values that cannot be read.
    let target = Target::plan(&program, profile);
    if refused == 0 {
        let is_told = |function: &str| rows.iter().any(|row| row.entry.is_none() && row.function == function);
        for not_probed in target.not_probed.iter().filter(|not_probed| !is_told(&not_probed.function)) {
            refused = refused.saturating_add(1);
            note(&visible(&format!("{} cannot be probed: {}", not_probed.function, not_probed.reason)));
        }
    }
    let planned = target.planned.iter().filter(|planned| planned.role == Role::Call).count();
    if refused > 0 || planned == 0 {
        return Err(Exit::Incomplete.because(format!("nothing was attached to {}", path.display())));
    }
    Ok(())
}

/// A new directory that only its owner can look into.
fn temporary() -> anyhow::Result<PathBuf> {
    let made = tempfile::Builder::new().prefix("goaudit-trace-").tempdir();
    // The log is made inside, so that it is as if it were named.
    let directory = made.context("cannot make a directory for the log; name one with -w")?.keep().join("log");
    DirBuilder::new().mode(0o700).create(&directory).context("cannot make a directory for the log")?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_live_is_a_filter() {
        assert!(Filter::new(None, Some(SHOWN)).is_ok_and(|filter| !filter.names("seq")));
        assert!(Filter::new(Some("go"), None).is_ok());
    }

    #[test]
    fn names_and_paths() {
        assert_eq!(pair("a = b.c == nil"), Ok(("a".to_owned(), "b.c == nil".to_owned())));
        assert!(pair("a").is_err() && pair("=b").is_err() && pair("a=").is_err());
    }
}
