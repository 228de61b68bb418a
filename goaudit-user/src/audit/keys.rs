//! The log's own key on disk: `keys/log.key` (secret, 0600) and `keys/log.vkey` (to be carried off the host); that of
//! its SM2 lines beside it, `keys/sm2.key` and `keys/sm2.vkey`, if it has them.
//!
//! Both are in the text form of Go's note package, so that stock tools can use them. The keys of epochs, which
//! change, are [`super::epoch`]'s business.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::directory::{make_dir, open_regular, replace_file, sync_dir};
use super::epoch::{self, EpochKeys, StoreFn};
use super::error::AuditError;
use super::note::{NoteError, SignKey, VerifyKey};
use super::sm2::{self, Sm2Signer};

/// More than any key file has.
const MAX_KEY_FILE: u64 = 4096;

/// Identity of a log: first half of SHA-256 over its name, a newline and its verification key's text.
pub fn log_id(key: &VerifyKey) -> [u8; 16] {
    let mut hasher = Sha256::new();
    hasher.update(key.name());
    hasher.update(b"\n");
    hasher.update(key.text());
    let hash: [u8; 32] = hasher.finalize().into();
    let (half, _) = hash.split_at(16);
    half.try_into().unwrap_or_default()
}

/// The key of the log in `dir`; none if there is none yet.
pub fn load(dir: &Path) -> Result<Option<SignKey>, AuditError> {
    load_secret(&dir.join("keys/log.key"), SignKey::parse)
}

/// Path of the secret key of the log's SM2 lines.
pub(super) fn sm2_path(dir: &Path) -> PathBuf {
    dir.join("keys/sm2.key")
}

/// The key of the SM2 lines of the log in `dir`, which must have this name; none if there is none.
pub(super) fn load_sm2(dir: &Path, name: &str) -> Result<Option<Sm2Signer>, AuditError> {
    let key = load_secret(&sm2_path(dir), Sm2Signer::parse)?;
    Ok(key.filter(|key| key.public().name() == name))
}

/// A secret key in a file that is nobody else's to read; none if there is no such file.
fn load_secret<T>(
    path: &Path,
    parse: impl Fn(&str) -> Result<T, NoteError>,
) -> Result<Option<T>, AuditError> {
    if !path.try_exists().map_err(AuditError::io("look at", path))? {
        return Ok(None);
    }
    let bad = |what: String| AuditError::Key { path: path.to_owned(), what };
    let (file, _) = open_regular(path)?;
    let mode = file.metadata().map_err(AuditError::io("look at", path))?.mode();
    if mode & 0o077 != 0 {
        return Err(bad(format!("others may read it (mode {:o}): chmod 600", mode & 0o777)));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_KEY_FILE).read_to_string(&mut text).map_err(AuditError::io("read", path))?;
    let key = parse(text.trim_end_matches('\n')).map_err(|error| {
        bad(format!("{error}; restore it from a backup, or keep the directory and record into a new one"))
    })?;
    Ok(Some(key))
}

/// Makes the keys of a new log in `dir` from random bytes, and stores them durably: the log's own and that of epoch 0.
/// The log is `called` so; its origin commits to the key of epoch 0, too. With a third seed its checkpoints have SM2 lines.
pub fn create(
    dir: &Path,
    called: &str,
    seeds: &[Zeroizing<[u8; 32]>; 2],
    sm2_seed: Option<&[u8; 32]>,
    store: &StoreFn,
) -> Result<SignKey, AuditError> {
    let [log_seed, epoch_seed] = seeds;
    let public = SignKey::from_seed(called, epoch_seed)?;
    let origin = epoch::origin(called, public.public().public_bytes());
    let key = SignKey::from_seed(&origin, log_seed)?;
    let first = SignKey::from_seed(&epoch::name(&origin, 0), epoch_seed)?;
    let sm2 = sm2_seed.map(|seed| Sm2Signer::from_seed(&sm2::name(&origin), seed)).transpose()?;
    let keys = dir.join("keys");
    make_dir(&keys)?;
    if let Some(signer) = sm2 {
        let secret = Zeroizing::new(format!("{}\n", signer.text().as_str()));
        let public = format!("{}\n", signer.public().text());
        for (path, bytes, mode) in
            [(keys.join("sm2.vkey"), public.as_bytes(), 0o644), (sm2_path(dir), secret.as_bytes(), 0o600)]
        {
            replace_file(&path, bytes, mode).map_err(AuditError::io("write", &path))?;
        }
    }
    let path = epoch::path(dir);
    store(&path, EpochKeys::text(&first, None).as_bytes()).map_err(AuditError::io("write", &path))?;
    let secret = Zeroizing::new(format!("{}\n", key.text().as_str()));
    // The log's secret key comes last: where it is there, the others are.
    for (name, bytes, mode) in [
        ("log.vkey", format!("{}\n", key.public().text()).as_bytes(), 0o644),
        ("log.key", secret.as_bytes(), 0o600),
    ] {
        let path = keys.join(name);
        replace_file(&path, bytes, mode).map_err(AuditError::io("write", &path))?;
    }
    sync_dir(&keys)?;
    sync_dir(dir)?;
    Ok(key)
}

/// The verification key that lies in the log's own directory: whoever can change the log can change it, too.
pub fn load_public(dir: &Path) -> Result<VerifyKey, AuditError> {
    let path = dir.join("keys/log.vkey");
    let (file, _) = open_regular(&path)?;
    let mut text = String::new();
    file.take(MAX_KEY_FILE).read_to_string(&mut text).map_err(AuditError::io("read", &path))?;
    VerifyKey::parse(text.trim_end_matches('\n'))
        .map_err(|error| AuditError::Key { path: path.clone(), what: error.to_string() })
}
