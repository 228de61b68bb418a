//! The kernel/user contract of goaudit and the programs on its kernel side.
//!
//! What crosses between kernel and user space, and nothing else does:
//! 1. ring records: [`wire::Header`] followed by the record of its [`wire::Kind`];
//! 2. map values: [`wire::CpuState`] (per-CPU sequence and loss counters), `u8`/`u64` scope marks;
//! 3. the read-only global [`settings::Settings`], written by the loader before load;
//! 4. the attach cookie (a probe index);
//! 5. the names of programs and maps.
//!
//! On the host this crate is only these types. For `target_arch = "bpf"` it also holds the programs, one
//! file per hook beside the record it fills; `main.rs` only links them.
#![no_std]

pub mod hook;
pub mod settings;
pub mod units;
pub mod wire;
