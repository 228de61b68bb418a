//! Epochs: which key signs which checkpoints, how epoch keys are named, and the file that holds the secret ones.
//!
//! Every checkpoint carries the line of the log's key and that of the epoch's key. A record in the log, sealed by the
//! old epoch's key, certifies the next one; then the old secret is erased: who steals the keys later cannot sign for
//! the past again. Epochs count by their own numbers, never by a clock. Pure but for [`store`].

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::directory::{open_regular, open_regular_with, replace_file, sync_dir};
use super::error::AuditError;
use super::note::{SignKey, VerifyKey};

/// How the file with the epoch's secret keys is replaced: whole or not at all, durably; what was in it is erased.
/// Replaced in tests that need it to fail or to be watched.
pub type StoreFn = Arc<dyn Fn(&Path, &[u8]) -> io::Result<()> + Send + Sync>;

/// First and last line of the key file.
const FILE_START: &str = "goaudit epoch keys";
const FILE_END: &str = "end";
/// More than any key file has.
const MAX_FILE: usize = 4096;
/// Before the public key in the hash that the log's name ends with.
const COMMITMENT: &[u8] = b"goaudit epoch 0\n";
/// Hex digits of that hash that the name has.
const COMMITMENT_DIGITS: usize = 32;

/// Name of an epoch's key.
pub fn name(origin: &str, number: u32) -> String {
    format!("{origin}/e/{number}")
}

/// Number of the epoch whose key has this name; none if it is no epoch's key of that log.
pub fn number_of(origin: &str, name: &str) -> Option<u32> {
    let digits = name.strip_prefix(origin)?.strip_prefix("/e/")?;
    let number = digits.parse().ok()?;
    (self::name(origin, number) == name).then_some(number)
}

/// The origin of a new log: what it is called, and a commitment to the key of epoch 0, so that whoever pins the log's
/// verification key pins where its chain of epoch keys begins.
pub fn origin(called: &str, epoch_0: &[u8; 32]) -> String {
    format!("{called}/{}", commitment(epoch_0))
}

/// Whether `origin` is of a log with epoch keys; older ones had none.
pub fn has_commitment(origin: &str) -> bool {
    let last = origin.rsplit_once('/').map_or("", |(_, last)| last);
    last.len() == COMMITMENT_DIGITS && last.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether `epoch_0` is the key of epoch 0 that the name of `log` commits to.
pub fn begins(log: &VerifyKey, epoch_0: &VerifyKey) -> bool {
    let committed = log.name().rsplit_once('/').map_or("", |(_, last)| last);
    epoch_0.name() == name(log.name(), 0) && committed == commitment(epoch_0.public_bytes())
}

fn commitment(epoch_0: &[u8; 32]) -> String {
    let hash: [u8; 32] = Sha256::new().chain_update(COMMITMENT).chain_update(epoch_0).finalize().into();
    let mut digits = super::recover::hex(&hash);
    digits.truncate(COMMITMENT_DIGITS);
    digits
}

/// Path of the file with the epoch's secret keys.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("keys/epoch.key")
}

/// What the key file holds: the key of the epoch, and that of the next one once it is made.
#[derive(Debug)]
pub struct EpochKeys {
    /// Number of the epoch.
    pub number: u32,
    /// Its key.
    pub key: SignKey,
    /// The key of the epoch after it: certified in the log or about to be.
    pub next: Option<SignKey>,
}

impl EpochKeys {
    /// The stored form of these keys.
    pub fn text(key: &SignKey, next: Option<&SignKey>) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(MAX_FILE));
        text.push_str(FILE_START);
        for key in [Some(key), next].into_iter().flatten() {
            text.push('\n');
            text.push_str(&key.text());
        }
        text.push('\n');
        text.push_str(FILE_END);
        text.push('\n');
        text
    }

    /// Reads the stored form; `Err` says what is wrong with it.
    pub fn parse(text: &str, origin: &str) -> Result<Self, String> {
        let body = text
            .strip_prefix(FILE_START)
            .and_then(|rest| rest.strip_prefix('\n'))
            .ok_or("it is no file of epoch keys")?;
        let body =
            body.strip_suffix('\n').and_then(|rest| rest.strip_suffix(FILE_END)).ok_or("it is cut short")?;
        let mut keys = body.lines().map(|line| {
            let key = SignKey::parse(line).map_err(|error| error.to_string())?;
            let number = number_of(origin, key.public().name()).ok_or("it is of another log")?;
            Ok::<_, String>((number, key))
        });
        let (number, key) = keys.next().ok_or("it holds no key")??;
        let next = keys.next().transpose()?;
        if keys.next().is_some()
            || next.as_ref().is_some_and(|(next, _)| number.checked_add(1) != Some(*next))
        {
            return Err("its keys do not follow each other".to_owned());
        }
        Ok(Self { number, key, next: next.map(|(_, key)| key) })
    }
}

/// What stands in the key file of `dir`, or why it is of no use. An error means that it may be of use, but cannot be
/// read now.
pub(super) fn load(dir: &Path, origin: &str) -> Result<Result<EpochKeys, String>, AuditError> {
    let path = path(dir);
    if !path.try_exists().map_err(AuditError::io("look at", &path))? {
        return Ok(Err("the key file is missing".to_owned()));
    }
    let (file, _) = open_regular(&path)?;
    let mode = file.metadata().map_err(AuditError::io("look at", &path))?.mode();
    if mode & 0o077 != 0 {
        let what = format!("others may read it (mode {:o}): chmod 600", mode & 0o777);
        return Err(AuditError::Key { path, what });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE));
    file.take(MAX_FILE as u64).read_to_end(&mut bytes).map_err(AuditError::io("read", &path))?;
    let parsed = std::str::from_utf8(&bytes)
        .map_err(|_| "it is not text".to_owned())
        .and_then(|text| EpochKeys::parse(text, origin));
    Ok(parsed.map_err(|why| format!("the key file is of no use: {why}")))
}

/// Puts a key file that is of no use out of the way, as evidence.
pub(super) fn set_aside(dir: &Path) -> Result<(), AuditError> {
    let path = path(dir);
    match std::fs::rename(&path, path.with_extension("key.refused")) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(AuditError::Io { action: "set aside", path, source })
        }
        _ => Ok(()),
    }
}

/// Replaces the key file and overwrites what was in it. File systems that copy on write, and flash, may keep old
/// blocks all the same.
pub fn store(path: &Path, text: &[u8]) -> io::Result<()> {
    let old = open_regular_with(OpenOptions::new().write(true), path).ok();
    replace_file(path, text, 0o600)?;
    sync_dir(path.parent().unwrap_or(path)).map_err(io::Error::other)?;
    if let Some((mut old, len)) = old {
        // The new file is durable: failing to overwrite the old one, which has no name any more, loses nothing.
        let zeros = vec![0; usize::try_from(len).unwrap_or(MAX_FILE).min(MAX_FILE)];
        let _ = old.write_all(&zeros).and_then(|()| old.sync_data());
    }
    Ok(())
}
