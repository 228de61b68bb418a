//! What goaudit's end-to-end tests share: finding the built program, saying what a test needs, running as a
//! child, folders for logs.
//!
//! Test files lie in `tests/tests`, each an ordinary libtest binary:
//! - `live*.rs` need root and look at a running kernel. They run one test at a time, on this host and, as they
//!   are, on every kernel of the lab (`cargo xtask vm`); so they may use nothing but [`goaudit`], themselves
//!   ([`child`]), this package's other programs ([`goaudit::program`]) and busybox.
//! - `lab*.rs` run in the lab's guests only.
//! - all others run on any machine, in parallel, without root.
//!
//! A test that cannot run somewhere says which [`ability::Ability`] it misses; nothing is skipped in silence.

pub mod ability;
pub mod age_key;
pub mod capture;
pub mod child;
pub mod compare;
pub mod go_agent;
pub mod go_capture;
pub mod go_cases;
pub mod go_decisions;
pub mod go_digests;
pub mod go_fixture;
pub mod go_module;
pub mod go_service;
pub mod goaudit;
pub mod hardcase;
pub mod logdir;
pub mod strace;
pub mod truth;
