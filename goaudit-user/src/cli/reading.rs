//! Says with a log that it is read: what `replay`, `hist`, `prove`, `evidence` and `export` do first.

use std::path::Path;

use super::output::note;
use crate::host::clock;
use crate::reads::{self, Asked};

/// Leaves a note that the next recorder seals. Who may not write there reads all the same, and is told; a copy of a
/// log, which nobody continues, has no notes.
pub(super) fn tell(log: &Path, asked: Asked) {
    if let Err(error) = reads::leave(log, &asked.by_this_process(clock::now())) {
        note(&format!("this reading is not recorded with the log: failed to {error}"));
    }
}
