//! Arguments of an exec as user memory holds them: racy, and read at the call's entry or its failed exit.

use aya_ebpf::helpers::generated::bpf_probe_read_user_str;

use super::scratch::{STRING_MAX, Scratch, cursor, set_cursor};
use super::{read, rounds};
use crate::hook::exec::flags::{USER_ARGS_CUT, USER_ARGS_FAULT};

/// Most bytes of arguments that are looked at.
pub(crate) const VIEW_MAX: usize = 4096;
/// Most arguments that are looked at.
const ARGS: u32 = 128;

/// What is remembered from entry to commit, followed by its bytes.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct ViewHead {
    /// Arguments in the view.
    pub(crate) argc: u32,
    /// Bytes in the view.
    pub(crate) bytes: u32,
    /// Bits of [`crate::hook::exec::flags`].
    pub(crate) flags: u32,
    /// Zero.
    pub(crate) reserved: u32,
}

/// The map's value.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct View {
    /// Counts and flags.
    pub(crate) head: ViewHead,
    /// Argument strings, each with its NUL.
    pub(crate) data: [u8; VIEW_MAX],
}

/// Copies the strings of `argv` to `data`.
///
/// # Safety
/// `scratch` is claimed, and `VIEW_MAX + STRING_MAX` bytes at `data`, within it, are writable.
#[inline(always)]
pub(crate) unsafe fn read_args(scratch: *mut Scratch, data: *mut u8, argv: u64) -> ViewHead {
    // SAFETY: by contract.
    unsafe { set_cursor(scratch, 0) };
    let mut argc = 0;
    let mut flags = USER_ARGS_CUT;
    if argv == 0 {
        return ViewHead { argc: 0, bytes: 0, flags: 0, reserved: 0 };
    }
    // SAFETY: by contract.
    while let Some(with_this) = unsafe { rounds::next(&raw mut (*scratch).round, argc, ARGS) } {
        let Some(argument) = read::user::<u64>(argv + u64::from(argc) * 8) else {
            flags = USER_ARGS_FAULT;
            break;
        };
        if argument == 0 {
            flags = 0;
            break;
        }
        // SAFETY: `used` is bounded and a whole string fits behind it.
        let got = unsafe {
            let at = read::bound::<{ VIEW_MAX as i32 }>(cursor(scratch));
            bpf_probe_read_user_str(data.add(at as usize).cast(), STRING_MAX as u32, argument as *const _)
        };
        if got < 0 {
            flags = USER_ARGS_FAULT;
            break;
        }
        // The empty string is told as 0 or 1, by kernel version.
        #[expect(clippy::cast_sign_loss, reason = "checked")]
        let got = if got == 0 { 1 } else { got as u64 };
        argc = with_this;
        // SAFETY: by contract.
        let used = unsafe {
            let used = cursor(scratch) + got;
            set_cursor(scratch, used);
            used
        };
        if used >= VIEW_MAX as u64 || got == STRING_MAX as u64 {
            // The byte behind may be a NUL that the helper put where it had to stop.
            // SAFETY: by contract.
            unsafe { set_cursor(scratch, VIEW_MAX as u64 - 1) };
            break;
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most VIEW_MAX")]
    // SAFETY: by contract.
    let bytes = unsafe { cursor(scratch) } as u32;
    ViewHead { argc, bytes, flags: u32::from(flags), reserved: 0 }
}
