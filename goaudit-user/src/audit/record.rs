//! The log's own records: what the log says of itself, for whoever verifies it.
//!
//! They are leaves like events, in batches of their own, and have no event numbers. Their form is text, so that they
//! can be read with nothing but zstd; there is one way to write each, and what is not known is refused.

use std::fs::File;
use std::io::{self, BufReader};

use sha2::{Digest as _, Sha256};

use super::batch::{Events, PayloadReader};
use super::chain::parse_batch_header;
use super::content::NamedKey;
use super::epoch;
use super::fault::Fault;
use super::format::{BatchHeader, FrameKind, Hash, SEGMENT_HEADER_LEN};
use super::frame::{FrameReader, Step};
use super::keys::log_id;
use super::note::VerifyKey;
use super::personal::{NamedPersonalKey, Personal, PersonalKeyId, is_class};
use super::prune::Prune;
use super::recover::hex;
use super::sm2::{self, Sm2Key};

/// What every record begins with.
const START: &str = "goaudit-record/1 ";
/// Name of [`Genesis`].
const GENESIS: &str = "genesis";
/// Name of [`Epoch`].
const EPOCH: &str = "epoch";
/// Name of [`Prune`].
const PRUNE: &str = "prune";
/// Name of [`NamedKey`].
const CONTENT_KEY: &str = "content-key";
/// Name of [`NamedPersonalKey`].
const PERSONAL_KEY: &str = "personal-key";
/// Name of [`Record::PersonalShred`].
const PERSONAL_SHRED: &str = "personal-shred";
/// Name of [`HmacStart`].
const HMAC: &str = "hmac";
/// The algorithms of this version, as [`Genesis`] names them.
const ALGORITHMS: [(&str, &str); 3] = [("hash", "sha256"), ("signature", "ed25519"), ("compression", "zstd")];
/// Encryption of events without recipients.
const NOT_ENCRYPTED: &str = "none";
/// Encryption of events with recipients.
const ENCRYPTED: &str = "aes-256-gcm";

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The first leaf of a log.
    Genesis(Box<Genesis>),
    /// The key of the next epoch.
    Epoch(Box<Epoch>),
    /// What the log is about to give up.
    Prune(Prune),
    /// The key of the encrypted batches that follow.
    ContentKey(NamedKey),
    /// The key of the batches of events that follow, in the HMAC chain.
    Hmac(HmacStart),
    /// A key of personal fields.
    PersonalKey(NamedPersonalKey),
    /// Keys of personal fields that the log is about to destroy.
    PersonalShred(Vec<PersonalKeyId>),
}

/// What a log is, once and for all: batch 0 holds it and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// Verification key of the log; its name is the log's origin.
    pub log_key: VerifyKey,
    /// Verification key of epoch 0, which the origin commits to.
    pub epoch_key: VerifyKey,
    /// How long events must be kept, in nanoseconds: nothing younger may be pruned. 0: for ever.
    pub retention_ns: u64,
    /// Which machine: a keyed hash, or zero.
    pub host_id: [u8; 16],
    /// What made the log: name, version, build.
    pub agent: String,
    /// Age recipients to whom events are encrypted; none: they are not.
    pub recipients: Vec<String>,
    /// Commitment to the first key of the log's HMAC chain ([`super::hmac`]); none if it has none.
    pub hmac: Option<Hash>,
    /// Key of the SM2 lines that checkpoints have, too; none if they have none.
    pub sm2: Option<Sm2Key>,
    /// How personal fields are encrypted; none if they are not.
    pub personal: Option<Personal>,
}

/// The key of an epoch: signs every checkpoint after the one that seals this record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Number of the epoch: one more than that of the epoch before.
    pub number: u32,
    /// Its verification key.
    pub key: VerifyKey,
    /// Why the key of the epoch before cannot sign this; none if it does.
    pub lost: Option<String>,
}

/// How the HMAC chain goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HmacStart {
    /// With the first key of this generation.
    Generation(u64),
    /// Not any more, for this reason.
    Lost(String),
}

