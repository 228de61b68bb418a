//! Calls by the hundred thousand: the workload's own count is the truth.

use anyhow::Context;
use serde_json::json;

use super::{Case, call, child, truth};

/// PR_GET_DUMPABLE and PR_GET_KEEPCAPS: no arguments, no effect.
const OPTIONS: [(u64, i64); 2] = [(3, 1), (7, 0)];

/// `prctl-storm N`: N identical calls.
pub(super) fn one(case: &Case) -> anyhow::Result<i32> {
    let count = case.number(0, 100_000)?;
    let [(option, expected), _] = OPTIONS;
    for _ in 0..count {
        let ret = call::prctl(option, [0; 4]);
        anyhow::ensure!(ret == expected, "prctl({option}) = {ret}");
    }
    told(option, expected, count)?;
    Ok(0)
}

/// `prctl-storm-alternating N [FOLDER]`: N calls of each of two kinds, in turn: no two neighbours are alike. With
/// a folder it begins when `go` is in there, and ends when `end` is: a test can stop the recorder in between.
pub(super) fn alternating(case: &Case) -> anyhow::Result<i32> {
    let count = case.number(0, 50_000)?;
    appears(case, "go");
    for _ in 0..count {
        for (option, expected) in OPTIONS {
            let ret = call::prctl(option, [0; 4]);
            anyhow::ensure!(ret == expected, "prctl({option}) = {ret}");
        }
    }
    for (option, expected) in OPTIONS {
        told(option, expected, count)?;
    }
    appears(case, "end");
    Ok(0)
}

/// Waits for a file in the folder that the second argument names, if any.
fn appears(case: &Case, name: &str) {
    if let Some(folder) = case.arguments.get(1) {
        while !std::path::Path::new(folder).join(name).exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// `prctl-storms P N`: P processes at once, N identical calls each, neighbours of different kinds.
pub(super) fn many(case: &Case) -> anyhow::Result<i32> {
    let (processes, count) = (case.number(0, 2)?, case.number(1, 100_000)?);
    let children = OPTIONS
        .into_iter()
        .cycle()
        .take(usize::try_from(processes)?)
        .map(|(option, expected)| {
            child::fork(|| {
                for _ in 0..count {
                    let ret = call::prctl(option, [0; 4]);
                    anyhow::ensure!(ret == expected, "prctl({option}) = {ret}");
                }
                told(option, expected, count)?;
                Ok(0)
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    for child in children {
        super::exec::ok(child)?;
    }
    Ok(0)
}

/// `exec-storms P N`: P processes at once, each of which executes N programs, one after the other.
pub(super) fn execs(case: &Case) -> anyhow::Result<i32> {
    let (processes, count) = (case.number(0, 4)?, case.number(1, 100)?);
    let children = (0..processes)
        .map(|process| {
            child::fork(|| {
                for number in 0..count {
                    let argv = ["storm".to_owned(), process.to_string(), number.to_string()];
                    super::exec::run(argv, &super::exec::reporting()?)?;
                }
                Ok(0)
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    for child in children {
        super::exec::ok(child)?;
    }
    Ok(0)
}

/// Tells a storm.
fn told(option: u64, ret: i64, count: u64) -> anyhow::Result<()> {
    let (pid, tid) = truth::ids()?;
    truth::tell(
        &json!({"call": "storm", "pid": pid, "tid": tid, "option": option, "ret": ret, "count": count}),
    )
}

/// `wait FILE`: executes a program every few milliseconds until FILE is there: something to record while a
/// test does something to the recorder. Tells its count.
pub(super) fn wait_for_end(case: &Case) -> anyhow::Result<i32> {
    let file = case.arguments.first().context("wait needs a file")?;
    let mut count = 0u64;
    while !std::path::Path::new(file).exists() {
        super::exec::run(["while waiting".to_owned(), count.to_string()], &super::exec::reporting()?)?;
        count += 1;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Ok(0)
}
