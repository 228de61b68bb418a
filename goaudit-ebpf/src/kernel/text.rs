//! Pieces of long values.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str};

use super::scratch::{STRING_MAX, Scratch, cursor, set_cursor};
use super::{Class, emit, read, rounds};
use crate::wire::{ARGS_ENV_MAX, Header, Kind, Section, TEXT_MAX, Text, text};

/// Most pieces of one value.
const PIECES: u32 = (ARGS_ENV_MAX / TEXT_MAX) as u32;
/// Bytes of a piece's head.
const HEAD: u64 = size_of::<Text>() as u64;

/// Prepares the head that all pieces of this record share: a copy of the record's.
///
/// # Safety
/// `scratch` is claimed and its `exec.header` is filled.
#[inline(always)]
pub(crate) unsafe fn begin(scratch: *mut Scratch) {
    // SAFETY: by contract.
    unsafe {
        (*scratch).exec.link = (*scratch).exec.header.ktime.0;
        (*scratch).exec.texts = 0;
        (*scratch).text.header = (*scratch).exec.header;
        (*scratch).text.header.kind = Kind::Text as u16;
        (*scratch).text.header.missing = 0;
        (*scratch).text.link = (*scratch).exec.link;
        (*scratch).text.reserved = 0;
    }
}

/// Sends the first `len` bytes of `data`.
///
/// # Safety
/// [`begin`] was called.
#[inline(always)]
pub(crate) unsafe fn send(
    scratch: *mut Scratch,
    section: Section,
    flags: u16,
    offset: u32,
    total: u32,
    len: u64,
) {
    // SAFETY: by contract; the bound keeps head and bytes within the scratch buffer.
    unsafe {
        let len = read::bound::<{ TEXT_MAX as i32 }>(len);
        (*scratch).exec.texts += 1;
        let text = &raw mut (*scratch).text;
        (*text).header.flags = flags;
        (*text).section = section as u16;
        (*text).offset = offset;
        (*text).total = total;
        #[expect(clippy::cast_possible_truncation, reason = "at most TEXT_MAX")]
        {
            (*text).len = len as u32;
        }
        let record = text.cast::<Header>();
        emit(record, HEAD + read::bound::<{ TEXT_MAX as i32 }>(len), Class::Piece);
    }
}

/// Sends the string at `address` in kernel memory, without its NUL.
///
/// # Safety
/// [`begin`] was called.
#[inline(always)]
pub(crate) unsafe fn send_kernel_string(scratch: *mut Scratch, section: Section, address: u64) {
    // SAFETY: by contract.
    unsafe {
        let read = bpf_probe_read_kernel_str(
            (&raw mut (*scratch).data).cast(),
            STRING_MAX as u32,
            address as *const _,
        );
        send_string(scratch, section, read);
    }
}

/// Sends the string at `address` in user memory, without its NUL.
///
/// # Safety
/// [`begin`] was called.
#[inline(always)]
pub(crate) unsafe fn send_user_string(scratch: *mut Scratch, section: Section, address: u64) {
    // SAFETY: by contract.
    unsafe {
        let read = bpf_probe_read_user_str(
            (&raw mut (*scratch).data).cast(),
            STRING_MAX as u32,
            address as *const _,
        );
        send_string(scratch, section, read);
    }
}

/// Sends what a string helper read (its result counts the NUL).
#[inline(always)]
unsafe fn send_string(scratch: *mut Scratch, section: Section, read: i64) {
    // SAFETY: by contract of the callers.
    unsafe {
        if read < 0 {
            send(scratch, section, text::FAULT, 0, 0, 0);
            return;
        }
        #[expect(clippy::cast_sign_loss, reason = "checked")]
        let len = (read as u64).saturating_sub(1);
        // A string that fills the buffer may go on.
        let (flags, total) = if len >= STRING_MAX as u64 - 1 { (text::CUT, 0) } else { (0, len as u32) };
        send(scratch, section, flags, 0, total, len);
    }
}

/// Sends `total` bytes of user memory from `start` on, in pieces.
///
/// # Safety
/// [`begin`] was called.
#[inline(always)]
pub(crate) unsafe fn send_user_range(scratch: *mut Scratch, section: Section, start: u64, total: u64) {
    // SAFETY: by contract.
    unsafe { set_cursor(scratch, 0) };
    let mut pieces = 0;
    // SAFETY: by contract.
    while let Some(piece) = unsafe { rounds::next(&raw mut (*scratch).round, pieces, PIECES) } {
        pieces = piece;
        #[expect(clippy::cast_possible_truncation, reason = "the kernel's limit is far below 4 GiB")]
        // SAFETY: by contract; `len` is bounded right above its use.
        unsafe {
            let offset = cursor(scratch);
            if offset >= total {
                return;
            }
            let len = read::bound::<{ TEXT_MAX as i32 }>(total - offset);
            set_cursor(scratch, offset + len);
            let data = (&raw mut (*scratch).data).cast();
            if bpf_probe_read_user(data, len as u32, (start + offset) as *const _) != 0 {
                send(scratch, section, text::FAULT, offset as u32, total as u32, 0);
                return;
            }
            let last = piece == PIECES && offset + len < total;
            let flags = if last { text::CUT } else { 0 };
            send(scratch, section, flags, offset as u32, total as u32, len);
        }
    }
}
