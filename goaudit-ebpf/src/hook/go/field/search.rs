//! Looks for values in maps, slices and contexts: one place a step, so that the machine's loop is the only one.
//!
//! Maps are looked through, not hashed: the seed and the hash function are the runtime's own affair, and what is looked
//! for are a few keys of small maps (headers, metadata). A map that changes meanwhile may hide a key, never show a
//! wrong one: keys are compared as whole texts.

use aya_ebpf::helpers::generated::bpf_probe_read_user;

use super::super::{Field, KEY_MAX, KEYS, MapLayout, SEARCHED_MAX, Status};
use super::{Work, fault, stop};
use crate::kernel::read;

/// How far a search has come.
#[repr(C)]
pub(super) struct Search {
    /// What is looked through: one of the constants below.
    kind: u64,
    /// Places that were looked at.
    looked: u64,
    /// The group, the bucket, or the element.
    at: u64,
    /// The place in it that comes next; of a slice the step where each element begins.
    slot: u64,
    /// One byte for each place of it; of a slice the bytes of an element.
    control: u64,
    /// First group or bucket, the one that comes next, and how many there are; of a slice the elements that are left.
    groups: u64,
    group: u64,
    group_count: u64,
    /// The same of the tables of groups, or the old buckets of a map that grows.
    tables: u64,
    table: u64,
    table_count: u64,
    /// A key as it was read.
    key: [u64; KEY_MAX / 8],
}

const NOTHING: u64 = 0;
const A_MAP: u64 = 1;
const A_SLICE: u64 = 2;

/// Places of a group or bucket.
const SLOTS: u64 = 8;
/// Bytes of a key: a string's header.
const KEY: u64 = 16;

/// Nothing is looked for.
#[inline(always)]
pub(super) fn none(work: *mut Work) {
    set!(work.search.kind = NOTHING);
    set!(work.search.looked = 0);
}

/// The step that was taken is taken again.
#[inline(always)]
fn again(work: *mut Work) -> bool {
    set!(work.step = get!(work.step) - 1);
    true
}

/// The search ends without what was looked for.
#[inline(always)]
fn give_up(work: *mut Work, status: Status) -> bool {
    set!(work.search.kind = NOTHING);
    stop(work, status)
}

/// The search ends: the next step goes on at `a`.
#[inline(always)]
fn found(work: *mut Work, a: u64) -> bool {
    set!(work.search.kind = NOTHING);
    set!(work.a = a);
    true
}

/// Counts what is looked at; whether that is enough.
#[inline(always)]
fn enough(work: *mut Work) -> bool {
    let looked = get!(work.search.looked) + 1;
    set!(work.search.looked = looked);
    looked > SEARCHED_MAX
}

/// Looks at one place of the map at `a`.
#[inline(always)]
pub(super) fn map(work: *mut Work, field: *const Field, n: u16, size: u64) -> bool {
    let groups = get!(work.maps) == MapLayout::Groups as u64;
    if get!(work.search.kind) == NOTHING {
        return begin_map(work, groups);
    }
    if enough(work) {
        return give_up(work, Status::Unsearched);
    }
    let slot = get!(work.search.slot);
    if slot >= SLOTS {
        return next_group(work, groups, size);
    }
    set!(work.search.slot = slot + 1);
    let control = get!(work.search.control) >> (slot * 8 & 63) & 0xff;
    let at = get!(work.search.at) + SLOTS;
    // Groups: the highest bit is set in places that are empty or were emptied. Buckets: 0 to 4 say why there is
    // nothing, among them that it moved to the new buckets.
    let (full, key, value) = if groups {
        let key = at + slot * slot_size(size);
        (control & 0x80 == 0, key, key + KEY)
    } else {
        (control >= 5, at + slot * KEY, at + SLOTS * KEY + slot * size)
    };
    if full
        && let Some([text, len]) = read::user::<[u64; 2]>(key)
        && is_key(work, field, n, text, len)
    {
        return found(work, value);
    }
    again(work)
}