impl Record {
    /// The stored form.
    pub fn text(&self) -> String {
        let mut text = START.to_owned();
        let mut line = |parts: [&str; 2]| {
            text.push_str(
                parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" ").as_str(),
            );
            text.push('\n');
        };
        match self {
            Self::Genesis(genesis) => {
                line([GENESIS, ""]);
                line(["origin", genesis.log_key.name()]);
                line(["log-key", &genesis.log_key.text()]);
                line(["epoch-key", &genesis.epoch_key.text()]);
                for (name, value) in ALGORITHMS {
                    line([name, value]);
                }
                line(["encryption", if genesis.recipients.is_empty() { NOT_ENCRYPTED } else { ENCRYPTED }]);
                genesis.recipients.iter().for_each(|recipient| line(["recipient", recipient]));
                line(["retention-ns", &genesis.retention_ns.to_string()]);
                line(["host-id", &hex(&genesis.host_id)]);
                if let Some(hash) = &genesis.hmac {
                    line(["hmac-key", &hex(hash)]);
                }
                if let Some(key) = &genesis.sm2 {
                    line(["sm2-key", &key.text()]);
                }
                if let Some(Personal { classes, recipients, shred_after_days }) = &genesis.personal {
                    for class in classes {
                        line(["personal-class", class]);
                    }
                    for recipient in recipients {
                        line(["personal-recipient", recipient]);
                    }
                    line(["personal-shred-after-days", &shred_after_days.to_string()]);
                }
                line(["agent", &genesis.agent]);
            }
            Self::Prune(prune) => {
                line([PRUNE, ""]);
                line(["last-segment", &prune.last_segment.to_string()]);
                line(["next-event", &prune.next_seq.to_string()]);
                line(["newest-ns", &prune.newest_ns.to_string()]);
            }
            Self::ContentKey(named) => {
                line([CONTENT_KEY, ""]);
                key_lines(named, line);
            }
            Self::PersonalKey(named) => {
                line([PERSONAL_KEY, ""]);
                line(["key", &named.id.to_string()]);
                key_lines(&named.key, line);
            }
            Self::PersonalShred(ids) => {
                line([PERSONAL_SHRED, ""]);
                for id in ids {
                    line(["key", &id.to_string()]);
                }
            }
            Self::Hmac(start) => {
                line([HMAC, ""]);
                match start {
                    HmacStart::Generation(generation) => line(["generation", &generation.to_string()]),
                    HmacStart::Lost(why) => line(["chain-lost", why]),
                }
            }
            Self::Epoch(epoch) => {
                line([EPOCH, ""]);
                line(["epoch", &epoch.number.to_string()]);
                line(["epoch-key", &epoch.key.text()]);
                if let Some(why) = &epoch.lost {
                    line(["key-lost", why]);
                }
            }
        }
        text
    }

    /// Reads a stored record. What this version does not know is not guessed at.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let shape = || Fault::tampered("a record of the log is malformed");
        let text = std::str::from_utf8(bytes).map_err(|_| shape())?;
        let rest = text
            .strip_prefix(START)
            .ok_or_else(|| Fault::unsupported("a record of the log is of another version"))?;
        let (name, body) = rest.split_once('\n').ok_or_else(shape)?;
        let mut fields = Fields(body);
        let record = match name {
            GENESIS => Self::Genesis(Box::new(Genesis::parse(&mut fields)?)),
            EPOCH => Self::Epoch(Box::new(Epoch::parse(&mut fields)?)),
            PRUNE => Self::Prune(Prune {
                last_segment: fields.number("last-segment")?,
                next_seq: fields.number("next-event")?,
                newest_ns: fields.number("newest-ns")?,
            }),
            CONTENT_KEY => Self::ContentKey(fields.named_key()?),
            PERSONAL_KEY => Self::PersonalKey(NamedPersonalKey {
                id: personal_key(fields.take("key")?)?,
                key: fields.named_key()?,
            }),
            PERSONAL_SHRED => {
                let keys = fields.all("key").into_iter().map(personal_key).collect::<Result<_, _>>()?;
                Self::PersonalShred(keys)
            }
            HMAC => Self::Hmac(match fields.optional("chain-lost") {
                Some(why) => HmacStart::Lost(why.to_owned()),
                None => HmacStart::Generation(fields.number("generation")?),
            }),
            other => {
                let name: String = other.chars().take(40).collect();
                return Err(Fault::unsupported(format!(
                    "a record of kind {name:?} is not known to this goaudit"
                )));
            }
        };
        // One way to write each: no second form of the same record, and nothing after it.
        if record.text().as_bytes() == bytes { Ok(record) } else { Err(shape()) }
    }
}

