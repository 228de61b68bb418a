//! What numbers in prctl arguments mean (`include/uapi/linux/prctl.h` up to 7.x): choices and flags, by option.

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

pub(super) const DUMPABLE: &[(u64, &str)] =
    &[(0, "SUID_DUMP_DISABLE"), (1, "SUID_DUMP_USER"), (2, "SUID_DUMP_ROOT")];
pub(super) const UNALIGN: &[(u64, &str)] = &[(1, "PR_UNALIGN_NOPRINT"), (2, "PR_UNALIGN_SIGBUS")];
pub(super) const FPEMU: &[(u64, &str)] = &[(1, "PR_FPEMU_NOPRINT"), (2, "PR_FPEMU_SIGFPE")];
pub(super) const FPEXC: &[(u64, &str)] = &[
    (0x80, "PR_FP_EXC_SW_ENABLE"),
    (0x1_0000, "PR_FP_EXC_DIV"),
    (0x2_0000, "PR_FP_EXC_OVF"),
    (0x4_0000, "PR_FP_EXC_UND"),
    (0x8_0000, "PR_FP_EXC_RES"),
    (0x10_0000, "PR_FP_EXC_INV"),
    (1, "PR_FP_EXC_NONRECOV"),
    (2, "PR_FP_EXC_ASYNC"),
];
pub(super) const TIMING: &[(u64, &str)] = &[(0, "PR_TIMING_STATISTICAL"), (1, "PR_TIMING_TIMESTAMP")];
pub(super) const ENDIAN: &[(u64, &str)] =
    &[(0, "PR_ENDIAN_BIG"), (1, "PR_ENDIAN_LITTLE"), (2, "PR_ENDIAN_PPC_LITTLE")];
pub(super) const SECCOMP: &[(u64, &str)] =
    &[(0, "SECCOMP_MODE_DISABLED"), (1, "SECCOMP_MODE_STRICT"), (2, "SECCOMP_MODE_FILTER")];
