//! Latency histograms of Go calls and decisions, grouped by what one asks for.
//!
//! Fed with the events of a log in order. Nothing is dropped in silence: calls whose ends were not both seen are
//! counted by outcome, calls beyond the last group go into one group of their own, latencies beyond the range are
//! counted, and so are records that the log tells as lost. Pure: no files, no terminal.

use std::collections::HashMap;

use crate::event::control::Loss;
use crate::event::go::Outcome;
use crate::event::{Control, Event, GoCall, Payload};
use crate::view::Origin;
use crate::view::json::{Kind, Kinds};

pub mod cost;
pub mod diff;
pub mod export;
pub mod key;
pub mod latencies;
pub mod removed;
pub mod report;
pub mod table;

pub use cost::Cost;
use cost::{Costed, Paid, Run};
pub use key::By;
use key::{Call, Decision, Part};
use latencies::Figures;
use removed::Removal;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What the calls of a group have in common.
    pub by: Vec<By>,
    /// Groups at most; calls of further ones go into one group together.
    pub groups: usize,
    /// Groups are to be found again in another log: a process is told by its binary alone.
    pub across_runs: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { by: vec![By::Probe], groups: 1_000, across_runs: false }
    }
}

/// Calls by outcome, in the order of [`Outcome::NAMES`].
pub type Outcomes = [u64; Outcome::NAMES.len()];

/// Calls that have something in common.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// What; empty for the group of all calls beyond the last group.
    pub key: Vec<Part>,
    /// Latencies of the calls of which both ends were seen.
    pub latencies: Costed,
    /// Calls with a latency, by outcome.
    pub measured: Outcomes,
    /// Calls without, by outcome.
    pub unmeasured: Outcomes,
    /// Decisions, in the order of [`Decision::NAMES`]; all zero if the calls are none.
    pub decisions: [u64; Decision::NAMES.len()],
}

