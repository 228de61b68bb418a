//! Go signature text to types: `func(e *Enforcer, rvals ...any) (ok bool, err error)`.
//!
//! Only what decides places: pointers, maps, channels and functions are one word, whatever they lead to. Named
//! types must be declared (by a profile, or in the table of the standard library's below), since their size is not
//! in their name. Names of packages are compared as written in the signature.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::go_type::{GoType, Number, WORD};
use super::standard;

/// Why a signature is not understood. Offsets are bytes in the text.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SignatureError {
    /// Something else was expected.
    #[error("expected {expected} at byte {at}")]
    Expected {
        /// What would fit.
        expected: &'static str,
        /// Where.
        at: usize,
    },
    /// A named type without declaration.
    #[error(
        "the type {name} (byte {at}) is not declared: declare it, as its underlying type, beside the signature"
    )]
    Undeclared {
        /// The name as written.
        name: String,
        /// Where.
        at: usize,
    },
    /// A declaration does not parse.
    #[error("the declaration of {name} is wrong: {error}")]
    Declaration {
        /// The declared name.
        name: String,
        /// What is wrong with it.
        error: Box<SignatureError>,
    },
    /// Nested too deeply, or declared by itself.
    #[error("the type at byte {0} contains itself or is nested too deeply")]
    Recursive(usize),
    /// Larger than anything that is passed by value.
    #[error("the type at byte {0} is too large")]
    TooLarge(usize),
}

/// A parameter or result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name; empty when the signature gives none.
    pub name: String,
    /// Its type.
    pub of: GoType,
}

/// A function's parameters (receiver first) and results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Receiver and parameters, in order.
    pub parameters: Vec<Parameter>,
    /// Results, in order.
    pub results: Vec<Parameter>,
}

/// Declared types: name as used in signatures, and the text of the underlying type.
pub type Declarations = BTreeMap<String, String>;

/// Types of the language and of the standard library that signatures of decision functions use.
const KNOWN: [(&str, GoType); 28] = [
    ("bool", GoType::Integer { size: 1, of: Number::Bool }),
    ("int8", GoType::Integer { size: 1, of: Number::Signed }),
    ("uint8", GoType::Integer { size: 1, of: Number::Unsigned }),
    ("byte", GoType::Integer { size: 1, of: Number::Unsigned }),
    ("int16", GoType::Integer { size: 2, of: Number::Signed }),
    ("uint16", GoType::Integer { size: 2, of: Number::Unsigned }),
    ("int32", GoType::Integer { size: 4, of: Number::Signed }),
    ("uint32", GoType::Integer { size: 4, of: Number::Unsigned }),
    ("rune", GoType::Integer { size: 4, of: Number::Signed }),
    ("int64", GoType::Integer { size: 8, of: Number::Signed }),
    ("uint64", GoType::Integer { size: 8, of: Number::Unsigned }),
    ("int", GoType::Integer { size: WORD, of: Number::Signed }),
    ("uint", GoType::Integer { size: WORD, of: Number::Unsigned }),
    ("uintptr", GoType::Integer { size: WORD, of: Number::Unsigned }),
    ("float32", GoType::Float { size: 4 }),
    ("float64", GoType::Float { size: 8 }),
    ("complex64", GoType::Complex { size: 8 }),
    ("complex128", GoType::Complex { size: 16 }),
    ("string", GoType::String),
    ("error", GoType::Interface { methods: true, error: true }),
    ("any", GoType::Interface { methods: false, error: false }),
    ("unsafe.Pointer", GoType::Pointer(None)),
    ("context.Context", GoType::Interface { methods: true, error: false }),
    ("time.Duration", GoType::Integer { size: 8, of: Number::Signed }),
    ("io.Reader", GoType::Interface { methods: true, error: false }),
    ("io.Writer", GoType::Interface { methods: true, error: false }),
    ("http.ResponseWriter", GoType::Interface { methods: true, error: false }),
    ("io.ReadCloser", GoType::Interface { methods: true, error: false }),
];

/// Names that need no declaration.
pub(crate) fn known_types<'a>() -> impl Iterator<Item = &'a str> {
    KNOWN.iter().map(|(name, _)| *name)
}

/// Types nested deeper than this are not real.
const MAX_DEPTH: u32 = 32;

