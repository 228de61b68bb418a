//! The end of a process: exit code or signal, core dump, lifetime.
//!
//! Needs the tracepoint `sched_process_exit` (every kernel); it fires for each thread, the kernel side sends
//! the last one.

use goaudit_ebpf::hook::exit as wire;
use goaudit_ebpf::wire::Kind;

use super::Hook;
use crate::event::Exit;

/// This hook.
pub const HOOK: Hook = Hook {
    name: "exit",
    kinds: &[Kind::Exit],
    sees: "ends of processes: exit code, signal, core dump, lifetime",
    needs: "tracepoint sched_process_exit; without it ends are not seen and process ids age in the table",
};

/// Bit of a wait status: a core was dumped.
const CORE: u32 = 0x80;
/// Bits of a wait status: the signal.
const SIGNAL: u32 = 0x7f;

/// The payload; `start` is when the process started (boot time, ns).
pub(crate) fn payload(record: &wire::Exit, start: Option<u64>) -> Exit {
    let signal = record.status & SIGNAL;
    Exit {
        code: (signal == 0).then_some((record.status >> 8) & 0xff),
        signal: (signal != 0).then_some(signal),
        core_dumped: record.status & CORE != 0,
        lifetime_ns: start.map(|start| record.header.ktime.0.saturating_sub(start)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses() {
        let of = |status| {
            let exit = payload(&wire::Exit { status, ..wire::Exit::default() }, None);
            (exit.code, exit.signal, exit.core_dumped)
        };
        assert_eq!(of(0), (Some(0), None, false));
        assert_eq!(of(3 << 8), (Some(3), None, false));
        assert_eq!(of(9), (None, Some(9), false));
        assert_eq!(of(0x0b | 0x80), (None, Some(11), true));
    }
}
