//! A probe for a function that no profile names: by its name alone, or with its signature and what is to be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::super::abi::{Declarations, GoType, Signature, SignatureError};
use super::super::image::Arch;
use super::compiled::CompileError;
use super::document::MAX_BYTES;
use super::nearest::{Nearest, nearest_type};
use super::path::{Expression, SyntaxError};
use super::{Declared, Kind, Source, Versions};

/// Why such a probe cannot be made.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AdhocError {
    /// No package, or no function.
    #[error(
        "{0} is no name of a Go function: import path, dot, and the function as Go writes it, as in \
         net/http.serverHandler.ServeHTTP or main.work"
    )]
    Name(String),
    /// The signature, or a type in it.
    #[error("the signature cannot be used: {error}{nearest}")]
    Signature {
        /// What is wrong.
        #[source]
        error: SignatureError,
        /// What may have been meant.
        nearest: Nearest,
    },
    /// A declared type.
    #[error("the type {name} cannot be used: {error}{nearest}")]
    Type {
        /// Its name.
        name: String,
        /// What is wrong.
        #[source]
        error: SignatureError,
        /// What may have been meant.
        nearest: Nearest,
    },
    /// A value without a signature that says where it is.
    #[error("the value {0} needs the function's signature, which says where it is")]
    NoSignature(String),
    /// A path's syntax.
    #[error("{path} is no path: {error}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong.
        #[source]
        error: SyntaxError,
    },
    /// A path cannot be followed, or there are too many.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// A function that is asked for on the spot.
#[derive(Debug, Clone, Default)]
pub struct Adhoc<'a> {
    /// Import path, dot, function.
    pub function: &'a str,
    /// Its signature, receiver first. Without it nothing is read, and the latency is all that is told.
    pub signature: Option<&'a str>,
    /// Types that the signature and the paths name.
    pub types: Declarations,
    /// Names and paths of what is to be read. Empty: every named parameter and result of which a value can be read.
    pub fields: Vec<(String, String)>,
}

impl Declared {
    /// A probe of kind [`Kind::Call`] for a function that is asked for on the spot.
    pub fn adhoc(asked: &Adhoc<'_>) -> Result<Self, AdhocError> {
        let function = asked.function;
        let (package, name) = split(function).ok_or_else(|| AdhocError::Name(function.to_owned()))?;
        for (name, text) in &asked.types {
            GoType::parse(text, &asked.types).map_err(|error| {
                let nearest = nearest_type(&error, &asked.types);
                AdhocError::Type { name: name.clone(), error, nearest }
            })?;
        }
        let unusable = |error| {
            let nearest = nearest_type(&error, &asked.types);
            AdhocError::Signature { error, nearest }
        };
        let signature = match (asked.signature, asked.fields.first()) {
            (Some(text), _) => Signature::parse(text, &asked.types).map_err(unusable)?,
            (None, Some((field, _))) => return Err(AdhocError::NoSignature(field.clone())),
            (None, None) => Signature { parameters: Vec::new(), results: Vec::new() },
        };
        let bare = Self {
            id: format!("trace.{function}"),
            kind: Kind::Call,
            module: package.to_owned(),
            package: package.to_owned(),
            function: name.to_owned(),
            signature,
            types: asked.types.clone(),
            versions: Versions::default(),
            outermost: false,
            nested_under: Vec::new(),
            decision_on_error: false,
            max_bytes: MAX_BYTES,
            golden: BTreeMap::new(),
            allow_values: BTreeMap::new(),
            fields: Vec::new(),
            identities: Vec::new(),
            context: None,
        };
        if asked.fields.is_empty() {
            return Ok(bare.with_all_named());
        }
        let read = |(name, path): &(String, String)| {
            let expression =
                Expression::parse(path).map_err(|error| AdhocError::Path { path: path.clone(), error })?;
            Ok((name.clone(), Source::Read(expression)))
        };
        let fields = asked.fields.iter().map(read).collect::<Result<_, AdhocError>>()?;
        let probe = Self { fields, ..bare };
        probe.compiles()?;
        Ok(probe)
    }

    /// Every named parameter and result, but those that cannot be read.
    fn with_all_named(mut self) -> Self {
        let all = self.signature.parameters.iter().chain(&self.signature.results);
        let names: Vec<String> =
            all.map(|one| one.name.clone()).filter(|name| !name.is_empty() && name != "_").collect();
        for name in names {
            let Ok(expression) = Expression::parse(&name) else { continue };
            self.fields.push((name, Source::Read(expression)));
            if self.compiles().is_err() {
                self.fields.pop();
            }
        }
        self
    }

