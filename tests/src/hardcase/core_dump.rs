//! Deaths that leave a core.

use super::{Case, call, child, truth};

/// Ends by signals whose default is to dump core, with dumping allowed and forbidden.
pub(super) fn core(case: &Case) -> anyhow::Result<i32> {
    let allowed = call::raise_limit(libc::RLIMIT_CORE, 1 << 30)?;
    if allowed == 0 {
        truth::unable("core dumps", "the hard limit of core files is 0")?;
    }
    for (signal, limit) in [(libc::SIGSEGV, allowed), (libc::SIGABRT, allowed), (libc::SIGQUIT, 0)] {
        child::fork(|| {
            // Cores land here when core_pattern is relative.
            std::env::set_current_dir(&case.directory)?;
            call::raise_limit(libc::RLIMIT_CORE, limit)?;
            // Rust's runtime catches SIGSEGV to tell of stack overflows.
            call::default_signal(signal)?;
            call::kill(call::getpid(), signal);
            call::pause()
        })?
        .wait()?;
    }
    Ok(0)
}
