//! A racer that changes arguments while the kernel copies them (the "phantom" attack on exec auditing).
//!
//! Not left to luck: the last environment string lies on a page that is not there. The kernel copies the
//! environment before the arguments, waits at that page, and userfaultfd lets the racer decide when it goes
//! on: after it has changed an argument that a watcher at the call's entry has already read.

use anyhow::Context;

use super::call::{self, PAGE, Strings};
use super::exec::{ok, own, reporting, threaded};
use super::{Case, child, truth};

/// The argument as a watcher at entry sees it, and as the program gets it.
const INNOCENT: &[u8] = b"innocent-argument";
const MALICIOUS: &[u8] = b"malicious-command";

/// One exec whose second argument changes during the call.
pub(super) fn phantom(_: &Case) -> anyhow::Result<i32> {
    ok(child::fork(|| {
        let faults = call::userfault();
        if faults < 0 {
            truth::unable("userfaultfd", &format!("errno {}", -faults))?;
            return Ok(0);
        }
        let (argument, page) = (call::memory(1)?, call::memory(1)?);
        call::store(argument, INNOCENT);
        let ret = call::userfault_register(faults, page);
        anyhow::ensure!(ret == 0, "UFFDIO_REGISTER: errno {}", -ret);
        let mut envp = reporting()?;
        envp.push_address(page);
        let mut argv = Strings::new(["phantom"])?;
        // What is told is what stands there at the call's entry.
        let told = Strings::new([b"phantom".as_slice(), INNOCENT])?;
        argv.push_address(argument);
        let path = own()?;
        let (pid, creator) = truth::ids()?;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let raced = (|| {
                    let (_, tid) = truth::ids()?;
                    truth::tell(&super::exec::thread_line(pid, creator, tid))?;
                    race(i32::try_from(faults)?, faults, argument, page)
                })();
                if let Err(error) = raced {
                    truth::broken(&error);
                }
            });
            super::exec::intend(path.as_bytes(), &told, false)?;
            super::exec::failed(call::execve(&path, &argv, &envp))?;
            Ok(98)
        })
    })?)?;
    // The same call without a racer: nothing may be said to have changed.
    super::exec::run([b"phantom".as_slice(), INNOCENT], &reporting()?)?;
    // A race that changes nothing: another thread runs, the arguments stay.
    ok(child::fork(|| {
        threaded(|| {
            let argv = Strings::new([b"phantom".as_slice(), INNOCENT])?;
            super::exec::replace(&own()?, &argv, &reporting()?)
        })
    })?)?;
    Ok(0)
}

/// Waits until the kernel waits, changes the argument, lets the kernel go on.
fn race(descriptor: i32, faults: i64, argument: u64, page: u64) -> anyhow::Result<()> {
    let mut message = [0; 32];
    let len = call::read(descriptor, &mut message).map_err(|errno| anyhow::anyhow!("read: errno {errno}"))?;
    anyhow::ensure!(len == message.len(), "a message of {len} bytes");
    let at = message.get(16..24).context("message")?;
    anyhow::ensure!(u64::from_ne_bytes(at.try_into()?) & !(PAGE as u64 - 1) == page, "a fault elsewhere");
    call::store(argument, MALICIOUS);
    let mut content = [0; PAGE];
    content.iter_mut().zip(b"RACE=won").for_each(|(to, from)| *to = *from);
    let ret = call::userfault_fill(faults, page, &content);
    anyhow::ensure!(ret == 0, "UFFDIO_COPY: errno {}", -ret);
    Ok(())
}