impl Group {
    /// All calls.
    pub fn calls(&self) -> u64 {
        self.measured.iter().chain(&self.unmeasured).fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Part of the decisions to allow or deny that are denials; none if there is no such decision.
    pub fn deny_ratio(&self) -> Option<f64> {
        let [allow, deny, _error, _none] = self.decisions;
        let decided = allow.saturating_add(deny);
        (decided > 0).then(|| deny as f64 / decided as f64)
    }

    fn add(&mut self, call: Call<'_>, paid: Paid, told: impl Fn(usize) -> Option<u64>) {
        let counts = match latency_ns(call.call) {
            Some(ns) => {
                self.latencies.record(ns, paid, told);
                &mut self.measured
            }
            None => &mut self.unmeasured,
        };
        let outcome = Outcome::NAMES.iter().position(|row| row.0 == call.call.outcome);
        add_one(outcome.and_then(|at| counts.get_mut(at)));
        if let Some(authz) = call.authz {
            let decision = Decision::of(authz);
            let at = Decision::NAMES.iter().position(|row| row.0 == decision);
            add_one(at.and_then(|at| self.decisions.get_mut(at)));
        }
    }
}

/// How long a call took; none for one that did not come to its own end: how long it would have taken is not known.
fn latency_ns(call: &GoCall) -> Option<u64> {
    match call.outcome {
        Outcome::Returned | Outcome::Panicked | Outcome::Goexit => call.latency_ns(),
        Outcome::Crashed | Outcome::Lost | Outcome::Open => None,
    }
}

/// What the log tells of the cost of a source's probe, in its run.
fn told(runs: &[Run], sources: &[(usize, String)], source: usize) -> Option<u64> {
    let (run, probe) = sources.get(source)?;
    runs.get(*run)?.cost(probe)
}

fn add_one(count: Option<&mut u64>) {
    if let Some(count) = count {
        *count = count.saturating_add(1);
    }
}

/// See the module.
#[derive(Debug)]
pub struct Histograms {
    config: Config,
    groups: Vec<Group>,
    by_key: HashMap<Vec<u8>, usize>,
    other: Group,
    runs: Vec<Run>,
    /// The run of the first event.
    first_run: usize,
    /// Run and probe of calls that the log had not told the cost of when they were read.
    sources: Vec<(usize, String)>,
    events: u64,
    refused: u64,
    lost: u64,
    span: Option<(i64, i64)>,
    scratch: Vec<u8>,
}

impl Histograms {
    /// Without any call.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            groups: Vec::new(),
            by_key: HashMap::new(),
            other: Group::default(),
            runs: vec![Run::default()],
            first_run: 0,
            sources: Vec::new(),
            events: 0,
            refused: 0,
            lost: 0,
            span: None,
            scratch: Vec::new(),
        }
    }

    /// To be compared with `other`, whose calls were all fed: with its groups, and more of its own only while there is
    /// room. So a call that is in no group of the one side is not in a group of the other side either.
    pub fn beside(other: &Self) -> Self {
        let empty = |group: &Group| Group { key: group.key.clone(), ..Group::default() };
        Self {
            groups: other.groups.iter().map(empty).collect(),
            by_key: other.by_key.clone(),
            ..Self::new(other.config.clone())
        }
    }

    /// Kinds of events that say anything about latencies.
    pub const KINDS: Kinds = Kinds::NONE.with(Kind::GoCall).with(Kind::Authz).with(Kind::Control);

    /// Takes an event of another kind, of which only its being there counts.
    pub const fn pass_over(&mut self) {
        if self.events == 0 {
            self.first_run = self.runs.len().saturating_sub(1);
        }
        self.events = self.events.saturating_add(1);
    }

    /// Takes an event of the log. `wanted` is asked of calls only; everything else is looked at for what it says
    /// about the figures: losses, and what probes cost.
    pub fn feed(&mut self, event: &Event, origin: &Origin<'_>, wanted: impl FnOnce() -> bool) {
        if let Payload::Control(control) = &event.payload {
            if let Control::Loss(Loss { count, .. }) = control.as_ref() {
                self.lost = self.lost.saturating_add(*count);
            }
            self.probes(control);
        }
        // A run that begins with the first event is the first one.
        self.pass_over();
        let Some(call) = Call::of(event) else { return };
        if !wanted() {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        let wall = origin.wall_ns(event.ktime);
        let (from, to) = self.span.unwrap_or((wall, wall));
        self.span = Some((from.min(wall), to.max(wall)));
        let paid = self.paid(&call.call.probe);
        let at = self.place(call);
        let Self { groups, other, runs, sources, .. } = self;
        groups.get_mut(at).unwrap_or(other).add(call, paid, |source| told(runs, sources, source));
    }

    /// Takes a control event from before the first event that is asked for: only what it tells of the probes counts.
    pub fn feed_before(&mut self, event: &Event) {
        if let Payload::Control(control) = &event.payload {
            self.probes(control);
        }
    }

    /// What the log tells from here on is of another run than what was fed: what lies between could not be read.
    pub fn forget_run(&mut self) {
        self.runs.push(Run::default());
    }

    fn paid(&mut self, probe: &str) -> Paid {
        match self.runs.last().and_then(|run| run.cost(probe)) {
            Some(ns) => Paid::Ns(ns),
            None => Paid::Later(self.source(probe)),
        }
    }

    fn source(&mut self, probe: &str) -> usize {
        let run = self.runs.len().saturating_sub(1);
        // The newest are of this run, and a run has few probes.
        let known = self.sources.iter().rposition(|source| source.0 == run && source.1 == probe);
        known.unwrap_or_else(|| {
            self.sources.push((run, probe.to_owned()));
            self.sources.len().saturating_sub(1)
        })
    }

    /// What a control event tells of the probes.
    fn probes(&mut self, control: &Control) {
        match control {
            Control::Start(_) => self.runs.push(Run::default()),
            Control::Calibration(costs) => {
                if let Some(run) = self.runs.last_mut() {
                    run.calibration = Some(*costs);
                }
            }
            Control::Probe(probe) => {
                if let Some(run) = self.runs.last_mut() {
                    run.probe(probe);
                }
            }
            Control::Genesis(_)
            | Control::Loss(_)
            | Control::Stop(_)
            | Control::Heartbeat(_)
            | Control::ClockStep(_)
            | Control::Policy(_)
            | Control::Read(_)
            | Control::Snapshot(_)
            | Control::Segment(_) => {}
        }
    }

    /// What the probes add to the latencies of a group. Known once all events were fed: a log may tell it behind
    /// the first calls.
    pub fn cost(&self, group: &Group) -> Cost {
        group.latencies.cost(|source| told(&self.runs, &self.sources, source))
    }

    /// What the probes add to the latencies of all groups.
    pub fn cost_of_all(&self) -> Cost {
        self.all().into_iter().fold(Cost::default(), |cost, group| cost.and(self.cost(group)))
    }

    /// The figures of a group without what the probes add, if that is known: each call by its own probe and run.
    pub fn corrected(&self, group: &Group) -> Option<Figures> {
        group.latencies.corrected(|source| told(&self.runs, &self.sources, source))
    }

    /// Where the group of a call is; none has the place beyond the last group.
    fn place(&mut self, call: Call<'_>) -> usize {
        let Config { by, groups, across_runs } = &self.config;
        call.identify(by, *across_runs, &mut self.scratch);
        match self.by_key.get(&self.scratch) {
            Some(at) => *at,
            None if self.groups.len() >= *groups => usize::MAX,
            None => {
                let key = call.key(by, *across_runs);
                self.groups.push(Group { key, ..Group::default() });
                let at = self.groups.len().saturating_sub(1);
                self.by_key.insert(self.scratch.clone(), at);
                at
            }
        }
    }

    /// What was asked for.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The groups, those with most calls first.
    pub fn groups(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by(|a, b| b.calls().cmp(&a.calls()).then_with(|| a.key.cmp(&b.key)));
        groups
    }

    /// The calls beyond the last group.
    pub fn other(&self) -> Option<&Group> {
        (self.other.calls() > 0).then_some(&self.other)
    }

    /// The groups and, last, the one of all calls beyond them.
    pub fn all(&self) -> Vec<&Group> {
        self.groups().into_iter().chain(self.other()).collect()
    }

    /// Events that were looked at.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Calls that were not wanted.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Records that the log tells as lost.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Times that probes were taken away in the runs that were read, also before the first event that was asked for.
    pub fn removed(&self) -> u64 {
        self.runs.iter().skip(self.first_run).fold(0, |sum, run| sum.saturating_add(run.removed))
    }

    /// The first of these of each run.
    pub fn removals(&self) -> impl Iterator<Item = &Removal> {
        self.runs.iter().skip(self.first_run).flat_map(|run| &run.removals)
    }

    /// Wall times (ns since 1970) of the first and the last call.
    pub const fn span(&self) -> Option<(i64, i64)> {
        self.span
    }

    /// All calls.
    pub fn calls(&self) -> u64 {
        self.all().iter().fold(0, |sum, group| sum.saturating_add(group.calls()))
    }

    /// Calls that have a latency.
    pub fn measured(&self) -> u64 {
        self.all().iter().fold(0, |sum, group| sum.saturating_add(group.latencies.count()))
    }

    /// Calls longer than the range of the histograms.
    pub fn clamped(&self) -> u64 {
        self.all().iter().fold(0, |sum, group| sum.saturating_add(group.latencies.clamped()))
    }

    /// Calls without a latency, by outcome.
    pub fn unmeasured(&self) -> Outcomes {
        let mut sums = Outcomes::default();
        for group in self.all() {
            for (sum, count) in sums.iter_mut().zip(group.unmeasured) {
                *sum = sum.saturating_add(count);
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests;
