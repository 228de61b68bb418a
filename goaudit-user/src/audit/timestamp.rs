//! Time stamps of checkpoints (RFC 3161): a time stamp authority signs that a hash existed at a time.
//!
//! What is stamped is a checkpoint's note, byte for byte. Note and answer are kept in `anchors/`, so that `openssl ts -verify`
//! checks them as they lie there. The authority's signature is left to it: here the imprint and the time are read. DER is read
//! and written by the crates of the format.

mod judge;

use std::path::{Path, PathBuf};

use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use der::asn1::{Int, ObjectIdentifier, OctetString};
use der::{Any, Decode as _, Encode as _};
use sha2::{Digest as _, Sha256};
use x509_tsp::{MessageImprint, TimeStampReq, TimeStampResp, TspVersion, TstInfo};

use super::anchor::{self, directory};
use super::checkpoint::Checkpoint;
use super::directory::{make_dir, replace_file, sync_dir};
use super::error::AuditError;
use super::format::Hash;
use super::note::VerifyKey;
use super::recover::hex;

pub use judge::judge;

/// SHA-256 (RFC 5754).
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// Signed data (RFC 5652).
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// What a time stamp token holds (RFC 3161).
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
/// Ending of an answer's name; the checkpoint beside it ends in `note`.
const ANSWER: &str = "tsr";
/// Content type of a query.
pub const QUERY_TYPE: &str = "application/timestamp-query";

/// Why an answer is not a time stamp. Reads after "failed to ...: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// The bytes are not of the form.
    #[error("read a time stamp: {0}")]
    Malformed(String),
    /// The authority says no.
    #[error("get a time stamp: the authority refused it: {0}")]
    Refused(String),
    /// It is of something else.
    #[error("use a time stamp: {0}")]
    Other(&'static str),
}

/// A time stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// What was stamped: SHA-256.
    pub imprint: Hash,
    /// When, in seconds since 1970.
    pub time: u64,
    /// The number that the query had.
    nonce: Option<Vec<u8>>,
}

/// The query for a note. `random` makes sure that the answer is a new one.
pub fn query(note: &[u8], random: [u8; 8]) -> Result<Vec<u8>, StampError> {
    let malformed = |error: der::Error| StampError::Malformed(error.to_string());
    let request = TimeStampReq {
        version: TspVersion::V1,
        message_imprint: MessageImprint {
            hash_algorithm: cms::cert::x509::spki::AlgorithmIdentifier {
                oid: SHA_256,
                parameters: Some(Any::null()),
            },
            hashed_message: OctetString::new(&Sha256::digest(note)[..]).map_err(malformed)?,
        },
        req_policy: None,
        nonce: Some(Int::new(&nonce(random)).map_err(malformed)?),
        // Whoever checks it later needs the certificate.
        cert_req: true,
        extensions: None,
    };
    request.to_der().map_err(malformed)
}

/// A positive number in its shortest form.
fn nonce(mut random: [u8; 8]) -> [u8; 8] {
    if let Some(first) = random.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    random
}

impl Stamp {
    /// Reads an authority's answer.
    pub fn parse(answer: &[u8]) -> Result<Self, StampError> {
        let malformed = |error: der::Error| StampError::Malformed(error.to_string());
        let answer = TimeStampResp::from_der(answer).map_err(malformed)?;
        // 0 granted, 1 granted with changes.
        if answer.status.status as u8 > 1 {
            return Err(StampError::Refused(format!("{:?}", answer.status.status)));
        }
        let token: ContentInfo =
            answer.time_stamp_token.ok_or(StampError::Other("the answer has no token"))?;
        if token.content_type != SIGNED_DATA {
            return Err(StampError::Other("the token is not signed data"));
        }
        let signed: SignedData = token.content.decode_as().map_err(malformed)?;
        let content = signed.encap_content_info;
        if content.econtent_type != TST_INFO {
            return Err(StampError::Other("the token holds no time"));
        }
        let bytes = content.econtent.ok_or(StampError::Other("the token holds nothing"))?;
        let bytes: OctetString = bytes.decode_as().map_err(malformed)?;
        let info = TstInfo::from_der(bytes.as_bytes()).map_err(malformed)?;
        let imprint = info.message_imprint;
        if imprint.hash_algorithm.oid != SHA_256 {
            return Err(StampError::Other("it is of another hash than SHA-256"));
        }
        Ok(Self {
            imprint: Hash::try_from(imprint.hashed_message.as_bytes())
                .map_err(|_| StampError::Other("its imprint has not the length of SHA-256"))?,
            time: info.gen_time.to_unix_duration().as_secs(),
            nonce: info.nonce.map(|nonce| nonce.as_bytes().to_vec()),
        })
    }

    /// Whether it is of this note.
    pub fn is_of(&self, note: &[u8]) -> bool {
        Sha256::digest(note)[..] == self.imprint
    }

    /// Whether it answers the query for this note with these random bytes.
    pub fn answers(&self, note: &[u8], random: [u8; 8]) -> Result<(), StampError> {
        if !self.is_of(note) {
            return Err(StampError::Other("it is of something else than what was asked for"));
        }
        if self.nonce.as_deref() != Some(&nonce(random)) {
            return Err(StampError::Other("it is not the answer to this query: its nonce is another one"));
        }
        Ok(())
    }
}

/// Stores a note and the authority's answer beside the log in `log`, durably. Returns the answer's file.
pub fn store(log: &Path, note: &str, size: u64, answer: &[u8]) -> Result<PathBuf, AuditError> {
    let anchors = directory(log);
    make_dir(&anchors)?;
    let digest = Sha256::digest([note.as_bytes(), answer].concat());
    let name = format!("{size:020}-{}", hex(digest.get(..4).unwrap_or_default()));
    let path = anchors.join(format!("{name}.{ANSWER}"));
    for (path, bytes) in [(&anchors.join(format!("{name}.note")), note.as_bytes()), (&path, answer)] {
        replace_file(path, bytes, 0o600).map_err(AuditError::io("write", path))?;
    }
    sync_dir(&anchors)?;
    Ok(path)
}

/// A stamped checkpoint of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// The answer's file.
    pub file: PathBuf,
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// When, in seconds since 1970, as the authority says.
    pub time: u64,
}

/// The time stamps beside a log, by size; what is wrong with those that are not good.
pub fn stamped(log: &Path, key: &VerifyKey) -> Result<Vec<Result<Stamped, String>>, AuditError> {
    let mut all = Vec::new();
    for file in anchor::files(&directory(log), ANSWER)? {
        let bad = |what: String| format!("{}: {what}", file.display());
        let answer = anchor::read(&file)?;
        let note = match anchor::read(&file.with_extension("note")) {
            Ok(note) => note,
            Err(error) => {
                all.push(Err(bad(format!("the checkpoint that it is of: {error}"))));
                continue;
            }
        };
        all.push(match (Stamp::parse(&answer), Checkpoint::open(&note, key)) {
            (Err(error), _) => Err(bad(error.to_string())),
            (_, Err(error)) => Err(bad(format!("the checkpoint that it is of: {error}"))),
            (Ok(stamp), Ok(_)) if !stamp.is_of(&note) => {
                Err(bad("it is not of the checkpoint beside it".to_owned()))
            }
            (Ok(stamp), Ok(checkpoint)) => Ok(Stamped { file: file.clone(), checkpoint, time: stamp.time }),
        });
    }
    Ok(all)
}
