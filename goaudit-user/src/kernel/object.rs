//! The eBPF object that this binary carries.

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

/// The object for kernels before 5.12, which refuse a whole program for an atomic instruction that it would
/// never reach: every such instruction is turned into the plain atomic add that they know. The code around
/// it is dead there ([`goaudit_ebpf::settings::Settings::fetch_atomics`] is 0).
pub(super) fn without_fetch_atomics() -> Vec<u8> {
    /// `BPF_STX | BPF_ATOMIC | BPF_DW`; the operation is in the last four bytes, 0 is the plain add.
    const ATOMIC: u8 = 0xdb;
    let mut object = bytes().to_vec();
    for (start, end) in executable_sections(&object) {
        let Some(code) = object.get_mut(start..end) else { continue };
        for instruction in code.chunks_exact_mut(8) {
            if let [ATOMIC, _, _, _, operation @ ..] = instruction {
                operation.fill(0);
            }
        }
    }
    object
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
    fn old_kernels_get_no_fetching_atomics() {
        let fetching = |object: &[u8]| {
            executable_sections(object)
                .into_iter()
                .filter_map(|(start, end)| object.get(start..end))
                .flat_map(|code| code.chunks_exact(8))
                .filter(
                    |instruction| matches!(instruction, [0xdb, _, _, _, operation, ..] if *operation != 0),
                )
                .count()
        };
        assert!(fetching(bytes()) > 0);
        assert_eq!(fetching(&without_fetch_atomics()), 0);
        assert_eq!(without_fetch_atomics().len(), bytes().len());
    }

    #[test]
    fn something_else_has_no_sections() {
        assert!(executable_sections(b"").is_empty());
        assert!(executable_sections(&[0xff; 200]).is_empty());
    }
}
