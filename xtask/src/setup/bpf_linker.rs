//! bpf-linker: turns the LLVM bitcode of the eBPF crate into one BPF object with BTF.
//!
//! 0.10 links by the libLLVM that rustc itself brings; 0.13 and later want LLVM 22's development packages.

use anyhow::Result;

use crate::command::{capture, cargo, command, retried, run};
use crate::workspace::find_program;

const VERSION: &str = "0.10.1";

pub(super) fn present() -> Option<String> {
    let program = find_program("bpf-linker")?;
    let told = capture(command(&program).arg("--version")).ok()?;
    told.split_whitespace().any(|word| word == VERSION).then(|| format!("{VERSION}, {}", program.display()))
}

pub(super) fn install() -> Result<()> {
    retried("installing bpf-linker", || {
        // --force replaces another version, which the kept object's bytes would not agree with.
        run(cargo()
            .args(["install", "--quiet", "--locked", "--force", "bpf-linker", "--version", VERSION])
            .env_remove("CARGO_TARGET_DIR"))
    })
}
