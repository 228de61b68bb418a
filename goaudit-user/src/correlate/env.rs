//! Which environment variables are kept: only those that are asked for, since environments hold secrets.

use std::collections::BTreeSet;

use crate::event::Text;

/// What Go, its toolchain and the dynamic loader read: the default.
pub const DEFAULT: &[&str] = &[
    "GOROOT",
    "GOPATH",
    "GOBIN",
    "PATH",
    "GOPROXY",
    "GOENV",
    "GOFLAGS",
    "GOTOOLCHAIN",
    "GOOS",
    "GOARCH",
    "GOCACHE",
    "GOMODCACHE",
    "GONOSUMDB",
    "GONOSUMCHECK",
    "GOSUMDB",
    "GOPRIVATE",
    "GONOPROXY",
    "GOINSECURE",
    "GOVCS",
    "GOEXPERIMENT",
    "GODEBUG",
    "GOTRACEBACK",
    "GORACE",
    "GOGC",
    "GOMEMLIMIT",
    "GOMAXPROCS",
    "CGO_ENABLED",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
];

/// The names to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvNames {
    /// Every variable.
    All,
    /// These.
    Only(BTreeSet<Vec<u8>>),
}

impl Default for EnvNames {
    fn default() -> Self {
        Self::Only(DEFAULT.iter().map(|name| name.as_bytes().to_vec()).collect())
    }
}

impl EnvNames {
    /// From a list of names; `*` means every variable.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut kept = BTreeSet::new();
        for name in names {
            if name == "*" {
                return Self::All;
            }
            kept.insert(name.as_bytes().to_vec());
        }
        Self::Only(kept)
    }

    /// The variables to keep, in their order. A string without `=` is a name without a value. Of an area that
    /// is not whole the last string may be cut and is left out.
    pub fn pick<'a>(&self, area: impl Iterator<Item = &'a [u8]>, whole: bool) -> Vec<(Text, Text)> {
        let mut kept = Vec::new();
        let mut area = area.peekable();
        while let Some(string) = area.next() {
            if !whole && area.peek().is_none() {
                break;
            }
            // A name may begin with `=`, as bash does for some of its own.
            let equals =
                string.get(1..).and_then(|rest| memchr::memchr(b'=', rest)).map(|at| at.saturating_add(1));
            let (name, value) = equals.and_then(|at| string.split_at_checked(at)).unwrap_or((string, b""));
            let keep = match self {
                Self::All => true,
                Self::Only(names) => names.contains(name),
            };
            if keep {
                kept.push((name.into(), value.strip_prefix(b"=").unwrap_or(value).into()));
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area() -> impl Iterator<Item = &'static [u8]> {
        [b"PATH=/a=b" as &[u8], b"SECRET=x", b"EMPTY=", b"NONE", b"LD_PRELOAD=\xff"].into_iter()
    }

    #[test]
    fn only_what_is_asked_for() {
        let kept = EnvNames::default().pick(area(), true);
        let expected: [(Text, Text); 2] =
            [("PATH".into(), "/a=b".into()), ("LD_PRELOAD".into(), Text::from(&b"\xff"[..]))];
        assert_eq!(kept, expected);
        assert_eq!(EnvNames::default().pick(area(), false).len(), 1, "the last one may be cut");
    }

    #[test]
    fn everything() {
        let kept = EnvNames::from_names(["*"]).pick(area(), true);
        assert_eq!(kept.len(), 5);
        assert_eq!(kept.get(3), Some(&("NONE".into(), "".into())));
    }
}
