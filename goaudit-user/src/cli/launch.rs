//! `goaudit __launch -- CMD`: stops itself, is put into scope by `record`, is continued, becomes CMD.
//!
//! Doing this in a process of its own (rather than between fork and exec of the agent) needs no unsafe code.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getpid, kill_process};

use super::Exit;

/// Stop until continued, then run a command.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Program and arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Exit code of shells for a command that is not there.
const NOT_FOUND: u8 = 127;
/// Exit code of shells for a command that cannot be executed.
const NOT_EXECUTABLE: u8 = 126;

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Exit::Usage.because("no command given"));
    };
    kill_process(getpid(), Signal::STOP)?;
    let error = Command::new(program).args(arguments).exec();
    let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    super::output::note(&format!("cannot run {}: {error}", program.display()));
    std::process::exit(code.into());
}
