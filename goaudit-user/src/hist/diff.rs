//! Two sets of calls side by side: did a quantile change, and by how much?
//!
//! The answer is a plain one. A quantile of a sample has bounds between which the true one lies with 99 %
//! confidence, whatever the distribution ([`super::latencies::Latencies::bounds`]). If the bounds of the two
//! sides do not touch, it changed; if they do, the calls do not say; if there are too few calls for bounds, that
//! is what is told. The bounds take calls to be independent of each other; bursts and warm-up make them too narrow.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::key::Part;
use super::latencies::{Figures, RELATIVE_ERROR};
use super::report::KeyReport;
use super::table::{align, cost_text, human, key_cells, taken_away};
use super::{Cost, Group, Histograms};

/// Name and version of the JSON form.
const SCHEMA: &str = "goaudit.hist-diff/1";

/// What the two sides say about a quantile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is higher in B.
    Higher,
    /// It is lower in B.
    Lower,
    /// The bounds touch: no difference is shown.
    Unclear,
    /// One side has too few calls to say.
    TooFew,
    /// The calls beyond the last group: who is among them may differ from side to side.
    NotCompared,
}

/// A quantile on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Change {
    a_ns: Option<u64>,
    b_ns: Option<u64>,
    a_bounds_ns: Option<(u64, u64)>,
    b_bounds_ns: Option<(u64, u64)>,
    /// B less A.
    #[serde(rename = "change_ns")]
    by_ns: Option<i64>,
    /// The same relative to A.
    #[serde(rename = "change_ratio")]
    by_ratio: Option<f64>,
    verdict: Verdict,
}

impl Change {
    fn new(a: Option<&Group>, b: Option<&Group>, quantile: f64, figure: fn(Figures) -> Option<u64>) -> Self {
        let of = |group: Option<&Group>| group.and_then(|group| figure(group.latencies.raw().figures()));
        let bounds = |group: Option<&Group>| group.and_then(|group| group.latencies.raw().bounds(quantile));
        let (a_ns, b_ns, a_bounds_ns, b_bounds_ns) = (of(a), of(b), bounds(a), bounds(b));
        let both = a_ns.zip(b_ns);
        Self {
            a_ns,
            b_ns,
            a_bounds_ns,
            b_bounds_ns,
            by_ns: both.and_then(|(a, b)| i64::try_from(i128::from(b) - i128::from(a)).ok()),
            by_ratio: both.filter(|(a, _)| *a > 0).map(|(a, b)| b as f64 / a as f64 - 1.0),
            verdict: match a_bounds_ns.zip(b_bounds_ns) {
                None => Verdict::TooFew,
                Some((a, b)) if a.1 < b.0 => Verdict::Higher,
                Some((a, b)) if b.1 < a.0 => Verdict::Lower,
                Some(_) => Verdict::Unclear,
            },
        }
    }

    /// The same without anything that is said of both sides together.
    const fn not_compared(self) -> Self {
        Self { by_ns: None, by_ratio: None, verdict: Verdict::NotCompared, ..self }
    }

    /// What is said of it.
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn cells(&self) -> [String; 4] {
        let told = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), human);
        let change = self.by_ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:+.1} %", ratio * 100.0));
        let verdict = match self.verdict {
            Verdict::Higher => "higher",
            Verdict::Lower => "lower",
            Verdict::Unclear => "unclear",
            Verdict::TooFew => "too few calls",
            Verdict::NotCompared => "not compared",
        };
        [told(self.a_ns), told(self.b_ns), change, verdict.to_owned()]
    }
}

/// A group on both sides.
#[derive(Debug, Serialize)]
pub struct Row<'a> {
    key: KeyReport<'a>,
    #[serde(skip)]
    parts: &'a [Part],
    other: bool,
    a_count: u64,
    b_count: u64,
    a_unmeasured: u64,
    b_unmeasured: u64,
    a_deny_ratio: Option<f64>,
    b_deny_ratio: Option<f64>,
    p50: Change,
    p99: Change,
    a_probe: Probes,
    b_probe: Probes,
}

