//! Every prctl option up to Linux 7.x (`include/uapi/linux/prctl.h`), and what its arguments are.

/// How to show a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As it is.
    Number,
    /// As a signed number.
    Signed,
    /// A user-space address.
    Address,
    /// Zero is false.
    Bool,
    /// A signal number.
    Signal,
    /// A capability number.
    Capability,
    /// A set of capabilities, in hexadecimal as `/proc/PID/status` writes it.
    CapabilitySet,
    /// One of these, or a number.
    Choice(&'static [(u64, &'static str)]),
    /// Any of these bits.
    Flags(&'static [(u64, &'static str)]),
}

/// An option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// Its arguments, from arg2 on.
    pub args: &'static [(&'static str, Shape)],
    /// What a successful result means; none when it is always zero.
    pub result: Option<Shape>,
    /// How to show the value that the kernel keeps, before and after.
    pub kept: Shape,
    /// Changes what the process may do, or how it looks.
    pub attention: bool,
}

const DUMPABLE: &[(u64, &str)] = &[(0, "SUID_DUMP_DISABLE"), (1, "SUID_DUMP_USER"), (2, "SUID_DUMP_ROOT")];
const UNALIGN: &[(u64, &str)] = &[(1, "PR_UNALIGN_NOPRINT"), (2, "PR_UNALIGN_SIGBUS")];
const FPEMU: &[(u64, &str)] = &[(1, "PR_FPEMU_NOPRINT"), (2, "PR_FPEMU_SIGFPE")];
const FPEXC: &[(u64, &str)] = &[
    (0x80, "PR_FP_EXC_SW_ENABLE"),
    (0x1_0000, "PR_FP_EXC_DIV"),
    (0x2_0000, "PR_FP_EXC_OVF"),
    (0x4_0000, "PR_FP_EXC_UND"),
    (0x8_0000, "PR_FP_EXC_RES"),
    (0x10_0000, "PR_FP_EXC_INV"),
    (1, "PR_FP_EXC_NONRECOV"),
    (2, "PR_FP_EXC_ASYNC"),
];
const TIMING: &[(u64, &str)] = &[(0, "PR_TIMING_STATISTICAL"), (1, "PR_TIMING_TIMESTAMP")];
const ENDIAN: &[(u64, &str)] = &[(0, "PR_ENDIAN_BIG"), (1, "PR_ENDIAN_LITTLE"), (2, "PR_ENDIAN_PPC_LITTLE")];
const SECCOMP: &[(u64, &str)] =
    &[(0, "SECCOMP_MODE_DISABLED"), (1, "SECCOMP_MODE_STRICT"), (2, "SECCOMP_MODE_FILTER")];
const TSC: &[(u64, &str)] = &[(1, "PR_TSC_ENABLE"), (2, "PR_TSC_SIGSEGV")];
const SECUREBITS: &[(u64, &str)] = &[
    (1, "SECBIT_NOROOT"),
    (2, "SECBIT_NOROOT_LOCKED"),
    (4, "SECBIT_NO_SETUID_FIXUP"),
    (8, "SECBIT_NO_SETUID_FIXUP_LOCKED"),
    (0x10, "SECBIT_KEEP_CAPS"),
    (0x20, "SECBIT_KEEP_CAPS_LOCKED"),
    (0x40, "SECBIT_NO_CAP_AMBIENT_RAISE"),
    (0x80, "SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED"),
    (0x100, "SECBIT_EXEC_RESTRICT_FILE"),
    (0x200, "SECBIT_EXEC_RESTRICT_FILE_LOCKED"),
    (0x400, "SECBIT_EXEC_DENY_INTERACTIVE"),
    (0x800, "SECBIT_EXEC_DENY_INTERACTIVE_LOCKED"),
];
const MCE_WHAT: &[(u64, &str)] = &[(0, "PR_MCE_KILL_CLEAR"), (1, "PR_MCE_KILL_SET")];
const MCE_POLICY: &[(u64, &str)] =
    &[(0, "PR_MCE_KILL_LATE"), (1, "PR_MCE_KILL_EARLY"), (2, "PR_MCE_KILL_DEFAULT")];
