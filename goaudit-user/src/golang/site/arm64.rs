//! Sites in arm64 code, by hand: instructions are four bytes, and only branches matter.
//!
//! Literal pools lie between instructions, so only what can be reached from the entry counts as code.
//! Kernel facts: arch/arm64/kernel/probes/decode-insn.c (which instructions are simulated).
//! Prologue shapes: cmd/internal/obj/arm64/obj7.go, `stacksplit`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Class, Code, Entry, Refusal, Sites};

/// The longest stack check has six instructions.
const CHECK_LENGTH: u64 = 8;
/// Spills of argument registers before the call of `morestack`, at most.
const SPILLS: u64 = 40;
/// Condition "unsigned lower or same" of a conditional branch.
const CONDITION_LS: u32 = 9;

/// What an instruction does to the flow of control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    /// Goes there.
    Jump(u64),
    /// Goes there or on.
    Branch(u64),
    /// Calls and comes back.
    Call(u64),
    /// Goes where a register says.
    Computed,
    Return,
    /// Never runs: `udf`, `brk`.
    Trap,
}

pub(super) fn find(code: &Code<'_>) -> Result<Sites, Refusal> {
    if code.bytes.len() < 4 {
        return Err(Refusal::NoCode);
    }
    let reached = reach(code)?;
    let entry = entry(code);
    let to_entry = reached.iter().any(|(&at, flow)| match *flow {
        Flow::Jump(to) | Flow::Branch(to) => to == entry.address && at != entry.address,
        Flow::Next | Flow::Call(_) | Flow::Computed | Flow::Return | Flow::Trap => false,
    });
    if to_entry {
        return Err(Refusal::EntryInLoop);
    }
    let returns = reached.iter().filter(|(_, flow)| **flow == Flow::Return).map(|(&at, _)| at);
    Ok(Sites { entry, returns: returns.collect(), return_class: Class::Emulated })
}

/// Every instruction that control can reach from the first.
fn reach(code: &Code<'_>) -> Result<BTreeMap<u64, Flow>, Refusal> {
    let mut reached = BTreeMap::new();
    let mut left = code.most_cases();
    let mut open = BTreeSet::from([code.address]);
    while let Some(at) = open.pop_first() {
        if reached.contains_key(&at) {
            continue;
        }
        let word = word(code, at).ok_or(Refusal::NoCode)?;
        let flow = flow(word, at);
        reached.insert(at, flow);
        let mut follow = |to: u64| {
            if !code.contains(to) {
                return Err(Refusal::TailJump { from: at, to });
            }
            open.insert(to);
            Ok(())
        };
        match flow {
            Flow::Next | Flow::Call(_) => {
                // Behind a call that never returns the function may simply end.
                if code.contains(at + 4) {
                    follow(at + 4)?;
                }
            }
            Flow::Jump(to) => follow(to)?,
            Flow::Branch(to) => {
                follow(to)?;
                follow(at + 4)?;
            }
            Flow::Computed => {
                let table = switch_table(code, at, word);
                let cases = table.map(|table| code.switch_targets(table, &mut left));
                let cases = cases.filter(|cases| !cases.is_empty()).ok_or(Refusal::ComputedJump(at))?;
                for case in cases {
                    if case % 4 != 0 {
                        return Err(Refusal::Misaligned(case));
                    }
                    follow(case)?;
                }
            }
            Flow::Return | Flow::Trap => {}
        }
    }
    Ok(reached)
}

