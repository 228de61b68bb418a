//! The subject of a certificate as text: RFC 4514, in the one spelling that fingerprints use.
//!
//! The RFC leaves choices; docs/events.md says which are taken here ("Fingerprints"): attribute types of the RFC's own
//! table by their short names, all others as numbers with the value in hexadecimal; escapes only where they must be, by
//! a backslash and the character itself; everything else as UTF-8.

use std::fmt::Write as _;

/// Tags of ASN.1.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// Attribute types with a short name: the table in RFC 4514, section 3. Contents of their object identifiers.
const SHORT: [(&[u8], &str); 9] = [
    (&[0x55, 0x04, 0x03], "CN"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x09], "STREET"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01], "UID"),
];

/// The text of a DER-encoded `Name`; `None`: it is none. Relative names stand in the reverse order, so the last comes
/// first.
pub(super) fn rfc4514(der: &[u8]) -> Option<String> {
    let (name, behind) = element(der)?;
    if name.tag != SEQUENCE || !behind.is_empty() {
        return None;
    }
    let mut relative = Vec::new();
    let mut rest = name.content;
    while !rest.is_empty() {
        let (set, behind) = element(rest)?;
        relative.push(one_relative(&set)?);
        rest = behind;
    }
    relative.reverse();
    Some(relative.join(","))
}

/// The attributes of a relative name, in the order of the encoding.
fn one_relative(set: &Element<'_>) -> Option<String> {
    if set.tag != SET || set.content.is_empty() {
        return None;
    }
    let mut attributes = Vec::new();
    let mut rest = set.content;
    while !rest.is_empty() {
        let (attribute, behind) = element(rest)?;
        attributes.push(one_attribute(&attribute)?);
        rest = behind;
    }
    Some(attributes.join("+"))
}

fn one_attribute(attribute: &Element<'_>) -> Option<String> {
    let (of, rest) = element(attribute.content)?;
    let (value, behind) = element(rest)?;
    if attribute.tag != SEQUENCE || of.tag != OBJECT_IDENTIFIER || !behind.is_empty() {
        return None;
    }
    let short = SHORT.iter().find(|(known, _)| *known == of.content).map(|(_, name)| *name);
    Some(match (short, text(&value)) {
        (Some(short), Some(text)) => format!("{short}={}", escaped(&text)),
        (short, _) => {
            let mut out = short.map_or_else(|| dotted(of.content), |short| Some(short.to_owned()))?;
            out.push_str("=#");
            for byte in value.whole {
                let _ = write!(out, "{byte:02x}");
            }
            out
        }
    })
}

/// A value that is a text.
fn text(value: &Element<'_>) -> Option<String> {
    match value.tag {
        // UTF8String, NumericString, PrintableString, IA5String, VisibleString: the last four are ASCII.
        0x0c | 0x12 | 0x13 | 0x16 | 0x1a => String::from_utf8(value.content.to_vec()).ok(),
        // TeletexString, which everybody has read as Latin-1.
        0x14 => Some(value.content.iter().copied().map(char::from).collect()),
        // UniversalString, BMPString: big-endian units of four and two bytes.
        0x1c => value
            .content
            .chunks(4)
            .map(|unit| char::from_u32(u32::from_be_bytes(unit.try_into().ok()?)))
            .collect(),
        0x1e => {
            let units: Option<Vec<u16>> =
                value.content.chunks(2).map(|unit| Some(u16::from_be_bytes(unit.try_into().ok()?))).collect();
            String::from_utf16(&units?).ok()
        }
        _ => None,
    }
}

/// RFC 4514, section 2.4.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (at, character) in text.chars().enumerate() {
        match character {
            '\0' => {
                out.push_str("\\00");
                continue;
            }
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.push('\\'),
            ' ' if at == 0 || at == last => out.push('\\'),
            '#' if at == 0 => out.push('\\'),
            _ => {}
        }
        out.push(character);
    }
    out
}

/// An object identifier in numbers.
fn dotted(content: &[u8]) -> Option<String> {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0_u64;
    for byte in content {
        number = number.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            numbers.push(std::mem::take(&mut number));
        }
    }
    // The last byte ends a number.
    content.last().filter(|last| **last & 0x80 == 0)?;
    let (first, rest) = numbers.split_first()?;
    let top = (first / 40).min(2);
    let mut out = format!("{top}.{}", first - top * 40);
    for number in rest {
        let _ = write!(out, ".{number}");
    }
    Some(out)
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    /// With tag and length.
    whole: &'a [u8],
}