pub(super) const TSC: &[(u64, &str)] = &[(1, "PR_TSC_ENABLE"), (2, "PR_TSC_SIGSEGV")];
pub(super) const SECUREBITS: &[(u64, &str)] = &[
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
pub(super) const MCE_WHAT: &[(u64, &str)] = &[(0, "PR_MCE_KILL_CLEAR"), (1, "PR_MCE_KILL_SET")];
pub(super) const MCE_POLICY: &[(u64, &str)] =
    &[(0, "PR_MCE_KILL_LATE"), (1, "PR_MCE_KILL_EARLY"), (2, "PR_MCE_KILL_DEFAULT")];
pub(super) const MM: &[(u64, &str)] = &[
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
pub(super) const THP: &[(u64, &str)] = &[(2, "PR_THP_DISABLE_EXCEPT_ADVISED")];
pub(super) const FP_MODE: &[(u64, &str)] = &[(1, "PR_FP_MODE_FR"), (2, "PR_FP_MODE_FRE")];
pub(super) const AMBIENT: &[(u64, &str)] = &[
    (1, "PR_CAP_AMBIENT_IS_SET"),
    (2, "PR_CAP_AMBIENT_RAISE"),
    (3, "PR_CAP_AMBIENT_LOWER"),
    (4, "PR_CAP_AMBIENT_CLEAR_ALL"),
];
pub(super) const VECTOR_LENGTH: &[(u64, &str)] = &[(0x2_0000, "VL_INHERIT"), (0x4_0000, "VL_ONEXEC")];
pub(super) const SPECULATION: &[(u64, &str)] =
    &[(0, "PR_SPEC_STORE_BYPASS"), (1, "PR_SPEC_INDIRECT_BRANCH"), (2, "PR_SPEC_L1D_FLUSH")];
pub(super) const SPECULATION_STATE: &[(u64, &str)] = &[
    (1, "PR_SPEC_PRCTL"),
    (2, "PR_SPEC_ENABLE"),
    (4, "PR_SPEC_DISABLE"),
    (8, "PR_SPEC_FORCE_DISABLE"),
    (0x10, "PR_SPEC_DISABLE_NOEXEC"),
];
pub(super) const PAC_KEYS: &[(u64, &str)] = &[
    (1, "PR_PAC_APIAKEY"),
    (2, "PR_PAC_APIBKEY"),
    (4, "PR_PAC_APDAKEY"),
    (8, "PR_PAC_APDBKEY"),
    (0x10, "PR_PAC_APGAKEY"),
];
pub(super) const TAGGED_ADDR: &[(u64, &str)] =
    &[(1, "PR_TAGGED_ADDR_ENABLE"), (2, "PR_MTE_TCF_SYNC"), (4, "PR_MTE_TCF_ASYNC")];
pub(super) const USER_DISPATCH: &[(u64, &str)] =
    &[(0, "PR_SYS_DISPATCH_OFF"), (1, "PR_SYS_DISPATCH_EXCLUSIVE_ON"), (2, "PR_SYS_DISPATCH_INCLUSIVE_ON")];
pub(super) const SCHED_CORE: &[(u64, &str)] = &[
    (0, "PR_SCHED_CORE_GET"),
    (1, "PR_SCHED_CORE_CREATE"),
    (2, "PR_SCHED_CORE_SHARE_TO"),
    (3, "PR_SCHED_CORE_SHARE_FROM"),
];
pub(super) const SCHED_CORE_SCOPE: &[(u64, &str)] = &[
    (0, "PR_SCHED_CORE_SCOPE_THREAD"),
    (1, "PR_SCHED_CORE_SCOPE_THREAD_GROUP"),
    (2, "PR_SCHED_CORE_SCOPE_PROCESS_GROUP"),
];
pub(super) const MDWE: &[(u64, &str)] = &[(1, "PR_MDWE_REFUSE_EXEC_GAIN"), (2, "PR_MDWE_NO_INHERIT")];
pub(super) const ICACHE_CONTEXT: &[(u64, &str)] =
    &[(0, "PR_RISCV_CTX_SW_FENCEI_ON"), (1, "PR_RISCV_CTX_SW_FENCEI_OFF")];
pub(super) const ICACHE_SCOPE: &[(u64, &str)] =
    &[(0, "PR_RISCV_SCOPE_PER_PROCESS"), (1, "PR_RISCV_SCOPE_PER_THREAD")];
pub(super) const DEXCR_ASPECT: &[(u64, &str)] = &[
    (0, "PR_PPC_DEXCR_SBHE"),
    (1, "PR_PPC_DEXCR_IBRTPD"),
    (2, "PR_PPC_DEXCR_SRAPD"),
    (3, "PR_PPC_DEXCR_NPHIE"),
];
pub(super) const DEXCR_CONTROL: &[(u64, &str)] = &[
    (1, "PR_PPC_DEXCR_CTRL_EDITABLE"),
    (2, "PR_PPC_DEXCR_CTRL_SET"),
    (4, "PR_PPC_DEXCR_CTRL_CLEAR"),
    (8, "PR_PPC_DEXCR_CTRL_SET_ONEXEC"),
    (0x10, "PR_PPC_DEXCR_CTRL_CLEAR_ONEXEC"),
];
pub(super) const SHADOW_STACK: &[(u64, &str)] =
    &[(1, "PR_SHADOW_STACK_ENABLE"), (2, "PR_SHADOW_STACK_WRITE"), (4, "PR_SHADOW_STACK_PUSH")];
pub(super) const RESTORE_IDS: &[(u64, &str)] = &[
    (0, "PR_TIMER_CREATE_RESTORE_IDS_OFF"),
    (1, "PR_TIMER_CREATE_RESTORE_IDS_ON"),
    (2, "PR_TIMER_CREATE_RESTORE_IDS_GET"),
];
pub(super) const FUTEX_HASH: &[(u64, &str)] =
    &[(1, "PR_FUTEX_HASH_SET_SLOTS"), (2, "PR_FUTEX_HASH_GET_SLOTS"), (3, "PR_FUTEX_HASH_GET_IMMUTABLE")];
pub(super) const FUTEX_HASH_FLAGS: &[(u64, &str)] = &[(1, "FH_FLAG_IMMUTABLE")];
pub(super) const RSEQ_SLICE: &[(u64, &str)] =
    &[(1, "PR_RSEQ_SLICE_EXTENSION_GET"), (2, "PR_RSEQ_SLICE_EXTENSION_SET")];
pub(super) const RSEQ_SLICE_FLAGS: &[(u64, &str)] = &[(1, "PR_RSEQ_SLICE_EXT_ENABLE")];
pub(super) const CFI: &[(u64, &str)] = &[(0, "PR_CFI_BRANCH_LANDING_PADS")];
pub(super) const CFI_CONTROL: &[(u64, &str)] =
    &[(1, "PR_CFI_ENABLE"), (2, "PR_CFI_DISABLE"), (4, "PR_CFI_LOCK")];
pub(super) const VMA: &[(u64, &str)] = &[(0, "PR_SET_VMA_ANON_NAME")];
pub(super) const PTRACER: &[(u64, &str)] = &[(0, "none"), (u64::MAX, "PR_SET_PTRACER_ANY")];
