//! Views: what people and programs are shown of a stored event. Live and replayed output come from here, from
//! the same stored bytes, so they are equal by construction. Pure: no clock, no terminal, no files.

pub mod compact;
pub mod json;
pub mod schema;
pub mod text;
pub mod time;

/// What an event's own bytes do not say: the reader of the log adds it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Position in the log.
    pub seq: u64,
    /// Boot id of the recording host (batch header).
    pub boot_id: &'a str,
    /// Name of the recording host (the genesis, start or segment event before); empty when not known.
    pub host: &'a str,
    /// Machine, as `uname -m` (the same events); empty when not known.
    pub machine: &'a str,
    /// Wall time minus boot time, in nanoseconds (batch header).
    pub realtime_minus_boottime_ns: i64,
}

impl Origin<'_> {
    /// Wall time of a boot time, in nanoseconds since 1970.
    pub const fn wall_ns(&self, ktime: goaudit_ebpf::units::Ktime) -> i64 {
        self.realtime_minus_boottime_ns.saturating_add_unsigned(ktime.0)
    }
}
