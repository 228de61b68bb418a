//! Flags of `record` about the log's files: when a segment is full, how much room is held back, what a full disk does.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;

use super::capture::{duration, size};
use crate::audit::RoomConfig;
use crate::recorder::{Roll, WhenFull};

/// How the log is stored.
#[derive(Debug, clap::Args)]
pub(super) struct Storage {
    /// Begin another segment with this many bytes.
    #[arg(long, value_name = "SIZE", value_parser = segment_size, default_value = "256MiB")]
    roll_size: u64,

    /// Begin another segment after this long.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1h")]
    roll_age: Duration,

    /// Do not begin another segment at midnight (UTC).
    #[arg(long)]
    no_roll_day: bool,

    /// What to do when the disk is full, or less than --keep-free is left.
    #[arg(long, value_enum, default_value = "drop", value_name = "POLICY")]
    when_full: Policy,

    /// Treat the disk as full when less than this is free [default: 64MiB, on small file systems 1/32 of it].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    keep_free: Option<u64>,

    /// Size of the file `ballast` in the log's directory, which is given up when the disk is full so that the end can
    /// still be told; 0 for none [default: as --keep-free].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    ballast: Option<u64>,
}

/// The names of [`WhenFull`] on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Policy {
    /// Leave events out and count them, until there is room again.
    Drop,
    /// Wait for room; when the queues are full the kernel side leaves events out and counts them.
    Block,
    /// End the recording in order.
    Halt,
}

impl Storage {
    pub(super) fn roll(&self) -> Roll {
        Roll { bytes: self.roll_size, age: self.roll_age, day: !self.no_roll_day }
    }

    pub(super) fn room(&self, directory: &Path) -> RoomConfig {
        let usual = RoomConfig::for_disk(directory);
        let keep_free = self.keep_free.unwrap_or(usual.keep_free);
        RoomConfig { keep_free, ballast: self.ballast.or(self.keep_free).unwrap_or(usual.ballast) }
    }

    pub(super) fn when_full(&self) -> WhenFull {
        match self.when_full {
            Policy::Drop => WhenFull::Drop,
            Policy::Block => WhenFull::Block,
            Policy::Halt => WhenFull::Halt,
        }
    }
}

/// A size that a segment can have.
fn segment_size(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if bytes < 64 << 10 { Err("a segment has at least 64KiB".to_owned()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        storage: Storage,
    }

    fn flags(words: &[&str]) -> Option<Storage> {
        Flags::try_parse_from([&["x"], words].concat()).ok().map(|flags| flags.storage)
    }

    #[test]
    fn each_flag_says_what_it_says() {
        let usual = flags(&[]).unwrap();
        assert_eq!((usual.roll(), usual.when_full()), (Roll::default(), WhenFull::Drop));
        assert_eq!(usual.room(Path::new("/")), RoomConfig::for_disk(Path::new("/")));
        let given =
            flags(&["--roll-size", "1MiB", "--roll-age", "5m", "--no-roll-day", "--keep-free", "3MiB"])
                .unwrap();
        assert_eq!(given.roll(), Roll { bytes: 1 << 20, age: Duration::from_mins(5), day: false });
        assert_eq!(given.room(Path::new("/")), RoomConfig { ballast: 3 << 20, keep_free: 3 << 20 });
        let given = flags(&["--keep-free", "0", "--ballast", "64KiB", "--when-full", "halt"]).unwrap();
        assert_eq!(given.room(Path::new("/")), RoomConfig { ballast: 64 << 10, keep_free: 0 });
        assert_eq!(given.when_full(), WhenFull::Halt);
        assert_eq!(flags(&["--when-full", "block"]).unwrap().when_full(), WhenFull::Block);
        assert!(flags(&["--roll-size", "1KiB"]).is_none());
        assert!(flags(&["--when-full", "panic"]).is_none());
    }
}
