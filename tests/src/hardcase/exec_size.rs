//! Arguments and environments as long as the kernel takes them, and longer than goaudit keeps.

use super::call::Strings;
use super::exec::{reporting, reporting_with, run};
use super::{Case, call};

/// Longest argument that the kernel takes (`MAX_ARG_STRLEN` less its terminator).
pub(super) const LONGEST: usize = 131_071;

/// Bytes that look different everywhere, so that a piece in the wrong place is seen.
pub(super) fn pattern(len: usize, salt: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 16);
    let mut index = 0;
    while bytes.len() < len {
        bytes.extend(format!("{salt}:{index};").bytes());
        index += 1;
    }
    bytes.truncate(len);
    bytes
}

/// Lets arguments and environment together be `bytes` long (a quarter of the stack, at most 6 MiB).
fn allow(bytes: u64) -> anyhow::Result<()> {
    let got = call::raise_limit(libc::RLIMIT_STACK, bytes * 4 + (1 << 20))?;
    anyhow::ensure!(got >= bytes * 4, "the stack may not be larger than {got} bytes");
    Ok(())
}

/// One argument of 128 KiB, alone, and one that is not UTF-8 between others.
pub(super) fn long_argument(_: &Case) -> anyhow::Result<i32> {
    run([b"long".to_vec(), pattern(LONGEST, 1)], &reporting()?)?;
    let mut odd = pattern(LONGEST, 2);
    for byte in odd.iter_mut().step_by(1000) {
        *byte = 0xff;
    }
    run([b"long".to_vec(), b"before".to_vec(), odd, b"after".to_vec(), Vec::new()], &reporting()?)?;
    Ok(0)
}

/// 2 MiB in all: 1.5 MiB of arguments, 0.5 MiB of environment.
pub(super) fn two_mebibytes(_: &Case) -> anyhow::Result<i32> {
    allow(3 << 20)?;
    let argv: Vec<Vec<u8>> = (0..12).map(|index| pattern(LONGEST, index)).collect();
    let variables: Vec<String> = (0..4)
        .map(|index| format!("LONG{index}={}", String::from_utf8_lossy(&pattern(LONGEST - 6, index))))
        .collect();
    let more: Vec<&str> = variables.iter().map(String::as_str).collect();
    run(argv, &reporting_with(&more)?)?;
    Ok(0)
}

/// 20,000 short arguments.
pub(super) fn many_arguments(_: &Case) -> anyhow::Result<i32> {
    run((0..20_000).map(|index| format!("argument {index}")), &reporting()?)?;
    Ok(0)
}

/// 5 MiB of arguments: more than goaudit sends from the kernel.
pub(super) fn beyond_limit(_: &Case) -> anyhow::Result<i32> {
    allow(6 << 20)?;
    let argv: Vec<Vec<u8>> = (0..40).map(|index| pattern(LONGEST, index)).collect();
    run(argv, &Strings::new([format!("{}=report", super::truth::ROLE)])?)?;
    Ok(0)
}
