//! The JSON views of events about the recorder itself.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::process::ProcessView;
use crate::event::{Control, control};
use crate::view::text::JsonText;

/// What the recorder says of itself.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(rename = "Control")]
pub enum ControlView<'a> {
    /// First event of a log: its identity.
    Genesis {
        /// Name of the log as in its checkpoints.
        origin: &'a str,
        /// Verification key of the log.
        verification_key: &'a str,
        /// Version of goaudit.
        agent: &'a str,
        /// The host.
        host: HostView<'a>,
    },
    /// The agent starts.
    Start {
        /// The host.
        host: HostView<'a>,
        /// Version of goaudit.
        agent: &'a str,
        /// Whether the run before ended in order.
        clean: bool,
        /// A torn tail that was set aside.
        torn: Option<TornView<'a>>,
        /// Command line of the agent.
        command: Vec<JsonText<'a>>,
        /// Number of CPUs whose sequences count.
        cpus: u32,
        /// SHA-256 of the eBPF object that was loaded.
        object_sha256: &'a str,
        /// Damage in the middle of the last segment, which is left as it is.
        damage: Option<&'a str>,
        /// Batches that the run before left without a checkpoint; the first one of this run covers them.
        adopted_batches: u64,
        /// How far the wall clock stands before the latest event of the run before, if it does.
        clock_behind_ns: Option<u64>,
    },
    /// The agent ends in order.
    Stop {
        /// Why.
        reason: &'a str,
        /// The books, closed.
        counters: CountersView<'a>,
    },
    /// The books at this time.
    Heartbeat {
        /// The books.
        counters: CountersView<'a>,
    },
    /// Records that were seen and are not stored, or (`not_run`) calls that were not seen.
    Loss {
        /// CPU; `null` where the kernel tells only the sum.
        cpu: Option<u32>,
        /// Cause.
        cause: &'a str,
        /// How many.
        count: u64,
        /// First and last sequence number between which they lie.
        range: Option<(u64, u64)>,
        /// The program that the kernel skipped.
        program: Option<&'a str>,
    },
    /// The wall clock moved against boot time.
    ClockStep {
        /// How far; negative is back.
        delta_ns: i64,
    },
    /// What a hit of a uprobe costs the probed program on this host, measured by the agent on itself.
    Calibration {
        /// At an instruction that the kernel emulates.
        emulated_ns: u64,
        /// At an instruction that it single-steps.
        stepped_ns: u64,
        /// Of making the record, on top.
        record_ns: Option<u64>,
        /// Of reading each value, on top.
        value_ns: Option<u64>,
    },
    /// A file that decisions are made by.
    Policy {
        /// The library that decides by it.
        library: &'a str,
        /// The file.
        path: JsonText<'a>,
        /// SHA-256 of its content, in hexadecimal; null when it cannot be read.
        sha256: Option<&'a str>,
        /// The same before, if it was read before.
        previous: Option<&'a str>,
        /// Why it cannot be read.
        error: Option<&'a str>,
        /// Its length.
        bytes: Option<u64>,
        /// When it was changed last, boot time.
        changed_ktime_ns: Option<u64>,
        /// Processes with this library that began before the change: they may still decide by what was there
        /// before.
        processes: &'a [u32],
    },
    /// A program of the kernel side.
    Probe {
        /// The hook that it serves.
        hook: &'a str,
        /// Program name.
        program: &'a str,
        /// Where it hangs.
        attach_point: &'a str,
        /// Whether it is attached.
        attached: bool,
        /// If not: why.
        reason: Option<&'a str>,
        /// If not: what is not seen because of it.
        not_seen: Option<&'a str>,
        /// Of a Go function: whether the instruction at its entry is single-stepped rather than emulated.
        entry_stepped: Option<bool>,
    },
    /// A process that ran when recording began.
    Snapshot {
        /// The process.
        process: Box<ProcessView<'a>>,
        /// Its arguments, as `/proc` shows them.
        argv: Vec<JsonText<'a>>,
    },
    /// First event of every segment but the first.
    Segment {
        /// The host.
        host: HostView<'a>,
    },
}

/// The recording host.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Host")]
pub struct HostView<'a> {
    /// Host name.
    pub name: &'a str,
    /// Kernel release.
    pub kernel: &'a str,
    /// Machine.
    pub machine: &'a str,
}

/// A torn tail.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Torn")]
pub struct TornView<'a> {
    /// Bytes set aside.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: &'a str,
}