    fn compiles(&self) -> Result<(), CompileError> {
        let probe = Arc::new(self.clone());
        [Arch::Amd64, Arch::Arm64].into_iter().try_for_each(|arch| probe.compile(arch, None).map(drop))
    }
}

/// Package and function: at the first dot behind the last slash. Where a package has a dot in its last name
/// (`gopkg.in/yaml.v3`) the parts are others, but together they are the same name.
fn split(function: &str) -> Option<(&str, &str)> {
    let path = function.rfind('/').map_or(0, |slash| slash + 1);
    let dot = path + function.get(path..)?.find('.')?;
    let (package, name) = (function.get(..dot)?, function.get(dot + 1..)?);
    (!package.is_empty() && !name.is_empty()).then_some((package, name))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn adhoc(function: &str, signature: &str, fields: &[(&str, &str)]) -> Result<Declared, AdhocError> {
        let fields = fields.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned())).collect();
        let signature = (!signature.is_empty()).then_some(signature);
        Declared::adhoc(&Adhoc { function, signature, fields, ..Adhoc::default() })
    }

    fn names(probe: &Declared) -> Vec<&str> {
        probe.fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn a_name_alone_is_enough_for_latency() {
        for name in
            ["main.work", "net/http.serverHandler.ServeHTTP", "a.b/c/v2.(*T).M", "gopkg.in/yaml.v3.Unmarshal"]
        {
            let probe = adhoc(name, "", &[]).unwrap();
            assert_eq!(probe.wanted().text(), name);
            assert_eq!((probe.kind, probe.fields.len()), (Kind::Call, 0));
        }
        for name in ["work", "main.", ".work", "net/http", ""] {
            assert!(matches!(adhoc(name, "", &[]), Err(AdhocError::Name(_))), "{name}");
        }
    }

    #[test]
    fn with_a_signature_all_that_can_be_read_is() {
        let text =
            "func(g *Guard, user string, _ int, weight float64, tags map[string]int) (ok bool, err error)";
        let probe = adhoc("shop.(*Guard).May", text, &[]).unwrap();
        assert_eq!(names(&probe), ["g", "user", "tags", "ok", "err"], "no blank, no float");
    }

    #[test]
    fn with_fields_those_are_and_no_other() {
        let text = "func(a, b string) (n int)";
        let probe = adhoc("main.f", text, &[("second", "b"), ("length", "len(a)"), ("n", "n")]).unwrap();
        assert_eq!(names(&probe), ["second", "length", "n"]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let told = |fields| adhoc("main.f", "func(first string)", fields).unwrap_err().to_string();
        assert!(told(&[("x", "frist")]).contains("there are: first"), "{}", told(&[("x", "frist")]));
        assert!(told(&[("x", "first[")]).contains("is no path"));
        assert!(matches!(adhoc("main.f", "", &[("x", "x")]), Err(AdhocError::NoSignature(_))));
        assert!(matches!(adhoc("main.f", "func(x Unknown)", &[]), Err(AdhocError::Signature { .. })));
    }

    #[test]
    fn the_nearest_type_is_told() {
        let told = adhoc("main.f", "func(x strin)", &[]).unwrap_err().to_string();
        assert!(told.ends_with("; did you mean string?"), "{told}");
        let types: Declarations = [("Reqs".to_owned(), "struct { Name strng }".to_owned())].into();
        let asked = |types| Adhoc {
            function: "main.f",
            signature: Some("func(r *Req)"),
            types,
            fields: vec![("name".to_owned(), "r.Name".to_owned())],
        };
        let told = Declared::adhoc(&asked(types)).unwrap_err().to_string();
        assert!(
            told.starts_with("the type Reqs cannot be used: ") && told.ends_with("; did you mean string?"),
            "{told}"
        );
        let types = [("Reqs".to_owned(), "struct { Name string }".to_owned())].into();
        let told = Declared::adhoc(&asked(types)).unwrap_err().to_string();
        assert!(
            told.starts_with("r.Name: the type Req ") && told.ends_with("; did you mean Reqs?"),
            "{told}"
        );
    }
}