/// Bytes of a key and its value in a group.
#[inline(always)]
fn slot_size(size: u64) -> u64 {
    KEY + ((size + 7) & !7)
}

#[inline(always)]
fn begin_map(work: *mut Work, groups: bool) -> bool {
    let map = get!(work.a);
    if map == 0 {
        return stop(work, Status::Nil);
    }
    if get!(work.maps) == MapLayout::Unknown as u64 {
        return stop(work, Status::NoLayout);
    }
    let Some([count, second, third, fourth]) = read::user::<[u64; 4]>(map) else { return fault(work) };
    if count == 0 {
        return stop(work, Status::Absent);
    }
    set!(work.search.kind = A_MAP);
    set!(work.search.at = 0);
    set!(work.search.slot = SLOTS);
    set!(work.search.group = 0);
    set!(work.search.table = 0);
    if groups {
        // used, seed, dirPtr, dirLen: a small map is one group, without tables.
        set!(work.search.groups = third);
        set!(work.search.group_count = u64::from(fourth == 0));
        set!(work.search.tables = third);
        set!(work.search.table_count = fourth);
    } else {
        // count, flags B ..., buckets, oldbuckets: half as many as there are now, unless the map is only tidied up.
        let log2 = second >> 8 & 31;
        let count = 1 << log2;
        let same_size = second & 8 != 0;
        set!(work.search.groups = third);
        set!(work.search.group_count = count);
        set!(work.search.tables = fourth);
        set!(work.search.table_count = if same_size { count } else { count >> 1 });
    }
    again(work)
}

/// On to the next group or bucket.
#[inline(always)]
fn next_group(work: *mut Work, groups: bool, size: u64) -> bool {
    let before = get!(work.search.at);
    let bytes = if groups { SLOTS + SLOTS * slot_size(size) } else { SLOTS * (1 + KEY + size) + 8 };
    let mut at = 0;
    if !groups && before != 0 {
        // The chain of a bucket that had no room.
        at = read::user::<u64>(before + bytes - 8).unwrap_or(0);
    }
    if at == 0 {
        let group = get!(work.search.group);
        if group >= get!(work.search.group_count) {
            return next_table(work, groups);
        }
        set!(work.search.group = group + 1);
        at = get!(work.search.groups) + group * bytes;
    }
    let Some(control) = read::user::<u64>(at) else {
        set!(work.search.kind = NOTHING);
        return fault(work);
    };
    set!(work.search.at = at);
    set!(work.search.control = control);
    set!(work.search.slot = 0);
    again(work)
}

/// On to the next table of groups, or to the old buckets.
#[inline(always)]
fn next_table(work: *mut Work, groups: bool) -> bool {
    let tables = get!(work.search.tables);
    let table = get!(work.search.table);
    let count = get!(work.search.table_count);
    set!(work.search.at = 0);
    set!(work.search.group = 0);
    if groups {
        if table >= count {
            return give_up(work, Status::Absent);
        }
        set!(work.search.table = table + 1);
        // used, capacity ..., index, groups.data, groups.lengthMask. One table may be there several times in a row:
        // then its groups are looked at again.
        if let Some(address) = read::user::<u64>(tables + table * 8)
            && let Some([data, mask]) = read::user::<[u64; 2]>(address + 16)
        {
            set!(work.search.groups = data);
            set!(work.search.group_count = mask + 1);
            return again(work);
        }
        set!(work.search.kind = NOTHING);
        return fault(work);
    }
    if tables == 0 {
        return give_up(work, Status::Absent);
    }
    set!(work.search.tables = 0);
    set!(work.search.groups = tables);
    set!(work.search.group_count = count);
    again(work)
}

