//! The file of `record --tap`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use goaudit_ebpf::wire::CpuState;

use super::RecorderError;
use crate::host::{clock, identity};
use crate::tap::{self, Head, Item};

/// An open tap.
pub(super) struct Tap {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Tap {
    /// Makes the file and writes its head.
    pub(super) fn create(path: PathBuf) -> Result<Self, RecorderError> {
        let now = clock::now();
        let head = Head {
            host: identity::host(),
            boot_id: identity::boot_id(),
            clock_offset_ns: now.offset_ns(),
            boottime_ns: now.boottime_ns,
        };
        match File::create(&path) {
            Ok(file) => {
                let mut tap = Self { path, out: BufWriter::new(file) };
                tap.item(&Item::Head(head))?;
                Ok(tap)
            }
            Err(source) => Err(RecorderError::Tap { path, source }),
        }
    }

    /// Adds a record.
    pub(super) fn record(&mut self, record: &[u8]) -> Result<(), RecorderError> {
        self.item(&Item::Record(record.to_vec().into()))
    }

    /// Adds the books and ends the file.
    pub(super) fn close(&mut self, kernel: &[CpuState]) -> Result<(), RecorderError> {
        self.item(&Item::Books(kernel.iter().map(Into::into).collect()))?;
        self.out.flush().map_err(|source| self.error(source))
    }

    fn item(&mut self, item: &Item) -> Result<(), RecorderError> {
        tap::write(&mut self.out, item).map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> RecorderError {
        RecorderError::Tap { path: self.path.clone(), source }
    }
}
