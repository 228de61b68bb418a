//! Every prctl option, right and wrong: one table, each row one call.

use super::prctl::{NAMES, told};
use super::{Case, call, child, exec};

/// Stands for the address of a page that the kernel may write to.
const MEMORY: u64 = 0xfeed_face_0000_0001;
/// An address that is never mapped.
const BAD: u64 = 8;
/// Option and arguments. Options that would end the process or blind it (strict seccomp, TSC faults) are
/// [`super::prctl_effect`]'s; what this machine's kernel does not know it refuses, which is a result, too.
const CALLS: &[(u64, [u64; 4])] = &[
    (1, [10, 0, 0, 0]),
    (2, [MEMORY, 0, 0, 0]),
    (2, [BAD, 0, 0, 0]),
    (1, [999, 0, 0, 0]),
    (1, [0, 0, 0, 0]),
    (3, [0; 4]),
    (3, [u64::MAX, 1, 2, 3]),
    (4, [0, 0, 0, 0]),
    (4, [1, 0, 0, 0]),
    (4, [2, 0, 0, 0]),
    (4, [u64::MAX, 0, 0, 0]),
    (5, [MEMORY, 0, 0, 0]),
    (6, [1, 0, 0, 0]),
    (7, [0; 4]),
    (8, [1, 0, 0, 0]),
    (8, [2, 0, 0, 0]),
    (8, [0, 0, 0, 0]),
    (9, [MEMORY, 0, 0, 0]),
    (10, [1, 0, 0, 0]),
    (11, [MEMORY, 0, 0, 0]),
    (12, [1, 0, 0, 0]),
    (13, [0; 4]),
    (14, [0; 4]),
    (14, [1, 0, 0, 0]),
    (15, [MEMORY, 0, 0, 0]),
    (15, [BAD, 0, 0, 0]),
    (16, [MEMORY, 0, 0, 0]),
    (16, [BAD, 0, 0, 0]),
    (19, [MEMORY, 0, 0, 0]),
    (20, [0; 4]),
    (21, [0; 4]),
    (22, [9, 0, 0, 0]),
    (22, [2, BAD, 0, 0]),
    (23, [0, 0, 0, 0]),
    (23, [21, 0, 0, 0]),
    (23, [99, 0, 0, 0]),
    (24, [30, 0, 0, 0]),
    (24, [30, 0, 0, 0]),
    (24, [99, 0, 0, 0]),
    (25, [MEMORY, 0, 0, 0]),
    (26, [1, 0, 0, 0]),
    (26, [9, 0, 0, 0]),
    (27, [0; 4]),
    (28, [0, 0, 0, 0]),
    (28, [0x20, 0, 0, 0]),
    (28, [u64::MAX, 0, 0, 0]),
    (29, [123_456, 0, 0, 0]),
    (30, [0; 4]),
    (29, [0, 0, 0, 0]),
    (31, [0; 4]),
    (32, [0; 4]),
    (33, [0, 0, 0, 0]),
    (33, [1, 1, 0, 0]),
    (33, [7, 0, 0, 0]),
    (34, [0; 4]),
    (34, [1, 0, 0, 0]),
    (35, [99, 0, 0, 0]),
    (35, [1, BAD, 0, 0]),
    (36, [1, 0, 0, 0]),
    (37, [MEMORY, 0, 0, 0]),
    (36, [0, 0, 0, 0]),
    (38, [0, 0, 0, 0]),
    (38, [1, 1, 0, 0]),
    (39, [0; 4]),
    (39, [1, 0, 0, 0]),
    (40, [MEMORY, 0, 0, 0]),
    (41, [1, 0, 0, 0]),
    (42, [0; 4]),
    (41, [0, 0, 0, 0]),
    (41, [0, 1, 0, 0]),
    (43, [0; 4]),
    (44, [0; 4]),
    (45, [0; 4]),
    (46, [0; 4]),
    (47, [1, 30, 0, 0]),
    (47, [1, 99, 0, 0]),
    (47, [2, 10, 0, 0]),
    (47, [3, 10, 0, 0]),
    (47, [4, 0, 0, 0]),
    (47, [9, 0, 0, 0]),
    (50, [0; 4]),
    (51, [0; 4]),
    (52, [0, 0, 0, 0]),
    (52, [1, 0, 0, 0]),
    (52, [99, 0, 0, 0]),
    (53, [99, 4, 0, 0]),
    (54, [0; 4]),
    (55, [0; 4]),
    (56, [0; 4]),
    (57, [0, 0, 0, 0]),
    (57, [2, 0, 0, 0]),
    (58, [0; 4]),
    (59, [0, 0, 0, 0]),
    (59, [9, 0, 0, 0]),
    (60, [0; 4]),
    (61, [0; 4]),
    (62, [0, 0, 0, MEMORY]),
    (62, [9, 0, 0, 0]),
    (63, [0; 4]),
    (64, [0; 4]),
    (66, [0; 4]),
    (65, [0, 0, 0, 0]),
    (65, [2, 0, 0, 0]),
    (67, [0, 0, 0, 0]),
    (68, [0; 4]),
    (69, [0; 4]),
    (70, [0; 4]),
    (71, [0; 4]),
    (72, [0; 4]),
    (73, [0; 4]),
    (74, [MEMORY, 0, 0, 0]),
    (75, [0, 1, 0, 0]),
    (76, [0, 1, 0, 0]),
    (77, [2, 0, 0, 0]),
    (78, [2, 0, 0, 0]),
    (0x4155_5856, [MEMORY, 64, 0, 0]),
    (0x4155_5856, [MEMORY, 64, 1, 0]),
    (0x5356_4d41, [0, MEMORY, 4096, 0]),
    (0x5356_4d41, [9, MEMORY, 4096, 0]),
    (0x5961_6d61, [1, 0, 0, 0]),
    (0x5961_6d61, [u64::MAX, 0, 0, 0]),
    (0x5961_6d61, [0, 0, 0, 0]),
    (0x5961_6d61, [0x7fff_ffff, 0, 0, 0]),
    // No such options.
    (0, [0; 4]),
    (17, [1, 2, 3, 4]),
    (99_999, [1, 2, 3, 4]),
    (0xffff_ffff, [u64::MAX, u64::MAX - 1, 1 << 63, 0x1234_5678_9abc_def0]),
    // The kernel takes 32 bits of the option: these are PR_SET_DUMPABLE 1 and PR_GET_DUMPABLE in disguise.
    (0x1_0000_0004, [1, 0, 0, 0]),
    (0xdead_beef_0000_0003, [0; 4]),
];

