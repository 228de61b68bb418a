//! ptrace requests by name. Some numbers mean different things on different machines.

pub use goaudit_ebpf::hook::ptrace::{ATTACH, SEIZE, TRACEME, takes_hold};

/// Requests of every machine (`include/uapi/linux/ptrace.h`, up to 7.x).
const COMMON: &[(u64, &str)] = &[
    (TRACEME, "PTRACE_TRACEME"),
    (1, "PTRACE_PEEKTEXT"),
    (2, "PTRACE_PEEKDATA"),
    (3, "PTRACE_PEEKUSR"),
    (4, "PTRACE_POKETEXT"),
    (5, "PTRACE_POKEDATA"),
    (6, "PTRACE_POKEUSR"),
    (7, "PTRACE_CONT"),
    (8, "PTRACE_KILL"),
    (9, "PTRACE_SINGLESTEP"),
    (ATTACH, "PTRACE_ATTACH"),
    (17, "PTRACE_DETACH"),
    (24, "PTRACE_SYSCALL"),
    (31, "PTRACE_SYSEMU"),
    (32, "PTRACE_SYSEMU_SINGLESTEP"),
    (0x4200, "PTRACE_SETOPTIONS"),
    (0x4201, "PTRACE_GETEVENTMSG"),
    (0x4202, "PTRACE_GETSIGINFO"),
    (0x4203, "PTRACE_SETSIGINFO"),
    (0x4204, "PTRACE_GETREGSET"),
    (0x4205, "PTRACE_SETREGSET"),
    (SEIZE, "PTRACE_SEIZE"),
    (0x4207, "PTRACE_INTERRUPT"),
    (0x4208, "PTRACE_LISTEN"),
    (0x4209, "PTRACE_PEEKSIGINFO"),
    (0x420a, "PTRACE_GETSIGMASK"),
    (0x420b, "PTRACE_SETSIGMASK"),
    (0x420c, "PTRACE_SECCOMP_GET_FILTER"),
    (0x420d, "PTRACE_SECCOMP_GET_METADATA"),
    (0x420e, "PTRACE_GET_SYSCALL_INFO"),
    (0x420f, "PTRACE_GET_RSEQ_CONFIGURATION"),
    (0x4210, "PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG"),
    (0x4211, "PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG"),
    (0x4212, "PTRACE_SET_SYSCALL_INFO"),
];

/// Requests of x86.
const X86: &[(u64, &str)] = &[
    (12, "PTRACE_GETREGS"),
    (13, "PTRACE_SETREGS"),
    (14, "PTRACE_GETFPREGS"),
    (15, "PTRACE_SETFPREGS"),
    (18, "PTRACE_GETFPXREGS"),
    (19, "PTRACE_SETFPXREGS"),
    (21, "PTRACE_OLDSETOPTIONS"),
    (25, "PTRACE_GET_THREAD_AREA"),
    (26, "PTRACE_SET_THREAD_AREA"),
    (30, "PTRACE_ARCH_PRCTL"),
    (33, "PTRACE_SINGLEBLOCK"),
];

/// Requests of arm64, those of its 32-bit mode included.
const ARM64: &[(u64, &str)] = &[
    (12, "COMPAT_PTRACE_GETREGS"),
    (13, "COMPAT_PTRACE_SETREGS"),
    (22, "COMPAT_PTRACE_GET_THREAD_AREA"),
    (23, "COMPAT_PTRACE_SET_SYSCALL"),
    (27, "COMPAT_PTRACE_GETVFPREGS"),
    (28, "COMPAT_PTRACE_SETVFPREGS"),
    (29, "COMPAT_PTRACE_GETHBPREGS"),
    (30, "COMPAT_PTRACE_SETHBPREGS"),
    (33, "PTRACE_PEEKMTETAGS"),
    (34, "PTRACE_POKEMTETAGS"),
];

/// Name of a request on a machine (as `uname -m` says).
pub fn name(request: u64, machine: &str) -> Option<&'static str> {
    let own = match machine {
        "x86_64" | "i686" | "i586" | "i386" => X86,
        "aarch64" | "arm64" => ARM64,
        _ => &[],
    };
    own.iter().chain(COMMON).find(|row| row.0 == request).map(|row| row.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_depend_on_the_machine() {
        assert_eq!(name(16, ""), Some("PTRACE_ATTACH"));
        assert_eq!(name(0x4206, "aarch64"), Some("PTRACE_SEIZE"));
        assert_eq!(name(33, "x86_64"), Some("PTRACE_SINGLEBLOCK"));
        assert_eq!(name(33, "aarch64"), Some("PTRACE_PEEKMTETAGS"));
        assert_eq!(name(12, "riscv64"), None);
        assert_eq!(name(0xdead, "x86_64"), None);
    }
}
