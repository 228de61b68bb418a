//! Paths: `rvals[0].(string)`, `attrs.(*AttributesRecord).Verb`, `return (*explains)[0]`, `err == nil`.
//!
//! Go's own expressions, as far as they only read: selectors, indexes by a constant, type assertions, dereferences,
//! `len`, comparison with `nil`, and `!`. A parameter is read when the function is entered and a result when it
//! returns; `return` in front reads at the return what a pointer parameter leads to. Only syntax is known here.

use std::fmt;

use thiserror::Error;

/// Why a text is not a path. Offsets are bytes in the text.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("expected {expected}")]
pub struct SyntaxError {
    /// What would fit.
    pub expected: &'static str,
    /// Where.
    pub at: usize,
}

/// One step of a path, as Go writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// `*x`
    Deref,
    /// `x.name`
    Select(String),
    /// `x[3]`
    Index(u16),
    /// `x.(T)`: the text of `T`.
    Assert(String),
    /// `x["key"]`
    Key(String),
    /// `x[PATH == "text"]`: the first element of which this is true. The path begins at the element.
    Where(Vec<(Self, usize)>, String),
    /// `x.Value(T)`: what a context has under a key of type `T`.
    Value(String),
}

/// A place that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Name of the parameter or result.
    pub root: String,
    /// Where the name stands in the text.
    pub root_at: usize,
    /// The way from there, each part with its place in the text.
    pub parts: Vec<(Part, usize)>,
    /// Read at the return, though the root is a parameter.
    pub at_return: bool,
    /// The length of what is there.
    pub len: bool,
}

/// What is asked of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// Its value.
    Value,
    /// The opposite of a truth value.
    Not,
    /// Whether it is nil.
    IsNil,
    /// Whether it is not nil.
    IsNotNil,
}

/// A path and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    /// The text.
    pub text: String,
    /// The place.
    pub path: Path,
    /// The question.
    pub test: Test,
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Parts beyond this are no path that could be followed.
const MAX_PARTS: usize = 32;

impl Expression {
    /// Parses `!x`, `x == nil`, `x != nil`, or a plain path.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut parser = Parser { text, at: 0 };
        let not = parser.eat("!");
        let path = parser.path()?;
        let test = if not {
            Test::Not
        } else if parser.eat("==") {
            parser.nil(Test::IsNil)?
        } else if parser.eat("!=") {
            parser.nil(Test::IsNotNil)?
        } else {
            Test::Value
        };
        parser.blanks();
        if parser.at < text.len() {
            return Err(parser.expected("the end, or one of . [ == !="));
        }
        Ok(Self { text: text.trim().to_owned(), path, test })
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    const fn expected(&self, expected: &'static str) -> SyntaxError {
        SyntaxError { expected, at: self.at }
    }

