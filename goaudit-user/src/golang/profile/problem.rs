//! What is wrong with a profile, and where.

use thiserror::Error;

use super::super::abi::SignatureError;
use super::function_name::FunctionError;
use super::nearest::Nearest;
use super::path::SyntaxError;
use super::version::VersionError;
use super::walk::WalkError;

/// Why a profile is refused: the first thing that is wrong with it.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{file}:{line}:{column}: {problem}")]
pub struct ProfileError {
    /// The profile's name.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Not text. The place is that of the first byte that is none.
    #[error("this is not UTF-8: keep profiles as UTF-8 text")]
    NotUtf8,
    /// Not TOML.
    #[error("this is not TOML: {0}")]
    Toml(String),
    /// A key that means nothing here.
    #[error("unknown key {key}{nearest}")]
    Key {
        /// The key.
        key: String,
        /// What may have been meant.
        nearest: Nearest,
    },
    /// A value of the wrong sort.
    #[error("{key} must be {must}")]
    Sort {
        /// The key.
        key: String,
        /// What it must be.
        must: &'static str,
    },
    /// A word that means nothing here.
    #[error("unknown {what} {word}{nearest}")]
    Word {
        /// What the word should be.
        what: &'static str,
        /// The word.
        word: String,
        /// What may have been meant.
        nearest: Nearest,
    },
    /// A text in `allow_values` that the value cannot have.
    #[error("{what} is never {word}{nearest}")]
    Never {
        /// What the value is.
        what: &'static str,
        /// The text.
        word: String,
        /// What may have been meant.
        nearest: Nearest,
    },
    /// A key that must be there.
    #[error("this probe has no {0}")]
    Absent(&'static str),
    /// An id without library, or with blanks.
    #[error("an id is LIBRARY.NAME, in lower-case letters, digits, - and _, as in casbin.enforce")]
    Id,
    /// The same id for the same versions.
    #[error("a probe before has the id {0} and the same function: such probes need different versions")]
    Twice(String),
    /// A probe is nested under one that is not there.
    #[error("no probe has the id {id}, neither here nor in the other profiles of this run{nearest}")]
    Outer {
        /// The id.
        id: String,
        /// What may have been meant.
        nearest: Nearest,
    },
    /// A module with its major version.
    #[error("a module is named without its major version: write {0}; `versions` says which are meant")]
    Major(String),
    /// A function's name.
    #[error("this is no name of a function: {0}")]
    Function(#[from] FunctionError),
    /// A version constraint.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// A signature or a declared type.
    #[error("{error}{nearest}")]
    Signature {
        /// What is wrong.
        error: SignatureError,
        /// What may have been meant.
        nearest: Nearest,
    },
    /// A path's syntax.
    #[error("this is no path: {0}")]
    Syntax(#[from] SyntaxError),
    /// A path's way through the types.
    #[error("{error} (on {arch})")]
    Walk {
        /// What is wrong.
        error: WalkError,
        /// Architecture for which it is.
        arch: &'static str,
    },
    /// Too many values.
    #[error("more than {limit} values are read at the {site} (on {arch})")]
    Full {
        /// How many there may be.
        limit: usize,
        /// Where.
        site: &'static str,
        /// Architecture for which it is.
        arch: &'static str,
    },
}
