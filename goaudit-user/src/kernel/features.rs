//! What this kernel and this process can do: each ability is tried, never inferred from a version.

use std::io;
use std::os::fd::AsFd;

use super::offsets::KernelTypes;
use super::sys;
use super::tracefs::Tracefs;

/// An ability that goaudit uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// Loading programs at all.
    Bpf,
    /// The kernel's type information.
    Btf,
    /// The ring buffer map.
    RingBuffer,
    /// Raw tracepoints.
    RawTracepoint,
    /// Tracepoints by id.
    Tracepoint,
    /// `bpf_task_pt_regs`.
    TaskRegisters,
    /// Atomic instructions that return the old value.
    FetchAtomics,
    /// The instruction that ends a loop after very many rounds.
    MayGoto,
    /// The current task as a pointer with a type.
    TypedTasks,
    /// Programs on the return of kernel functions.
    Fexit,
}

/// What is said about a [`Feature`].
#[derive(Debug, Clone, Copy)]
pub struct FeatureInfo {
    /// The feature.
    pub feature: Feature,
    /// Short name.
    pub name: &'static str,
    /// First kernel that has it.
    pub since: &'static str,
    /// Whether goaudit cannot record without it.
    pub required: bool,
    /// What is lost without it.
    pub without: &'static str,
    /// What to do.
    pub fix: &'static str,
}

/// Every feature, in the order in which they make sense to a reader.
pub const FEATURES: &[FeatureInfo] = &[
    FeatureInfo {
        feature: Feature::Bpf,
        name: "bpf privileges",
        since: "5.8",
        required: true,
        without: "nothing can be recorded",
        fix: "run as root, or give the binary CAP_BPF and CAP_PERFMON (CAP_SYS_ADMIN before 5.8): \
              `setcap cap_bpf,cap_perfmon,cap_sys_admin=ep goaudit`; in a container: `--privileged`, or \
              `--cap-add` of these",
    },
    FeatureInfo {
        feature: Feature::Btf,
        name: "kernel type information (BTF)",
        since: "5.4",
        required: true,
        without: "kernel structs cannot be read",
        fix: "a kernel with CONFIG_DEBUG_INFO_BTF=y and /sys mounted",
    },
    FeatureInfo {
        feature: Feature::RingBuffer,
        name: "ring buffer",
        since: "5.8",
        required: true,
        without: "records cannot reach user space",
        fix: "a kernel from 5.8 on (5.10 is the oldest that is tested)",
    },
    FeatureInfo {
        feature: Feature::RawTracepoint,
        name: "raw tracepoints",
        since: "4.17",
        required: true,
        without: "successful execs, forks and exits",
        fix: "a kernel with CONFIG_BPF_EVENTS=y; lockdown must not be `confidentiality`",
    },
    FeatureInfo {
        feature: Feature::Tracepoint,
        name: "tracepoints of system calls",
        since: "4.7",
        required: false,
        without: "failed execs, prctl, ptrace",
        fix: "a kernel with CONFIG_FTRACE_SYSCALLS=y; tracefs must be mounted (`mount -t tracefs none \
              /sys/kernel/tracing`) or CAP_SYS_ADMIN given",
    },
    FeatureInfo {
        feature: Feature::TaskRegisters,
        name: "bpf_task_pt_regs",
        since: "5.15",
        required: false,
        without: "nothing: the tracepoint of all system calls is used instead, some 25 ns on each",
        fix: "a kernel from 5.15 on",
    },
    FeatureInfo {
        feature: Feature::FetchAtomics,
        name: "atomic fetch instructions",
        since: "5.12",
        required: false,
        without: "nothing: kernels without it do not preempt programs",
        fix: "a kernel from 5.12 on",
    },
    FeatureInfo {
        feature: Feature::MayGoto,
        name: "may_goto instruction",
        since: "6.9",
        required: false,
        without: "nothing: the start takes some 0.3 s longer, because loops are verified round by round",
        fix: "a kernel from 6.9 on",
    },
    FeatureInfo {
        feature: Feature::TypedTasks,
        name: "typed pointers to tasks",
        since: "5.11",
        required: false,
        without: "nothing: who acted is read by copies, some 0.2 us more a record",
        fix: "a kernel from 5.11 on",
    },
    FeatureInfo {
        feature: Feature::Fexit,
        name: "fexit programs",
        since: "5.5",
        required: false,
        without: "which check refused a ptrace (denied_by is \"unknown\")",
        fix: "a kernel with CONFIG_DEBUG_INFO_BTF and CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS, and a host that \
              allows it",
    },
];

