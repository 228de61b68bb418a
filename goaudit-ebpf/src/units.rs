//! Units as types: the one place where a unit is defined.
//!
//! Every type is a transparent integer, so it crosses the ring as it is. Boot time and wall time are
//! different types on purpose; the only conversion lives with the log's clock offset in user space.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name(pub $int);
    };
}

unit! {
    /// Nanoseconds of `CLOCK_BOOTTIME` (`bpf_ktime_get_boot_ns`, since 5.8): the kernel's own clock for
    /// `task_struct.start_boottime`; counts through suspend, never steps.
    Ktime(u64)
}
unit! {
    /// A span of time in nanoseconds.
    Nanos(u64)
}
unit! {
    /// Process id: the kernel's `tgid`, in the initial pid namespace.
    Tgid(u32)
}
unit! {
    /// Thread id: the kernel's `pid`, in the initial pid namespace.
    Tid(u32)
}
unit! {
    /// Goroutine id: `runtime.g.goid`.
    Goid(u64)
}
unit! {
    /// What user space hands to a program at attach time (`bpf_get_attach_cookie`, since 5.15): a probe index.
    Cookie(u64)
}

impl Ktime {
    /// Time since `earlier`, zero if `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}
