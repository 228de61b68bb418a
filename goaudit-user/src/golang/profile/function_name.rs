//! The syntax of function names, as profiles have them behind the package: `Authorize`, `handler.ServeHTTP`,
//! `(*Enforcer).enforce`, and what the compiler makes within these: `F.func1`, `(*T).M-fm`, `glob..func1`.
//!
//! A name that no program can have would never be probed, and nobody would be told.

use thiserror::Error;

/// Why a text is no name of a function.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("expected {expected}, as in name, Type.method or (*Type).method")]
pub struct FunctionError {
    /// What would fit.
    pub expected: &'static str,
    /// Byte in the text.
    pub at: usize,
}

/// Whether a program can have a function of this name.
pub(super) fn check(text: &str) -> Result<(), FunctionError> {
    let mut parser = Parser { text, at: 0 };
    if parser.eat("(") {
        parser.need("*", "* behind the parenthesis")?;
        parser.name("the name of a type")?;
        parser.need(")", ")")?;
        parser.need(".", "a dot and the name of a method")?;
        parser.name("the name of a method")?;
    } else if !parser.eat("glob.") {
        // Behind `glob.` are functions that are in no other, as in `var f = func() {}`.
        parser.name("the name of a function or type, or (*")?;
    }
    while parser.eat(".") {
        parser.part("a name behind the dot")?;
    }
    if parser.at < text.len() { Err(parser.expected("a dot, or the end")) } else { Ok(()) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    const fn expected(&self, expected: &'static str) -> FunctionError {
        FunctionError { expected, at: self.at }
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn need(&mut self, token: &str, expected: &'static str) -> Result<(), FunctionError> {
        if self.eat(token) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn letters(&mut self, expected: &'static str) -> Result<(), FunctionError> {
        let rest = self.rest();
        let end = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
        self.at += end;
        if end > 0 { Ok(()) } else { Err(self.expected(expected)) }
    }

    /// A name of Go's.
    fn name(&mut self, expected: &'static str) -> Result<(), FunctionError> {
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.expected(expected));
        }
        self.part(expected)
    }

    /// A name, or the number of a closure, with type arguments and what the compiler puts behind: `-fm` for a method as
    /// a value, `-range1` for the body of a loop over a function.
    fn part(&mut self, expected: &'static str) -> Result<(), FunctionError> {
        self.letters(expected)?;
        if self.rest().starts_with('[') {
            self.arguments()?;
        }
        while self.eat("-") {
            self.letters("fm or rangeN behind -")?;
        }
        Ok(())
    }

    /// The type arguments of an instance, up to the bracket that closes them.
    fn arguments(&mut self) -> Result<(), FunctionError> {
        let mut depth = 0_usize;
        for character in self.text.get(self.at..).unwrap_or_default().chars() {
            self.at += character.len_utf8();
            match character {
                '[' => depth += 1,
                ']' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err(self.expected("]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_programs_have() {
        for name in [
            "work",
            "handler.ServeHTTP",
            "(*Enforcer).enforce",
            "wörk",
            "_f1",
            "F.func1",
            "(*T).M.func1.2",
            "(*T).M.gowrap1",
            "(*T).M-fm",
            "F-range1",
            "F.func1-range2",
            "glob..func1",
            "init.0",
            "Map[...]",
            "Map[int,map[string][]example.org/x.T].func1",
            "(*Box[int]).Get",
            "Box[...].Get",
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_is_none_is_told_with_its_place() {
        for (name, at, expected) in [
            ("", 0, "the name of a function or type, or (*"),
            ("(work", 1, "* behind the parenthesis"),
            ("(*work", 6, ")"),
            ("(*)", 2, "the name of a type"),
            ("(*T)", 4, "a dot and the name of a method"),
            ("(*T).", 5, "the name of a method"),
            ("(*T)M", 4, "a dot and the name of a method"),
            ("*T.M", 0, "the name of a function or type, or (*"),
            ("1f", 0, "the name of a function or type, or (*"),
            ("T.", 2, "a name behind the dot"),
            ("T..M", 2, "a name behind the dot"),
            ("work()", 4, "a dot, or the end"),
            ("a b", 1, "a dot, or the end"),
            ("net/http.Serve", 3, "a dot, or the end"),
            ("F-", 2, "fm or rangeN behind -"),
            ("Map[int", 7, "]"),
        ] {
            assert_eq!(check(name), Err(FunctionError { expected, at }), "{name}");
        }
    }
}
