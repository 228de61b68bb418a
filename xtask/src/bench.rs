//! `cargo xtask bench`: goaudit's cost beside its peers', measured in turns in one run.
//!
//! On a shared machine absolute times mean nothing, so every figure is a ratio to another contestant of the same
//! run. Each benchmark is one file with one row in the table below: it names its contestants, its goal and how one
//! turn of a contestant is measured; [`turns`] interleaves them, [`table`] prints and stores the result.

mod agent;
mod auditd;
mod b10_idle;
mod b11_exposure;
mod b12_histogram;
mod b1_prctl;
mod b2_exec_rate;
mod b3_exec_storm;
mod b4_super_producer;
mod b5_go_call;
mod b6_seal;
mod b7_verify;
mod b8_ask;
mod b9_start;
mod contestant;
mod cpu;
mod go_prober;
mod go_program;
mod goal;
mod journal;
mod machine;
mod peer;
mod recording;
mod sealed_log;
mod start_up;
mod stored;
mod symbols;
mod table;
mod turns;
mod workload;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::workspace::{is_root, target};
use goal::Goal;
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
    /// Measure the release binaries as they are.
    #[arg(long)]
    no_build: bool,
    /// Where the results go as JSON; without it into the target directory.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One benchmark.
struct Benchmark {
    id: &'static str,
    title: &'static str,
    goals: &'static [Goal],
    run: fn(usize) -> Result<Measured>,
}

/// The ids are those of docs/benchmarks.md.
const BENCHMARKS: [Benchmark; 12] = [
    Benchmark {
        id: "b1",
        title: "prctl loop on one core, every call recorded and sealed",
        goals: b1_prctl::GOALS,
        run: b1_prctl::run,
    },
    Benchmark {
        id: "b2",
        title: "execs at a fixed rate and at the fastest: the agent's CPU",
        goals: b2_exec_rate::GOALS,
        run: b2_exec_rate::run,
    },
    Benchmark {
        id: "b3",
        title: "exec storm: how much slower it gets",
        goals: b3_exec_storm::GOALS,
        run: b3_exec_storm::run,
    },
    Benchmark {
        id: "b4",
        title: "super-producer: a prctl flood on one core, 10,000 tagged execs on the other",
        goals: b4_super_producer::GOALS,
        run: b4_super_producer::run,
    },
    Benchmark {
        id: "b5",
        title: "a call of a probed Go function: what the probes add",
        goals: b5_go_call::GOALS,
        run: b5_go_call::run,
    },
    Benchmark {
        id: "b6",
        title: "sealing: events a second, bytes an event",
        goals: b6_seal::GOALS,
        run: b6_seal::run,
    },
    Benchmark {
        id: "b7",
        title: "verifying a log made of the events of a real capture",
        goals: b7_verify::GOALS,
        run: b7_verify::run,
    },
    Benchmark {
        id: "b8",
        title: "replay and a question over a stored capture",
        goals: b8_ask::GOALS,
        run: b8_ask::run,
    },
    Benchmark {
        id: "b9",
        title: "start with 20 functions of a stripped Go program of 100 MB",
        goals: b9_start::GOALS,
        run: b9_start::run,
    },
    Benchmark {
        id: "b10",
        title: "idle CPU, memory over a soak, time to the first event",
        goals: b10_idle::GOALS,
        run: b10_idle::run,
    },
    Benchmark {
        id: "b11",
        title: "exposure: what a kill -9 at any time takes along",
        goals: b11_exposure::GOALS,
        run: b11_exposure::run,
    },
    Benchmark {
        id: "b12",
        title: "quantiles of a Go function's latency: how far they are from the program's own",
        goals: b12_histogram::GOALS,
        run: b12_histogram::run,
    },
];

pub(crate) fn run(args: &Args) -> Result<()> {
    let wanted = chosen(&args.names)?;
    if args.list {
        for benchmark in wanted {
            println!("{:<4} {}", benchmark.id, benchmark.title);
            for goal in benchmark.goals {
                println!("     goal: {}: {}", goal.what, goal.limit.shown());
            }
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
    if !args.no_build {
        agent::build()?;
    }
    let mut results = Vec::new();
    for benchmark in wanted {
        println!("\n{}: {}", benchmark.id, benchmark.title);
        let load_before = machine::load();
        let measured =
            (benchmark.run)(args.turns.max(1)).with_context(|| format!("failed to run {}", benchmark.id))?;
        let load_after = machine::load();
        table::print(&measured);
        for goal in benchmark.goals {
            println!("{}", goal.line(&measured));
        }
        let shown = |load: Option<f64>| load.map_or_else(|| "unknown".to_owned(), |load| load.to_string());
        println!("load average: {} before, {} after", shown(load_before), shown(load_after));
        let goals: Vec<_> = benchmark.goals.iter().map(|goal| goal.json(&measured)).collect();
        results.push(json!({
            "id": benchmark.id,
            "title": benchmark.title,
            "goals": goals,
            "load_average": [load_before, load_after],
            "contestants": table::json(&measured),
        }));
        // After each one: a later failure takes nothing away.
        store(args, &results)?;
    }
    Ok(())
}

fn store(args: &Args, results: &[serde_json::Value]) -> Result<()> {
    let path = args.json.clone().unwrap_or_else(|| target().join("bench.json"));
    let told = json!({"machine": machine::describe(), "turns": args.turns, "benchmarks": results});
    fs::write(&path, format!("{told:#}\n")).with_context(|| format!("failed to write {}", path.display()))?;
    println!("results: {}", path.display());
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