/// `r0 = 0; exit`
const RETURN_ZERO: [u64; 2] = [0xb7, 0x95];

/// Tries a feature; `types` saves reading BTF again.
pub fn try_feature(feature: Feature, types: Option<&KernelTypes>) -> io::Result<()> {
    match feature {
        Feature::Bpf => sys::load_program(sys::RAW_TRACEPOINT, 0, 0, &RETURN_ZERO).map(drop),
        Feature::Btf => match types {
            Some(_) => Ok(()),
            None => KernelTypes::read(super::offsets::VMLINUX.as_ref()).map(drop).map_err(io::Error::other),
        },
        Feature::RingBuffer => {
            // SAFETY of the number: a page is a legal size everywhere.
            let page = u32::try_from(rustix::param::page_size()).unwrap_or(65_536);
            sys::create_map(sys::RINGBUF, page).map(drop)
        }
        Feature::RawTracepoint => {
            let program = sys::load_program(sys::RAW_TRACEPOINT, 0, 0, &RETURN_ZERO)?;
            sys::open_raw_tracepoint(Some(c"sched_process_exec"), &program).map(drop)
        }
        Feature::Tracepoint => {
            let tracefs = Tracefs::open()?;
            let id = tracefs.id("syscalls", "sys_exit_prctl")?;
            let program = sys::load_program(sys::TRACEPOINT, 0, 0, &RETURN_ZERO)?;
            sys::attach_tracepoint(id, program.as_fd()).map(drop)
        }
        Feature::TaskRegisters => {
            // call bpf_get_current_task_btf; r1 = r0; call bpf_task_pt_regs; r0 = 0; exit
            let program = [call(158), 0x01bf, call(175), 0xb7, 0x95];
            sys::load_program(sys::TRACEPOINT, 0, 0, &program).map(drop)
        }
        Feature::FetchAtomics => {
            // *(u64 *)(r10 - 8) = 0; r1 = 1; r1 = atomic_fetch_add((u64 *)(r10 - 8), r1); r0 = 0; exit
            let program = [0xfff8_0a7a, immediate(0x01b7, 1), immediate(0xfff8_1adb, 1), 0xb7, 0x95];
            sys::load_program(sys::RAW_TRACEPOINT, 0, 0, &program).map(drop)
        }
        Feature::MayGoto => {
            // may_goto +0; r0 = 0; exit
            sys::load_program(sys::RAW_TRACEPOINT, 0, 0, &[0xe5, 0xb7, 0x95]).map(drop)
        }
        Feature::TypedTasks => {
            // call bpf_get_current_task_btf; r0 = *(u64 *)(r0 + 0); r0 = 0; exit
            sys::load_program(sys::TRACEPOINT, 0, 0, &[call(158), 0x79, 0xb7, 0x95]).map(drop)
        }
        Feature::Fexit => {
            let read;
            let types = if let Some(types) = types {
                types
            } else {
                read = KernelTypes::read(super::offsets::VMLINUX.as_ref()).map_err(io::Error::other)?;
                &read
            };
            let (id, _) = types
                .function("security_ptrace_traceme")
                .ok_or_else(|| io::Error::other("no function to try it on"))?;
            let program = sys::load_program(sys::TRACING, sys::TRACE_FEXIT, id, &RETURN_ZERO)?;
            sys::open_raw_tracepoint(None, &program).map(drop)
        }
    }
}

/// A call of helper `number`.
const fn call(number: u64) -> u64 {
    immediate(0x85, number)
}

/// An instruction with an immediate operand.
const fn immediate(instruction: u64, value: u64) -> u64 {
    value << 32 | instruction
}