const MM: &[(u64, &str)] = &[
    (1, "PR_SET_MM_START_CODE"),
    (2, "PR_SET_MM_END_CODE"),
    (3, "PR_SET_MM_START_DATA"),
    (4, "PR_SET_MM_END_DATA"),
    (5, "PR_SET_MM_START_STACK"),
    (6, "PR_SET_MM_START_BRK"),
    (7, "PR_SET_MM_BRK"),
    (8, "PR_SET_MM_ARG_START"),
    (9, "PR_SET_MM_ARG_END"),
    (0xa, "PR_SET_MM_ENV_START"),
    (0xb, "PR_SET_MM_ENV_END"),
    (0xc, "PR_SET_MM_AUXV"),
    (0xd, "PR_SET_MM_EXE_FILE"),
    (0xe, "PR_SET_MM_MAP"),
    (0xf, "PR_SET_MM_MAP_SIZE"),
];
const THP: &[(u64, &str)] = &[(2, "PR_THP_DISABLE_EXCEPT_ADVISED")];
const FP_MODE: &[(u64, &str)] = &[(1, "PR_FP_MODE_FR"), (2, "PR_FP_MODE_FRE")];
const AMBIENT: &[(u64, &str)] = &[
    (1, "PR_CAP_AMBIENT_IS_SET"),
    (2, "PR_CAP_AMBIENT_RAISE"),
    (3, "PR_CAP_AMBIENT_LOWER"),
    (4, "PR_CAP_AMBIENT_CLEAR_ALL"),
];
const VECTOR_LENGTH: &[(u64, &str)] = &[(0x2_0000, "VL_INHERIT"), (0x4_0000, "VL_ONEXEC")];
const SPECULATION: &[(u64, &str)] =
    &[(0, "PR_SPEC_STORE_BYPASS"), (1, "PR_SPEC_INDIRECT_BRANCH"), (2, "PR_SPEC_L1D_FLUSH")];
const SPECULATION_STATE: &[(u64, &str)] = &[
    (1, "PR_SPEC_PRCTL"),
    (2, "PR_SPEC_ENABLE"),
    (4, "PR_SPEC_DISABLE"),
    (8, "PR_SPEC_FORCE_DISABLE"),
    (0x10, "PR_SPEC_DISABLE_NOEXEC"),
];
const PAC_KEYS: &[(u64, &str)] = &[
    (1, "PR_PAC_APIAKEY"),
    (2, "PR_PAC_APIBKEY"),
    (4, "PR_PAC_APDAKEY"),
    (8, "PR_PAC_APDBKEY"),
    (0x10, "PR_PAC_APGAKEY"),
];
const TAGGED_ADDR: &[(u64, &str)] =
    &[(1, "PR_TAGGED_ADDR_ENABLE"), (2, "PR_MTE_TCF_SYNC"), (4, "PR_MTE_TCF_ASYNC")];
const USER_DISPATCH: &[(u64, &str)] =
    &[(0, "PR_SYS_DISPATCH_OFF"), (1, "PR_SYS_DISPATCH_EXCLUSIVE_ON"), (2, "PR_SYS_DISPATCH_INCLUSIVE_ON")];
