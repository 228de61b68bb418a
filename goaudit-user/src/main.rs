//! Parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    goaudit_user::cli::main()
}