/// What the probes add to the latencies of a group on one side.
#[derive(Debug, Clone, Copy, Serialize)]
struct Probes {
    /// If it is the same for all calls.
    cost_ns: Option<u64>,
    /// If it is not: from the least to the most.
    cost_range_ns: Option<(u64, u64)>,
    /// Why it is not known.
    cost_reason: Option<&'static str>,
    /// The figures less what it adds, each call by its own.
    corrected: Option<Figures>,
}

impl Probes {
    fn new(histograms: &Histograms, group: Option<&Group>) -> Self {
        let cost = group.map_or_else(Cost::default, |group| histograms.cost(group));
        Self {
            cost_ns: cost.same(),
            cost_range_ns: cost.range(),
            cost_reason: cost.why_unknown(),
            corrected: group.and_then(|group| histograms.corrected(group)),
        }
    }
}

impl Row<'_> {
    /// Median and 99th percentile.
    pub const fn changes(&self) -> (&Change, &Change) {
        (&self.p50, &self.p99)
    }
}

/// Two sides, for programs.
#[derive(Debug, Serialize)]
pub struct Diff<'a> {
    schema: &'static str,
    a: &'a str,
    b: &'a str,
    by: Vec<&'static str>,
    confidence: f64,
    relative_error: f64,
    a_calls: u64,
    b_calls: u64,
    a_lost_records: u64,
    b_lost_records: u64,
    a_probes_taken_away: u64,
    b_probes_taken_away: u64,
    groups_limit: usize,
    a_calls_in_other: u64,
    b_calls_in_other: u64,
    groups: Vec<Row<'a>>,
    #[serde(skip)]
    sides: [&'a Histograms; 2],
}

impl<'a> Diff<'a> {
    /// Compares two sides, each with its name. The second must have been made with [`Histograms::beside`] the first,
    /// or neither have calls beyond its groups.
    pub fn new(a: (&'a str, &'a Histograms), b: (&'a str, &'a Histograms)) -> Self {
        let mut pairs: BTreeMap<&[Part], [Option<&Group>; 2]> = BTreeMap::new();
        for (side, histograms) in [a.1, b.1].into_iter().enumerate() {
            for group in histograms.all() {
                if let Some(place) = pairs.entry(&group.key).or_default().get_mut(side) {
                    *place = Some(group);
                }
            }
        }
        let by = &a.1.config().by;
        let unmeasured = |group: Option<&Group>| {
            group.map_or(0, |group| group.calls().saturating_sub(group.latencies.count()))
        };
        let mut groups: Vec<Row<'a>> = pairs
            .into_iter()
            .map(|(key, [of_a, of_b])| {
                let other = key.is_empty() && !by.is_empty();
                let change = |quantile, figure| {
                    let change = Change::new(of_a, of_b, quantile, figure);
                    if other { change.not_compared() } else { change }
                };
                Row {
                    key: KeyReport::new(by, key),
                    parts: key,
                    other,
                    a_count: of_a.map_or(0, |group| group.latencies.count()),
                    b_count: of_b.map_or(0, |group| group.latencies.count()),
                    a_unmeasured: unmeasured(of_a),
                    b_unmeasured: unmeasured(of_b),
                    a_deny_ratio: of_a.and_then(Group::deny_ratio),
                    b_deny_ratio: of_b.and_then(Group::deny_ratio),
                    p50: change(0.5, |figures| figures.p50_ns),
                    p99: change(0.99, |figures| figures.p99_ns),
                    a_probe: Probes::new(a.1, of_a),
                    b_probe: Probes::new(b.1, of_b),
                }
            })
            .collect();
        groups.sort_by_key(|row| (row.other, std::cmp::Reverse(row.a_count.saturating_add(row.b_count))));
        let in_other = |histograms: &Histograms| histograms.other().map_or(0, Group::calls);
        Self {
            schema: SCHEMA,
            a: a.0,
            b: b.0,
            by: by.iter().map(|by| by.name()).collect(),
            confidence: 0.99,
            relative_error: RELATIVE_ERROR,
            a_calls: a.1.calls(),
            b_calls: b.1.calls(),
            a_lost_records: a.1.lost(),
            b_lost_records: b.1.lost(),
            a_probes_taken_away: a.1.removed(),
            b_probes_taken_away: b.1.removed(),
            groups_limit: a.1.config().groups,
            a_calls_in_other: in_other(a.1),
            b_calls_in_other: in_other(b.1),
            groups,
            sides: [a.1, b.1],
        }
    }

