//! `goaudit record`: the agent.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::Exit;
use super::capture::{Select, View, budget, duration, profiles, size};
use super::output::{Format, note};
use super::recording::{self, Recording, Shown, Whom};
use super::storage::Storage;
use crate::anchoring::WitnessAt;
use crate::correlate;
use crate::correlate::env::EnvNames;
use crate::event::Text;
use crate::filter::Filter;
use crate::kernel;
use crate::recorder::{Config, GoConfig, PolicyFile};

/// Record this host, or one command, into a sealed log.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags of a command line, not states")]
#[command(
    after_help = "Examples:\n  sudo goaudit record                                 everything on this host, until Ctrl-C\n  sudo goaudit record -w /tmp/log -- go test ./...    one command and its descendants\n  sudo goaudit record --only ptrace -o json | jq .    a live stream of ptrace calls"
)]
pub(super) struct Args {
    /// Directory of the log; made if it is not there, continued if it is.
    #[arg(short = 'w', long = "write", value_name = "DIR", default_value = "/var/lib/goaudit/audit")]
    directory: PathBuf,

    /// Stop after this long, such as `60s`.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,

    #[command(flatten)]
    select: Select,

    #[command(flatten)]
    view: View,

    #[command(flatten)]
    storage: Storage,

    /// Show nothing while recording (same as `-o none`).
    #[arg(short, long)]
    quiet: bool,

    /// Leave out what the agent's own descendants do. Its own process is never recorded.
    #[arg(long)]
    skip_descendants: bool,

    /// Environment variables whose values are recorded at exec, or `*` for all [default: those that steer Go
    /// and the dynamic loader].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    env: Option<Vec<String>>,

    /// Size of the ring buffer between kernel and agent: a power of two.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "16MiB")]
    ring: u64,

    /// Name of the log in its checkpoints, for a new log [default: goaudit/HOST/audit].
    #[arg(long)]
    origin: Option<String>,

    /// A witness that is asked to cosign the log while it is written: its URL, a plus sign, its key (see `goaudit
    /// witness`). Recording never waits for it. May be repeated.
    #[arg(long, value_name = "URL+VKEY", value_parser = super::anchor::witness)]
    witness: Vec<WitnessAt>,

    /// How often witnesses are asked; they are asked once more at the end.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    witness_every: Duration,

    /// Also write the ring's records to this file as they come (docs/demo.md).
    #[arg(long, value_name = "FILE", hide = true)]
    tap: Option<PathBuf>,

    /// Probe no Go programs.
    #[arg(long)]
    no_go: bool,

    /// A file with profiles of Go functions, in addition to the built-in ones. May be repeated.
    #[arg(long, value_name = "FILE")]
    profile: Vec<PathBuf>,

    /// A file that a Go library decides by, as in casbin=/etc/shop/policy.csv: its digest is the policy version of the
    /// library's decisions, and its changes are events. May be repeated.
    #[arg(long, value_name = "LIBRARY=FILE", value_parser = policy)]
    policy: Vec<PolicyFile>,

    /// A label of the environment, as in env=production, for the context hash of decisions. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,

    /// Part of one CPU, in percent, that the probe of one Go function may cost before it is taken away
    /// [default: 2; without limit when a command is recorded].
    #[arg(long, value_name = "PERCENT")]
    probe_budget: Option<f64>,

    /// Record only if every probe can be attached; otherwise end with exit code 4.
    #[arg(long)]
    strict: bool,

    /// Run this command and record it and its descendants, from its first instruction; nothing else.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let format = if args.quiet { Format::None } else { Format::or_default(args.view.output) };
    let config = config(args, format)?;
    let ended = recording::run(Recording {
        config,
        whom: if args.command.is_empty() { Whom::Host } else { Whom::Command(&args.command) },
        duration: args.duration,
        shown: Shown {
            format,
            color: args.view.color.enabled(),
            utc: args.view.utc,
            filter: Filter::default(),
            kernel_probes: true,
        },
        witnesses: (args.witness.clone(), args.witness_every),
    })?;
    if std::io::stderr().is_terminal() {
        let directory = args.directory.display();
        note(&format!("next: goaudit verify {directory}   goaudit replay {directory}"));
    }
    Ok(ended.exit())
}

fn config(args: &Args, format: Format) -> anyhow::Result<Config> {
    let filter = args.select.filter()?;
    for later in ["seq", "ts"] {
        if filter.names(later) {
            return Err(Exit::Usage.because(format!(
                "--where uses `{later}`, which an event gets only when it is stored; use it with `goaudit replay`"
            )));
        }
    }
    let ring_bytes = u32::try_from(args.ring)
        .ok()
        .filter(|bytes| bytes.is_power_of_two() && *bytes >= 1 << 16)
        .ok_or_else(|| {
            Exit::Usage
                .because(format!("--ring {}: the ring must be a power of two from 64KiB to 2GiB", args.ring))
        })?;
    Ok(Config {
        directory: args.directory.clone(),
        origin: args.origin.clone().unwrap_or_else(recording::origin),
        batch_age: recording::batch_age(format),
        roll: args.storage.roll(),
        room: args.storage.room(&args.directory),
        when_full: args.storage.when_full(),
        kernel: kernel::Config {
            ring_bytes,
            scoped: !args.command.is_empty(),
            skip_descendants: args.skip_descendants,
            ..kernel::Config::default()
        },
        correlate: args.env.as_ref().map_or_else(correlate::Config::default, |names| correlate::Config {
            env: EnvNames::from_names(names.iter().map(String::as_str)),
            ..correlate::Config::default()
        }),
        filter,
        go: go(args)?,
        strict: args.strict,
        tap: args.tap.clone(),
        command: std::env::args_os().map(|arg| Text::from(arg.as_bytes())).collect(),
    })
}

/// `LIBRARY=FILE`
fn policy(text: &str) -> Result<PolicyFile, String> {
    let (library, path) = label(text)?;
    if path.is_empty() {
        return Err("it must name a file behind the =".to_owned());
    }
    Ok(PolicyFile { library, path: path.into() })
}

/// `KEY=VALUE`
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("it must have the form NAME=VALUE".to_owned()),
    }
}

/// What to probe in Go programs.
fn go(args: &Args) -> anyhow::Result<Option<GoConfig>> {
    if args.no_go {
        return Ok(None);
    }
    Ok(Some(GoConfig {
        profile: profiles(&args.profile)?,
        all_panics: !args.command.is_empty(),
        budget: budget(args.probe_budget, args.command.is_empty())?,
        policies: args.policy.clone(),
        labels: args.label.clone(),
    }))
}