/// Begins to look through the slice `a`, `b`.
#[inline(always)]
pub(super) fn slice(work: *mut Work, size: u64) -> bool {
    let left = get!(work.b);
    if left == 0 {
        return stop(work, Status::Absent);
    }
    set!(work.search.kind = A_SLICE);
    set!(work.search.looked = 0);
    set!(work.search.at = get!(work.a));
    set!(work.search.slot = get!(work.step));
    set!(work.search.control = size);
    set!(work.search.group_count = left);
    true
}

/// Whether the element's text `a`, `b` is the key.
#[inline(always)]
pub(super) fn element(work: *mut Work, field: *const Field, n: u16) -> bool {
    let (text, len) = (get!(work.a), get!(work.b));
    if is_key(work, field, n, text, len) {
        return found(work, get!(work.search.at));
    }
    stop(work, Status::Absent)
}

/// A step failed: while a slice is looked through, only this element is none that is looked for.
#[inline(always)]
pub(super) fn next_element(work: *mut Work) -> bool {
    if get!(work.search.kind) != A_SLICE {
        return false;
    }
    let left = get!(work.search.group_count) - 1;
    set!(work.search.group_count = left);
    if left == 0 {
        return give_up(work, Status::Absent);
    }
    if enough(work) {
        return give_up(work, Status::Unsearched);
    }
    let at = get!(work.search.at) + get!(work.search.control);
    set!(work.search.at = at);
    set!(work.a = at);
    set!(work.status = Status::Whole as u64);
    set!(work.step = get!(work.search.slot));
    true
}

/// Looks at the context `a`, `b`: a `valueCtx` with the key, or one that it is derived from. All of the standard
/// library's contexts, and most others, begin with the one that they are derived from; one that does not ends the
/// search, because what it begins with has no type that is one of a context.
#[inline(always)]
pub(super) fn context(work: *mut Work, field: *const Field) -> bool {
    let (table, data) = (get!(work.a), get!(work.b));
    // SAFETY: a map value.
    let [value, key] = unsafe { read::volatile(&(*field).types) };
    if value == 0 || key == 0 || table == 0 {
        return stop(work, Status::Absent);
    }
    if enough(work) {
        return stop(work, Status::Unsearched);
    }
    let site = get!(work.call.site);
    let Some(of) = read::user::<u64>(table + 8) else { return stop(work, Status::Absent) };
    if of == site.wrapping_add(value) {
        // The context that it is derived from, the key, the value.
        let Some([outer, outer_data, key_type, _, a, b]) = read::user::<[u64; 6]>(data) else {
            return fault(work);
        };
        if key_type == site.wrapping_add(key) {
            set!(work.a = a);
            set!(work.b = b);
            return true;
        }
        set!(work.a = outer);
        set!(work.b = outer_data);
        return again(work);
    }
    let Some([outer, outer_data]) = read::user::<[u64; 2]>(data) else { return stop(work, Status::Absent) };
    set!(work.a = outer);
    set!(work.b = outer_data);
    again(work)
}

/// Whether a text is key `n` of the field.
#[inline(always)]
fn is_key(work: *mut Work, field: *const Field, n: u16, text: u64, len: u64) -> bool {
    if len != u64::from(n >> 8) {
        return false;
    }
    let number = read::bound::<{ KEYS as i32 - 1 }>(u64::from(n & 0xff));
    let len = read::bound::<{ KEY_MAX as i32 }>(len);
    for word in 0..KEY_MAX / 8 {
        set!(work.search.key[word] = 0);
    }
    // SAFETY: at most `KEY_MAX` bytes of our own buffer; the helper checks the address.
    let failed =
        unsafe { bpf_probe_read_user((&raw mut (*work).search.key).cast(), len as u32, text as *const _) };
    let mut different = failed.cast_unsigned();
    for word in 0..KEY_MAX / 8 {
        // SAFETY: bounded, a map value.
        let wanted = unsafe {
            let keys = (&raw const (*field).keys).cast::<u64>();
            read::volatile(&*keys.add(number as usize * (KEY_MAX / 8) + word))
        };
        different |= wanted ^ get!(work.search.key[word]);
    }
    different == 0
}