fn word(code: &Code<'_>, address: u64) -> Option<u32> {
    let offset = usize::try_from(address.checked_sub(code.address)?).ok()?;
    let bytes = code.bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn flow(word: u32, at: u64) -> Flow {
    let target = |bits: u32, shift: u32| at.wrapping_add_signed(signed(word >> shift, bits) * 4);
    match word {
        _ if word & 0xfc00_0000 == 0x1400_0000 => Flow::Jump(target(26, 0)),
        _ if word & 0xfc00_0000 == 0x9400_0000 => Flow::Call(target(26, 0)),
        // b.cond, then cbz and cbnz, then tbz and tbnz.
        _ if word & 0xff00_0010 == 0x5400_0000 => Flow::Branch(target(19, 5)),
        _ if word & 0x7e00_0000 == 0x3400_0000 => Flow::Branch(target(19, 5)),
        _ if word & 0x7e00_0000 == 0x3600_0000 => Flow::Branch(target(14, 5)),
        _ if word & 0xffff_fc1f == 0xd65f_0000 => Flow::Return,
        _ if word & 0xffff_fc1f == 0xd61f_0000 => Flow::Computed,
        // udf (all zero bits in the upper half) and brk.
        _ if word & 0xffff_0000 == 0 || word & 0xffe0_001f == 0xd420_0000 => Flow::Trap,
        _ => Flow::Next,
    }
}

/// The lowest `bits` of a word as a signed number.
fn signed(word: u32, bits: u32) -> i64 {
    let value = i64::from(word & ((1 << bits) - 1));
    if value >> (bits - 1) == 1 { value - (1 << bits) } else { value }
}

/// The table of `adrp base; add base; ldr target, [base, index, lsl #3]; br target`.
fn switch_table(code: &Code<'_>, at: u64, branch: u32) -> Option<u64> {
    let target = (branch >> 5) & 31;
    let load = word(code, at.checked_sub(4)?)?;
    let is_load = load & 0xffe0_fc00 == 0xf860_7800 && load & 31 == target;
    let base = (load >> 5) & 31;
    let add = word(code, at.checked_sub(8)?)?;
    let is_add = add & 0xffc0_0000 == 0x9100_0000 && add & 31 == base && (add >> 5) & 31 == base;
    let page_at = at.checked_sub(12)?;
    let page = word(code, page_at)?;
    let is_page = page & 0x9f00_0000 == 0x9000_0000 && page & 31 == base;
    if !(is_load && is_add && is_page) {
        return None;
    }
    let pages = signed(((page >> 5) & 0x7_ffff) << 2 | (page >> 29) & 3, 21);
    let start = (page_at & !0xfff).wrapping_add_signed(pages << 12);
    start.checked_add(u64::from((add >> 10) & 0xfff))
}

fn entry(code: &Code<'_>) -> Entry {
    if let Some(address) = stack_check(code) {
        return Entry { address, class: Class::Emulated, ignore_when_taken: true };
    }
    let first = word(code, code.address).map(|word| flow(word, code.address));
    let emulated = matches!(first, Some(Flow::Jump(_) | Flow::Branch(_) | Flow::Call(_)));
    let class = if emulated { Class::Emulated } else { Class::Stepped };
    Entry { address: code.address, class, ignore_when_taken: false }
}

/// Address of the `b.ls` that ends the stack check. The check begins with `ldr x16, [x28, #16]` (g's guard; #24
/// on the system stack).
fn stack_check(code: &Code<'_>) -> Option<u64> {
    let first = word(code, code.address)?;
    if !matches!(first, 0xf940_0b90 | 0xf940_0f90) {
        return None;
    }
    (1..CHECK_LENGTH).map(|index| code.address + 4 * index).find(|&at| {
        let Some(branch) = word(code, at) else { return false };
        let is_ls = branch & 0xff00_0010 == 0x5400_0000 && branch & 15 == CONDITION_LS;
        let Flow::Branch(to) = flow(branch, at) else { return false };
        is_ls && leads_to_morestack(code, to)
    })
}

fn leads_to_morestack(code: &Code<'_>, start: u64) -> bool {
    for index in 0..SPILLS {
        let at = start + 4 * index;
        match word(code, at).map(|word| flow(word, at)) {
            Some(Flow::Next) => {}
            Some(Flow::Call(to)) => return (code.is_morestack)(to),
            Some(Flow::Jump(_) | Flow::Branch(_) | Flow::Computed | Flow::Return | Flow::Trap) | None => {
                return false;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(words: &[u32]) -> Result<Sites, Refusal> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let code = Code {
            bytes: &bytes,
            address: 0x1000,
            is_morestack: &|address| address == 0x2000,
            pointer: &|_| None,
        };
        super::super::find(super::super::Arch::Arm64, &code)
    }

    const RET: u32 = 0xd65f_03c0;
    const NOP: u32 = 0xd503_201f;

    #[test]
    fn the_branch_of_the_stack_check_is_the_entry() {
        // ldr x16,[x28,#16]; cmp sp,x16; b.ls 0x1014; nop; ret; bl morestack; b 0x1000
        let bl = 0x9400_0000 | ((0x2000 - 0x1014) / 4);
        let back = 0x1400_0000 | (0x03ff_ffff & (-6_i32).cast_unsigned());
        let found = sites(&[0xf940_0b90, 0xeb30_63ff, 0x5400_0069, NOP, RET, bl, back]);
        let entry = Entry { address: 0x1008, class: Class::Emulated, ignore_when_taken: true };
        assert_eq!(found, Ok(Sites { entry, returns: vec![0x1010], return_class: Class::Emulated }));
    }

    #[test]
    fn data_between_code_is_no_return() {
        // b over a literal that looks like a return
        let found = sites(&[NOP, 0x1400_0002, RET, RET]);
        assert_eq!(found.map(|sites| sites.returns), Ok(vec![0x100c]));
    }

    #[test]
    fn refusals_name_their_reason() {
        assert_eq!(sites(&[RET]), Err(Refusal::Empty));
        assert_eq!(sites(&[NOP, 0x1400_0100]), Err(Refusal::TailJump { from: 0x1004, to: 0x1404 }));
        assert_eq!(sites(&[NOP, 0xd61f_0360]), Err(Refusal::ComputedJump(0x1004)));
        assert_eq!(sites(&[NOP, 0x17ff_ffff, RET]), Err(Refusal::EntryInLoop));
        assert_eq!(sites(&[NOP, NOP]), Err(Refusal::NeverReturns));
    }
}
