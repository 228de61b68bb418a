//! Text of the kernel in views. In JSON: a string if it is UTF-8, else base64, so nothing is replaced or lost.
//! On terminals: quoted so that no argument can move the cursor, hide itself or forge a line.

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::event::Text;

/// Bytes as JSON: a string, or `{"b64": "..."}`.
#[derive(Debug, Clone, Copy)]
pub struct JsonText<'a>(pub &'a [u8]);

impl<'a> From<&'a Text> for JsonText<'a> {
    fn from(text: &'a Text) -> Self {
        Self(text.as_bytes())
    }
}

impl Serialize for JsonText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(self.0) {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("b64", &STANDARD.encode(self.0))?;
        map.end()
    }
}

/// Several of them, as an array.
#[derive(Debug, Clone, Copy)]
pub struct JsonTexts<'a>(pub &'a [Text]);

impl JsonTexts<'_> {
    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for JsonTexts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(JsonText::from))
    }
}

impl JsonSchema for JsonTexts<'_> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<JsonText<'_>>::json_schema(generator)
    }
}

impl JsonSchema for JsonText<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Text of the kernel: a string if it is UTF-8, else its bytes in base64.",
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": { "b64": { "type": "string", "contentEncoding": "base64" } },
                    "required": ["b64"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

/// The key of a JSON object for a name: the name itself, or `b64:...` if it is not UTF-8.
pub fn json_key(name: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(name)
        .map_or_else(|_| Cow::Owned(format!("b64:{}", STANDARD.encode(name))), Cow::Borrowed)
}

/// Characters that are printable and yet change what one sees: direction, width, line breaks.
const fn deceptive(char: char) -> bool {
    matches!(
        char,
        '\u{ad}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

const fn bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'_' | b'@' | b'%' | b'+' | b'=' | b':' | b',' | b'.' | b'/' | b'-')
}

/// Appends bytes as one shell word: bare, `'quoted'`, or `$'with \x1b escapes'` when something in it is not
/// plainly visible.
pub fn quote(out: &mut String, bytes: &[u8]) {
    if !bytes.is_empty() && bytes.iter().copied().all(bare) {
        out.push_str(&String::from_utf8_lossy(bytes));
        return;
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains(|char: char| char.is_control() || deceptive(char) || matches!(char, '\'' | '\\'))
    {
        out.push('\'');
        out.push_str(text);
        out.push('\'');
        return;
    }
    out.push_str("$'");
    escape(out, bytes);
    out.push('\'');
}

/// Text for a sentence: quotes stay as they are, what is not plainly visible is escaped.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(|char: char| char.is_control() || deceptive(char)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|char| escape_char(&mut out, char));
    Cow::Owned(out)
}

fn escape_char(out: &mut String, char: char) {
    match char {
        '\n' => out.push_str("\\n"),
        '\t' => out.push_str("\\t"),
        '\r' => out.push_str("\\r"),
        char if char.is_ascii_control() => {
            let _ = write!(out, "\\x{:02x}", u32::from(char));
        }
        char if char.is_control() || deceptive(char) => {
            let _ = write!(out, "\\u{:04x}", u32::from(char));
        }
        char => out.push(char),
    }
}

/// Appends bytes with everything escaped that is not plainly visible.
pub fn escape(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if matches!(char, '\'' | '\\') {
                out.push('\\');
            }
            escape_char(out, char);
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn quoted(bytes: &[u8]) -> String {
        let mut out = String::new();
        quote(&mut out, bytes);
        out
    }

    #[test]
    fn words() {
        assert_eq!(quoted(b"/usr/bin/go"), "/usr/bin/go");
        assert_eq!(quoted(b""), "''");
        assert_eq!(quoted(b"a b"), "'a b'");
        assert_eq!(quoted("héllo".as_bytes()), "'héllo'");
        assert_eq!(quoted(b"it's"), r"$'it\'s'");
        assert_eq!(quoted(b"\x1b[2Jx\r\n"), r"$'\x1b[2Jx\r\n'");
        assert_eq!(quoted(b"\xff\xfe"), r"$'\xff\xfe'");
        assert_eq!(quoted("a\u{202e}b".as_bytes()), r"$'a\u202eb'");
        assert_eq!(quoted("\u{9b}31m".as_bytes()), r"$'\u009b31m'", "C1 controls too");
    }

    #[test]
    fn sentences() {
        assert_eq!(visible("Go's own"), "Go's own");
        assert_eq!(visible("go\u{1b}[31m\n\u{202e}"), r"go\x1b[31m\n\u202e");
    }

    #[test]
    fn bytes_that_are_not_utf8_survive_in_json() {
        assert_eq!(serde_json::to_string(&JsonText(b"a\xff")).unwrap(), r#"{"b64":"Yf8="}"#);
        assert_eq!(serde_json::to_string(&JsonText("\u{0}é\"".as_bytes())).unwrap(), r#""\u0000é\"""#);
    }

    proptest! {
        #[test]
        fn nothing_reaches_the_terminal_raw(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(!quoted(&bytes).contains(|char: char| char.is_control() || deceptive(char)));
        }
    }
}
