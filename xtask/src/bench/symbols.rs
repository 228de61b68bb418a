//! Names for places in a program: bpftrace as distributions build it probes functions only, and a return is none.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::command::{capture, command};

/// `SHT_SYMTAB`
const SYMBOL_TABLE: u32 = 2;
/// `Elf64_Shdr`, `Elf64_Sym`, and where the latter has its size.
const SECTION: usize = 64;
const SYMBOL: usize = 24;
const SYMBOL_SIZE: usize = 16;

/// Has `program`, an ELF file of this machine with a symbol table, name its `addresses` `PREFIX0`,
/// `PREFIX1` and so on: functions of one byte. Its code stays as it is.
pub(super) fn name_places(program: &Path, prefix: &str, addresses: &[u64]) -> Result<()> {
    let mut objcopy = command("objcopy");
    for (number, address) in addresses.iter().enumerate() {
        objcopy.arg("--add-symbol").arg(format!("{prefix}{number}={address:#x},function,global"));
    }
    capture(objcopy.arg(program)).context("no names for places of a program")?;
    let mut elf = fs::read(program)?;
    give_size(&mut elf, prefix).context("not a symbol table as objcopy writes it")?;
    fs::write(program, elf).with_context(|| format!("failed to write {}", program.display()))
}

/// objcopy gives new symbols no size, and a function without one is refused.
fn give_size(elf: &mut [u8], prefix: &str) -> Option<()> {
    let sections = usize::try_from(word(elf, 0x28)?).ok()?;
    let count = usize::from(u16::from_le_bytes(elf.get(0x3c..0x3e)?.try_into().ok()?));
    let header = |elf: &[u8], number: usize| {
        let at = sections + number * SECTION;
        let half = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?));
        let offset = usize::try_from(word(elf, at + 24)?).ok()?;
        let size = usize::try_from(word(elf, at + 32)?).ok()?;
        Some((half(at + 4)?, offset, size, half(at + 40)?))
    };
    for number in 0..count {
        let (kind, offset, size, names) = header(elf, number)?;
        if kind != SYMBOL_TABLE {
            continue;
        }
        let (_, names, _, _) = header(elf, usize::try_from(names).ok()?)?;
        for at in (offset..offset + size).step_by(SYMBOL) {
            let name = u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?);
            let name = names + usize::try_from(name).ok()?;
            if elf.get(name..)?.starts_with(prefix.as_bytes()) {
                elf.get_mut(at + SYMBOL_SIZE..at + SYMBOL)?.copy_from_slice(&1u64.to_le_bytes());
            }
        }
    }
    Some(())
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
