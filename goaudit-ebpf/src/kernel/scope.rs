//! Which processes are recorded. The agent itself never is.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};

use super::{count_unkept, setting};
use crate::settings::toggle::{SCOPED, SKIP_DESCENDANTS};

/// Marked processes by tgid: the only ones recorded (`SCOPED`) or the ones left out (`SKIP_DESCENDANTS`).
/// Not an LRU map: a process must never fall out of scope because others came. The loader makes it small when
/// neither toggle is set.
#[map]
static SCOPE: HashMap<u32, u8> = HashMap::with_max_entries(32_768, 0);

/// The process that the agent made last: inside another pid namespace it knows it by another number.
#[map]
static LAST_CHILD: Array<u32> = Array::with_max_entries(1, 0);

#[inline(always)]
fn marked(tgid: u32) -> bool {
    SCOPE.get_ptr(tgid).is_some()
}

/// Whether this process is recorded.
#[inline(always)]
pub(crate) fn contains(tgid: u32) -> bool {
    if tgid == setting!(own_tgid) {
        return false;
    }
    let toggles = setting!(toggles);
    if toggles & SCOPED != 0 {
        return marked(tgid);
    }
    if toggles & SKIP_DESCENDANTS != 0 {
        return !marked(tgid);
    }
    true
}

/// A process made another: the mark is inherited before the child runs.
#[inline(always)]
pub(crate) fn inherit(parent: u32, child: u32) {
    let toggles = setting!(toggles);
    if toggles & (SCOPED | SKIP_DESCENDANTS) == 0 {
        return;
    }
    if parent == setting!(own_tgid)
        && let Some(last) = LAST_CHILD.get_ptr_mut(0)
    {
        // SAFETY: a map value.
        unsafe { core::ptr::write_volatile(last, child) };
    }
    let own = toggles & SCOPED == 0 && parent == setting!(own_tgid);
    if (own || marked(parent)) && SCOPE.insert(child, 1u8, 0).is_err() {
        count_unkept();
    }
}

/// A process ended.
#[inline(always)]
pub(crate) fn forget(tgid: u32) {
    if setting!(toggles) & (SCOPED | SKIP_DESCENDANTS) != 0 {
        // Not marked: nothing to remove.
        let _ = SCOPE.remove(tgid);
    }
}
