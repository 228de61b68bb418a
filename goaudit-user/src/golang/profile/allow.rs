//! Whether what `allow` names can be a decision: a probe whose every decision would be null is a wrong profile.

use super::super::abi::Number;
use super::Source;
use super::compiled::{Ask, Compiled, Reader};
use super::path::{Expression, Test};
use super::walk::Shape;

/// What a value is, as far as a decision is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Truth,
    Number,
    /// Nil or not.
    Pointer,
    /// A text, or what an interface holds.
    Text,
}

/// A value that `allow` may be, and the path that leads to it, if it is one that is read.
pub(super) type End<'a> = (Sort, Option<&'a Expression>);

/// Everything that `allow` may be. None: the profile says that it cannot be had.
pub(super) fn ends<'a>(source: &'a Source, reader: &Reader, compiled: &Compiled) -> Vec<End<'a>> {
    let end = |expression: &'a Expression, ask: &Ask| {
        let shape = compiled.cells.get(ask.cell).map(|cell| cell.shape);
        (sort(shape, ask.test), Some(expression))
    };
    match (source, reader) {
        (Source::Read(expression), Reader::One(ask)) => vec![end(expression, ask)],
        (Source::Choice { then, otherwise, .. }, Reader::Choice { then: ask, otherwise: other, .. }) => {
            vec![end(then, ask), end(otherwise, other)]
        }
        (Source::Missing(_), _) => Vec::new(),
        // Put together or named: texts.
        (
            Source::Const(_)
            | Source::Join { .. }
            | Source::Named { .. }
            | Source::Read(_)
            | Source::Choice { .. },
            _,
        ) => vec![(Sort::Text, None)],
    }
}

fn sort(shape: Option<Shape>, test: Test) -> Sort {
    match (test, shape) {
        (Test::Not | Test::IsNil | Test::IsNotNil, _)
        | (Test::Value, Some(Shape::Number(Number::Bool, _))) => Sort::Truth,
        (Test::Value, Some(Shape::Number(Number::Signed | Number::Unsigned, _))) => Sort::Number,
        (Test::Value, Some(Shape::Pointer)) => Sort::Pointer,
        (Test::Value, Some(Shape::Text | Shape::Bytes | Shape::Interface | Shape::Error) | None) => {
            Sort::Text
        }
    }
}

/// What a value must be to have this text, if none of `ends` can have it.
pub(super) fn never(text: &str, ends: &[End<'_>]) -> Option<&'static str> {
    let is_truth = matches!(text, "true" | "false");
    let is_number = text.parse::<i128>().is_ok_and(|number| number.to_string() == text);
    let fits = |(sort, _): &End<'_>| match sort {
        Sort::Truth => is_truth,
        Sort::Number => is_number,
        Sort::Pointer | Sort::Text => true,
    };
    if ends.is_empty() || ends.iter().any(fits) {
        return None;
    }
    let has_number = ends.iter().any(|(sort, _)| *sort == Sort::Number);
    Some(if has_number { "a number" } else { "a truth value" })
}
