//! The kernel/user contract of goaudit and the programs on its kernel side.
//!
//! What crosses between kernel and user space, and nothing else does:
//! 1. ring records: [`wire::Header`] followed by the record of its [`wire::Kind`];
//! 2. map values: [`wire::CpuState`] (per-CPU sequence and loss counters), `u8` scope marks by tgid, the
//!    `u32` of `READER` ([`wire::reader`]: whether the reader sleeps), the `u64`s of `RELIEVED` by [`wire::Relief`],
//!    the `u32` of `LAST_CHILD` (the process that the agent made last, in the initial pid namespace), and the tables of
//!    [`hook::go`];
//! 3. the read-only global [`settings::Settings`], written by the loader before load;
//! 4. the attach cookie (a probe index);
//! 5. the names of programs and maps.
//!
//! On the host this crate is only these types. For `target_arch = "bpf"` it also holds the programs, one
//! file per hook beside the record it fills; `main.rs` only links them.
#![no_std]
#![cfg_attr(
    target_arch = "bpf",
    feature(asm_experimental_arch),
    expect(unstable_features, reason = "bounds that the verifier must see need inline assembly")
)]

pub mod hook;
#[cfg(target_arch = "bpf")]
mod kernel;
pub mod settings;
pub mod units;
pub mod wire;