const SCHED_CORE: &[(u64, &str)] = &[
    (0, "PR_SCHED_CORE_GET"),
    (1, "PR_SCHED_CORE_CREATE"),
    (2, "PR_SCHED_CORE_SHARE_TO"),
    (3, "PR_SCHED_CORE_SHARE_FROM"),
];
const SCHED_CORE_SCOPE: &[(u64, &str)] = &[
    (0, "PR_SCHED_CORE_SCOPE_THREAD"),
    (1, "PR_SCHED_CORE_SCOPE_THREAD_GROUP"),
    (2, "PR_SCHED_CORE_SCOPE_PROCESS_GROUP"),
];
const MDWE: &[(u64, &str)] = &[(1, "PR_MDWE_REFUSE_EXEC_GAIN"), (2, "PR_MDWE_NO_INHERIT")];
const ICACHE_CONTEXT: &[(u64, &str)] = &[(0, "PR_RISCV_CTX_SW_FENCEI_ON"), (1, "PR_RISCV_CTX_SW_FENCEI_OFF")];
const ICACHE_SCOPE: &[(u64, &str)] = &[(0, "PR_RISCV_SCOPE_PER_PROCESS"), (1, "PR_RISCV_SCOPE_PER_THREAD")];
const DEXCR_ASPECT: &[(u64, &str)] = &[
    (0, "PR_PPC_DEXCR_SBHE"),
    (1, "PR_PPC_DEXCR_IBRTPD"),
    (2, "PR_PPC_DEXCR_SRAPD"),
    (3, "PR_PPC_DEXCR_NPHIE"),
];
const DEXCR_CONTROL: &[(u64, &str)] = &[
    (1, "PR_PPC_DEXCR_CTRL_EDITABLE"),
    (2, "PR_PPC_DEXCR_CTRL_SET"),
    (4, "PR_PPC_DEXCR_CTRL_CLEAR"),
    (8, "PR_PPC_DEXCR_CTRL_SET_ONEXEC"),
    (0x10, "PR_PPC_DEXCR_CTRL_CLEAR_ONEXEC"),
];
const SHADOW_STACK: &[(u64, &str)] =
    &[(1, "PR_SHADOW_STACK_ENABLE"), (2, "PR_SHADOW_STACK_WRITE"), (4, "PR_SHADOW_STACK_PUSH")];
const RESTORE_IDS: &[(u64, &str)] = &[
    (0, "PR_TIMER_CREATE_RESTORE_IDS_OFF"),
    (1, "PR_TIMER_CREATE_RESTORE_IDS_ON"),
    (2, "PR_TIMER_CREATE_RESTORE_IDS_GET"),
];
const FUTEX_HASH: &[(u64, &str)] =
    &[(1, "PR_FUTEX_HASH_SET_SLOTS"), (2, "PR_FUTEX_HASH_GET_SLOTS"), (3, "PR_FUTEX_HASH_GET_IMMUTABLE")];
const FUTEX_HASH_FLAGS: &[(u64, &str)] = &[(1, "FH_FLAG_IMMUTABLE")];
const RSEQ_SLICE: &[(u64, &str)] = &[(1, "PR_RSEQ_SLICE_EXTENSION_GET"), (2, "PR_RSEQ_SLICE_EXTENSION_SET")];
const RSEQ_SLICE_FLAGS: &[(u64, &str)] = &[(1, "PR_RSEQ_SLICE_EXT_ENABLE")];
const CFI: &[(u64, &str)] = &[(0, "PR_CFI_BRANCH_LANDING_PADS")];
const CFI_CONTROL: &[(u64, &str)] = &[(1, "PR_CFI_ENABLE"), (2, "PR_CFI_DISABLE"), (4, "PR_CFI_LOCK")];
const VMA: &[(u64, &str)] = &[(0, "PR_SET_VMA_ANON_NAME")];
const PTRACER: &[(u64, &str)] = &[(0, "none"), (u64::MAX, "PR_SET_PTRACER_ANY")];

