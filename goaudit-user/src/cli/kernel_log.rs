//! The programs' own diagnostics (feature `kernel-log`) on standard error, for those who change the programs.

use log::{LevelFilter, Log, Metadata, Record};

/// Writes each line as a note.
struct Notes;

impl Log for Notes {
    /// The programs' lines only, not the loader's.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("goaudit_ebpf")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        super::output::note(&format!("kernel: {}", record.args()));
    }

    fn flush(&self) {}
}

/// Installs the logger.
pub(super) fn to_standard_error() {
    static NOTES: Notes = Notes;
    if log::set_logger(&NOTES).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}
