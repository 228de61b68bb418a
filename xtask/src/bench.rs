//! `cargo xtask bench`: goaudit's cost beside its peers', measured in turns in one run.
//!
//! On a shared machine absolute times mean nothing, so every figure is a ratio to another contestant of the same
//! run. Each benchmark is one file with one row in the table below: it names its contestants, its goal and how one
//! turn of a contestant is measured; [`turns`] interleaves them, [`table`] prints and stores the result.

mod agent;
mod b1_prctl;
mod contestant;
mod cpu;
mod table;
mod turns;
mod workload;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::workspace::{is_root, target};
use turns::Measured;

/// Compare goaudit's cost with its peers', in one interleaved run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Benchmarks by id, as in "b1"; without any: all.
    names: Vec<String>,
    /// Say what there is, run nothing.
    #[arg(long)]
    list: bool,
    /// Turns of each contestant.
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Where the results go as JSON; without it into the target directory.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One benchmark.
struct Benchmark {
    id: &'static str,
    title: &'static str,
    /// The goal, as docs/benchmarks.md states it.
    goal: &'static str,
    run: fn(usize) -> Result<Measured>,
}

/// B1 to B13 are the numbers of docs/benchmarks.md.
const BENCHMARKS: [Benchmark; 1] = [Benchmark {
    id: "b1",
    title: "prctl loop on one core, every call recorded and sealed",
    goal: "added cost at most 1/20 of auditd's and 1/10 of bpftrace's; nothing lost",
    run: b1_prctl::run,
}];

pub(crate) fn run(args: &Args) -> Result<()> {
    let wanted = chosen(&args.names)?;
    if args.list {
        for benchmark in wanted {
            println!("{:<4} {}\n     goal: {}", benchmark.id, benchmark.title, benchmark.goal);
        }
        return Ok(());
    }
    if !is_root() {
        bail!("benchmarks attach to the kernel and need root");
    }
    // Without its peers a benchmark still compares with the bare workload.
    if let Err(error) = crate::setup::ensure(crate::setup::Group::Bench) {
        println!("bench: {error:#}; going on without");
    }
    agent::build()?;
    let mut results = Vec::new();
    for benchmark in wanted {
        println!("\n{}: {}\ngoal: {}", benchmark.id, benchmark.title, benchmark.goal);
        let measured =
            (benchmark.run)(args.turns.max(1)).with_context(|| format!("failed to run {}", benchmark.id))?;
        table::print(&measured);
        results.push(json!({
            "id": benchmark.id,
            "title": benchmark.title,
            "goal": benchmark.goal,
            "contestants": table::json(&measured),
        }));
    }
    let path = args.json.clone().unwrap_or_else(|| target().join("bench.json"));
    let told = json!({"turns": args.turns, "benchmarks": results});
    fs::write(&path, format!("{told:#}\n")).with_context(|| format!("failed to write {}", path.display()))?;
    println!("\nresults: {}", path.display());
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Benchmark>> {
    if names.is_empty() {
        return Ok(BENCHMARKS.iter().collect());
    }
    let find = |name: &String| {
        let id = name.to_lowercase();
        BENCHMARKS
            .iter()
            .find(|benchmark| benchmark.id == id)
            .with_context(|| format!("no benchmark {name}; see --list"))
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benchmarks_are_found_in_either_case() {
        assert_eq!(
            chosen(&["B1".to_owned()]).ok().and_then(|found| found.first().map(|one| one.id)),
            Some("b1")
        );
        assert!(chosen(&["b99".to_owned()]).is_err());
    }
}