/// The first element, and what is behind it. Lengths of DER up to four bytes; tags of one byte.
fn element(der: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        (digits.iter().fold(0_usize, |len, digit| len << 8 | usize::from(*digit)), rest)
    };
    let (content, behind) = rest.split_at_checked(len)?;
    let whole = der.get(..der.len() - behind.len())?;
    (tag & 0x1f != 0x1f).then_some((Element { tag, content, whole }, behind))
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test says so when its own data is wrong"
    )]
    use std::slice::from_ref;

    use proptest::prelude::*;

    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = u8::try_from(content.len()).unwrap();
        let long: &[u8] = if len < 0x80 { &[] } else { &[0x81] };
        [&[tag], long, &[len], content].concat()
    }

    fn attribute(of: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        der(SEQUENCE, &[der(OBJECT_IDENTIFIER, of), der(tag, value)].concat())
    }

    fn name(relative: &[&[Vec<u8>]]) -> Option<String> {
        let sets: Vec<u8> = relative.iter().flat_map(|set| der(SET, &set.concat())).collect();
        rfc4514(&der(SEQUENCE, &sets))
    }

    fn short(name: &str) -> &'static [u8] {
        SHORT.iter().find(|(_, known)| *known == name).map(|(of, _)| *of).unwrap()
    }

    const UTF8: u8 = 0x0c;
    const IA5: u8 = 0x16;

    #[test]
    fn names_are_those_of_the_rfc() {
        let [net, example] = ["net", "example"].map(|part| attribute(short("DC"), IA5, part.as_bytes()));
        let user = attribute(short("UID"), UTF8, b"jsmith");
        assert_eq!(
            name(&[from_ref(&net), from_ref(&example), &[user]]).unwrap(),
            "UID=jsmith,DC=example,DC=net"
        );
        let both = [attribute(short("OU"), UTF8, b"Sales"), attribute(short("CN"), UTF8, b"J.  Smith")];
        let told = name(&[from_ref(&net), from_ref(&example), &both]).unwrap();
        assert_eq!(told, "OU=Sales+CN=J.  Smith,DC=example,DC=net");
        let quoted = attribute(short("CN"), UTF8, br#"James "Jim" Smith, III"#);
        let told = name(&[&[net], &[example], &[quoted]]).unwrap();
        assert_eq!(told, r#"CN=James \"Jim\" Smith\, III,DC=example,DC=net"#);
        // 1.3.6.1.4.1.1466.0, an octet string.
        let unknown = attribute(&[0x2b, 6, 1, 4, 1, 0x8b, 0x3a, 0], 0x04, b"Hi");
        assert_eq!(name(&[&[unknown]]).unwrap(), "1.3.6.1.4.1.1466.0=#04024869");
        let accents = attribute(short("CN"), UTF8, "Lučić".as_bytes());
        assert_eq!(name(&[&[accents]]).unwrap(), "CN=Lučić");
        assert_eq!(name(&[]).unwrap(), "");
    }

    #[test]
    fn only_what_must_be_is_escaped() {
        let cn = |tag: u8, value: &[u8]| name(&[&[attribute(short("CN"), tag, value)]]);
        let told = |value: &str| cn(UTF8, value.as_bytes()).unwrap();
        assert_eq!(told("# a #"), r"CN=\# a #");
        assert_eq!(told("  a  "), r"CN=\  a \ ");
        assert_eq!(told(" "), r"CN=\ ");
        assert_eq!(told(r#""+,;<>\=/"#), r#"CN=\"\+\,\;\<\>\\=/"#);
        assert_eq!(told("a\0b\r"), "CN=a\\00b\r");
        // Latin-1, UTF-16, UTF-32; and texts that are none.
        assert_eq!(cn(0x14, b"Z\xfcrich").unwrap(), "CN=Zürich");
        assert_eq!(cn(0x1e, &[0xd8, 0x3d, 0xde, 0x00]).unwrap(), "CN=\u{1f600}");
        assert_eq!(cn(0x1c, &[0, 1, 0xf6, 0]).unwrap(), "CN=\u{1f600}");
        assert_eq!(cn(UTF8, b"\xff").unwrap(), "CN=#0c01ff");
        assert_eq!(cn(0x1e, &[0xd8, 0x3d]).unwrap(), "CN=#1e02d83d");
        assert_eq!(cn(0x1e, &[0x41]).unwrap(), "CN=#1e0141");
    }

    #[test]
    fn what_is_no_name_is_none() {
        let whole = der(SEQUENCE, &der(SET, &attribute(short("CN"), UTF8, &[b'a'; 100])));
        assert!(rfc4514(&whole).unwrap().len() == 103);
        for len in 0..whole.len() {
            assert_eq!(rfc4514(&whole[..len]), None, "{len}");
        }
        assert_eq!(rfc4514(&[&whole[..], &[0]].concat()), None);
        assert_eq!(name(&[&[]]), None, "an empty set");
        assert_eq!(
            name(&[&[attribute(&[0x55, 0x84], UTF8, b"a")]]),
            None,
            "an object identifier that does not end"
        );
        assert_eq!(rfc4514(&[0x30, 0x80, 0, 0]), None, "a length that is not there");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(der in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = rfc4514(&der);
        }
    }
}
