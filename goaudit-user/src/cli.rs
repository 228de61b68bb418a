//! The command line: the only place that prints and the only one that knows clap.
//!
//! One file per subcommand, each with its `Args` and a `run`. Results go to standard output, everything else
//! to standard error. Completions and the man page derive from the same tree.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod anchor;
mod capture;
mod completions;
mod content;
mod demo;
mod doctor;
mod evidence;
mod exit;
mod export;
mod hist;
mod init;
mod inspect;
#[cfg(feature = "kernel-log")]
mod kernel_log;
mod launch;
mod man;
mod output;
mod process;
mod prove;
mod prune;
mod reading;
mod record;
mod recording;
mod replay;
mod schema;
mod shred;
mod storage;
mod trace;
mod verify;
mod witness;

pub use exit::Exit;

/// Flight recorder for Go services on Linux: who ran what, who traced whom, sealed so that nobody can
/// quietly change it.
#[derive(Debug, Parser)]
#[command(
    name = "goaudit",
    version,
    after_help = "First steps:\n  goaudit demo                      no root needed: a real capture, replayed and verified\n  sudo goaudit init                 make a log, show the key to keep elsewhere\n  sudo goaudit record               watch this host, seal what is seen\n  sudo goaudit record -- CMD ARGS   watch one command and its descendants\n  sudo goaudit trace FUNCTION -p PID   latencies of one Go function\n  goaudit replay DIR                the same lines again, from the sealed log\n  goaudit hist DIR                  latencies of Go calls and decisions\n  goaudit verify DIR                is anything missing or changed?\n  goaudit prove DIR SEQ -o FILE     one event, with a proof for others\n  goaudit doctor                    what this host allows\n\nExit codes: 0 ok, 1 error, 2 usage, 3 tampering or damage found, 4 incomplete, 5 host unsupported, 77 no privilege."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Subcommands; each is one file.
#[derive(Debug, Subcommand)]
enum Command {
    /// Play an embedded real capture through the real pipeline: events, then the verdict of verify.
    Demo(demo::Args),
    /// Make a new log with its keys, and print its verification key.
    Init(init::Args),
    /// Record this host, or one command, into a sealed log.
    Record(record::Args),
    /// Show stored events again, exactly as they were shown live.
    Replay(replay::Args),
    /// Show latency histograms of the Go calls and decisions in a log.
    Hist(hist::Args),
    /// Measure calls of Go functions of one process or command, without any preparation of it.
    Trace(trace::Args),
    /// Check that a log is complete and unchanged, or that a proof holds.
    Verify(verify::Args),
    /// Take single events out of a log, with a proof that others can check without the log.
    Prove(prove::Args),
    /// Have others vouch for a log's last checkpoint.
    Anchor(anchor::Args),
    /// Cosign checkpoints of logs that only ever grow (C2SP tlog-witness).
    Witness(witness::Args),
    /// Pack a log, or some events of it, with all that others need to check it.
    Evidence(evidence::Args),
    Prune(prune::Args),
    Shred(shred::Args),
    /// Write a log in a form that other tools read.
    Export(export::Args),
    /// Tell which functions of a Go program can be probed, where, and at what cost; touches nothing.
    Inspect(inspect::Args),
    /// Try what this host allows, for real, and say what to do about the rest.
    Doctor(doctor::Args),
    /// Print a shell completion script.
    Completions(completions::Args),
    /// Print the manual page.
    Man(man::Args),
    /// Print the JSON Schema of events.
    Schema(schema::Args),
    /// Stop until continued, then run a command (how `record -- CMD` attaches before its first instruction).
    #[command(name = "__launch", hide = true)]
    Launch(launch::Args),
}

/// Parses the command line, runs it, reports an error with its cause, and says how it ended.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // Nothing is left to tell if even this cannot be written.
            let _ = error.print();
            return exit.into();
        }
    };
    #[cfg(feature = "kernel-log")]
    kernel_log::to_standard_error();
    let result = match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Hist(args) => hist::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Prove(args) => prove::run(&args),
        Command::Anchor(args) => anchor::run(&args),
        Command::Witness(args) => witness::run(&args),
        Command::Evidence(args) => evidence::run(&args),
        Command::Prune(args) => prune::run(&args),
        Command::Shred(args) => shred::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Launch(args) => launch::run(&args),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = Exit::of(&error);
            if exit != Exit::Ok {
                output::complain(&error);
            }
            exit.into()
        }
    }
}

/// The command tree, for completions, the man page and tests.
pub fn command() -> clap::Command {
    Cli::command()
}
