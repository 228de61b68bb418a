//! Names of Go functions: one form to compare, whatever the linker, vendoring or module version made of them.
//!
//! `github.com/x/app/vendor/gopkg.in/yaml%2ev3.Unmarshal`, `gopkg.in/yaml.v3.Unmarshal` are one function;
//! `pkg.Map[go.shape.int]` and `pkg.Map[...]` are instances of `pkg.Map`. A closure (`pkg.F.func1`), a range body
//! (`pkg.F-range1`), a wrapper (`pkg.F-fm`) is never `pkg.F`: comparison is of whole names.

use std::collections::BTreeSet;

use super::abi::Dictionary;

/// A function that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    text: String,
    /// Normalised; without major versions unless the request names one.
    form: String,
    versioned: bool,
    /// The part behind the last dot: a cheap test that most names fail.
    last: String,
}

impl Wanted {
    /// Understands a request: an import path (with or without major version), a dot, and the function as Go
    /// writes it: `net/http.serverHandler.ServeHTTP`, `github.com/casbin/casbin.(*Enforcer).Enforce`.
    pub fn new(text: &str) -> Self {
        let full = normalise(text.as_bytes());
        let short = without_versions(&full);
        let versioned = full != short;
        let form = if versioned { full } else { short };
        let last = last_part(&form).to_owned();
        Self { text: text.to_owned(), form, versioned, last }
    }

    /// As it was asked.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a name from a binary is what was asked for.
    pub fn matches(&self, raw: &[u8]) -> bool {
        // Most names fail this, before anything is allocated. Escapes are in paths only, so the last part is plain in
        // the raw name too; of a generic name the brackets may be anywhere, so it is compared in full.
        let bare = raw.strip_suffix(b".abi0").unwrap_or(raw);
        if !bare.ends_with(self.last.as_bytes()) && !is_generic(raw) {
            return false;
        }
        let full = normalise(raw);
        if self.versioned { full == self.form } else { without_versions(&full) == self.form }
    }

    /// A misspelt name differs in few letters; more is another word.
    fn tolerance(&self) -> usize {
        (self.last.len() / 4).clamp(1, 3)
    }

    /// Whether a last part can be within the tolerance: by its length, and by its first or last letter.
    fn resembles(&self, last: &[u8]) -> bool {
        let own = self.last.as_bytes();
        let same = |a: Option<&u8>, b: Option<&u8>| a.zip(b).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
        last.len().abs_diff(own.len()) <= self.tolerance()
            && (same(last.first(), own.first()) || same(last.last(), own.last()))
    }

    /// How far a name is from what was asked; `None`: not worth telling. Smaller is nearer.
    fn distance(&self, name: &str) -> Option<usize> {
        let short = without_versions(name);
        let last = last_part(&short);
        if is_closure_part(last) || short.contains(':') {
            return None;
        }
        let by_last = edit_distance(&last.to_lowercase(), &self.last.to_lowercase(), self.tolerance())?;
        let wanted = self.form.rsplit('/').next().unwrap_or(&self.form);
        let found = short.rsplit('/').next().unwrap_or(&short);
        let by_type = edit_distance(found, wanted, 24).unwrap_or(24);
        let path = usize::from(!short.starts_with(self.form.split('/').next().unwrap_or_default()));
        Some(by_last * 100 + by_type * 2 + path)
    }
}

/// The nearest names among `raw` for each of `wanted`, best first, at most `count` each.
pub(crate) fn nearest<'a>(
    wanted: &[&Wanted],
    raw: impl Iterator<Item = &'a [u8]>,
    count: usize,
) -> Vec<Vec<String>> {
    let mut best: Vec<BTreeSet<(usize, String)>> = vec![BTreeSet::new(); wanted.len()];
    for name in raw {
        let last_dot = name.iter().rposition(|&byte| byte == b'.').map_or(0, |dot| dot + 1);
        for (wanted, best) in wanted.iter().zip(&mut best) {
            // Excludes most names, before anything is allocated.
            if !is_generic(name) && !wanted.resembles(name.get(last_dot..).unwrap_or_default()) {
                continue;
            }
            let name = normalise(name);
            if let Some(distance) = wanted.distance(&name) {
                best.insert((distance, name));
                if best.len() > count {
                    best.pop_last();
                }
            }
        }
    }
    best.into_iter().map(|names| names.into_iter().map(|(_, name)| name).collect()).collect()
}

