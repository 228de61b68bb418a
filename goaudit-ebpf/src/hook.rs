//! One file per hook: what is seen, the record, and (for the BPF target) the programs that fill it.

pub mod exec;
pub mod exit;
pub mod fork;
pub mod go;
pub mod prctl;
pub mod ptrace;