/// The options, by number.
pub const OPTIONS: &[Row] = &[
    Row {
        number: 1,
        name: "PR_SET_PDEATHSIG",
        args: &[("signal", Shape::Signal)],
        result: None,
        kept: Shape::Signal,
        attention: false,
    },
    Row {
        number: 2,
        name: "PR_GET_PDEATHSIG",
        args: &[("to", Shape::Address)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 3,
        name: "PR_GET_DUMPABLE",
        args: &[],
        result: Some(Shape::Choice(DUMPABLE)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 4,
        name: "PR_SET_DUMPABLE",
        args: &[("dumpable", Shape::Choice(DUMPABLE))],
        result: None,
        kept: Shape::Choice(DUMPABLE),
        attention: true,
    },
    Row {
        number: 5,
        name: "PR_GET_UNALIGN",
        args: &[("to", Shape::Address)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 6,
        name: "PR_SET_UNALIGN",
        args: &[("control", Shape::Flags(UNALIGN))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 7,
        name: "PR_GET_KEEPCAPS",
        args: &[],
        result: Some(Shape::Bool),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 8,
        name: "PR_SET_KEEPCAPS",
        args: &[("keep", Shape::Bool)],
        result: None,
        kept: Shape::Flags(SECUREBITS),
        attention: true,
    },
    Row {
        number: 9,
        name: "PR_GET_FPEMU",
        args: &[("to", Shape::Address)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 10,
        name: "PR_SET_FPEMU",
        args: &[("control", Shape::Flags(FPEMU))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 11,
        name: "PR_GET_FPEXC",
        args: &[("to", Shape::Address)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 12,
        name: "PR_SET_FPEXC",
        args: &[("mode", Shape::Flags(FPEXC))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 13,
        name: "PR_GET_TIMING",
        args: &[],
        result: Some(Shape::Choice(TIMING)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 14,
        name: "PR_SET_TIMING",
        args: &[("timing", Shape::Choice(TIMING))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 15,
        name: "PR_SET_NAME",
        args: &[("from", Shape::Address)],
        result: None,
        kept: Shape::Number,
        attention: true,
    },
    Row {
        number: 16,
        name: "PR_GET_NAME",
        args: &[("to", Shape::Address)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 19,
        name: "PR_GET_ENDIAN",
        args: &[("to", Shape::Address)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 20,
        name: "PR_SET_ENDIAN",
        args: &[("endian", Shape::Choice(ENDIAN))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 21,
        name: "PR_GET_SECCOMP",
        args: &[],
        result: Some(Shape::Choice(SECCOMP)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 22,
        name: "PR_SET_SECCOMP",
        args: &[("mode", Shape::Choice(SECCOMP)), ("filter", Shape::Address)],
        result: None,
        kept: Shape::Choice(SECCOMP),
        attention: true,
    },
    Row {
        number: 23,
        name: "PR_CAPBSET_READ",
        args: &[("capability", Shape::Capability)],
        result: Some(Shape::Bool),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 24,
        name: "PR_CAPBSET_DROP",
        args: &[("capability", Shape::Capability)],
        result: None,
        kept: Shape::CapabilitySet,
        attention: true,
    },
    Row {
        number: 25,
        name: "PR_GET_TSC",
        args: &[("to", Shape::Address)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 26,
        name: "PR_SET_TSC",
        args: &[("mode", Shape::Choice(TSC))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 27,
        name: "PR_GET_SECUREBITS",
        args: &[],
        result: Some(Shape::Flags(SECUREBITS)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 28,
        name: "PR_SET_SECUREBITS",
        args: &[("securebits", Shape::Flags(SECUREBITS))],
        result: None,
        kept: Shape::Flags(SECUREBITS),
        attention: true,
    },
    Row {
        number: 29,
        name: "PR_SET_TIMERSLACK",
        args: &[("slack_ns", Shape::Number)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 30,
        name: "PR_GET_TIMERSLACK",
        args: &[],
        result: Some(Shape::Number),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 31,
        name: "PR_TASK_PERF_EVENTS_DISABLE",
        args: &[],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 32,
        name: "PR_TASK_PERF_EVENTS_ENABLE",
        args: &[],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 33,
        name: "PR_MCE_KILL",
        args: &[("what", Shape::Choice(MCE_WHAT)), ("policy", Shape::Choice(MCE_POLICY))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 34,
        name: "PR_MCE_KILL_GET",
        args: &[],
        result: Some(Shape::Choice(MCE_POLICY)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 35,
        name: "PR_SET_MM",
        args: &[("what", Shape::Choice(MM)), ("address", Shape::Address), ("size", Shape::Number)],
        result: None,
        kept: Shape::Number,
        attention: true,
    },
    Row {
        number: 36,
        name: "PR_SET_CHILD_SUBREAPER",
        args: &[("on", Shape::Bool)],
        result: None,
        kept: Shape::Bool,
        attention: false,
    },
    Row {
        number: 37,
        name: "PR_GET_CHILD_SUBREAPER",
        args: &[("to", Shape::Address)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 38,
        name: "PR_SET_NO_NEW_PRIVS",
        args: &[("on", Shape::Bool)],
        result: None,
        kept: Shape::Bool,
        attention: true,
    },
    Row {
        number: 39,
        name: "PR_GET_NO_NEW_PRIVS",
        args: &[],
        result: Some(Shape::Bool),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 40,
        name: "PR_GET_TID_ADDRESS",
        args: &[("to", Shape::Address)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 41,
        name: "PR_SET_THP_DISABLE",
        args: &[("on", Shape::Bool), ("flags", Shape::Flags(THP))],
        result: None,
        kept: Shape::Bool,
        attention: false,
    },
    Row {
        number: 42,
        name: "PR_GET_THP_DISABLE",
        args: &[],
        result: Some(Shape::Number),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 43,
        name: "PR_MPX_ENABLE_MANAGEMENT",
        args: &[],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 44,
        name: "PR_MPX_DISABLE_MANAGEMENT",
        args: &[],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 45,
        name: "PR_SET_FP_MODE",
        args: &[("mode", Shape::Flags(FP_MODE))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 46,
        name: "PR_GET_FP_MODE",
        args: &[],
        result: Some(Shape::Flags(FP_MODE)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 47,
        name: "PR_CAP_AMBIENT",
        args: &[("what", Shape::Choice(AMBIENT)), ("capability", Shape::Capability)],
        result: Some(Shape::Number),
        kept: Shape::CapabilitySet,
        attention: true,
    },
    Row {
        number: 50,
        name: "PR_SVE_SET_VL",
        args: &[("vl", Shape::Flags(VECTOR_LENGTH))],
        result: Some(Shape::Flags(VECTOR_LENGTH)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 51,
        name: "PR_SVE_GET_VL",
        args: &[],
        result: Some(Shape::Flags(VECTOR_LENGTH)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 52,
        name: "PR_GET_SPECULATION_CTRL",
        args: &[("what", Shape::Choice(SPECULATION))],
        result: Some(Shape::Flags(SPECULATION_STATE)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 53,
        name: "PR_SET_SPECULATION_CTRL",
        args: &[("what", Shape::Choice(SPECULATION)), ("control", Shape::Flags(SPECULATION_STATE))],
        result: None,
        kept: Shape::Number,
        attention: true,
    },
    Row {
        number: 54,
        name: "PR_PAC_RESET_KEYS",
        args: &[("keys", Shape::Flags(PAC_KEYS))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 55,
        name: "PR_SET_TAGGED_ADDR_CTRL",
        args: &[("control", Shape::Flags(TAGGED_ADDR))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 56,
        name: "PR_GET_TAGGED_ADDR_CTRL",
        args: &[],
        result: Some(Shape::Flags(TAGGED_ADDR)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 57,
        name: "PR_SET_IO_FLUSHER",
        args: &[("on", Shape::Bool)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 58,
        name: "PR_GET_IO_FLUSHER",
        args: &[],
        result: Some(Shape::Bool),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 59,
        name: "PR_SET_SYSCALL_USER_DISPATCH",
        args: &[
            ("mode", Shape::Choice(USER_DISPATCH)),
            ("offset", Shape::Address),
            ("length", Shape::Number),
            ("selector", Shape::Address),
        ],
        result: None,
        kept: Shape::Number,
        attention: true,
    },
    Row {
        number: 60,
        name: "PR_PAC_SET_ENABLED_KEYS",
        args: &[("keys", Shape::Flags(PAC_KEYS)), ("enabled", Shape::Flags(PAC_KEYS))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 61,
        name: "PR_PAC_GET_ENABLED_KEYS",
        args: &[],
        result: Some(Shape::Flags(PAC_KEYS)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 62,
        name: "PR_SCHED_CORE",
        args: &[
            ("what", Shape::Choice(SCHED_CORE)),
            ("pid", Shape::Number),
            ("scope", Shape::Choice(SCHED_CORE_SCOPE)),
            ("to", Shape::Address),
        ],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 63,
        name: "PR_SME_SET_VL",
        args: &[("vl", Shape::Flags(VECTOR_LENGTH))],
        result: Some(Shape::Flags(VECTOR_LENGTH)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 64,
        name: "PR_SME_GET_VL",
        args: &[],
        result: Some(Shape::Flags(VECTOR_LENGTH)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 65,
        name: "PR_SET_MDWE",
        args: &[("flags", Shape::Flags(MDWE))],
        result: None,
        kept: Shape::Flags(MDWE),
        attention: true,
    },
    Row {
        number: 66,
        name: "PR_GET_MDWE",
        args: &[],
        result: Some(Shape::Flags(MDWE)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 67,
        name: "PR_SET_MEMORY_MERGE",
        args: &[("on", Shape::Bool)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 68,
        name: "PR_GET_MEMORY_MERGE",
        args: &[],
        result: Some(Shape::Bool),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 69,
        name: "PR_RISCV_V_SET_CONTROL",
        args: &[("control", Shape::Number)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 70,
        name: "PR_RISCV_V_GET_CONTROL",
        args: &[],
        result: Some(Shape::Number),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 71,
        name: "PR_RISCV_SET_ICACHE_FLUSH_CTX",
        args: &[("context", Shape::Choice(ICACHE_CONTEXT)), ("scope", Shape::Choice(ICACHE_SCOPE))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 72,
        name: "PR_PPC_GET_DEXCR",
        args: &[("aspect", Shape::Choice(DEXCR_ASPECT))],
        result: Some(Shape::Flags(DEXCR_CONTROL)),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 73,
        name: "PR_PPC_SET_DEXCR",
        args: &[("aspect", Shape::Choice(DEXCR_ASPECT)), ("control", Shape::Flags(DEXCR_CONTROL))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 74,
        name: "PR_GET_SHADOW_STACK_STATUS",
        args: &[("to", Shape::Address)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 75,
        name: "PR_SET_SHADOW_STACK_STATUS",
        args: &[("status", Shape::Flags(SHADOW_STACK))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 76,
        name: "PR_LOCK_SHADOW_STACK_STATUS",
        args: &[("locked", Shape::Flags(SHADOW_STACK))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 77,
        name: "PR_TIMER_CREATE_RESTORE_IDS",
        args: &[("what", Shape::Choice(RESTORE_IDS))],
        result: Some(Shape::Bool),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 78,
        name: "PR_FUTEX_HASH",
        args: &[
            ("what", Shape::Choice(FUTEX_HASH)),
            ("slots", Shape::Number),
            ("flags", Shape::Flags(FUTEX_HASH_FLAGS)),
        ],
        result: Some(Shape::Number),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 79,
        name: "PR_RSEQ_SLICE_EXTENSION",
        args: &[("what", Shape::Choice(RSEQ_SLICE)), ("flags", Shape::Flags(RSEQ_SLICE_FLAGS))],
        result: Some(Shape::Number),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 80,
        name: "PR_GET_CFI",
        args: &[("what", Shape::Choice(CFI)), ("to", Shape::Address)],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 81,
        name: "PR_SET_CFI",
        args: &[("what", Shape::Choice(CFI)), ("control", Shape::Flags(CFI_CONTROL))],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 0x4155_5856,
        name: "PR_GET_AUXV",
        args: &[("to", Shape::Address), ("size", Shape::Number)],
        result: Some(Shape::Number),
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 0x5356_4d41,
        name: "PR_SET_VMA",
        args: &[
            ("what", Shape::Choice(VMA)),
            ("address", Shape::Address),
            ("size", Shape::Number),
            ("value", Shape::Address),
        ],
        result: None,
        kept: Shape::Number,
        attention: false,
    },
    Row {
        number: 0x5961_6d61,
        name: "PR_SET_PTRACER",
        args: &[("tracer", Shape::Choice(PTRACER))],
        result: None,
        kept: Shape::Number,
        attention: true,
    },
];
