//! seccomp filters, assembled by hand: what the refusal cases need and no more.

use super::call;

/// `struct sock_filter`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

/// `struct sock_fprog`.
#[derive(Debug)]
#[repr(C)]
struct Program {
    len: u16,
    instructions: u64,
}

const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const FAIL_WITH: u32 = 0x0005_0000;
/// `SECCOMP_RET_KILL_PROCESS` (since 4.14).
pub(super) const KILL: u32 = 0x8000_0000;

/// `PR_SET_SECCOMP`, `SECCOMP_MODE_FILTER`.
pub(super) const SET_FILTER: (u64, u64) = (22, 2);

/// Writes a filter program into the kernel-visible memory at `at`: system call `number` fails with `errno`, all others pass.
/// Returns the address to hand to the kernel.
pub(super) fn refuse(at: u64, number: u32, errno: u16) -> u64 {
    answer(at, number, FAIL_WITH | u32::from(errno))
}

/// The same with any other answer to system call `number`.
pub(super) fn answer(at: u64, number: u32, action: u32) -> u64 {
    let instruction = |code, if_true, if_false, value| Instruction { code, if_true, if_false, value };
    let filter = [
        // seccomp_data.nr
        instruction(LOAD_WORD, 0, 0, 0),
        instruction(JUMP_IF_EQUAL, 0, 1, number),
        instruction(RETURN, 0, 0, action),
        instruction(RETURN, 0, 0, ALLOW),
    ];
    let mut bytes = Vec::new();
    for Instruction { code, if_true, if_false, value } in filter {
        bytes.extend(code.to_ne_bytes());
        bytes.extend([if_true, if_false]);
        bytes.extend(value.to_ne_bytes());
    }
    let header = Program { len: 4, instructions: at + 64 };
    let mut head = [0u8; 16];
    head[..2].copy_from_slice(&header.len.to_ne_bytes());
    head[8..].copy_from_slice(&header.instructions.to_ne_bytes());
    call::store(at, &head);
    call::store(at + 64, &bytes);
    at
}
