//! Sites in amd64 code. Kernel facts: arch/x86/kernel/uprobes.c (`branch_setup_xol_ops`, `push_setup_xol_ops`).
//! Prologue shapes: cmd/internal/obj/x86/obj6.go, `stacksplit`.

use iced_x86::{
    Code as Opcode, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};

use super::{Class, Code, Entry, Refusal, Sites};

/// Go fills the space between functions with `int3`.
const PADDING: u8 = 0xcc;
/// The longest stack check has five instructions.
const CHECK_LENGTH: usize = 8;
/// Spills of argument registers before the call of `morestack`, at most.
const SPILLS: usize = 40;

pub(super) fn find(code: &Code<'_>) -> Result<Sites, Refusal> {
    let listing = Listing::decode(code)?;
    let targets = listing.targets(code)?;
    let entry = listing.entry(code)?;
    if targets.binary_search(&entry.address).is_ok() {
        return Err(Refusal::EntryInLoop);
    }
    let returns = listing.0.iter().filter(|one| one.flow_control() == FlowControl::Return);
    Ok(Sites { entry, returns: returns.map(Instruction::ip).collect(), return_class: Class::Stepped })
}

/// Every instruction of the function, in order.
struct Listing(Vec<Instruction>);

impl Listing {
    fn decode(code: &Code<'_>) -> Result<Self, Refusal> {
        let mut decoder = Decoder::with_ip(64, code.bytes, code.address, DecoderOptions::NONE);
        let mut all = Vec::with_capacity(code.bytes.len() / 4);
        while decoder.can_decode() {
            let rest = code.bytes.get(decoder.position()..).unwrap_or_default();
            if rest.iter().all(|&byte| byte == PADDING) {
                break;
            }
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                return Err(Refusal::Undecodable(instruction.ip()));
            }
            all.push(instruction);
        }
        Ok(Self(all))
    }

    fn index_of(&self, address: u64) -> Option<usize> {
        self.0.binary_search_by_key(&address, Instruction::ip).ok()
    }

    /// Every address that a jump of the function leads to, sorted; each is an instruction of the function.
    fn targets(&self, code: &Code<'_>) -> Result<Vec<u64>, Refusal> {
        let mut targets = Vec::new();
        let mut left = code.most_cases();
        for (index, one) in self.0.iter().enumerate() {
            match one.flow_control() {
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                    let to = one.near_branch_target();
                    if !code.contains(to) {
                        return Err(Refusal::TailJump { from: one.ip(), to });
                    }
                    targets.push(to);
                }
                FlowControl::IndirectBranch => {
                    let table = self.switch_table(index).ok_or(Refusal::ComputedJump(one.ip()))?;
                    let cases = code.switch_targets(table, &mut left);
                    if cases.is_empty() {
                        return Err(Refusal::ComputedJump(one.ip()));
                    }
                    targets.extend(cases);
                }
                FlowControl::Next
                | FlowControl::Return
                | FlowControl::Call
                | FlowControl::IndirectCall
                | FlowControl::Interrupt
                | FlowControl::XbeginXabortXend
                | FlowControl::Exception => {}
            }
        }
        targets.sort_unstable();
        targets.dedup();
        match targets.iter().find(|&&target| self.index_of(target).is_none()) {
            Some(&target) => Err(Refusal::Misaligned(target)),
            None => Ok(targets),
        }
    }

    /// The table of `lea table(%rip), base; jmp *(base)(index*8)`, as the compiler writes a switch (Go 1.19+).
    fn switch_table(&self, index: usize) -> Option<u64> {
        let jump = self.0.get(index)?;
        let indexed = jump.op0_kind() == OpKind::Memory
            && jump.memory_index() != Register::None
            && jump.memory_index_scale() == 8
            && jump.memory_displacement64() == 0;
        // Padding may stand between: jumps are kept from crossing 32-byte lines.
        let before = self.0.get(..index)?.iter().rev();
        let load = before.take(4).find(|one| one.mnemonic() != Mnemonic::Nop)?;
        let loads_base = load.mnemonic() == Mnemonic::Lea
            && load.op0_register() == jump.memory_base()
            && load.is_ip_rel_memory_operand();
        (indexed && loads_base).then(|| load.ip_rel_memory_address())
    }

    fn entry(&self, code: &Code<'_>) -> Result<Entry, Refusal> {
        let first = self.0.first().ok_or(Refusal::NoCode)?;
        let Some((check, guard)) = self.stack_check(code) else {
            if self.0.iter().take(CHECK_LENGTH).any(loads_goroutine) {
                return Err(Refusal::Abi0);
            }
            return Ok(Entry { address: first.ip(), class: class(first), ignore_when_taken: false });
        };
        if guard != Register::R14 {
            return Err(Refusal::Abi0);
        }
        if let Some(next) = self.0.get(check + 1)
            && is_push(next)
        {
            return Ok(Entry { address: next.ip(), class: Class::Emulated, ignore_when_taken: false });
        }
        let jump = self.0.get(check).ok_or(Refusal::NoCode)?;
        Ok(Entry { address: jump.ip(), class: Class::Emulated, ignore_when_taken: true })
    }

    /// Index of the jump that ends the stack check, and the register that the guard was read through.
    fn stack_check(&self, code: &Code<'_>) -> Option<(usize, Register)> {
        let mut end = None;
        let mut guard = Register::None;
        for (index, one) in self.0.iter().enumerate().take(CHECK_LENGTH) {
            match one.flow_control() {
                FlowControl::Next if is_check_part(one) => {
                    if one.mnemonic() == Mnemonic::Cmp && one.op1_kind() == OpKind::Memory {
                        guard = one.memory_base();
                    }
                }
                FlowControl::ConditionalBranch if self.leads_to_morestack(code, one) => {
                    end = Some(index);
                }
                _ => break,
            }
        }
        // The last jump decides; one on the way (frames over 4 KiB) only guards against underflow.
        end.filter(|_| guard != Register::None).map(|index| (index, guard))
    }

    fn leads_to_morestack(&self, code: &Code<'_>, jump: &Instruction) -> bool {
        let Some(start) = self.index_of(jump.near_branch_target()) else { return false };
        let path = self.0.iter().skip(start).take(SPILLS);
        path.take_while(|one| matches!(one.flow_control(), FlowControl::Next | FlowControl::Call)).any(
            |one| one.flow_control() == FlowControl::Call && (code.is_morestack)(one.near_branch_target()),
        )
    }
}