impl Signature {
    /// Parses `func(...) ...`. A method's receiver is written as the first parameter, or before the name as Go
    /// does: `func (e *Enforcer) Enforce(...)`; a name is allowed and ignored.
    pub fn parse(text: &str, declared: &Declarations) -> Result<Self, SignatureError> {
        let mut parser = Parser { text, at: 0, declared, depth: 0, with_standard: false };
        parser.keyword("func")?;
        parser.blanks();
        let mut parameters = if parser.peek() == Some('(') { parser.parameters()? } else { Vec::new() };
        let behind = parser.at;
        if parser.identifier().is_some() && parser.eat("(") {
            // What was read before the name was the receiver, if anything.
            parser.at -= 1;
            parameters.extend(parser.parameters()?);
        } else {
            parser.at = behind;
            if !text.contains('(') {
                return Err(parser.expected("parameters"));
            }
        }
        let results = parser.results()?;
        parser.blanks();
        if parser.at < text.len() {
            return Err(parser.expected("the end of the signature"));
        }
        Ok(Self { parameters, results })
    }
}

impl GoType {
    /// Parses the text of a type.
    pub fn parse(text: &str, declared: &Declarations) -> Result<Self, SignatureError> {
        let mut parser = Parser { text, at: 0, declared, depth: 0, with_standard: true };
        let found = parser.go_type()?;
        parser.blanks();
        if parser.at < text.len() { Err(parser.expected("the end of the type")) } else { Ok(found) }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    declared: &'a Declarations,
    depth: u32,
    /// Whether structs of the standard library are known.
    with_standard: bool,
}

/// One entry of a parameter list before it is known whether the list names its parameters.
struct Entry {
    start: usize,
    /// The entry begins with an identifier, and the rest is a type of its own.
    name: Option<String>,
    variadic: bool,
    of: Option<GoType>,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn expected(&self, expected: &'static str) -> SignatureError {
        SignatureError::Expected { expected, at: self.at }
    }

    fn eat(&mut self, token: &str) -> bool {
        self.blanks();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn need(&mut self, token: &'static str) -> Result<(), SignatureError> {
        if self.eat(token) { Ok(()) } else { Err(self.expected(token)) }
    }

    /// Eats a word only if no letter follows.
    fn word(&mut self, word: &str) -> bool {
        let before = self.at;
        let found = self.eat(word) && !self.peek().is_some_and(is_letter);
        if !found {
            self.at = before;
        }
        found
    }

    fn keyword(&mut self, word: &'static str) -> Result<(), SignatureError> {
        if self.word(word) { Ok(()) } else { Err(self.expected(word)) }
    }

    fn identifier(&mut self) -> Option<String> {
        self.blanks();
        let rest = self.rest();
        let end = rest.find(|c| !is_letter(c)).unwrap_or(rest.len());
        let name = rest.get(..end)?;
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let name = name.to_owned();
        self.at += end;
        Some(name)
    }

    fn results(&mut self) -> Result<Vec<Parameter>, SignatureError> {
        self.blanks();
        match self.peek() {
            None | Some(')' | ',' | ';' | '}') => Ok(Vec::new()),
            Some('(') => self.parameters(),
            Some(_) => Ok(vec![Parameter { name: String::new(), of: self.go_type()? }]),
        }
    }

    /// `(a, b int, c ...string)` or `(int, string)`: names belong to the whole list or to none of it.
    fn parameters(&mut self) -> Result<Vec<Parameter>, SignatureError> {
        self.need("(")?;
        let mut entries = Vec::new();
        while !self.eat(")") {
            entries.push(self.entry()?);
            if !self.eat(",") {
                self.need(")")?;
                break;
            }
        }
        let named = entries.iter().any(|entry| entry.name.is_some() && entry.of.is_some());
        let mut parameters = Vec::with_capacity(entries.len());
        let mut following: Option<GoType> = None;
        for entry in entries.into_iter().rev() {
            let of = match (entry.of, &entry.name) {
                (Some(of), _) if entry.variadic => GoType::Slice(Arc::new(of)),
                (Some(of), _) => of,
                // `a, b int`: the type comes with a later name.
                (None, Some(_)) if named => following
                    .clone()
                    .ok_or(SignatureError::Expected { expected: "a type", at: entry.start })?,
                (None, Some(name)) => self.named(name, entry.start)?,
                (None, None) => return Err(SignatureError::Expected { expected: "a type", at: entry.start }),
            };
            following = Some(of.clone());
            let name = if named { entry.name.unwrap_or_default() } else { String::new() };
            parameters.push(Parameter { name, of });
        }
        parameters.reverse();
        Ok(parameters)
    }

    fn entry(&mut self) -> Result<Entry, SignatureError> {
        self.blanks();
        let start = self.at;
        let mut entry = Entry { start, name: None, variadic: false, of: None };
        if !self.at_type_keyword() {
            entry.name = self.identifier();
        }
        self.blanks();
        match (self.peek(), &entry.name) {
            // `pkg.Type`, `Type[int]` without a name: read again as a type.
            (Some('.'), Some(_)) if !self.rest().starts_with("...") => {
                self.at = start;
                entry.name = None;
            }
            (Some('['), Some(_)) if self.is_instance([',', ')']) => {
                self.at = start;
                entry.name = None;
            }
            (Some(',' | ')') | None, Some(_)) => return Ok(entry),
            _ => {}
        }
        entry.variadic = self.eat("...");
        entry.of = Some(self.go_type()?);
        Ok(entry)
    }

    /// Behind a name: `[]T` and `[4]T` begin a type; `[T]`, followed by the end of the entry, is an instance.
    fn is_instance(&self, ends: [char; 2]) -> bool {
        let rest = self.rest();
        let Some(close) = closing(rest) else { return false };
        let behind = rest.get(close + 1..).unwrap_or_default().trim_start();
        close > 1 && (behind.is_empty() || behind.starts_with(ends))
    }

    fn at_type_keyword(&mut self) -> bool {
        ["struct", "map", "chan", "func", "interface"].into_iter().any(|word| {
            let before = self.at;
            let found = self.word(word);
            self.at = before;
            found
        })
    }

    fn go_type(&mut self) -> Result<GoType, SignatureError> {
        self.blanks();
        let start = self.at;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(SignatureError::Recursive(start));
        }
        let found = self.bare_type(start)?;
        self.depth -= 1;
        if found.size() > u64::from(u32::MAX) {
            return Err(SignatureError::TooLarge(start));
        }
        Ok(found)
    }

