//! Paths, by walking directory entries from the leaf to the root of the mount tree, across mounts.
//!
//! No lock is held: a rename during the walk can mix old and new names, as it can in every tracer that may
//! not call `d_path`. The names are sent leaf first; user space turns them round. A leaf that is in no hash list was
//! taken out of its directory (or never was in one: a memfd), as `d_path` has it.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;

use super::scratch::{Scratch, cursor, set_cursor};
use super::{read, rounds, setting, text as pieces};
use crate::settings::ABSENT;
use crate::wire::{Section, TEXT_MAX, text};

/// Most steps (names and mount crossings) of a walk.
const STEPS: u32 = 128;
/// NAME_MAX and a NUL.
const NAME: u32 = 256;

/// Sends the path at `path` (a `struct path`); false when it cannot be read at all.
///
/// # Safety
/// [`pieces::begin`] was called.
#[inline(always)]
pub(crate) unsafe fn send(scratch: *mut Scratch, section: Section, path: u64) -> bool {
    let Some(mut mount) = read::pointer(path, setting!(offsets.path_mnt)) else { return false };
    let Some(mut dentry) = read::pointer(path, setting!(offsets.path_dentry)) else { return false };
    let mount_mnt = setting!(offsets.mount_mnt);
    if mount_mnt == ABSENT {
        return false;
    }
    // SAFETY: by contract.
    unsafe { set_cursor(scratch, 0) };
    let mut flags = text::CUT;
    let mut steps = 0;
    // SAFETY: by contract.
    while let Some(step) = unsafe { rounds::next(&raw mut (*scratch).round, steps, STEPS) } {
        steps = step;
        let Some(root) = read::pointer(mount, setting!(offsets.vfsmount_root)) else {
            flags = text::FAULT;
            break;
        };
        if dentry == root {
            // `struct mount` is around the `struct vfsmount` that a path points to.
            let outer = mount - u64::from(mount_mnt);
            let (Some(parent), Some(mountpoint)) = (
                read::pointer(outer, setting!(offsets.mount_parent)),
                read::pointer(outer, setting!(offsets.mount_mountpoint)),
            ) else {
                flags = text::FAULT;
                break;
            };
            if parent == outer {
                flags = 0;
                break;
            }
            dentry = mountpoint;
            mount = parent + u64::from(mount_mnt);
            continue;
        }
        let (Some(parent), Some(name)) = (
            read::pointer(dentry, setting!(offsets.dentry_parent)),
            read::pointer(dentry, setting!(offsets.dentry_name)),
        ) else {
            flags = text::FAULT;
            break;
        };
        // SAFETY: by contract.
        let used = unsafe { cursor(scratch) };
        if used >= TEXT_MAX as u64 {
            break;
        }
        // SAFETY: `used` is bounded, and the buffer has room for a string behind it.
        let got = unsafe {
            let at = read::bound::<{ TEXT_MAX as i32 }>(used);
            let to = (&raw mut (*scratch).data).cast::<u8>().add(at as usize);
            bpf_probe_read_kernel_str(to.cast(), NAME, name as *const _)
        };
        if got <= 0 {
            flags = text::FAULT;
            break;
        }
        #[expect(clippy::cast_sign_loss, reason = "checked")]
        // SAFETY: by contract.
        unsafe {
            set_cursor(scratch, cursor(scratch) + got as u64);
        }
        if parent == dentry {
            // Not below any mount: a pipe, a memfd. Its name is all there is.
            flags = 0;
            break;
        }
        dentry = parent;
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded")]
    // SAFETY: by contract.
    unsafe {
        let used = cursor(scratch);
        let total = if flags == 0 { used as u32 } else { 0 };
        pieces::send(scratch, section, flags | deleted(path), 0, total, used);
    }
    true
}

/// [`text::DELETED`] if the directory entry of `path` was removed. Read again rather than kept: the verifier would
/// follow the walk once for each answer.
#[inline(always)]
fn deleted(path: u64) -> u16 {
    let Some(mount) = read::pointer(path, setting!(offsets.path_mnt)) else { return 0 };
    let Some(dentry) = read::pointer(path, setting!(offsets.path_dentry)) else { return 0 };
    // The root of a mount is in no directory.
    if read::pointer(mount, setting!(offsets.vfsmount_root)) == Some(dentry) {
        return 0;
    }
    match read::kernel::<u64>(dentry, setting!(offsets.dentry_hash)) {
        Some(0) => text::DELETED,
        Some(_) | None => 0,
    }
}
