//! A sealed journal (Forward Secure Sealing) of goaudit's own events: what B7 compares with.
//!
//! It is written by systemd-journal-remote, in a mount namespace of its own: the sealing key has its place in
//! /var/log/journal, and this host's journal is nobody's to touch.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::contestant::fresh_dir;
use crate::command::{capture, command};
use crate::setup::JOURNAL_WRITER;
use crate::workspace::{find_program, is_root};

/// Makes the key and the journal: arguments are the writer, the journal, what is to be in it, and where the key goes.
const SCRIPT: &str = r#"
set -e
mount -t tmpfs none /var/log
mkdir -p "/var/log/journal/$(cat /etc/machine-id)"
journalctl --setup-keys > "$4"
"$1" --seal=yes -o "$2" "$3"
"#;

/// A journal, and what it is verified with.
pub(super) struct Journal {
    pub(super) file: PathBuf,
    pub(super) key: String,
    pub(super) events: u64,
}

/// Why none can be made here.
pub(super) fn missing() -> Option<String> {
    if !is_root() {
        return Some("a sealed journal is made in a mount namespace: needs root".to_owned());
    }
    let absent =
        ["journalctl", "unshare", JOURNAL_WRITER].into_iter().find(|program| find_program(program).is_none());
    absent.map(|program| format!("{program} is not installed"))
}

/// Makes one of `events` lines: those of a file, over and over, each an entry as a service would log it.
pub(super) fn make(lines: &Path, events: u64) -> Result<Journal> {
    let dir = fresh_dir("journal")?;
    let (entries, file, key) = (dir.join("entries"), dir.join("sealed.journal"), dir.join("key"));
    write_entries(lines, events, &entries)?;
    let mut made = command("unshare");
    made.args(["--mount", "sh", "-c", SCRIPT, "sh", JOURNAL_WRITER]).args([&file, &entries, &key]);
    capture(&mut made)?;
    fs::remove_file(&entries).with_context(|| format!("failed to remove {}", entries.display()))?;
    let key = fs::read_to_string(&key).with_context(|| format!("failed to read {}", key.display()))?;
    Ok(Journal { file, key: key.trim().to_owned(), events })
}

/// Writes `events` lines of a file, over and over, to another.
fn write_entries(lines: &Path, events: u64, entries: &Path) -> Result<()> {
    let lines: Vec<String> = File::open(lines)
        .and_then(|file| BufReader::new(file).lines().collect())
        .with_context(|| format!("failed to read {}", lines.display()))?;
    if lines.is_empty() {
        bail!("there are no events to write to a journal");
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().replace('-', "");
    // The sealing key counts from now on.
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    File::create(entries)
        .map(BufWriter::new)
        .and_then(|mut out| {
            for (line, number) in lines.iter().cycle().zip(0..events) {
                entry(line, number, now_us, &boot, &mut out)?;
            }
            out.flush()
        })
        .with_context(|| format!("failed to write {}", entries.display()))
}

/// An entry in journald's export format.
fn entry(line: &str, number: u64, now_us: u128, boot: &str, out: &mut impl Write) -> io::Result<()> {
    let at = now_us + u128::from(number);
    writeln!(out, "__REALTIME_TIMESTAMP={at}\n__MONOTONIC_TIMESTAMP={number}")?;
    writeln!(out, "_BOOT_ID={boot}\nMESSAGE={line}\n")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn an_entry_ends_with_an_empty_line() {
        let mut out = Vec::new();
        entry("{\"a\":1}", 3, 1_000, "0123", &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let wanted =
            "__REALTIME_TIMESTAMP=1003\n__MONOTONIC_TIMESTAMP=3\n_BOOT_ID=0123\nMESSAGE={\"a\":1}\n\n";
        assert_eq!(text, wanted);
    }
}
