//! Flags about encrypted events: to whom, and with which key they are opened.

use std::path::{Path, PathBuf};

use super::Exit;
use crate::audit::content::recipients_in;
use crate::audit::{ContentError, ContentKeys, Recipients};

/// How encrypted events are opened.
#[derive(Debug, clap::Args)]
pub(super) struct ContentKeyArg {
    /// Open encrypted events and personal fields with the age identities in this file, as `age-keygen` writes it.
    #[arg(long, value_name = "FILE")]
    content_key: Option<PathBuf>,
}

impl ContentKeyArg {
    /// The keys that are given.
    pub(super) fn keys(&self) -> anyhow::Result<ContentKeys> {
        match self.content_key.as_deref().map(ContentKeys::load).transpose() {
            Ok(keys) => Ok(keys.unwrap_or_default()),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// Recipients as they are given: each one, or a file of them.
pub(super) fn recipients(given: &[String]) -> anyhow::Result<Option<Recipients>> {
    if given.is_empty() {
        return Ok(None);
    }
    let mut names = Vec::new();
    for one in given {
        match std::fs::read_to_string(Path::new(one)) {
            Ok(text) => names.extend(recipients_in(&text)),
            Err(_) => names.push(one.clone()),
        }
    }
    Recipients::parse(&names).map(Some).map_err(|error| failed(&error))
}

/// A mistake in what was given, or in what was built.
fn failed(error: &ContentError) -> anyhow::Error {
    Exit::Usage.because(format!("failed to {error}"))
}
