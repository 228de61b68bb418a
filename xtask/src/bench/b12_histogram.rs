//! B12: how far the quantiles of a Go function's latency are from those that the program itself measured.
//!
//! The program's calls take from 1 to 20 ms and are measured from within, so what the probes cost is not in the truth.
//! bpftrace counts the same calls in powers of two; of a bucket its middle is taken.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::agent::program;
use super::go_prober::{Prober, Watching};
use super::go_program::{Service, Target};
use super::goal::{Goal, Limit};
use super::turns::{Figures, Measured, interleave};
use crate::command::capture;

const PROBERS: [Prober; 2] = [Prober::Goaudit, Prober::Bpftrace];
const CALLS: &str = "1000";

/// Parts of the calls, what the figure is called, and how `goaudit hist` calls the quantile.
const QUANTILES: [(f64, &str, &str); 4] = [
    (0.5, "p50_error_percent", "p50_ns"),
    (0.9, "p90_error_percent", "p90_ns"),
    (0.99, "p99_error_percent", "p99_ns"),
    (0.999, "p999_error_percent", "p999_ns"),
];

pub(super) const GOALS: &[Goal] = &[
    Goal {
        what: "error of p50, p90, p99 and p99.9 in percent, the largest of all turns",
        limit: Limit::AtMost(1.0),
        figure: |measured| worst(measured, "goaudit"),
    },
    Goal {
        what: "the same, bpftrace's powers of two = 1",
        limit: Limit::Below(1.0),
        figure: |measured| Some(worst(measured, "goaudit")? / worst(measured, "bpftrace")?),
    },
    Goal {
        what: "calls that are not in goaudit's histogram, worst turn",
        limit: Limit::AtMost(0.0),
        figure: |measured| measured.worst("goaudit", "uncounted"),
    },
];

fn worst(measured: &Measured, who: &str) -> Option<f64> {
    QUANTILES.iter().filter_map(|(_, figure, _)| measured.worst(who, figure)).max_by(f64::total_cmp)
}

pub(super) fn run(turns: usize) -> Result<Measured> {
    let target = Target::build()?;
    interleave(&PROBERS, 0, turns, |prober| turn(prober, &target))
}

fn turn(prober: Prober, target: &Target) -> Result<Figures> {
    let mut service = Service::start(&target.program, "spread", CALLS)?;
    let mut watching = Watching::start(prober, target, &service)?;
    let told = service.work()?;
    let truth = told.pointer("/latencies_ns").and_then(Value::as_array).context("no times")?;
    let mut truth: Vec<(f64, f64)> = truth.iter().filter_map(|ns| Some((ns.as_f64()?, 1.0))).collect();
    truth.sort_by(|(left, _), (right, _)| left.total_cmp(right));
    drop(service);
    watching.end()?;
    let (count, quantiles) = match prober {
        Prober::Bpftrace => powers_of_two(&watching.dir.join("output"))?,
        _ => histogram(&watching.dir.join("log"))?,
    };
    let mut figures = Figures::from([("uncounted", truth.len() as f64 - count)]);
    for ((part, figure, _), told) in QUANTILES.iter().zip(quantiles) {
        let exact = quantile(&truth, *part)?;
        figures.insert(figure, (told - exact).abs() / exact * 100.0);
    }
    Ok(figures)
}

/// The first of these values, each with how often it is there, that this part of all does not exceed.
fn quantile(values: &[(f64, f64)], part: f64) -> Result<f64> {
    let total: f64 = values.iter().map(|(_, count)| count).sum();
    let mut passed = 0.0;
    let found = values.iter().find(|(_, count)| {
        passed += count;
        passed >= part * total
    });
    found.map(|(value, _)| *value).context("no value at all")
}

/// The number of calls and their quantiles, by `goaudit hist`.
fn histogram(log: &Path) -> Result<(f64, Vec<f64>)> {
    let mut hist = Command::new(program("goaudit"));
    let told: Value = serde_json::from_str(&capture(hist.args(["hist", "--json"]).arg(log))?)?;
    let group = told.pointer("/groups/0").context("no call in the histogram")?;
    let number = |name: &str| group.get(name).and_then(Value::as_f64).with_context(|| format!("no {name}"));
    let quantiles = QUANTILES.iter().map(|(_, _, name)| number(name)).collect::<Result<_>>()?;
    Ok((number("count")?, quantiles))
}

/// The same by bpftrace's report: lines as in `[128K, 256K)   12 |@@@   |`.
fn powers_of_two(report: &Path) -> Result<(f64, Vec<f64>)> {
    let told = fs::read_to_string(report)?;
    let buckets: Vec<(f64, f64)> = told.lines().filter_map(bucket).collect();
    let quantiles = QUANTILES.iter().map(|(part, _, _)| quantile(&buckets, *part)).collect::<Result<_>>();
    let quantiles = quantiles.with_context(|| format!("no histogram in {}", report.display()))?;
    Ok((buckets.iter().map(|(_, count)| count).sum(), quantiles))
}

/// The middle of a bucket, and how many calls it has.
fn bucket(line: &str) -> Option<(f64, f64)> {
    let (range, rest) = line.strip_prefix('[')?.split_once(')')?;
    let (from, to) = range.split_once(", ")?;
    let count = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some((f64::midpoint(with_unit(from)?, with_unit(to)?), count))
}

/// As in `128K`.
fn with_unit(text: &str) -> Option<f64> {
    let units = [('K', 1024.0), ('M', 1024.0 * 1024.0), ('G', 1024.0 * 1024.0 * 1024.0)];
    for (unit, factor) in units {
        if let Some(number) = text.strip_suffix(unit) {
            return Some(number.parse::<f64>().ok()? * factor);
        }
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_of_bpftrace_is_read() {
        assert_eq!(bucket("[128K, 256K)          12 |@@@  |"), Some((192.0 * 1024.0, 12.0)));
        assert_eq!(bucket("[512, 1K)              3 |@    |"), Some((768.0, 3.0)));
        assert_eq!(bucket("@took: "), None);
    }

    #[test]
    fn a_quantile_is_the_first_value_that_enough_do_not_exceed() {
        let values = [(1.0, 5.0), (2.0, 4.0), (3.0, 1.0)];
        let quantiles = [0.5, 0.51, 0.9, 0.99].map(|part| quantile(&values, part).ok());
        assert_eq!(quantiles, [1.0, 2.0, 2.0, 3.0].map(Some));
        assert!(quantile(&[], 0.5).is_err());
    }
}
