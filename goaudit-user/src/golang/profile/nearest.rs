//! The valid name that a wrong one resembles most.

use std::fmt;

use super::super::abi::{Declarations, SignatureError, known_types};
use super::super::name::edit_distance;

/// What may have been meant, ready to be put behind a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nearest(String);

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// More names than this help nobody.
const TOLD: usize = 12;

impl Nearest {
    /// All of them.
    pub(super) fn all<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
        if names.is_empty() {
            return Self::default();
        }
        let more = names.len() > TOLD;
        names.truncate(TOLD);
        Self(format!(" (there are: {}{})", names.join(", "), if more { ", ..." } else { "" }))
    }
}

/// The one name that is near enough to be a slip of the hand; else all of them.
pub(super) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str> + Clone) -> Nearest {
    slip(wrong, names.clone()).unwrap_or_else(|| Nearest::all(names))
}

/// The type that may have been meant by one that is not declared.
pub(super) fn nearest_type(error: &SignatureError, declared: &Declarations) -> Nearest {
    match error {
        SignatureError::Undeclared { name, .. } => {
            let names = declared.keys().map(String::as_str);
            slip(name, names.chain(known_types())).unwrap_or_default()
        }
        SignatureError::Declaration { error, .. } => nearest_type(error, declared),
        SignatureError::Expected { .. } | SignatureError::Recursive(_) | SignatureError::TooLarge(_) => {
            Nearest::default()
        }
    }
}

/// The one name that is near enough to be a slip of the hand.
fn slip<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<Nearest> {
    let limit = (wrong.chars().count() / 3).clamp(1, 3);
    let lower = wrong.to_lowercase();
    let near = names.filter(|name| !name.is_empty());
    let near = near.filter_map(|name| Some((edit_distance(&name.to_lowercase(), &lower, limit)?, name)));
    near.min().map(|(_, name)| Nearest(format!("; did you mean {name}?")))
}
