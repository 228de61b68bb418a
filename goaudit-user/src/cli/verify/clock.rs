//! Steps of the wall clock, as the log tells of them.

use crate::audit::Check;
use crate::event::control::ClockStep;
use crate::event::{Control, Event, Payload};

/// How often the wall clock jumped, and how far at most.
#[derive(Debug, Default)]
pub(super) struct ClockSteps {
    count: u64,
    farthest: ClockStep,
}

impl ClockSteps {
    /// Looks at an event.
    pub(super) fn feed(&mut self, event: &Event) {
        let Payload::Control(control) = &event.payload else { return };
        let Control::ClockStep(step) = control.as_ref() else { return };
        self.count += 1;
        if step.delta_ns.unsigned_abs() > self.farthest.delta_ns.unsigned_abs() {
            self.farthest = step.clone();
        }
    }

    /// Events were not looked at.
    pub(super) fn not_seen() -> Check {
        let detail =
            "events are encrypted and were not opened; verify with --content-key to see steps of the clock";
        Check { name: "clock_steps", ok: false, detail: detail.to_owned() }
    }

    /// Whether the times in the log are those of one clock that only went on.
    pub(super) fn check(&self) -> Check {
        let detail = if self.count == 0 {
            "the wall clock did not jump while it was recorded".to_owned()
        } else {
            format!(
                "the wall clock jumped {} times, by up to {} ms: order the events by number, not by time",
                self.count,
                self.farthest.delta_ns / 1_000_000
            )
        };
        Check { name: "clock_steps", ok: self.count == 0, detail }
    }
}

#[cfg(test)]
mod tests {
    use goaudit_ebpf::units::Ktime;

    use super::{ClockStep, ClockSteps, Control, Event};

    #[test]
    fn the_farthest_step_is_told() {
        let mut steps = ClockSteps::default();
        assert!(steps.check().ok);
        for delta_ns in [5_000_000, -86_400_000_000_000, 7_000_000] {
            steps.feed(&Event::control(Ktime(1), Control::ClockStep(ClockStep { delta_ns })));
        }
        let check = steps.check();
        assert!(!check.ok && check.detail.contains("3 times, by up to -86400000 ms"), "{check:?}");
    }
}
