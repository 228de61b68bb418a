//! The attach report's lines about Go programs: what is probed, what is not, and what is not seen for that.

use std::path::Path;

use super::Known;
use crate::event::{Control, control};
use crate::golang::Class;
use crate::golang::target::Planned;
use crate::hook::go::Role;

/// No Go program can be probed.
pub(in super::super) fn no_go(reason: &str) -> control::Probe {
    let not_seen = "calls, decisions and panics of Go programs";
    unseen("all", "uprobe".to_owned(), reason.to_owned(), not_seen)
}

/// Signals of probed programs are not seen.
pub(super) fn no_signals(reason: &str) -> Control {
    let not_seen = "signals that say that a probed program is broken: its probes stay until it ends";
    let place = "raw_tracepoint/signal_deliver".to_owned();
    Control::Probe(unseen("go_signal", place, reason.to_owned(), not_seen))
}

/// A line of the attach report.
pub(super) fn told(
    planned: &Planned,
    known: &Known,
    tgid: u32,
    failed: Option<String>,
    before_main: bool,
) -> control::Probe {
    let returns: Vec<String> = planned.returns.iter().map(|offset| format!("{offset:#x}")).collect();
    let class = |class: Class| match class {
        Class::Emulated => "emulated",
        Class::Stepped => "stepped",
    };
    let mut attach_point = format!(
        "uprobe/{} pid {tgid}: {} entry {:#x} ({})",
        known.path.display(),
        planned.function,
        planned.entry.offset,
        class(planned.entry.class)
    );
    if !returns.is_empty() {
        attach_point = format!("{attach_point} returns {}", returns.join(" "));
    }
    let attached = failed.is_none();
    let not_seen = match (attached, planned.role) {
        (false, Role::Call) => Some("its calls".to_owned()),
        (false, Role::Write) => Some("what the runtime writes when the program dies".to_owned()),
        (false, _) => Some("calls that end by it are told as lost".to_owned()),
        (true, Role::Call) if planned.partly => Some(planned.reason.clone()),
        (true, Role::Call) if !before_main => Some("calls before it was attached".to_owned()),
        (true, _) => None,
    };
    control::Probe {
        hook: "go".to_owned(),
        program: planned.id.clone(),
        attach_point,
        attached,
        reason: failed,
        not_seen,
        entry_stepped: Some(planned.entry.class == Class::Stepped),
    }
}

/// A probe of a program, or all of them, is not attached.
pub(super) fn not_attached(id: &str, path: &Path, reason: String, not_seen: &str) -> Control {
    Control::Probe(unseen(id, format!("uprobe/{}", path.display()), reason, not_seen))
}

/// A line of what is not seen, and why.
pub(super) fn unseen(id: &str, attach_point: String, reason: String, not_seen: &str) -> control::Probe {
    control::Probe {
        hook: "go".to_owned(),
        program: id.to_owned(),
        attach_point,
        attached: false,
        reason: Some(reason),
        not_seen: Some(not_seen.to_owned()),
        entry_stepped: None,
    }
}