/// Whether a name is an instance of a generic function or of a generic type's method.
pub(crate) fn is_generic(raw: &[u8]) -> bool {
    raw.contains(&b'[')
}

/// Where the instance of a generic function that has this name takes its dictionary. Closures have none of their own.
pub(crate) fn dictionary(raw: &str) -> Option<Dictionary> {
    let (_, behind) = raw.rsplit_once(']')?;
    if behind.is_empty() {
        return Some(Dictionary::First);
    }
    let method = behind.trim_start_matches(')').strip_prefix('.')?;
    let closure = ["func", "gowrap", "deferwrap"].iter().any(|made| {
        let number = method.strip_prefix(made);
        number.is_some_and(|number| number.starts_with(|first: char| first.is_ascii_digit()))
    });
    (!closure && !method.contains(['.', '-'])).then_some(Dictionary::BehindReceiver)
}

/// The form that names are compared in: no type arguments, no vendor folder, no escapes, no ABI suffix.
pub fn normalise(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let text = without_type_arguments(&text);
    let text = text.strip_suffix(".abi0").unwrap_or(&text);
    let text = match text.rfind("/vendor/") {
        Some(at) => text.get(at + "/vendor/".len()..).unwrap_or(text),
        None => text.strip_prefix("vendor/").unwrap_or(text),
    };
    unescape(text)
}

fn without_type_arguments(text: &str) -> String {
    let mut depth = 0_usize;
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push(character),
            _ => {}
        }
    }
    out
}

