//! Counted loops that the verifier looks through quickly.
//!
//! It follows a loop round by round for as long as it knows the counter: 128 rounds of a walk through a path are
//! a hundred thousand instructions to it, a quarter of a second for one program. Since 6.9 there is an instruction
//! that ends a loop after some million rounds (`may_goto`). Where it is, the verifier needs no counter to believe
//! that a loop ends, so the counter is taken out of its sight (through memory) and a few rounds show it all.
//! Elsewhere the loader makes the instruction one that does nothing and the counter stays in sight.

use core::ptr::{read_volatile, write_volatile};

use super::setting;

/// Begins the next round of a loop that has done `done` of them, if there are to be more than that: how many it
/// has done with it. `counter` is where the number goes out of the verifier's sight.
///
/// # Safety
/// `counter` is writable memory of a map, used by one loop at a time.
#[inline(always)]
pub(crate) unsafe fn next(counter: *mut u32, done: u32, most: u32) -> Option<u32> {
    if done >= most {
        return None;
    }
    // SAFETY: a jump to the label or none; nothing is touched.
    unsafe {
        core::arch::asm!("may_goto {end}", end = label { return None }, options(nomem, nostack));
    }
    let done = done + 1;
    if setting!(may_goto) == 0 {
        return Some(done);
    }
    // SAFETY: by contract.
    unsafe {
        write_volatile(counter, done);
        Some(read_volatile(counter))
    }
}