/// The lines of a record that are not read yet.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    /// The value of the next line, which must have this name.
    fn take(&mut self, name: &str) -> Result<&'a str, Fault> {
        self.optional(name).ok_or_else(|| Fault::tampered(format!("a record of the log has no {name}")))
    }

    fn optional(&mut self, name: &str) -> Option<&'a str> {
        let (line, rest) = self.0.split_once('\n')?;
        let value = line.strip_prefix(name)?.strip_prefix(' ')?;
        self.0 = rest;
        Some(value)
    }

    /// The values of all lines of this name that come next.
    fn all(&mut self, name: &str) -> Vec<&'a str> {
        std::iter::from_fn(|| self.optional(name)).collect()
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str) -> Result<T, Fault> {
        let value = self.take(name)?;
        value.parse().map_err(|_| Fault::tampered(format!("{name} of a record of the log is no number")))
    }

    fn hex<const N: usize>(&mut self, name: &str) -> Result<[u8; N], Fault> {
        unhex(self.take(name)?)
            .ok_or_else(|| Fault::tampered(format!("{name} of a record of the log is malformed")))
    }

    fn named_key(&mut self) -> Result<NamedKey, Fault> {
        Ok(NamedKey { wrapped_sha256: self.hex("wrapped-sha256")?, commitment: self.hex("key-commitment")? })
    }

    fn key(&mut self, name: &str) -> Result<VerifyKey, Fault> {
        VerifyKey::parse(self.take(name)?)
            .map_err(|error| Fault::tampered(format!("{name} of a record of the log: {error}")))
    }
}

impl Genesis {
    fn parse(fields: &mut Fields<'_>) -> Result<Self, Fault> {
        let origin = fields.take("origin")?;
        let (log_key, epoch_key) = (fields.key("log-key")?, fields.key("epoch-key")?);
        for (name, known) in ALGORITHMS {
            let found = fields.take(name)?;
            if found != known {
                let found: String = found.chars().take(40).collect();
                return Err(Fault::unsupported(format!("{name} {found:?} is not known to this goaudit")));
            }
        }
        let recipients = Self::recipients(fields)?;
        let genesis = Self {
            recipients,
            retention_ns: fields.number("retention-ns")?,
            host_id: fields.hex("host-id")?,
            hmac: fields.optional("hmac-key").map(commitment).transpose()?,
            sm2: fields.optional("sm2-key").map(sm2_key).transpose()?,
            personal: Self::personal(fields)?,
            agent: fields.take("agent")?.to_owned(),
            log_key,
            epoch_key,
        };
        if origin != genesis.log_key.name() {
            return Err(Fault::tampered("the log names another origin than its key"));
        }
        if genesis.sm2.as_ref().is_some_and(|key| key.name() != sm2::name(origin)) {
            return Err(Fault::tampered("the log's SM2 key has the name of another"));
        }
        Ok(genesis)
    }

    fn recipients(fields: &mut Fields<'_>) -> Result<Vec<String>, Fault> {
        let found = fields.take("encryption")?;
        if ![NOT_ENCRYPTED, ENCRYPTED].contains(&found) {
            let found: String = found.chars().take(40).collect();
            return Err(Fault::unsupported(format!("encryption {found:?} is not known to this goaudit")));
        }
        Ok(fields.all("recipient").into_iter().map(str::to_owned).collect())
    }

    fn personal(fields: &mut Fields<'_>) -> Result<Option<Personal>, Fault> {
        let classes: Vec<String> = fields.all("personal-class").into_iter().map(str::to_owned).collect();
        if classes.is_empty() {
            return Ok(None);
        }
        if !classes.iter().all(|class| is_class(class)) {
            return Err(Fault::tampered("the name of a class of personal fields is malformed"));
        }
        let recipients = fields.all("personal-recipient").into_iter().map(str::to_owned).collect();
        let shred_after_days = fields.number("personal-shred-after-days")?;
        Ok(Some(Personal { classes, recipients, shred_after_days }))
    }

    /// Checks that this is the beginning of the log that `key` is of.
    pub fn check(&self, id: &[u8; 16], key: Option<&VerifyKey>) -> Result<(), Fault> {
        if key.is_some_and(|key| *key != self.log_key) || log_id(&self.log_key) != *id {
            return Err(Fault::tampered("the log was begun with another key"));
        }
        if !epoch::begins(&self.log_key, &self.epoch_key) {
            return Err(Fault::tampered("the key of epoch 0 is not the one that the log's name commits to"));
        }
        Ok(())
    }
}