    fn bare_type(&mut self, start: usize) -> Result<GoType, SignatureError> {
        if self.eat("*") {
            return self.pointer();
        }
        if self.eat("(") {
            let inner = self.go_type()?;
            self.need(")")?;
            return Ok(inner);
        }
        if self.eat("[") {
            if self.eat("]") {
                return self.slice();
            }
            let count = self.number()?;
            self.need("]")?;
            return Ok(GoType::Array(count, Arc::new(self.go_type()?)));
        }
        if self.eat("<-") {
            self.keyword("chan")?;
            self.skip_type()?;
            return Ok(GoType::Pointer(None));
        }
        if self.word("chan") {
            let _ = self.eat("<-");
            self.skip_type()?;
            return Ok(GoType::Pointer(None));
        }
        if self.word("map") {
            self.need("[")?;
            let key = self.type_text()?;
            self.need("]")?;
            return Ok(GoType::Map { key, element: self.type_text()? });
        }
        if self.word("func") {
            self.skip_signature()?;
            return Ok(GoType::Pointer(None));
        }
        if self.word("interface") {
            let before = self.at;
            self.skip_braces()?;
            let body = self.text.get(before..self.at).unwrap_or_default();
            return Ok(GoType::Interface {
                methods: !body.trim().trim_matches(['{', '}']).trim().is_empty(),
                error: false,
            });
        }
        if self.word("struct") {
            return self.structure(start);
        }
        let name = self.qualified()?;
        self.named(&name, start)
    }

    /// What a pointer leads to is kept as text: no place depends on it, and types lead to themselves.
    fn pointer(&mut self) -> Result<GoType, SignatureError> {
        Ok(GoType::Pointer(Some(self.type_text()?)))
    }

    /// A type that need not be understood.
    fn type_text(&mut self) -> Result<Arc<str>, SignatureError> {
        let before = self.at;
        self.skip_type()?;
        Ok(self.text.get(before..self.at).unwrap_or_default().trim().into())
    }

    /// The element of a slice, known if it can be: paths may index it. An undeclared one is as good as a pointer's.
    fn slice(&mut self) -> Result<GoType, SignatureError> {
        let before = (self.at, self.depth);
        match self.go_type() {
            Ok(element) => Ok(GoType::Slice(Arc::new(element))),
            Err(SignatureError::Undeclared { .. }) => {
                (self.at, self.depth) = before;
                self.skip_type()?;
                Ok(GoType::Slice(Arc::new(GoType::Struct(Arc::default()))))
            }
            Err(other) => Err(other),
        }
    }

    fn structure(&mut self, start: usize) -> Result<GoType, SignatureError> {
        self.need("{")?;
        let mut fields = Vec::new();
        while !self.eat("}") {
            let mut names = Vec::new();
            let before = self.at;
            while let Some(name) = self.identifier() {
                names.push(name);
                if !self.eat(",") {
                    break;
                }
            }
            self.blanks();
            let alone = matches!(self.peek(), Some('.' | ';' | '}')) || self.is_instance([';', '}']);
            if names.is_empty() || alone {
                // Embedded: a type alone.
                self.at = before;
                let pointer = self.eat("*");
                let at = self.at;
                let name = self.qualified()?;
                let of = if pointer {
                    GoType::Pointer(Some(name.as_str().into()))
                } else {
                    self.named(&name, at)?
                };
                // The type's own name, without package and type arguments.
                let bare = name.split('[').next().unwrap_or(&name);
                fields.push((bare.rsplit('.').next().unwrap_or(bare).to_owned(), of, true));
            } else {
                let of = self.go_type()?;
                fields.extend(names.into_iter().map(|name| (name, of.clone(), false)));
            }
            if !self.eat(";") {
                self.need("}")?;
                break;
            }
        }
        GoType::structure(fields).ok_or(SignatureError::TooLarge(start))
    }