/// The books of a run so far: for every CPU `seen = stored + lost + filtered`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Counters")]
pub struct CountersView<'a> {
    /// For each CPU: kernel records accounted for.
    pub seen: &'a [u64],
    /// For each CPU: kernel records stored.
    pub stored: &'a [u64],
    /// Kernel records lost, by cause.
    pub lost: Named<'a>,
    /// For each CPU: kernel records left out by a filter.
    pub filtered: &'a [u64],
    /// Records that could not be decoded (lost with cause `decode`).
    pub undecodable: u64,
    /// Times the kernel skipped a program: calls nobody saw, outside of `seen`.
    pub not_run: u64,
    /// Odd things, by name.
    pub oddities: Named<'a>,
}

/// Numbers by name, as an object.
#[derive(Debug)]
pub struct Named<'a>(&'a [(String, u64)]);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, number) in self.0 {
            map.serialize_entry(name, number)?;
        }
        map.end()
    }
}

impl JsonSchema for Named<'_> {
    fn schema_name() -> Cow<'static, str> {
        "CountsByName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": "integer", "minimum": 0 } })
    }
}

impl<'a> CountersView<'a> {
    fn new(counters: &'a control::Counters) -> Self {
        let control::Counters { seen, stored, lost, filtered, undecodable, not_run, oddities } = counters;
        Self {
            seen,
            stored,
            lost: Named(lost),
            filtered,
            undecodable: *undecodable,
            not_run: *not_run,
            oddities: Named(oddities),
        }
    }
}

impl<'a> HostView<'a> {
    fn new(host: &'a control::Host) -> Self {
        let control::Host { name, kernel, machine } = host;
        Self { name, kernel, machine }
    }
}

impl<'a> ControlView<'a> {
    /// The view of a control event.
    pub fn new(control: &'a Control, boot_id: &'a str) -> Self {
        match control {
            Control::Genesis(genesis) => Self::Genesis {
                origin: &genesis.origin,
                verification_key: &genesis.verification_key,
                agent: &genesis.agent,
                host: HostView::new(&genesis.host),
            },
            Control::Start(start) => Self::Start {
                host: HostView::new(&start.host),
                agent: &start.agent,
                clean: start.clean,
                torn: start.torn.as_ref().map(|(bytes, sha256)| TornView { bytes: *bytes, sha256 }),
                command: start.command.iter().map(JsonText::from).collect(),
                cpus: start.cpus,
                object_sha256: &start.object_sha256,
                damage: start.damage.as_deref(),
                adopted_batches: start.adopted_batches,
                clock_behind_ns: start.clock_behind_ns,
            },
            Control::Stop(stop) => {
                Self::Stop { reason: &stop.reason, counters: CountersView::new(&stop.counters) }
            }
            Control::Heartbeat(counters) => Self::Heartbeat { counters: CountersView::new(counters) },
            Control::Loss(loss) => Self::Loss {
                cpu: loss.cpu,
                cause: &loss.cause,
                count: loss.count,
                range: loss.range,
                program: loss.program.as_deref(),
            },
            Control::ClockStep(step) => Self::ClockStep { delta_ns: step.delta_ns },
            Control::Calibration(costs) => Self::Calibration {
                emulated_ns: costs.emulated_ns,
                stepped_ns: costs.stepped_ns,
                record_ns: costs.record_ns,
                value_ns: costs.value_ns,
            },
            Control::Policy(policy) => Self::Policy {
                library: &policy.library,
                path: JsonText::from(&policy.path),
                sha256: policy.sha256.as_deref(),
                previous: policy.previous.as_deref(),
                error: policy.error.as_deref(),
                bytes: policy.bytes,
                changed_ktime_ns: policy.changed_ktime_ns,
                processes: &policy.processes,
            },
            Control::Probe(probe) => Self::Probe {
                hook: &probe.hook,
                program: &probe.program,
                attach_point: &probe.attach_point,
                attached: probe.attached,
                reason: probe.reason.as_deref(),
                not_seen: probe.not_seen.as_deref(),
                entry_stepped: probe.entry_stepped,
            },
            Control::Snapshot(snapshot) => Self::Snapshot {
                process: Box::new(ProcessView::new(&snapshot.process, boot_id)),
                argv: snapshot.argv.iter().map(JsonText::from).collect(),
            },
            Control::Segment(host) => Self::Segment { host: HostView::new(host) },
        }
    }
}