    fn eat(&mut self, token: &str) -> bool {
        self.blanks();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn need(&mut self, token: &'static str) -> Result<(), SyntaxError> {
        if self.eat(token) { Ok(()) } else { Err(self.expected(token)) }
    }

    fn nil(&mut self, test: Test) -> Result<Test, SyntaxError> {
        self.blanks();
        if self.word("nil") { Ok(test) } else { Err(self.expected("nil")) }
    }

    /// Eats a word only if it ends there.
    fn word(&mut self, word: &str) -> bool {
        let before = self.at;
        let found = self.eat(word) && !self.rest().starts_with(is_letter);
        if !found {
            self.at = before;
        }
        found
    }

    fn name(&mut self) -> Option<String> {
        self.blanks();
        let rest = self.rest();
        let end = rest.find(|c| !is_letter(c)).unwrap_or(rest.len());
        let name = rest.get(..end).filter(|name| !name.starts_with(|c: char| c.is_ascii_digit()))?;
        if name.is_empty() {
            return None;
        }
        let name = name.to_owned();
        self.at += end;
        Some(name)
    }

    fn path(&mut self) -> Result<Path, SyntaxError> {
        let at_return = self.word("return");
        let before = self.at;
        let len = self.word("len") && self.eat("(");
        if !len {
            self.at = before;
        }
        let mut path = self.operand(0)?;
        if len {
            self.need(")")?;
        }
        path.at_return = at_return;
        path.len = len;
        Ok(path)
    }

    fn operand(&mut self, depth: usize) -> Result<Path, SyntaxError> {
        if depth > MAX_PARTS {
            return Err(self.expected("a shorter path"));
        }
        self.blanks();
        let at = self.at;
        if self.eat("*") {
            let mut path = self.operand(depth + 1)?;
            path.parts.push((Part::Deref, at));
            return Ok(path);
        }
        let mut path = if self.eat("(") {
            let inner = self.operand(depth + 1)?;
            self.need(")")?;
            inner
        } else {
            let root = self.name().ok_or_else(|| self.expected("the name of a parameter or result"))?;
            Path { root, root_at: at, parts: Vec::new(), at_return: false, len: false }
        };
        while path.parts.len() <= MAX_PARTS {
            self.blanks();
            let at = self.at;
            if self.eat(".") {
                let part = if self.eat("(") { Part::Assert(self.type_text()?) } else { self.selector()? };
                path.parts.push((part, at));
            } else if self.eat("[") {
                let part = self.bracket(depth)?;
                self.need("]")?;
                path.parts.push((part, at));
            } else {
                return Ok(path);
            }
        }
        Err(self.expected("a shorter path"))
    }

    fn selector(&mut self) -> Result<Part, SyntaxError> {
        let name = self.name().ok_or_else(|| self.expected("the name of a field, or (TYPE)"))?;
        if name == "Value" && self.eat("(") {
            return self.type_text().map(Part::Value);
        }
        Ok(Part::Select(name))
    }

    /// What stands in brackets.
    fn bracket(&mut self, depth: usize) -> Result<Part, SyntaxError> {
        const WHAT: &str = "a number up to 65535, a text in quotes, or a field of the elements";
        self.blanks();
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return self.index().map(Part::Index);
        }
        if self.rest().starts_with('"') {
            return self.text().map(Part::Key);
        }
        let at = self.at;
        if !self.rest().starts_with(|c: char| is_letter(c) || c == '*' || c == '(') {
            return Err(self.expected(WHAT));
        }
        let Path { root, root_at, mut parts, .. } = self.operand(depth + 1)?;
        if parts.iter().any(|(part, _)| matches!(part, Part::Where(..) | Part::Key(_) | Part::Value(_))) {
            return Err(SyntaxError { expected: "a path without a search of its own", at });
        }
        parts.insert(0, (Part::Select(root), root_at));
        self.need("==")?;
        self.blanks();
        Ok(Part::Where(parts, self.text()?))
    }

    /// A text in double quotes. Go's escapes are not known: no key that matters has one.
    fn text(&mut self) -> Result<String, SyntaxError> {
        const WHAT: &str = "a text in double quotes, not empty and without a backslash";
        let inner = self.rest().strip_prefix('"').and_then(|rest| rest.split_once('"'));
        let inner = inner.map(|(inner, _)| inner).filter(|inner| !inner.is_empty() && !inner.contains('\\'));
        let inner = inner.ok_or_else(|| self.expected(WHAT))?.to_owned();
        self.at += inner.len() + 2;
        Ok(inner)
    }

    /// A type and the closing parenthesis.
    fn type_text(&mut self) -> Result<String, SyntaxError> {
        self.blanks();
        let rest = self.rest();
        let mut depth = 0_usize;
        for (end, character) in rest.char_indices() {
            match character {
                '(' => depth += 1,
                ')' if depth == 0 => {
                    let text = rest.get(..end).unwrap_or_default().trim().to_owned();
                    if text.is_empty() {
                        break;
                    }
                    self.at += end + 1;
                    return Ok(text);
                }
                ')' => depth -= 1,
                _ => {}
            }
        }
        Err(self.expected("a type and )"))
    }

    fn index(&mut self) -> Result<u16, SyntaxError> {
        self.blanks();
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest.get(..end).and_then(|digits| digits.parse().ok());
        let number = number.ok_or_else(|| self.expected("a number up to 65535"))?;
        self.at += end;
        Ok(number)
    }
}

