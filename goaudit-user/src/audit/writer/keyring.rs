//! The stable keys of a log, when a writer begins: made with a new log, found with an old one.

use std::path::Path;

use super::WriterConfig;
use crate::audit::error::AuditError;
use crate::audit::format::SEED_LEN;
use crate::audit::note::SignKey;
use crate::audit::sm2::{self, Sm2Signer};
use crate::audit::{epoch, keys, prune};

/// The key of the log in `dir`; a new one if there is no log yet.
pub(super) fn log_key(dir: &Path, new_log: bool, config: &mut WriterConfig) -> Result<SignKey, AuditError> {
    let key = match keys::load(dir)? {
        Some(key) => key,
        None if new_log => {
            let mut seeds = [(); 2].map(|()| zeroize::Zeroizing::new([0; SEED_LEN]));
            for seed in &mut seeds {
                (config.seeds)(seed).map_err(AuditError::Random)?;
            }
            let mut sm2_seed = config.sm2.then(|| zeroize::Zeroizing::new([0; SEED_LEN]));
            if let Some(seed) = &mut sm2_seed {
                (config.seeds)(seed).map_err(AuditError::Random)?;
            }
            keys::create(dir, &config.origin, &seeds, sm2_seed.as_deref(), &config.store_key)?
        }
        None => {
            let what = "segments are there, but their key (keys/log.key) is not".to_owned();
            return Err(AuditError::Unrecoverable { dir: dir.to_owned(), what });
        }
    };
    if !epoch::has_commitment(key.public().name()) {
        let what = "it was made by an older goaudit, without epoch keys".to_owned();
        return Err(AuditError::Unrecoverable { dir: dir.to_owned(), what });
    }
    Ok(key)
}

/// The key of the log's SM2 lines, if it has them; a log that has them does not go on without.
pub(super) fn sm2_key(dir: &Path, key: &SignKey, new_log: bool) -> Result<Option<Sm2Signer>, AuditError> {
    let name = sm2::name(key.public().name());
    if new_log {
        return keys::load_sm2(dir, &name);
    }
    match prune::genesis(dir) {
        Ok(genesis) => match &genesis.sm2 {
            None => Ok(None),
            Some(pinned) => keys::load_sm2(dir, &name)?
                .filter(|signer| signer.public() == pinned)
                .map(Some)
                .ok_or_else(|| AuditError::Key {
                    path: keys::sm2_path(dir),
                    what: "it is not the SM2 key that the log's first record names, or missing; restore it from a \
                           backup, or record into a new directory"
                        .to_owned(),
                }),
        },
        // Of a log whose beginning cannot be read the file tells.
        Err(_) => keys::load_sm2(dir, &name),
    }
}
