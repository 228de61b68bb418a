//! What the Go linker says about a build: compiler version, module versions, build settings.
//!
//! Two forms: since Go 1.18 the strings lie inline behind the magic; before, two pointers to Go strings. Same
//! source of truth as `go version -m`, which is the test's oracle.

use serde::Serialize;

use super::bytes::{Bytes, to_aligned};
use super::image::Image;

const MAGIC: &[u8; 14] = b"\xff Go buildinf:";
/// Set in the flags byte when the strings are inline (Go 1.18+).
const FLAG_INLINE: u8 = 2;
/// The module text is framed by sentinels of this size, so that it can be found in a core file.
const SENTINEL: usize = 16;
/// Longer module texts do not exist; bounds what a damaged length can ask for.
const MAX_TEXT: u64 = 16 << 20;

/// A module that the binary was built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Module {
    /// Module path.
    pub path: String,
    /// Version; `(devel)` for the main module outside of version control.
    pub version: String,
    /// `h1:` checksum, when recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum: Option<String>,
    /// What really was compiled, when a `replace` directive applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<Box<Self>>,
}

/// What the linker recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildInfo {
    /// As the toolchain names itself: `go1.26.8`, `go1.24.3 X:jsonv2`, `devel go1.28-...`.
    pub go_version: String,
    /// Import path of the main package.
    pub main_package: Option<String>,
    /// The main module first, then its dependencies.
    pub modules: Vec<Module>,
    /// Build settings, as `go version -m` shows them.
    pub settings: Vec<(String, String)>,
}

impl BuildInfo {
    /// Finds and reads it. `None`: there is none, or it is damaged.
    pub fn read(image: &Image<'_>) -> Option<Self> {
        let found = image.section(".go.buildinfo").and_then(|(address, bytes)| find(address, bytes));
        let address = found.or_else(|| {
            // Stripped of section headers: the linker puts it at the start of the data segment.
            let mut segments = image.data_segments(true).chain(image.data_segments(false));
            segments.find_map(|(address, bytes)| find(address, bytes))
        })?;
        let header = image.at(address)?;
        let (version, modules) = if header.u8(15)? & FLAG_INLINE != 0 {
            let (version, next) = inline_string(&header, 32)?;
            (version, inline_string(&header, next).map_or(&b""[..], |(text, _)| text))
        } else {
            let version = go_string(image, image.pointer(address.checked_add(16)?)?)?;
            let modules = address.checked_add(24).and_then(|at| go_string(image, image.pointer(at)?));
            (version, modules.unwrap_or_default())
        };
        let mut info = Self { go_version: text(version)?, ..Self::default() };
        info.read_modules(modules);
        Some(info)
    }

    /// The module that a function belongs to, by its import path; what really was compiled, if it was replaced.
    pub fn module_of(&self, function: &str) -> Option<&Module> {
        let contains = |module: &&Module| {
            function.strip_prefix(module.path.as_str()).is_some_and(|rest| rest.starts_with(['.', '/']))
        };
        let module = self.modules.iter().filter(contains).max_by_key(|module| module.path.len())?;
        Some(module.replace.as_deref().filter(|replace| !replace.version.is_empty()).unwrap_or(module))
    }

    fn read_modules(&mut self, framed: &[u8]) {
        // Too short or without the newline that ends the text: built without modules.
        let Some(inner) = framed.len().checked_sub(SENTINEL).and_then(|end| framed.get(SENTINEL..end)) else {
            return;
        };
        if inner.last() != Some(&b'\n') {
            return;
        }
        for line in String::from_utf8_lossy(inner).lines() {
            let mut parts = line.split('\t');
            match (parts.next(), parts.next()) {
                (Some("path"), Some(path)) => self.main_package = Some(path.to_owned()),
                (Some("mod" | "dep"), Some(path)) => self.modules.push(module(path, parts)),
                (Some("=>"), Some(path)) => {
                    if let Some(last) = self.modules.last_mut() {
                        last.replace = Some(Box::new(module(path, parts)));
                    }
                }
                (Some("build"), Some(setting)) => {
                    let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
                    self.settings.push((unquote(key), unquote(value)));
                }
                _ => {}
            }
        }
    }

