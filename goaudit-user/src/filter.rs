//! `--only KINDS` and `--where EXPR`: one grammar for live and stored events.
//!
//! The expression is CEL (Common Expression Language) over the fields of the JSON view:
//! `kind == "exec" && process.uid == 0 && exec.argv.exists(a, a.contains("curl"))`. It is compiled once; names are
//! checked against the schema, so a misspelt field is an error at the start and not a filter that never matches.
//! Of each event only the fields that the expression asks for are made (`values.rs`), and events of kinds that it
//! can never hold for need not even be decoded ([`Filter::kinds`]). A field that an event does not have makes the
//! expression false for it, and is counted.

use std::fmt;
use std::sync::Arc;

use cel::{Context, Env, ExecutionError, Program, Value};

use crate::correlate::Correlator;
use crate::correlate::host::HostInfo;
use crate::event::{Event, Payload};
use crate::view::Origin;
use crate::view::json::{Kind, Kinds};

mod names;
mod values;

use names::Path;
use values::Values;

/// What is wrong with a filter. Reads after "failed to read the filter: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No such kind.
    #[error(
        "there is no kind `{name}`; kinds are {}; `go` stands for all kinds that tell of Go programs",
        kinds()
    )]
    UnknownKind {
        /// What was asked for.
        name: String,
    },
    /// The expression is not CEL.
    #[error("the expression is wrong at column {column}: {reason}")]
    Syntax {
        /// Column, from 1.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// A name that no event has.
    #[error("no field `{name}` in {place} (column {column}); {hint}")]
    UnknownField {
        /// Column, from 1.
        column: usize,
        /// The name.
        name: String,
        /// Where it was looked for.
        place: String,
        /// The nearest valid name, or the valid ones.
        hint: String,
    },
    /// The result is not true or false.
    #[error("the expression gives {gives}, not true or false; compare it with something")]
    NotBool {
        /// What it gives.
        gives: String,
    },
}

fn kinds() -> String {
    Kind::ALL.map(Kind::name).join(", ")
}

/// How often an expression could not be evaluated; the events count as not matching.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unmatched {
    /// The event does not have the field (another kind, or null where an object was needed).
    pub absent: u64,
    /// Values of types that do not go together.
    pub mistyped: u64,
}

/// A compiled filter.
#[derive(Debug, Default)]
pub struct Filter {
    only: Option<Kinds>,
    expression: Option<Expression>,
    unmatched: Unmatched,
}

struct Expression {
    program: Program,
    /// The language's functions: costly to make, the same for every event.
    language: Arc<Env>,
    /// The names that it spells, and those before their dots.
    paths: Vec<Path>,
    /// Kinds that it can hold for.
    kinds: Kinds,
}

impl Filter {
    /// Compiles a filter: kinds separated by commas, and an expression; none for no restriction.
    pub fn new(only: Option<&str>, expression: Option<&str>) -> Result<Self, FilterError> {
        let only = only
            .map(|only| {
                only.split(',')
                    .map(str::trim)
                    .map(named)
                    .collect::<Result<Vec<_>, _>>()
                    .map(|kinds| kinds.into_iter().flatten().collect())
            })
            .transpose()?;
        let expression = expression.map(Expression::compile).transpose()?;
        Ok(Self { only, expression, unmatched: Unmatched::default() })
    }

    /// Whether it lets everything through.
    pub const fn is_empty(&self) -> bool {
        self.only.is_none() && self.expression.is_none()
    }

    /// Whether the expression names this field: while recording, an event has no `seq`, `ts` or `boot_id` yet.
    pub fn names(&self, field: &str) -> bool {
        self.expression
            .as_ref()
            .is_some_and(|expression| expression.paths.iter().any(|path| path.name() == field))
    }

    /// Kinds that can pass: what is of another kind does not, and nothing is counted for it.
    pub fn kinds(&self) -> Kinds {
        let only = self.only.unwrap_or(Kinds::ALL);
        self.expression.as_ref().map_or(only, |expression| expression.kinds.and(only))
    }

    /// Whether an event passes.
    pub fn matches(&mut self, event: &Event, origin: &Origin<'_>) -> bool {
        if !self.kinds().contains(Kind::of(&event.payload)) {
            return false;
        }
        let Some(expression) = &self.expression else { return true };
        match expression.evaluate(event, origin) {
            Ok(Value::Bool(truth)) => truth,
            Err(ExecutionError::UndeclaredReference(_) | ExecutionError::NoSuchKey(_)) => {
                self.unmatched.absent = self.unmatched.absent.saturating_add(1);
                false
            }
            Ok(_) | Err(_) => {
                self.unmatched.mistyped = self.unmatched.mistyped.saturating_add(1);
                false
            }
        }
    }

    /// For the recorder: leaves out what does not pass and counts it in the books. The recorder's own events
    /// always stay.
    pub fn retain<H: HostInfo>(
        &mut self,
        events: &mut Vec<Event>,
        origin: &Origin<'_>,
        correlator: &mut Correlator<H>,
    ) {
        if self.is_empty() {
            return;
        }
        events.retain(|event| {
            let keep = matches!(event.payload, Payload::Control(_)) || self.matches(event, origin);
            if !keep {
                correlator.filtered(event);
            }
            keep
        });
    }

    /// How often the expression could not be evaluated.
    pub const fn unmatched(&self) -> Unmatched {
        self.unmatched
    }
}

/// The kind of that name, or all kinds of the hook of that name.
fn named(name: &str) -> Result<Vec<Kind>, FilterError> {
    let found: Vec<Kind> =
        Kind::ALL.into_iter().filter(|kind| kind.name() == name || kind.hook() == Some(name)).collect();
    if found.is_empty() { Err(FilterError::UnknownKind { name: name.to_owned() }) } else { Ok(found) }
}

impl Expression {
    fn compile(source: &str) -> Result<Self, FilterError> {
        let program = Program::compile(source).map_err(|errors| {
            let first = errors.errors.first();
            FilterError::Syntax {
                column: first.and_then(|error| usize::try_from(error.pos.1).ok()).unwrap_or(1),
                reason: first.map_or_else(|| errors.to_string(), |error| error.msg.clone()),
            }
        })?;
        let names = names::check(source, &program)?;
        let language = Arc::new(Env::stdlib());
        let kinds = Kind::ALL.into_iter().filter(|kind| names.may_hold_for(*kind, &language)).collect();
        let paths = names.paths;
        Ok(Self { program, language, paths, kinds })
    }

    fn evaluate(&self, event: &Event, origin: &Origin<'_>) -> Result<Value, ExecutionError> {
        let values = Values::new(&self.paths, event, origin);
        let mut context = Context::with_env(Arc::clone(&self.language));
        context.set_variable_resolver(&values);
        self.program.execute(&context)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expression")
            .field("program", &self.program)
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