    /// The groups, those with most calls first.
    pub fn rows(&self) -> &[Row<'a>] {
        &self.groups
    }

    /// The comparison as a table for people.
    pub fn text(&self) -> String {
        let [of_a, of_b] = self.sides;
        let config = of_a.config();
        let mut head: Vec<String> = self.by.iter().map(|word| (*word).to_owned()).collect();
        let figures = [
            "count A", "count B", "p50 A", "p50 B", "change", "verdict", "p99 A", "p99 B", "change",
            "verdict", "deny % A", "deny % B",
        ];
        head.extend(figures.map(str::to_owned));
        let mut rows = vec![head];
        let deny = |ratio: Option<f64>| {
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.1}", ratio * 100.0))
        };
        for group in &self.groups {
            let mut row = key_cells(config, group.parts);
            row.extend([group.a_count.to_string(), group.b_count.to_string()]);
            row.extend(group.p50.cells());
            row.extend(group.p99.cells());
            row.extend([deny(group.a_deny_ratio), deny(group.b_deny_ratio)]);
            rows.push(row);
        }
        let mut out = format!("A: {}\nB: {}\n", self.a, self.b);
        if !self.groups.is_empty() {
            align(&mut out, &rows, config.by.len());
        }
        let measured = |count: fn(&Row<'_>) -> u64| self.groups.iter().map(count).sum::<u64>();
        for (side, calls, measured, lost) in [
            ("A", self.a_calls, measured(|row| row.a_count), self.a_lost_records),
            ("B", self.b_calls, measured(|row| row.b_count), self.b_lost_records),
        ] {
            // Writing to a String cannot fail.
            let _ =
                writeln!(out, "{side}: {calls} calls, {measured} with a latency, {lost} kernel records lost");
        }
        out.push_str(
            "higher, lower: the 99 % bounds of the two sides (with the histogram's 0.1 %) do not touch; unclear: \
             they do.\nThe bounds take calls to be independent of each other: bursts and warm-up make them too \
             narrow.\n",
        );
        if self.a_calls_in_other.saturating_add(self.b_calls_in_other) > 0 {
            let _ = writeln!(
                out,
                "{} calls of A and {} of B are beyond the first {} groups, which are the same on both sides: they are \
                 told together as (other) and not compared; --groups takes more",
                self.a_calls_in_other, self.b_calls_in_other, self.groups_limit
            );
        }
        for (side, histograms) in ["A", "B"].into_iter().zip(self.sides) {
            if let Some(told) = taken_away(histograms) {
                let _ = writeln!(out, "{side}: {told}");
            }
        }
        let told = |side: &Histograms| match side.cost_of_all() {
            Cost::NoCalls => "no calls".to_owned(),
            cost => cost_text(cost).unwrap_or_else(|| "not told by the log".to_owned()),
        };
        let _ = writeln!(
            out,
            "Figures are as measured, what the probes add is not taken off: in A {}, in B {} (--json has corrected \
             figures).\nCompare recordings made on one host with the same probes.",
            told(of_a),
            told(of_b)
        );
        out
    }
}
