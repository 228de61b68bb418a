//! Probes that were taken away while they were needed: calls after that are missing, and nothing else tells it.
//!
//! The recorder tells a removal as a `probe` event (`recorder/go.rs`): over its budget, or its program was struck by a
//! fault. A probe that was never attached is told in the same way with another loss; that a process ended, and its
//! probes with it, is told as nothing at all.

use serde::Serialize;

use crate::event::control::Probe;

/// Removals that are told one by one; all are counted.
pub(super) const TOLD: usize = 100;

/// Probes that were taken away at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// Id of the probe, or `all` of a program.
    pub probe: String,
    /// Where it was: its program.
    pub attach_point: String,
    /// Why.
    pub reason: String,
}

impl Removal {
    /// The removal that a probe event tells of, if it tells of one.
    pub(super) fn of(probe: &Probe) -> Option<Self> {
        probe.is_removal().then(|| Self {
            probe: probe.program.clone(),
            attach_point: probe.attach_point.clone(),
            reason: probe.reason.clone().unwrap_or_default(),
        })
    }
}
