//! Constraints on module versions: `>=2.0, <3`.
//!
//! Compared are the numbers of a semantic version; `v2.77.2` satisfies `>=2.0`. Pre-releases and pseudo-versions
//! (`v2.0.0-20240101000000-abcdef123456`) count as the release that they lead to.

use std::cmp::Ordering;
use std::fmt;

use thiserror::Error;

/// Why a text is no constraint.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{0:?} is no version constraint: write an operator (>= > <= < =) and a version, as in \">=2.0, <3\"")]
pub struct VersionError(String);

/// Versions that something is valid for. The empty constraint allows every version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    text: String,
    all_of: Vec<(Operator, [u64; 3])>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    AtLeast,
    Above,
    AtMost,
    Below,
    Exactly,
}

/// Longer operators first: `>` is the beginning of `>=`.
const OPERATORS: [(&str, Operator); 5] = [
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    (">", Operator::Above),
    ("<", Operator::Below),
    ("=", Operator::Exactly),
];

impl Versions {
    /// Parses a comma-separated list, all of which must hold.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let one = |part: &str| {
            let part = part.trim();
            let (token, operator) = OPERATORS.iter().find(|(token, _)| part.starts_with(token))?;
            Some((*operator, numbers(part.get(token.len()..)?)?))
        };
        let wrong = |part: &str| VersionError(part.trim().to_owned());
        let all_of = text.split(',').map(|part| one(part).ok_or_else(|| wrong(part)));
        Ok(Self { text: text.to_owned(), all_of: all_of.collect::<Result<_, _>>()? })
    }

    /// Whether every version is allowed.
    pub const fn is_any(&self) -> bool {
        self.all_of.is_empty()
    }

    /// Whether a version, as build info has it, is allowed; `None` if it has no numbers (`(devel)`).
    pub fn allow(&self, version: &str) -> Option<bool> {
        let version = numbers(version)?;
        Some(self.all_of.iter().all(|(operator, bound)| {
            let order = version.cmp(bound);
            match operator {
                Operator::AtLeast => order != Ordering::Less,
                Operator::Above => order == Ordering::Greater,
                Operator::AtMost => order != Ordering::Greater,
                Operator::Below => order == Ordering::Less,
                Operator::Exactly => order == Ordering::Equal,
            }
        }))
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_any() { "any version" } else { &self.text })
    }
}

/// `v2.77.2-rc.1+incompatible` is 2, 77, 2.
fn numbers(text: &str) -> Option<[u64; 3]> {
    let text = text.trim();
    let text = text.strip_prefix('v').unwrap_or(text);
    let release = text.split(['-', '+']).next()?;
    let mut parts = release.split('.').map(|part| part.parse().ok());
    let first = parts.next()??;
    let mut next = || parts.next().map_or(Some(0), |part| part);
    let numbers = [first, next()?, next()?];
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test says so when its own data is wrong")]
    use super::*;

    #[test]
    fn constraints() {
        let versions = Versions::parse(">=2.0, <3").unwrap();
        for (version, allowed) in [
            ("v2.0.0", Some(true)),
            ("v2.77.2", Some(true)),
            ("v3.0.0", Some(false)),
            ("v1.9.9", Some(false)),
            ("v2.1.0-0.20240101000000-abcdef123456", Some(true)),
            ("v2.0.0+incompatible", Some(true)),
            ("(devel)", None),
            ("", None),
        ] {
            assert_eq!(versions.allow(version), allowed, "{version}");
        }
        assert_eq!(Versions::default().allow("v9.9.9"), Some(true));
        assert_eq!(Versions::parse("=1.2.3").unwrap().allow("v1.2.3"), Some(true));
        assert_eq!(Versions::parse(">1.2").unwrap().allow("v1.2.0"), Some(false));
        assert_eq!(Versions::parse("<=1.2").unwrap().allow("v1.2.1"), Some(false));
    }

    #[test]
    fn what_is_none() {
        for text in ["", "2.0", ">=", ">=x", ">=1.2.3.4", ">=1,,<2"] {
            assert!(Versions::parse(text).is_err(), "{text}");
        }
    }
}
