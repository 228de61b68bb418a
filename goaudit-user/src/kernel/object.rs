//! The eBPF object that this binary carries.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

/// Alignment that the ELF reader needs.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/goaudit.bpf.o")));

/// Whether the object was built together with this binary (`built`) or is the one kept in the tree (`kept`).
pub const ORIGIN: &str = env!("GOAUDIT_EBPF_ORIGIN");

/// The object's bytes.
pub fn bytes() -> &'static [u8] {
    &OBJECT.0
}

/// SHA-256 of the object in hex.
pub fn sha256() -> String {
    use std::fmt::Write;
    Sha256::digest(bytes()).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `BPF_STX | BPF_ATOMIC | BPF_DW`; the operation is in the last four bytes, 0 is the plain add.
const ATOMIC: u8 = 0xdb;
/// `BPF_JMP | BPF_JCOND`: `may_goto`.
const MAY_GOTO: u8 = 0xe5;
/// `BPF_JMP | BPF_JA`: with no distance it does nothing.
const GOTO: u8 = 0x05;

/// `BPF_JMP | BPF_CALL`: of a helper, if the source register's number is 0; which one is in the last four bytes.
const CALL: u8 = 0x85;
/// `bpf_get_current_task`
const CURRENT_TASK: u32 = 35;
/// `bpf_get_current_task_btf`
const CURRENT_TASK_TYPED: u32 = 158;

/// Instructions that a kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instructions {
    /// Atomic ones that return the old value (since 5.12).
    pub(super) fetch_atomics: bool,
    /// `may_goto` (since 6.9).
    pub(super) may_goto: bool,
    /// The call that gives the current task as a pointer with a type (since 5.11).
    pub(super) typed_tasks: bool,
}

impl Instructions {
    /// Whether nothing in the object is unknown to the kernel.
    const fn all(self) -> bool {
        self.fetch_atomics && self.may_goto && self.typed_tasks
    }
}

/// The object for a kernel with these instructions: it refuses a whole program for one that it does not know and
/// would never reach. A fetching atomic instruction becomes the plain atomic add that all kernels know; the code
/// around it is dead there ([`goaudit_ebpf::settings::Settings::fetch_atomics`] is 0). A `may_goto` becomes one that
/// does nothing; loops are bounded without it ([`goaudit_ebpf::settings::Settings::may_goto`] is 0). The call for a typed
/// task becomes the one for an address ([`goaudit_ebpf::settings::Settings::typed_tasks`] is 0).
pub(super) fn with(instructions: Instructions) -> Cow<'static, [u8]> {
    if instructions.all() {
        return Cow::Borrowed(bytes());
    }
    let mut object = bytes().to_vec();
    for (start, end) in executable_sections(&object) {
        let Some(code) = object.get_mut(start..end) else { continue };
        // The second half of a long instruction begins with a zero: it is never taken for another one.
        for instruction in code.chunks_exact_mut(8) {
            match instruction {
                [ATOMIC, _, _, _, operation @ ..] if !instructions.fetch_atomics => operation.fill(0),
                [code @ MAY_GOTO, operands @ ..] if !instructions.may_goto => {
                    *code = GOTO;
                    operands.fill(0);
                }
                [CALL, 0, _, _, helper @ ..]
                    if !instructions.typed_tasks && *helper == CURRENT_TASK_TYPED.to_le_bytes() =>
                {
                    helper.copy_from_slice(&CURRENT_TASK.to_le_bytes());
                }
                _other => {}
            }
        }
    }
    Cow::Owned(object)
}

