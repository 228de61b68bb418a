//! Who: the part of a record that is about the current process.

use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task,
    bpf_get_current_task_btf, bpf_get_current_uid_gid, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns,
};

use super::{read, setting};
use crate::hook::exec::{Capabilities, Namespaces};
use crate::settings::ABSENT;
use crate::units::{Ktime, Tgid, Tid};
use crate::wire::{COMM_LEN, Header, Kind, missing};

/// Process and thread of the current task.
#[inline(always)]
pub(crate) fn current_ids() -> (u32, u32) {
    // SAFETY: helper without preconditions.
    let both = unsafe { bpf_get_current_pid_tgid() };
    #[expect(clippy::cast_possible_truncation, reason = "two halves")]
    ((both >> 32) as u32, both as u32)
}

/// The current `task_struct`.
#[inline(always)]
pub(crate) fn current() -> u64 {
    // SAFETY: helper without preconditions.
    unsafe { bpf_get_current_task() }
}

/// The eight ids of `struct cred` in their order: uid, gid, suid, sgid, euid, egid, fsuid, fsgid. The loader
/// has checked that they lie in a row.
pub(crate) type Ids = [u32; 8];

/// The ids of `task` (a `task_struct`).
#[inline(always)]
pub(crate) fn ids(task: u64) -> Option<Ids> {
    let cred = read::pointer(task, setting!(offsets.task_cred))?;
    read::kernel::<Ids>(cred, setting!(offsets.cred_uid))
}

/// When the process of `task` started.
#[inline(always)]
pub(crate) fn process_start(task: u64) -> Option<u64> {
    let leader = read::pointer(task, setting!(offsets.task_group_leader))?;
    read::kernel::<u64>(leader, setting!(offsets.task_start_boottime))
}

/// Writes who runs, read by loads that the verifier checks against the kernel's types: seven calls of helpers less
/// a record. A running task, its leader, its parent (under RCU, which programs run under) and its credentials are there: no load
/// can fault.
///
/// # Safety
/// `header` is writable.
#[inline(always)]
unsafe fn put_who_typed(header: *mut Header) {
    // SAFETY: helper without preconditions.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    let leader = read::typed::<u64>(task, setting!(offsets.task_group_leader));
    let parent = read::typed::<u64>(task, setting!(offsets.task_real_parent));
    let cred = read::typed::<u64>(task, setting!(offsets.task_cred));
    let ids = setting!(offsets.cred_uid);
    // SAFETY: by contract.
    unsafe {
        let mut absent = 0;
        read::put(
            &raw mut (*header).start,
            Ktime(read::typed(leader, setting!(offsets.task_start_boottime))),
        );
        read::put(&raw mut (*header).ppid, Tgid(read::typed(parent, setting!(offsets.task_tgid))));
        let mut auid = read::typed(task, setting!(offsets.task_loginuid));
        if setting!(offsets.task_loginuid) == ABSENT {
            auid = u32::MAX;
            absent |= missing::AUID;
        }
        read::put(&raw mut (*header).auid, auid);
        read::put(&raw mut (*header).uid, read::typed(cred, ids));
        read::put(&raw mut (*header).gid, read::typed(cred, ids + 4));
        read::put(&raw mut (*header).euid, read::typed(cred, ids + 16));
        read::put(&raw mut (*header).egid, read::typed(cred, ids + 20));
        read::put(&raw mut (*header).missing, absent);
    }
}

/// Writes who runs, copied by helpers: where tasks are not typed, or a member is not where it should be. Straight into
/// the record: old verifiers refuse what becomes of values that may be missing on the way there.
///
/// # Safety
/// `header` is writable.
#[inline(always)]
unsafe fn put_who_copied(header: *mut Header) {
    let task = current();
    let mut absent = 0;
    // SAFETY: by contract.
    unsafe {
        let start = (&raw mut (*header).start).cast::<u64>();
        let leader = read::pointer_or_null(task, setting!(offsets.task_group_leader));
        if !read::copy(start, leader, setting!(offsets.task_start_boottime), 0) {
            absent |= missing::START;
        }
        let ppid = (&raw mut (*header).ppid).cast::<u32>();
        let parent = read::pointer_or_null(task, setting!(offsets.task_real_parent));
        if !read::copy(ppid, parent, setting!(offsets.task_tgid), 0) {
            absent |= missing::PPID;
        }
        if !read::copy(&raw mut (*header).auid, task, setting!(offsets.task_loginuid), u32::MAX) {
            absent |= missing::AUID;
        }
        let cred = read::pointer_or_null(task, setting!(offsets.task_cred));
        let ids = setting!(offsets.cred_uid);
        let both = bpf_get_current_uid_gid();
        #[expect(clippy::cast_possible_truncation, reason = "two halves")]
        let (uid, gid) = (both as u32, (both >> 32) as u32);
        if ids == ABSENT
            || !read::copy(&raw mut (*header).uid, cred, ids, uid)
            || !read::copy(&raw mut (*header).gid, cred, ids + 4, gid)
            || !read::copy(&raw mut (*header).euid, cred, ids + 16, 0)
            || !read::copy(&raw mut (*header).egid, cred, ids + 20, 0)
        {
            read::put(&raw mut (*header).uid, uid);
            read::put(&raw mut (*header).gid, gid);
            read::put(&raw mut (*header).euid, 0);
            read::put(&raw mut (*header).egid, 0);
            absent |= missing::CRED;
        }
        read::put(&raw mut (*header).missing, absent);
    }
}

