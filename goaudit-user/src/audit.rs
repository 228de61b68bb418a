//! The sealed log: events go in as bytes, come out as bytes, and cannot be changed in between unseen.
//!
//! `docs/audit-format.md` is the specification. This layer knows nothing of what an event means; it must not
//! print, and takes time, randomness and keys from its caller. Only the writer's, the recovery's, the reader's, the
//! prover's and the verifier's own file modules touch the file system.
//!
//! From the inside out: [`format`] byte layouts, [`merkle`] trees, [`note`] signatures, [`checkpoint`] tree heads,
//! [`batch`] payloads and leaves, [`content`] their encryption, [`personal`] keys that can be destroyed, [`record`] what the log says of itself, [`epoch`] keys that are erased,
//! [`chain`] the rules between batches, [`frame`] and [`segment`] files;
//! [`Writer`], [`Reader`] and [`verify()`] on top; [`prove()`] takes single events out, as a [`proof`].

pub mod anchor;
pub mod batch;
pub mod chain;
pub mod checkpoint;
pub mod content;
pub mod cosignature;
pub mod day;
mod directory;
pub mod epoch;
mod error;
pub mod extent;
pub mod fault;
pub mod format;
pub mod frame;
mod guard;
pub mod hmac;
pub mod keys;
mod lanes;
pub mod leaves;
pub mod merkle;
pub mod note;
pub mod personal;
mod place;
pub mod policy;
pub mod proof;
mod prove;
mod prune;
mod reader;
pub mod record;
mod recover;
mod repair;
mod report;
pub mod salt;
pub mod segment;
pub mod sm2;
mod sync;
#[cfg(test)]
mod tests;
pub mod tiles;
pub mod timestamp;
mod torn;
mod verify;
pub mod witness;
mod writer;

pub use content::{ContentError, ContentKeys, Recipients};
pub use directory::{has_log, log_id_of};
pub use error::AuditError;
pub use fault::{Fault, FaultKind};
pub use prove::{ProveError, prove, prove_with};
pub use prune::{Prune, genesis, retention};
pub use reader::{Batch, BatchInfo, ReadFrom, ReadOptions, Reader, Tail};
pub use recover::{MiddleDamage, hex};
pub use repair::{Repaired, repair};
pub use report::{BadPlace, Check, Freshness, Report, Verdict};
pub use sync::SyncFn;
pub use torn::Torn;
pub use verify::{Progress, State, StateError, VerifyOptions, Visitor, Witnessed, verify, verify_since};
pub use writer::{
    NewSegment, Now, Opened, OpenerFn, RoomConfig, SeedFn, Seq, SpaceFn, WriteFn, Writer, WriterConfig,
    prunable, shreddable,
};
