//! The kernel side on a real kernel: a session is started, known things are done, the records are compared.
//!
//! Needs root. One process, one session at a time: the tests are one function, so that it can also run as
//! the only program of a kernel lab guest.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test"
)]

use goaudit_user::kernel::{Config, KernelError, Session};
use std::time::Duration;

#[test]
fn attaches() {
    let start = std::time::Instant::now();
    if std::env::var_os("VERIFY").is_some() {
        for (name, result) in goaudit_user::kernel::verify_programs(&Config::default()).unwrap() {
            match result {
                Ok(n) => eprintln!("verify {name}: ok {n}"),
                Err(e) => {
                    let n = e.len();
                    eprintln!("verify {name}: {} ... {}", &e[..n.min(400)], &e[n.saturating_sub(3000)..]);
                }
            }
        }
    }
    let mut session = match Session::start(&Config::default()) {
        Ok(session) => session,
        Err(error @ KernelError::NoPrivilege { .. }) => {
            eprintln!("skipped: bpf privileges: {error}");
            return;
        }
        Err(error) => panic!("failed to {error}"),
    };
    eprintln!("started in {:?}", start.elapsed());
    for report in session.reports() {
        eprintln!("{report:?}");
    }
    std::process::Command::new("/bin/true").arg("x").status().unwrap();
    let mut n = 0;
    session.drain(Duration::from_millis(300), &mut |_| n += 1).unwrap();
    session.detach_producers();
    session.drain(Duration::from_millis(100), &mut |_| n += 1).unwrap();
    eprintln!("{n} records, {:?}", session.counters().unwrap());
}