/// Part of a stack check: compares, or computes into one of the two registers that are free at entry.
fn is_check_part(one: &Instruction) -> bool {
    let scratch = matches!(one.op0_register(), Register::R12 | Register::R13);
    match one.mnemonic() {
        Mnemonic::Cmp => true,
        Mnemonic::Lea | Mnemonic::Sub => scratch || one.op0_register() == Register::RAX,
        Mnemonic::Mov => scratch || loads_goroutine(one),
        _ => false,
    }
}

/// Reads g from thread-local storage, as code of the old convention does before the stack check.
fn loads_goroutine(one: &Instruction) -> bool {
    one.mnemonic() == Mnemonic::Mov
        && one.op1_kind() == OpKind::Memory
        && one.segment_prefix() == Register::FS
}

fn is_push(one: &Instruction) -> bool {
    one.code() == Opcode::Push_r64
}

fn class(one: &Instruction) -> Class {
    let branch = matches!(
        one.flow_control(),
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch | FlowControl::Call
    );
    if branch || is_push(one) { Class::Emulated } else { Class::Stepped }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MORESTACK: u64 = 0x9000;

    fn sites(bytes: &[u8]) -> Result<Sites, Refusal> {
        let code = Code {
            bytes,
            address: 0x1000,
            is_morestack: &|address| address == MORESTACK,
            pointer: &|_| None,
        };
        super::super::find(super::super::Arch::Amd64, &code)
    }

    fn call_morestack(at: u64) -> Vec<u8> {
        let distance = u32::try_from(MORESTACK - (at + 5)).unwrap_or_default();
        [&[0xe8][..], &distance.to_le_bytes()].concat()
    }

    #[test]
    fn current_prologue_enters_at_push() {
        // cmp 0x10(%r14),%rsp; jbe 0x100a; push %rbp; mov %rsp,%rbp; pop %rbp; ret ... (7 bytes)
        let mut code = vec![0x49, 0x3b, 0x66, 0x10, 0x76, 0x06, 0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3];
        code.extend(call_morestack(0x100c));
        code.extend([0xeb, 0xed, 0xcc, 0xcc]);
        let found = sites(&code).unwrap_or_else(|refusal| unreachable!("{refusal}"));
        let entry = Entry { address: 0x1006, class: Class::Emulated, ignore_when_taken: false };
        assert_eq!(found, Sites { entry, returns: vec![0x100b], return_class: Class::Stepped });
    }

    #[test]
    fn older_prologue_enters_at_the_jump() {
        // cmp 0x10(%r14),%rsp; jbe; sub $8,%rsp; add $8,%rsp; ret
        let mut code = vec![0x49, 0x3b, 0x66, 0x10, 0x76, 0x09];
        code.extend([0x48, 0x83, 0xec, 0x08, 0x48, 0x83, 0xc4, 0x08, 0xc3]);
        code.extend(call_morestack(0x100f));
        code.extend([0xeb, 0xea]);
        let found = sites(&code).unwrap_or_else(|refusal| unreachable!("{refusal}"));
        assert_eq!(found.entry.address, 0x1004);
        assert!(found.entry.ignore_when_taken);
    }

    #[test]
    fn refusals_name_their_reason() {
        assert_eq!(sites(&[0xc3]), Err(Refusal::Empty));
        assert_eq!(sites(&[0x90, 0xeb, 0xfe]), Err(Refusal::NeverReturns));
        assert_eq!(sites(&[0x48, 0xff, 0xc0, 0x75, 0xfb, 0xc3]), Err(Refusal::EntryInLoop));
        assert_eq!(sites(&[0x90, 0xe9, 0, 1, 0, 0]), Err(Refusal::TailJump { from: 0x1001, to: 0x1106 }));
        assert_eq!(sites(&[0x90, 0xff, 0xe0]), Err(Refusal::ComputedJump(0x1001)));
        assert_eq!(sites(&[0x90, 0x06, 0xc3]), Err(Refusal::Undecodable(0x1001)));
        // A jump over the first byte of the mov behind it.
        assert_eq!(sites(&[0x90, 0x75, 0x01, 0xb8, 0xc3, 0, 0, 0, 0xc3]), Err(Refusal::Misaligned(0x1004)));
        assert_eq!(sites(&[&[0x90][..], &[0xc3; 65]].concat()), Err(Refusal::TooManyReturns(65)));
        assert_eq!(sites(&[0xcc, 0xcc]), Err(Refusal::NoCode));
        // mov %fs:-8,%rcx: the old calling convention.
        let old = [0x64, 0x48, 0x8b, 0x0c, 0x25, 0xf8, 0xff, 0xff, 0xff, 0xc3];
        assert_eq!(sites(&old), Err(Refusal::Abi0));
    }

    #[test]
    fn an_int3_inside_is_code() {
        let found =
            sites(&[0x55, 0xcc, 0x5d, 0xc3, 0xcc, 0xcc]).unwrap_or_else(|refusal| unreachable!("{refusal}"));
        assert_eq!(found.returns, [0x1003]);
        assert_eq!(found.entry.class, Class::Emulated);
    }
}