/// The compiler escapes dots, quotes, blanks and non-ASCII bytes of a path's last element as `%2e`.
fn unescape(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((&first, rest)) = bytes.split_first() {
        let code = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if first == b'%' => {
                out.push(byte);
                bytes = rest.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Without the major version elements (`/v2`, `/v3` ...) that modules have in their paths.
fn without_versions(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(slash) = rest.find('/') {
        let (before, after) = rest.split_at(slash);
        out.push_str(before);
        let element = after.get(1..).unwrap_or_default();
        let end = element.find(['/', '.']).unwrap_or(element.len());
        let (word, behind) = element.split_at(end);
        if is_version(word) {
            rest = behind;
        } else {
            out.push('/');
            rest = element;
        }
    }
    out.push_str(rest);
    out
}

fn is_version(element: &str) -> bool {
    element
        .strip_prefix('v')
        .and_then(|number| number.parse::<u32>().ok())
        .is_some_and(|number| number >= 2 && !element.starts_with("v0"))
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// `func1`, `gowrap2`, `deferwrap1`, `3`, `F-fm`, `F-range1`: code of the compiler's making.
fn is_closure_part(last: &str) -> bool {
    let word = last.trim_end_matches(|c: char| c.is_ascii_digit());
    let numbered = word.len() < last.len();
    last.contains('-') || (numbered && matches!(word, "" | "func" | "gowrap" | "deferwrap" | "init"))
}

/// Levenshtein distance; `None` when above `limit`.
pub(super) fn edit_distance(left: &str, right: &str, limit: usize) -> Option<usize> {
    if left.len().abs_diff(right.len()) > limit {
        return None;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = i;
        let mut leftward = i + 1;
        if let Some(first) = row.first_mut() {
            *first = leftward;
        }
        for (cell, b) in row.iter_mut().skip(1).zip(right.bytes()) {
            let replace = diagonal + usize::from(a != b);
            diagonal = *cell;
            leftward = replace.min(diagonal + 1).min(leftward + 1);
            *cell = leftward;
        }
    }
    row.last().copied().filter(|&distance| distance <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_function_many_spellings() {
        let wanted = Wanted::new("github.com/casbin/casbin.(*Enforcer).Enforce");
        for name in [
            "github.com/casbin/casbin.(*Enforcer).Enforce",
            "github.com/casbin/casbin/v2.(*Enforcer).Enforce",
            "github.com/casbin/casbin/v13.(*Enforcer).Enforce",
            "example.com/app/vendor/github.com/casbin/casbin/v2.(*Enforcer).Enforce",
            "github.com/casbin/casbin.(*Enforcer).Enforce.abi0",
        ] {
            assert!(wanted.matches(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_only_looks_alike_never_matches() {
        let wanted = Wanted::new("example.com/p.Authorize");
        for name in [
            "example.com/p.Authorize.func1",
            "example.com/p.Authorize-range1",
            "example.com/p.Authorize-fm",
            "example.com/p.Authorize.gowrap1",
            "example.com/p.Authorize.deferwrap1",
            "example.com/p.T.Authorize",
            "example.com/p.(*T).Authorize",
            "xexample.com/p.Authorize",
            "example.com/p/v1.Authorize",
            "example.com/p/vx.Authorize",
        ] {
            assert!(!wanted.matches(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_named_version_is_meant() {
        let wanted = Wanted::new("example.com/p/v3.F");
        assert!(wanted.matches(b"example.com/p/v3.F"));
        assert!(!wanted.matches(b"example.com/p/v2.F"));
        assert!(!wanted.matches(b"example.com/p.F"));
    }

    #[test]
    fn escapes_vendor_and_type_arguments() {
        assert_eq!(normalise(b"gopkg.in/yaml%2ev3.Unmarshal"), "gopkg.in/yaml.v3.Unmarshal");
        assert_eq!(normalise(b"vendor/golang.org/x/net/idna.ToASCII"), "golang.org/x/net/idna.ToASCII");
        assert_eq!(normalise(b"p.F[go.shape.struct { q/r.X [3]int }]"), "p.F");
        assert_eq!(normalise(b"p.(*Box[...]).Get"), "p.(*Box).Get");
        assert_eq!(normalise(b"100%25.F%zz%2"), "100%.F%zz%2");
        assert!(Wanted::new("p.Map").matches(b"p.Map[go.shape.int_0]"));
        assert!(Wanted::new("gopkg.in/yaml.v3.Unmarshal").matches(b"gopkg.in/yaml%2ev3.Unmarshal"));
    }

    #[test]
    fn instances_take_a_dictionary() {
        let of = |name: &str| dictionary(name);
        for function in ["p.Map[go.shape.int]", "p.Map[...]", "p.F[go.shape.map[string]int,go.shape.[]uint8]"]
        {
            assert_eq!(of(function), Some(Dictionary::First), "{function}");
        }
        for method in ["p.(*Box[...]).Get", "p.(*Box[go.shape.[]uint8]).Get", "p.Box[go.shape.int].function"]
        {
            assert_eq!(of(method), Some(Dictionary::BehindReceiver), "{method}");
        }
        for other in
            ["p.F", "p.(*T).F", "p.Map[...].func1", "p.(*Box[...]).Get.func2", "p.(*Box[...]).Get-fm"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn nearest_names_are_useful() {
        let names: [&[u8]; 5] = [
            b"example.com/p.(*Enforcer).Enforce",
            b"example.com/p.(*Enforcer).Enforce.func1",
            b"example.com/p.(*SyncedEnforcer).Enforce",
            b"example.com/p.(*Enforcer).LoadPolicy",
            b"example.com/q.enforced",
        ];
        let wanted = Wanted::new("example.com/p.(*Enforcer).Enforc");
        let found = nearest(&[&wanted], names.into_iter(), 2);
        assert_eq!(
            found,
            [["example.com/p.(*Enforcer).Enforce", "example.com/p.(*SyncedEnforcer).Enforce"]
                .map(str::to_owned)]
        );
    }

    #[test]
    fn distance_is_levenshtein() {
        assert_eq!(edit_distance("kitten", "sitting", 9), Some(3));
        assert_eq!(edit_distance("kitten", "sitting", 2), None);
        assert_eq!(edit_distance("", "abc", 3), Some(3));
    }
}
