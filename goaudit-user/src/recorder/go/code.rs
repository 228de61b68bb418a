//! Whether code is still what was planned, looked at right before a breakpoint is put into it.
//!
//! The kernel takes the instruction that it replaces from the file and puts the breakpoint into the process's memory. So
//! both must hold the bytes that the plan was made of: a file that was written to since, or a process that has changed
//! its own code, would run something else than it was built to.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use sha2::{Digest, Sha256};

use crate::golang::CodeIdentity;

/// The memory of a process that runs a program.
pub(super) struct Memory {
    memory: File,
    /// Address less offset in the file, and the offsets that it holds for.
    parts: Vec<(u64, std::ops::Range<u64>)>,
}

impl Memory {
    /// Of a process; none when it does not run the file yet, or its memory may not be read here.
    pub(super) fn of(tgid: u32, file: &File) -> Option<Self> {
        let inode = file.metadata().ok()?.ino();
        let path = std::fs::read_link(format!("/proc/{tgid}/exe")).ok()?;
        let maps = std::fs::read_to_string(format!("/proc/{tgid}/maps")).ok()?;
        let parts: Vec<_> = maps.lines().filter_map(|line| part(line, inode, path.to_str()?)).collect();
        let memory = File::open(format!("/proc/{tgid}/mem")).ok()?;
        (!parts.is_empty()).then_some(Self { memory, parts })
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
        let of = self.parts.iter().find(|(_, offsets)| offsets.contains(&offset));
        let (delta, _) = of.ok_or(std::io::ErrorKind::NotFound)?;
        self.memory.read_exact_at(bytes, offset.wrapping_add(*delta))
    }
}

/// `55d0-55e0 r-xp 00001000 08:01 42   /usr/bin/service`
fn part(line: &str, inode: u64, path: &str) -> Option<(u64, std::ops::Range<u64>)> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let offset = u64::from_str_radix(words.nth(1)?, 16).ok()?;
    let same = words.nth(1)?.parse() == Ok(inode) && words.next()?.trim_start() == path;
    same.then(|| (start.wrapping_sub(offset), offset..offset.saturating_add(end.saturating_sub(start))))
}

/// Checks that a function's code is still what was planned. The error says what is not.
pub(super) fn check(planned: &CodeIdentity, file: &File, memory: Option<&Memory>) -> Result<(), String> {
    let mut stored = vec![0; usize::try_from(planned.len).unwrap_or_default()];
    if file.read_exact_at(&mut stored, planned.offset).is_err()
        || <[u8; 32]>::from(Sha256::digest(&stored)) != planned.sha256
    {
        return Err("the program's file was changed since its probes were planned: start the program again from a file that nobody writes to".to_owned());
    }
    let Some(memory) = memory else { return Ok(()) };
    let mut loaded = vec![0; stored.len()];
    // One that has ended meanwhile is found out when its probes are attached.
    if memory.read(planned.offset, &mut loaded).is_ok() && !same_but_breakpoints(&stored, &loaded) {
        return Err("the process runs other code than its file holds (it changed itself, or was changed): a breakpoint would break it".to_owned());
    }
    Ok(())
}

/// Whether code in memory is that of the file, except for breakpoints of others.
fn same_but_breakpoints(stored: &[u8], loaded: &[u8]) -> bool {
    /// `int3` on amd64; `brk` with any number on arm64, whose instructions are words.
    const BREAKPOINT: u8 = 0xcc;
    let is_breakpoint = |loaded: &[u8]| {
        if cfg!(target_arch = "x86_64") {
            return loaded == [BREAKPOINT];
        }
        let word = loaded.try_into().ok().map(u32::from_le_bytes);
        word.is_some_and(|word| word & 0xffe0_001f == 0xd420_0000)
    };
    let size = if cfg!(target_arch = "x86_64") { 1 } else { 4 };
    let mut pairs = stored.chunks(size).zip(loaded.chunks(size));
    stored.len() == loaded.len() && pairs.all(|(stored, loaded)| stored == loaded || is_breakpoint(loaded))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
    use std::io::Write;

    use super::*;

    fn planned(offset: u64, code: &[u8]) -> CodeIdentity {
        CodeIdentity { offset, len: code.len() as u64, sha256: Sha256::digest(code).into() }
    }

    #[test]
    fn a_file_that_was_written_to_is_not_probed() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"....code....").unwrap();
        assert_eq!(check(&planned(4, b"code"), &file, None), Ok(()));
        file.write_all_at(b"C", 4).unwrap();
        assert!(check(&planned(4, b"code"), &file, None).unwrap_err().contains("was changed"));
        file.set_len(5).unwrap();
        assert!(check(&planned(4, b"code"), &file, None).is_err(), "cut off");
    }

    #[test]
    fn memory_is_compared_except_for_breakpoints() {
        assert!(same_but_breakpoints(b"12345678", b"12345678"));
        assert!(!same_but_breakpoints(b"12345678", b"1234567x"));
        assert!(!same_but_breakpoints(b"12345678", b"1234567"));
        let (stored, mut loaded) = ([0x90; 8], [0x90; 8]);
        let brk = if cfg!(target_arch = "x86_64") { &[0xcc][..] } else { &0xd420_00a0_u32.to_le_bytes()[..] };
        loaded[..brk.len()].copy_from_slice(brk);
        assert!(same_but_breakpoints(&stored, &loaded));
    }

    #[test]
    fn our_own_memory_holds_what_our_file_does() {
        let own = File::open("/proc/self/exe").unwrap();
        let memory = Memory::of(std::process::id(), &own).unwrap();
        // A place of our code: in the part that this function is mapped from.
        let here = our_own_memory_holds_what_our_file_does as fn() as usize as u64;
        let (delta, _) = memory
            .parts
            .iter()
            .find(|(delta, offsets)| offsets.contains(&here.wrapping_sub(*delta)))
            .unwrap();
        let offset = here - delta;
        let mut code = [0; 64];
        own.read_exact_at(&mut code, offset).unwrap();
        assert_eq!(check(&planned(offset, &code), &own, Some(&memory)), Ok(()));
        let other = tempfile::tempfile().unwrap();
        other.write_all_at(&[0x90; 64], offset).unwrap();
        let refused = check(&planned(offset, &[0x90; 64]), &other, Some(&memory)).unwrap_err();
        assert!(refused.contains("other code"), "{refused}");
    }
}
