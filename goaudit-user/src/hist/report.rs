//! The JSON form of histograms: one object (docs/events.md, "Histograms").

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::key::{Decision, Part};
use super::latencies::{Figures, MAX_NS, RELATIVE_ERROR};
use super::removed::{Removal, TOLD};
use super::{By, Group, Histograms, Outcomes};
use crate::event::go::Outcome;
use crate::view::time;

/// Name and version of the form.
const SCHEMA: &str = "goaudit.hist/1";

/// Histograms, for programs.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    schema: &'static str,
    by: Vec<&'static str>,
    /// Wall times of the first and the last call.
    from: Option<String>,
    to: Option<String>,
    calls: u64,
    measured: u64,
    unmeasured: ByOutcome,
    clamped: u64,
    range_ns: (u64, u64),
    relative_error: f64,
    lost_records: u64,
    probes_taken_away: u64,
    /// The first of them.
    removals: Vec<&'a Removal>,
    groups_limit: usize,
    calls_in_other: u64,
    groups: Vec<GroupReport<'a>>,
}

/// Calls by outcome, without those that did not occur.
#[derive(Debug, Clone, Copy)]
struct ByOutcome(Outcomes);

impl Serialize for ByOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            Outcome::NAMES.iter().zip(self.0).filter(|row| row.1 > 0).map(|(row, count)| (row.1, count)),
        )
    }
}

/// A group, for programs.
#[derive(Debug, Serialize)]
pub(super) struct GroupReport<'a> {
    key: KeyReport<'a>,
    /// The group of all calls beyond the last group.
    other: bool,
    count: u64,
    #[serde(flatten)]
    raw: Figures,
    /// If it is the same for all calls.
    probe_cost_ns: Option<u64>,
    /// If it is not: from the least to the most.
    probe_cost_range_ns: Option<(u64, u64)>,
    probe_cost_reason: Option<&'static str>,
    /// The figures less what the probe adds, each call by its own.
    corrected: Option<Figures>,
    outcomes: ByOutcome,
    unmeasured: ByOutcome,
    decisions: Option<Decisions>,
    deny_ratio: Option<f64>,
    clamped: u64,
    /// Largest latency of a bucket, and how many it has.
    buckets: Vec<(u64, u64)>,
}

#[derive(Debug, Serialize)]
struct Decisions {
    allow: u64,
    deny: u64,
    error: u64,
    none: u64,
}

/// A key as an object by the words of `--by`.
#[derive(Debug)]
pub(super) struct KeyReport<'a> {
    by: &'a [By],
    key: &'a [Part],
}

impl<'a> KeyReport<'a> {
    pub(super) const fn new(by: &'a [By], key: &'a [Part]) -> Self {
        Self { by, key }
    }
}

impl Serialize for KeyReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (by, part) in self.by.iter().zip(self.key) {
            map.serialize_entry(by.name(), part)?;
        }
        map.end()
    }
}

impl<'a> GroupReport<'a> {
    pub(super) fn new(histograms: &Histograms, by: &'a [By], group: &'a Group) -> Self {
        let latencies = group.latencies.raw();
        let cost = histograms.cost(group);
        let [allow, deny, error, none] = group.decisions;
        let decided = group.decisions.iter().any(|count| *count > 0);
        Self {
            key: KeyReport::new(by, &group.key),
            other: group.key.is_empty() && !by.is_empty(),
            count: group.latencies.count(),
            raw: latencies.figures(),
            probe_cost_ns: cost.same(),
            probe_cost_range_ns: cost.range(),
            probe_cost_reason: cost.why_unknown(),
            corrected: histograms.corrected(group),
            outcomes: ByOutcome(group.measured),
            unmeasured: ByOutcome(group.unmeasured),
            decisions: decided.then_some(Decisions { allow, deny, error, none }),
            deny_ratio: group.deny_ratio(),
            clamped: group.latencies.clamped(),
            buckets: latencies
                .histogram()
                .iter_recorded()
                .map(|bucket| (bucket.value_iterated_to(), bucket.count_at_value()))
                .collect(),
        }
    }
}

impl<'a> Report<'a> {
    /// The report on histograms.
    pub fn new(histograms: &'a Histograms) -> Self {
        let config = histograms.config();
        let span = histograms.span();
        Self {
            schema: SCHEMA,
            by: config.by.iter().map(|by| by.name()).collect(),
            from: span.map(|span| time::rfc3339(span.0)),
            to: span.map(|span| time::rfc3339(span.1)),
            calls: histograms.calls(),
            measured: histograms.measured(),
            unmeasured: ByOutcome(histograms.unmeasured()),
            clamped: histograms.clamped(),
            range_ns: (1, MAX_NS),
            relative_error: RELATIVE_ERROR,
            lost_records: histograms.lost(),
            probes_taken_away: histograms.removed(),
            removals: histograms.removals().take(TOLD).collect(),
            groups_limit: config.groups,
            calls_in_other: histograms.other().map_or(0, Group::calls),
            groups: histograms
                .all()
                .into_iter()
                .map(|group| GroupReport::new(histograms, &config.by, group))
                .collect(),
        }
    }
}

/// Names of decisions are those of the report's fields.
const _: () = assert!(Decision::NAMES.len() == 4);