fn is_letter(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test says so when its own data is wrong")]
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        let Expression { path, test, .. } = Expression::parse(text).unwrap();
        let mut out = path.root.clone();
        for (part, _) in &path.parts {
            match part {
                Part::Deref => out = format!("*({out})"),
                Part::Select(name) => out = format!("{out}.{name}"),
                Part::Index(index) => out = format!("{out}[{index}]"),
                Part::Assert(of) => out = format!("{out}.({of})"),
                Part::Key(key) => out = format!("{out}[{key:?}]"),
                Part::Where(parts, text) => out = format!("{out}[{} parts == {text:?}]", parts.len()),
                Part::Value(of) => out = format!("{out}.Value({of})"),
            }
        }
        let len = if path.len { " len" } else { "" };
        let at_return = if path.at_return { " return" } else { "" };
        format!("{out}{len}{at_return} {test:?}")
    }

    #[test]
    fn precedence_is_that_of_go() {
        assert_eq!(shown("rvals[0].(string)"), "rvals[0].(string) Value");
        assert_eq!(shown("*a.b[1]"), "*(a.b[1]) Value");
        assert_eq!(shown("return (*explains)[0]"), "*(explains)[0] return Value");
        assert_eq!(shown(" len( (*x).y ) "), "*(x).y len Value");
        assert_eq!(
            shown("a.(*pkg.T[int]).f.(func(int) (string))"),
            "a.(*pkg.T[int]).f.(func(int) (string)) Value"
        );
        assert_eq!(shown("err == nil"), "err IsNil");
        assert_eq!(shown("resp.p!=nil"), "resp.p IsNotNil");
        assert_eq!(shown("!ok"), "ok Not");
        assert_eq!(shown(r#"m["a b"].(string)"#), r#"m["a b"].(string) Value"#);
        assert_eq!(shown(r#"s[ key.Value.(T) == "x" ].v"#), r#"s[3 parts == "x"].v Value"#);
        assert_eq!(shown(r#"s[(*key).name=="x"]"#), r#"s[3 parts == "x"] Value"#);
        assert_eq!(shown("ctx.Value(pkg.key).(T).Value"), "ctx.Value(pkg.key).(T).Value Value");
        // Names may begin with the words.
        assert_eq!(shown("returned.length"), "returned.length Value");
        assert_eq!(shown("len"), "len Value");
    }

    #[test]
    fn errors_name_the_place() {
        let error =
            |text: &str| Expression::parse(text).map_err(|error| (error.at, error.expected)).unwrap_err();
        assert_eq!(error(""), (0, "the name of a parameter or result"));
        assert_eq!(error("a["), (2, "a number up to 65535, a text in quotes, or a field of the elements"));
        for text in [r#"a[""]"#, r#"a["x]"#, r#"a["\n"]"#] {
            assert_eq!(error(text), (2, "a text in double quotes, not empty and without a backslash"));
        }
        assert_eq!(error(r#"a[b["c"] == "d"]"#), (2, "a path without a search of its own"));
        assert_eq!(error("a[70000]"), (2, "a number up to 65535"));
        assert_eq!(error("a[1"), (3, "]"));
        assert_eq!(error("a.(string"), (3, "a type and )"));
        assert_eq!(error("a.(T).9"), (6, "the name of a field, or (TYPE)"));
        assert_eq!(error("a == 1"), (5, "nil"));
        assert_eq!(error("a b"), (2, "the end, or one of . [ == !="));
        assert_eq!(error("(a"), (2, ")"));
        assert!(Expression::parse(&"*".repeat(100_000)).is_err());
        assert!(Expression::parse(&format!("a{}", ".b".repeat(100))).is_err());
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text in "[a-z*.()\\[\\]0-9 =!é]{0,40}") {
            let _ = Expression::parse(&text);
        }

        #[test]
        fn places_lie_in_the_text(text in "\\PC{0,30}") {
            if let Err(error) = Expression::parse(&text) {
                prop_assert!(error.at <= text.len());
            }
        }
    }
}