/// Writes the head of a record of `kind` about the current task, now.
///
/// # Safety
/// `header` is writable.
#[inline(always)]
pub(crate) unsafe fn fill(header: *mut Header, kind: Kind, flags: u16) {
    // SAFETY: by contract; helper without preconditions.
    unsafe {
        (*header).ktime = Ktime(bpf_ktime_get_boot_ns());
        fill_untimed(header, kind, flags);
    }
}

/// As [`fill`], but when it was is left to the caller.
///
/// # Safety
/// As [`fill`].
#[inline(always)]
pub(crate) unsafe fn fill_untimed(header: *mut Header, kind: Kind, flags: u16) {
    if setting!(typed_tasks) == 0 {
        // SAFETY: by contract.
        unsafe { put_who_copied(header) };
    } else {
        // SAFETY: by contract.
        unsafe { put_who_typed(header) };
    }
    let (tgid, tid) = current_ids();
    // SAFETY: `header` is writable by contract; the helpers have no preconditions.
    unsafe {
        (*header).kind = kind as u16;
        (*header).flags = flags;
        (*header).cgroup = bpf_get_current_cgroup_id();
        (*header).cpu = bpf_get_smp_processor_id();
        (*header).tgid = Tgid(tgid);
        (*header).tid = Tid(tid);
        #[expect(clippy::cast_possible_truncation, reason = "16")]
        bpf_get_current_comm((&raw mut (*header).comm).cast(), COMM_LEN as u32);
    }
}

/// Who may dump and trace `task` (0 nobody, 1 its owner, 2 root): an object of its own in newer kernels (seen in
/// 7.3), the low bits of the mm's flags before. The loader leaves only one of the two present.
#[inline(always)]
pub(crate) fn dumpable(task: u64) -> Option<u32> {
    if setting!(offsets.exec_state_dumpable) != ABSENT {
        let state = read::pointer(task, setting!(offsets.task_exec_state))?;
        return read::kernel::<u32>(state, setting!(offsets.exec_state_dumpable));
    }
    let mm = read::pointer(task, setting!(offsets.task_mm))?;
    read::kernel::<u32>(mm, setting!(offsets.mm_flags)).map(|flags| flags & 3)
}

/// Capability sets of the credentials at `cred`.
#[inline(always)]
pub(crate) fn capabilities(cred: u64) -> Option<Capabilities> {
    Some(Capabilities {
        effective: read::kernel(cred, setting!(offsets.cred_cap_effective))?,
        permitted: read::kernel(cred, setting!(offsets.cred_cap_permitted))?,
        inheritable: read::kernel(cred, setting!(offsets.cred_cap_inheritable))?,
        bounding: read::kernel(cred, setting!(offsets.cred_cap_bset))?,
        ambient: read::kernel(cred, setting!(offsets.cred_cap_ambient))?,
    })
}

/// Id of `task` in its own pid namespace, and that namespace's inode: the last of `thread_pid->numbers`.
#[inline(always)]
pub(crate) fn namespace_id(task: u64) -> Option<(u32, u32)> {
    let pid = read::pointer(task, setting!(offsets.task_thread_pid))?;
    let level = read::kernel::<u32>(pid, setting!(offsets.pid_level))?;
    let size = setting!(upid_size);
    let numbers = setting!(offsets.pid_numbers);
    if size == ABSENT || numbers == ABSENT {
        return None;
    }
    let upid = pid + u64::from(numbers) + u64::from(level) * u64::from(size);
    let number = read::kernel::<u32>(upid, setting!(offsets.upid_nr))?;
    let namespace = read::pointer(upid, setting!(offsets.upid_ns))?;
    Some((number, read::kernel::<u32>(namespace, setting!(offsets.pid_ns_inum))?))
}

/// Inode of the namespace behind the pointer at `from + pointer`.
#[inline(always)]
fn inum(from: u64, pointer: u32, offset: u32) -> Option<u32> {
    read::kernel::<u32>(read::pointer(from, pointer)?, offset)
}

/// Namespaces of the current task, and whether all could be read.
///
/// # Safety
/// `out` is writable.
#[inline(always)]
pub(crate) unsafe fn namespaces(task: u64, cred: u64, out: *mut Namespaces) -> bool {
    let Some(proxy) = read::pointer(task, setting!(offsets.task_nsproxy)) else { return false };
    let mut complete = true;
    let mut or_zero = |found: Option<u32>| {
        complete &= found.is_some();
        found.unwrap_or(0)
    };
    // SAFETY: by contract.
    unsafe {
        (*out).user = or_zero(inum(cred, setting!(offsets.cred_user_ns), setting!(offsets.user_ns_inum)));
        (*out).mnt = or_zero(inum(proxy, setting!(offsets.nsproxy_mnt), setting!(offsets.mnt_ns_inum)));
        (*out).net = or_zero(inum(proxy, setting!(offsets.nsproxy_net), setting!(offsets.net_ns_inum)));
        (*out).uts = or_zero(inum(proxy, setting!(offsets.nsproxy_uts), setting!(offsets.uts_ns_inum)));
        (*out).ipc = or_zero(inum(proxy, setting!(offsets.nsproxy_ipc), setting!(offsets.ipc_ns_inum)));
        (*out).cgroup =
            or_zero(inum(proxy, setting!(offsets.nsproxy_cgroup), setting!(offsets.cgroup_ns_inum)));
        match namespace_id(task) {
            Some((tgid, pid)) => {
                (*out).tgid = tgid;
                (*out).pid = pid;
            }
            None => {
                (*out).tgid = 0;
                (*out).pid = 0;
                complete = false;
            }
        }
    }
    complete
}