impl Epoch {
    fn parse(fields: &mut Fields<'_>) -> Result<Self, Fault> {
        Ok(Self {
            number: fields.number("epoch")?,
            key: fields.key("epoch-key")?,
            lost: fields.optional("key-lost").map(str::to_owned),
        })
    }

    /// Checks that this may follow epoch `before` of the log named `origin`; `lost`: the header says that the key of
    /// that epoch is lost.
    pub fn check(&self, before: u32, origin: &str, lost: bool) -> Result<(), Fault> {
        if before.checked_add(1) != Some(self.number) {
            return Err(Fault::tampered(format!("epoch {} after epoch {before}", self.number)));
        }
        if self.key.name() != epoch::name(origin, self.number) {
            return Err(Fault::tampered("the key of an epoch has the name of another"));
        }
        if self.lost.is_some() != lost {
            return Err(Fault::tampered("the record of an epoch contradicts the header of its batch"));
        }
        Ok(())
    }
}

/// Opens a batch of records and checks that its header is that of these bytes.
pub fn open(payloads: &mut PayloadReader, header: &BatchHeader, stored: &[u8]) -> Result<Vec<Record>, Fault> {
    let hash: Hash = Sha256::digest(stored).into();
    if hash != header.payload_hash {
        return Err(Fault::tampered("the stored payload does not hash to what its header says"));
    }
    let mut plain = Vec::new();
    payloads.open(header, stored, &mut plain)?;
    payloads.check_root(header, &plain)?;
    Events::new(&plain).map(Record::parse).collect()
}

/// The last epoch that a segment names. What cannot be read is passed over: `verify` tells of it.
pub(super) fn last_announcement(file: &File, size: u64) -> io::Result<Option<Epoch>> {
    let mut last = None;
    walk(
        file,
        size,
        |_| {},
        |record| match record {
            Record::Genesis(genesis) => {
                last = Some(Epoch { number: 0, key: genesis.epoch_key, lost: None });
            }
            Record::Epoch(epoch) => last = Some(*epoch),
            Record::Prune(_)
            | Record::Hmac(_)
            | Record::ContentKey(_)
            | Record::PersonalKey(_)
            | Record::PersonalShred(_) => {}
        },
    )?;
    Ok(last)
}

/// Looks at the headers of all batches of a segment and at its records, in order. What cannot be read is passed over.
pub(super) fn walk(
    file: &File,
    size: u64,
    mut on_header: impl FnMut(&[u8]),
    mut on_record: impl FnMut(Record),
) -> io::Result<()> {
    let mut frames = FrameReader::new(BufReader::new(file), SEGMENT_HEADER_LEN as u64, size);
    let mut payloads = PayloadReader::new()?;
    loop {
        let step = frames.next_wanted(|kind, header| {
            if kind != FrameKind::Batch {
                return false;
            }
            on_header(header);
            <BatchHeader as zerocopy::FromBytes>::read_from_bytes(header)
                .is_ok_and(|header| header.is_records())
        })?;
        match step {
            Step::End => return Ok(()),
            Step::Skipped => {}
            Step::Frame(frame) => {
                let records = parse_batch_header(frame.header, frame.body.len())
                    .and_then(|header| open(&mut payloads, &header, frame.body));
                records.into_iter().flatten().for_each(&mut on_record);
            }
            Step::Bad(bad) => {
                if !frames.find_next(bad.offset + 8)? {
                    return Ok(());
                }
            }
        }
    }
}

/// What [`Fields::named_key`] reads.
fn key_lines(named: &NamedKey, mut line: impl FnMut([&str; 2])) {
    line(["wrapped-sha256", &hex(&named.wrapped_sha256)]);
    line(["key-commitment", &hex(&named.commitment)]);
}

fn commitment(text: &str) -> Result<Hash, Fault> {
    unhex(text).ok_or_else(|| Fault::tampered("the commitment to the log's HMAC key is malformed"))
}

fn personal_key(text: &str) -> Result<PersonalKeyId, Fault> {
    text.parse().map_err(|()| Fault::tampered("the name of a key of personal fields is malformed"))
}

fn sm2_key(text: &str) -> Result<Sm2Key, Fault> {
    Sm2Key::parse(text).map_err(|error| Fault::tampered(format!("sm2-key of a record of the log: {error}")))
}

fn unhex<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    if text.len() != 2 * LEN || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}