    /// The value of a build setting, e.g. `-race` or `CGO_ENABLED`.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Language version (major, minor) of the toolchain. `None` for names such as `devel +abc` that have none.
    pub fn release(&self) -> Option<(u32, u32)> {
        let start = self.go_version.find("go")? + 2;
        let number = self.go_version.get(start..)?;
        let (major, rest) = number.split_once('.')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some((major.parse().ok()?, rest.get(..digits)?.parse().ok()?))
    }
}

fn module<'a>(path: &str, mut parts: impl Iterator<Item = &'a str>) -> Module {
    let version = parts.next().unwrap_or_default().to_owned();
    let sum = parts.next().filter(|sum| !sum.is_empty()).map(str::to_owned);
    Module { path: path.to_owned(), version, sum, replace: None }
}

/// Settings with blanks or quotes are Go string literals; nothing else is escaped in practice.
fn unquote(value: &str) -> String {
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => value.to_owned(),
    }
}

fn find(address: u64, bytes: Bytes<'_>) -> Option<u64> {
    let mut at = to_aligned(address, 16);
    while let Some(candidate) = bytes.slice(at, 32) {
        if candidate.starts_with(MAGIC) && candidate.get(15).is_some_and(|&flags| flags & FLAG_INLINE != 0)
            || candidate.starts_with(MAGIC) && candidate.get(14) == Some(&8)
        {
            return Some(address + at);
        }
        at += 16;
    }
    None
}

fn inline_string<'a>(bytes: &Bytes<'a>, offset: u64) -> Option<(&'a [u8], u64)> {
    let (len, start) = bytes.uvarint(offset)?;
    (len <= MAX_TEXT).then_some(())?;
    Some((bytes.slice(start, len)?, start.checked_add(len)?))
}

fn go_string<'a>(image: &Image<'a>, header: u64) -> Option<&'a [u8]> {
    let len = image.at(header)?.u64(8)?;
    (len <= MAX_TEXT).then_some(())?;
    image.at(image.pointer(header)?)?.slice(0, len)
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_survives_vendor_suffixes() {
        let release =
            |name: &str| BuildInfo { go_version: name.to_owned(), ..BuildInfo::default() }.release();
        assert_eq!(release("go1.26.8"), Some((1, 26)));
        assert_eq!(release("go1.21rc2"), Some((1, 21)));
        assert_eq!(release("go1.24.3 X:nocoverageredesign"), Some((1, 24)));
        assert_eq!(release("devel go1.28-3f2a1b Mon"), Some((1, 28)));
        assert_eq!(release("devel +abcdef"), None);
        assert_eq!(release("go1."), None);
    }

    #[test]
    fn modules_replacements_and_settings() {
        let body = "path\texample.com/a\nmod\texample.com/a\t(devel)\t\ndep\tb\tv1.2.3\th1:x=\n=>\t../b\tv0\t\nbuild\t-race=true\nbuild\t\"-ldflags\"=\"-X \\\"a b\\\"\"\n";
        let framed = [&[0; 16][..], body.as_bytes(), &[0; 16]].concat();
        let mut info = BuildInfo::default();
        info.read_modules(&framed);
        assert_eq!(info.main_package.as_deref(), Some("example.com/a"));
        assert_eq!(info.modules.len(), 2);
        let replaced = info.modules.get(1).and_then(|module| module.replace.as_ref());
        assert_eq!(replaced.map(|module| module.path.as_str()), Some("../b"));
        assert_eq!(info.setting("-race"), Some("true"));
        assert_eq!(info.setting("-ldflags"), Some("-X \"a b\""));
    }
}
