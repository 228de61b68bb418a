//! The ratchet of a log's HMAC chain at work: which key signs a batch's events, and the file with the next generation's.
//!
//! A generation begins with the first batch of events of a segment: first the file holds the secret of the generation
//! after it, durably, then the log says which one begins, then its first key signs. A crash in between leaves a
//! generation out, which is no harm; it never leaves a key on the disk that has signed.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zerocopy::FromBytes as _;
use zeroize::Zeroizing;

use super::{Now, Writer};
use crate::audit::batch::BatchBuilder;
use crate::audit::directory::open_regular;
use crate::audit::epoch::StoreFn;
use crate::audit::error::AuditError;
use crate::audit::format::{BatchHeader, Hash};
use crate::audit::hmac::{self, HmacKey, Secret};
use crate::audit::prune;
use crate::audit::record::{self, HmacStart, Record};

/// First and last line of the file.
const FILE_START: &str = "goaudit hmac ratchet";
const FILE_END: &str = "end";
/// More than any such file has.
const MAX_FILE: u64 = 4096;

/// The ratchet of a writer.
pub(super) struct Ratchet {
    path: PathBuf,
    store: StoreFn,
    state: State,
    /// The last signature; zeros before the first event.
    tail: Hash,
}

enum State {
    /// The generation that begins next, and its secret: as in the file.
    Waiting { next: (u64, Secret) },
    /// The key of the next batch, and what follows its generation.
    Begun { key: Secret, next: (u64, Secret) },
    /// The file is lost, for this reason, and the log is to say so.
    Lost(String),
    /// The log said so.
    Over,
}

impl Ratchet {
    /// Finds the ratchet of the log in `dir`, whose recovered segments these are: none if the log has no HMAC chain.
    /// `fresh`: nothing was recorded, and the log begins with `first`, or with what a crash left of its beginning.
    pub(super) fn open(
        dir: &Path,
        segments: &[(u64, PathBuf)],
        fresh: bool,
        first: Option<&HmacKey>,
        store: &StoreFn,
    ) -> Result<Option<Self>, AuditError> {
        let path = path(dir);
        let ratchet =
            |state, tail| Some(Self { path: path.clone(), store: StoreFn::clone(store), state, tail });
        if fresh {
            let next = match first {
                Some(first) => {
                    store(&path, text(0, &first.secret()).as_bytes())
                        .map_err(AuditError::io("write", &path))?;
                    (0, first.secret())
                }
                None => match load(&path)? {
                    Ok(next @ (0, _)) => next,
                    Ok(_) | Err(_) => return Ok(None),
                },
            };
            return Ok(ratchet(State::Waiting { next }, [0; 32]));
        }
        // Of a log whose beginning cannot be read the file tells whether there is a chain.
        let has_chain = match prune::genesis(dir) {
            Ok(genesis) => genesis.hmac.is_some(),
            Err(_) => path.try_exists().map_err(AuditError::io("look at", &path))?,
        };
        if !has_chain {
            return Ok(None);
        }
        let end = End::of(segments)?;
        let tail = end.tail.unwrap_or_default();
        let state = match (end.start, load(&path)?) {
            (Some(HmacStart::Lost(_)), _) => State::Over,
            (Some(HmacStart::Generation(last)), Ok((next, _))) if next <= last => State::Lost(format!(
                "the ratchet file is of generation {next}, and generation {last} was begun already: it is an older copy"
            )),
            (_, Ok(next)) => State::Waiting { next },
            (_, Err(why)) => State::Lost(why),
        };
        Ok(ratchet(state, tail))
    }

    /// What the log's first record says of the chain: the commitment to the first key.
    pub(super) fn commitment(&self) -> Option<Hash> {
        match &self.state {
            State::Waiting { next: (0, secret) } => Some(HmacKey::from_seed(**secret).commitment()),
            State::Waiting { .. } | State::Begun { .. } | State::Lost(_) | State::Over => None,
        }
    }

    /// A segment ended: the next batch of events begins another generation.
    pub(super) fn end_segment(&mut self) {
        if let State::Begun { next, .. } = &self.state {
            self.state = State::Waiting { next: next.clone() };
        }
    }

    /// The last signature of the batch that grows; none if its events are not signed.
    pub(super) fn tail(&self, batch: &BatchBuilder) -> Option<Hash> {
        match &self.state {
            State::Begun { key, .. } => {
                Some(batch.events().fold(self.tail, |last, event| hmac::sign(key, &last, event)))
            }
            State::Waiting { .. } | State::Lost(_) | State::Over => None,
        }
    }