/// Calls that need a privilege, by a user who has none.
const UNPRIVILEGED: &[(u64, [u64; 4])] = &[
    (24, [12, 0, 0, 0]),
    (28, [0x20, 0, 0, 0]),
    (35, [8, 4096, 0, 0]),
    (22, [2, MEMORY, 0, 0]),
    (47, [2, 10, 0, 0]),
    (57, [1, 0, 0, 0]),
    (33, [0, 0, 0, 0]),
    (4, [1, 0, 0, 0]),
    (38, [1, 0, 0, 0]),
    (38, [1, 0, 0, 0]),
    (39, [0; 4]),
];

/// Every row, in one child.
pub(super) fn all(_: &Case) -> anyhow::Result<i32> {
    for (option, name) in NAMES {
        anyhow::ensure!(CALLS.iter().any(|(called, _)| called == option), "no call of {name} in the table");
    }
    exec::ok(child::fork(|| rows(CALLS))?)?;
    Ok(0)
}

/// Every row that needs a privilege, without it.
pub(super) fn unprivileged(_: &Case) -> anyhow::Result<i32> {
    exec::ok(child::fork(|| {
        call::become_user(1000, 1000, 1000)?;
        rows(UNPRIVILEGED)
    })?)?;
    Ok(0)
}

/// Makes the calls of a table.
fn rows(table: &[(u64, [u64; 4])]) -> anyhow::Result<i32> {
    let memory = call::memory(2)?;
    call::store(memory, b"a-long-name-that-is-cut\0");
    for (option, args) in table {
        told(*option, args.map(|arg| if arg == MEMORY { memory } else { arg }))?;
    }
    Ok(0)
}
