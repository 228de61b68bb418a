//! Promoted fields: those of embedded structs, which Go lets one name as if they were the outer struct's own.
//!
//! Rules: the language specification's section "Selectors". The shallowest field of a name is meant; of two that are
//! equally deep, neither.

use super::super::abi::{Declarations, Field, GoType, SignatureError};
use super::walk::WalkError;

/// Structs embedded in one another: deeper is no field that could be read.
const MAX_DEPTH: usize = 8;
/// Embedded structs that are looked into.
const MAX_LOOKED: usize = 256;

/// Names of the embedded fields, outermost first, that lead to the promoted field `name` of a struct with these fields.
/// `None`: there is none. Types that are not declared have no fields.
pub(super) fn promoted(
    fields: &[Field],
    name: &str,
    declared: &Declarations,
) -> Result<Option<Vec<String>>, WalkError> {
    let mut level: Vec<(Vec<String>, Vec<Field>)> = vec![(Vec::new(), fields.to_vec())];
    let mut looked = 0;
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        let mut found: Vec<Vec<String>> = Vec::new();
        for (way, fields) in &level {
            for field in fields.iter().filter(|field| field.embedded) {
                looked += 1;
                let Some(inner) = fields_of(&field.of, declared)? else { continue };
                let way: Vec<String> = way.iter().chain([&field.name]).cloned().collect();
                if inner.iter().any(|inner| inner.name == name) {
                    found.push(way);
                } else if looked < MAX_LOOKED {
                    next.push((way, inner));
                }
            }
        }
        match found.as_slice() {
            [] => level = next,
            [only] => return Ok(Some(only.clone())),
            [first, second, ..] => {
                return Err(WalkError::Ambiguous {
                    name: name.to_owned(),
                    ways: format!("{} and {}", first.join("."), second.join(".")),
                });
            }
        }
    }
    Ok(None)
}

/// Fields of a struct, or of the struct that a pointer leads to.
fn fields_of(of: &GoType, declared: &Declarations) -> Result<Option<Vec<Field>>, WalkError> {
    let target = match of {
        GoType::Pointer(Some(text)) => match GoType::parse(text, declared) {
            Ok(target) => target,
            Err(SignatureError::Undeclared { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        },
        itself => itself.clone(),
    };
    Ok(if let GoType::Struct(fields) = target { Some(fields.to_vec()) } else { None })
}