/// Extents of the sections that hold instructions (ELF64, little-endian).
fn executable_sections(object: &[u8]) -> Vec<(usize, usize)> {
    const FLAG_EXECUTABLE: u64 = 4;
    let number = |at: usize, len: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes.get_mut(..len)?.copy_from_slice(object.get(at..at.checked_add(len)?)?);
        Some(u64::from_le_bytes(bytes))
    };
    let header = || Some((number(0x28, 8)?, number(0x3a, 2)?, number(0x3c, 2)?));
    let Some((table, entry, count)) = header() else { return Vec::new() };
    (0..count)
        .filter_map(|index| {
            let at = usize::try_from(table.checked_add(index.checked_mul(entry)?)?).ok()?;
            let start = usize::try_from(number(at.checked_add(0x18)?, 8)?).ok()?;
            let len = usize::try_from(number(at.checked_add(0x20)?, 8)?).ok()?;
            (number(at.checked_add(8)?, 8)? & FLAG_EXECUTABLE != 0)
                .then_some((start, start.checked_add(len)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::hooks::PROGRAMS;

    #[test]
    fn the_object_holds_every_program_of_the_table() {
        for program in PROGRAMS {
            let name = [b"\0", program.name.as_bytes(), b"\0"].concat();
            assert!(bytes().windows(name.len()).any(|window| window == name), "{}", program.name);
        }
    }

    #[test]
    fn old_kernels_get_no_new_instructions() {
        let count = |object: &[u8], wanted: fn(&[u8]) -> bool| {
            executable_sections(object)
                .into_iter()
                .filter_map(|(start, end)| object.get(start..end))
                .flat_map(|code| code.chunks_exact(8))
                .filter(|instruction| wanted(instruction))
                .count()
        };
        let fetching = |object: &[u8]| {
            count(object, |code| matches!(code, [0xdb, _, _, _, operation, ..] if *operation != 0))
        };
        let looping = |object: &[u8]| count(object, |code| matches!(code, [0xe5, ..]));
        let typed = |object: &[u8]| count(object, |code| matches!(code, [0x85, 0, _, _, 158, 0, 0, 0]));
        for has in 0..8 {
            let [fetch_atomics, may_goto, typed_tasks] = [1, 2, 4].map(|bit| has & bit != 0);
            let object = with(Instructions { fetch_atomics, may_goto, typed_tasks });
            assert_eq!(object.len(), bytes().len());
            assert_eq!(fetching(&object) > 0, fetch_atomics);
            assert_eq!(looping(&object) > 0, may_goto);
            assert_eq!(typed(&object) > 0, typed_tasks);
        }
    }

    /// Every helper that the object may call, by `enum bpf_func_id`: they read, write the object's own maps and the
    /// ring, and hand over to another of its programs. None writes memory of others or sends signals.
    const HELPERS: [(u32, &str); 20] = [
        (1, "map_lookup_elem"),
        (2, "map_update_elem"),
        (3, "map_delete_elem"),
        (8, "get_smp_processor_id"),
        (12, "tail_call"),
        (14, "get_current_pid_tgid"),
        (15, "get_current_uid_gid"),
        (16, "get_current_comm"),
        (35, "get_current_task"),
        (80, "get_current_cgroup_id"),
        (112, "probe_read_user"),
        (113, "probe_read_kernel"),
        (114, "probe_read_user_str"),
        (115, "probe_read_kernel_str"),
        (125, "ktime_get_boot_ns"),
        (130, "ringbuf_output"),
        (134, "ringbuf_query"),
        (158, "get_current_task_btf"),
        (174, "get_attach_cookie"),
        (175, "task_pt_regs"),
    ];

    /// What a call instruction calls, by its source register's number.
    const HELPER: u8 = 0;
    const OWN_FUNCTION: u8 = 1;

    #[test]
    fn programs_call_only_helpers_that_are_known_to_read() {
        let object = bytes();
        let code = executable_sections(object).into_iter().filter_map(|(start, end)| object.get(start..end));
        let mut helpers: Vec<u32> = Vec::new();
        for instruction in code.flat_map(|code| code.chunks_exact(8)) {
            let [CALL, registers, _, _, number @ ..] = instruction else { continue };
            let kind = registers >> 4;
            // Anything else is a function of the kernel (`BPF_PSEUDO_KFUNC_CALL`): some write, or send signals.
            assert!(kind == HELPER || kind == OWN_FUNCTION, "{instruction:02x?}");
            if kind == HELPER {
                helpers.push(number.try_into().map_or(0, u32::from_le_bytes));
            }
        }
        helpers.sort_unstable();
        helpers.dedup();
        let known: Vec<u32> = HELPERS.iter().map(|(number, _)| *number).collect();
        assert_eq!(helpers, known, "the object calls others than {HELPERS:?}");
    }

    #[test]
    fn no_program_is_for_uretprobes() {
        for word in [&b"uretprobe"[..], b"uprobe.session", b"usdt"] {
            assert!(!bytes().windows(word.len()).any(|window| window == word), "{}", word.escape_ascii());
        }
    }

    #[test]
    fn something_else_has_no_sections() {
        assert!(executable_sections(b"").is_empty());
        assert!(executable_sections(&[0xff; 200]).is_empty());
    }
}