    fn number(&mut self) -> Result<u64, SignatureError> {
        self.blanks();
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest.get(..end).and_then(|digits| digits.parse().ok());
        let number = number.ok_or_else(|| self.expected("an array length"))?;
        self.at += end;
        Ok(number)
    }

    /// `Type`, `pkg.Type`, `pkg.Type[int, string]`.
    fn qualified(&mut self) -> Result<String, SignatureError> {
        let mut name = self.identifier().ok_or_else(|| self.expected("a type"))?;
        if self.rest().starts_with('.') && !self.rest().starts_with("...") {
            self.at += 1;
            let member = self.identifier().ok_or_else(|| self.expected("a type name"))?;
            name = format!("{name}.{member}");
        }
        if self.rest().starts_with('[')
            && let Some(close) = closing(self.rest())
        {
            let arguments = self.rest().get(..=close).unwrap_or_default();
            name.extend(arguments.chars().filter(|c| !c.is_whitespace()));
            self.at += close + 1;
        }
        Ok(name)
    }

    fn named(&mut self, name: &str, at: usize) -> Result<GoType, SignatureError> {
        // A declaration comes first: a package may have a type of its own by a known name.
        let standard = || standard::newest(name).filter(|_| self.with_standard);
        if let Some(text) = self.declared.get(name).map(String::as_str).or_else(standard) {
            let mut inner = Parser { text, at: 0, depth: self.depth + 1, ..*self };
            let found = inner.go_type().and_then(|found| {
                inner.blanks();
                if inner.at < text.len() { Err(inner.expected("the end of the type")) } else { Ok(found) }
            });
            return found.map_err(|error| match error {
                SignatureError::Recursive(_) => SignatureError::Recursive(at),
                error => SignatureError::Declaration { name: name.to_owned(), error: Box::new(error) },
            });
        }
        let known = KNOWN.iter().find(|(known, _)| *known == name).map(|(_, of)| of.clone());
        known.ok_or_else(|| SignatureError::Undeclared { name: name.to_owned(), at })
    }

    /// Passes over a type whose size does not matter; its names need no declaration.
    fn skip_type(&mut self) -> Result<(), SignatureError> {
        self.blanks();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(SignatureError::Recursive(self.at));
        }
        if self.eat("*") || self.eat("...") {
            self.skip_type()?;
        } else if self.eat("(") {
            self.skip_type()?;
            self.need(")")?;
        } else if self.eat("<-") || self.word("chan") {
            let _ = self.eat("<-");
            self.skip_type()?;
        } else if self.word("map") || self.rest().starts_with('[') {
            let close = closing(self.rest()).ok_or_else(|| self.expected("]"))?;
            self.at += close + 1;
            self.skip_type()?;
        } else if self.word("func") {
            self.skip_signature()?;
        } else if self.word("interface") || self.word("struct") {
            self.skip_braces()?;
        } else {
            self.qualified()?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn skip_signature(&mut self) -> Result<(), SignatureError> {
        self.skip_group('(')?;
        self.blanks();
        match self.peek() {
            None | Some(')' | ',' | ';' | '}' | ']') => Ok(()),
            Some('(') => self.skip_group('('),
            Some(_) => self.skip_type(),
        }
    }

    fn skip_braces(&mut self) -> Result<(), SignatureError> {
        self.skip_group('{')
    }

    fn skip_group(&mut self, open: char) -> Result<(), SignatureError> {
        self.blanks();
        if self.peek() != Some(open) {
            return Err(self.expected(if open == '(' { "(" } else { "{" }));
        }
        let close = closing(self.rest()).ok_or_else(|| self.expected("a closing bracket"))?;
        self.at += close + 1;
        Ok(())
    }
}

/// Offset of the bracket that closes the one that the text begins with.
fn closing(text: &str) -> Option<usize> {
    let mut open = Vec::new();
    for (at, character) in text.char_indices() {
        match character {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(character) => return None,
            _ => {}
        }
        if open.is_empty() {
            return Some(at);
        }
    }
    None
}

fn is_letter(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}