    /// The batch with this last signature is written: its key is gone when this returns.
    pub(super) fn advance(&mut self, tail: Option<Hash>) {
        let (Some(tail), State::Begun { key, .. }) = (tail, &mut self.state) else { return };
        *key = hmac::step(key);
        self.tail = tail;
    }

    /// What the log has to say before the next batch of events, and what holds once it has.
    fn due(&self) -> Result<Option<(Record, State)>, AuditError> {
        match &self.state {
            State::Begun { .. } | State::Over => Ok(None),
            State::Lost(why) => Ok(Some((Record::Hmac(HmacStart::Lost(why.clone())), State::Over))),
            State::Waiting { next: (generation, secret) } => {
                let (after, key) = hmac::turn(secret);
                let next = (generation.saturating_add(1), after);
                (self.store)(&self.path, text(next.0, &next.1).as_bytes())
                    .map_err(AuditError::io("write", &self.path))?;
                let record = Record::Hmac(HmacStart::Generation(*generation));
                Ok(Some((record, State::Begun { key, next })))
            }
        }
    }
}

impl Writer {
    /// Begins another generation of the HMAC chain, if one is due before a batch of events.
    pub(super) fn begin_generation(&mut self, now: Now) -> Result<(), AuditError> {
        let due = match &self.ratchet {
            Some(ratchet) => ratchet.due()?,
            None => None,
        };
        let Some((record, state)) = due else { return Ok(()) };
        if let (Some(ratchet), State::Begun { next, .. }) = (&mut self.ratchet, &state) {
            // That is in the file now, whatever becomes of the record.
            ratchet.state = State::Waiting { next: next.clone() };
        }
        self.record(&record, None, now)?;
        if let Some(ratchet) = &mut self.ratchet {
            ratchet.state = state;
        }
        Ok(())
    }
}

/// Path of the file.
fn path(dir: &Path) -> PathBuf {
    dir.join("keys/hmac.key")
}

/// The file: a generation that has not begun, and its secret.
fn text(generation: u64, secret: &Secret) -> Zeroizing<String> {
    let encoded = Zeroizing::new(BASE64.encode(**secret));
    Zeroizing::new(format!(
        "{FILE_START}\ngeneration {generation}\nsecret {}\n{FILE_END}\n",
        encoded.as_str()
    ))
}

/// What stands in the file, or why it is of no use. An error means that it may be of use, but cannot be read now.
fn load(path: &Path) -> Result<Result<(u64, Secret), String>, AuditError> {
    if !path.try_exists().map_err(AuditError::io("look at", path))? {
        return Ok(Err("the ratchet file is missing".to_owned()));
    }
    let (file, _) = open_regular(path)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(AuditError::io("read", path))?;
    let parsed = std::str::from_utf8(&bytes).ok().and_then(parse);
    Ok(parsed.ok_or_else(|| "the ratchet file is cut short or no such file".to_owned()))
}

fn parse(file: &str) -> Option<(u64, Secret)> {
    let rest = file.strip_prefix(FILE_START)?.strip_prefix("\ngeneration ")?;
    let (generation, rest) = rest.split_once("\nsecret ")?;
    let encoded = rest.strip_suffix('\n')?.strip_suffix(FILE_END)?.strip_suffix('\n')?;
    let bytes = Zeroizing::new(BASE64.decode(encoded).ok()?);
    Some((generation.parse().ok()?, Zeroizing::new(bytes.as_slice().try_into().ok()?)))
}

/// How far the chain of a log goes.
#[derive(Default)]
struct End {
    /// The last signature.
    tail: Option<Hash>,
    /// What the log last said of its chain.
    start: Option<HmacStart>,
}

impl End {
    fn of(segments: &[(u64, PathBuf)]) -> Result<Self, AuditError> {
        let mut end = Self::default();
        for (_, path) in segments.iter().rev() {
            let (file, size) = open_regular(path)?;
            let (mut tail, mut start) = (None, None);
            record::walk(
                &file,
                size,
                |header| {
                    if let Ok(header) = BatchHeader::read_from_bytes(header)
                        && !header.is_records()
                    {
                        tail = Some(header.hmac_tail);
                    }
                },
                |record| {
                    if let Record::Hmac(said) = record {
                        start = Some(said);
                    }
                },
            )
            .map_err(AuditError::io("read", path))?;
            end.tail = end.tail.or(tail);
            end.start = end.start.or(start);
            if end.tail.is_some() && end.start.is_some() {
                break;
            }
        }
        Ok(end)
    }
}
