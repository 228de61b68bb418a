//! What a panic says: its type and its message, out of what the probe took of the value.
//!
//! The kernel side reads the value as if it was a string, or began with one. Whether that is what the program would
//! print, only the type tells: a method `Error` or `String` may say anything.

use goaudit_ebpf::hook::go::{FRAMES_MAX, Status};

use crate::event::go::GoFrame;
use crate::event::{Missing, Text};
use crate::golang::type_name::{Kind as TypeKind, TypeName};
use crate::hook::go::Value;

/// Types whose message is the text that they begin with: name, import path of the package, and what stands in front.
/// Sources: errors/errors.go, fmt/errors.go and runtime/error.go of Go 1.17 to 1.26, where they are the same.
const TEXTS: [(&str, Option<&str>, &str); 7] = [
    ("string", None, ""),
    ("*errors.errorString", Some("errors"), ""),
    ("*fmt.wrapError", Some("fmt"), ""),
    ("*fmt.wrapErrors", Some("fmt"), ""),
    ("runtime.plainError", Some("runtime"), ""),
    ("runtime.errorString", Some("runtime"), "runtime error: "),
    ("runtime.errorAddressString", Some("runtime"), "runtime error: "),
];

/// Why a value that is nil has neither type nor message.
const NIL: &str = "the program called panic(nil): Go 1.21 and later make a *runtime.PanicNilError of it, \
                   unless GODEBUG has panicnil=1";
const NOT_READ: &str = "the process's memory could not be read";
const NO_TYPE: &str = "the type of the value is not in the program's file";
/// Functions that a goroutine's stack begins with.
const OUTERMOST: [&str; 3] = ["runtime.goexit", "runtime.main", "runtime.mstart"];

/// The type's name. `value` is what was taken, if anything was, and `dynamic` the type that it has.
pub(super) fn type_of(value: Option<&Value<'_>>, dynamic: Option<TypeName>) -> Result<String, &'static str> {
    match (dynamic, value) {
        (Some(dynamic), _) => Ok(dynamic.name),
        (None, Some(value)) if value.dynamic_type.is_some() => Err(NO_TYPE),
        (None, Some(value)) if value.status == Status::Nil => Err(NIL),
        (None, _) => Err(NOT_READ),
    }
}

/// The message of a panic.
pub(super) fn message(value: Option<&Value<'_>>, dynamic: Option<&TypeName>) -> Result<Text, &'static str> {
    let (Some(value), Some(dynamic)) = (value, dynamic) else {
        return Err(match value {
            Some(value) if value.dynamic_type.is_some() => NO_TYPE,
            Some(value) if value.status == Status::Nil => NIL,
            Some(_) | None => NOT_READ,
        });
    };
    let known = TEXTS.iter().find(|(name, package, _)| {
        // A package that is not told may be the one.
        let own = dynamic.package.as_deref();
        dynamic.name == *name && own.is_none_or(|own| Some(own) == *package)
    });
    let Some((_, _, before)) = known else {
        return Err(if dynamic.kind == Some(TypeKind::STRING) {
            "the value's type is not string but one of its own: what it says may be up to its methods, which are not run"
        } else {
            "the value is neither a string nor an error whose text is kept in it"
        });
    };
    let text = text(value)?;
    Ok(if before.is_empty() { text } else { [before.as_bytes(), text.as_bytes()].concat().into() })
}

/// Text that was taken; none of it is text, too.
pub(super) fn text(value: &Value<'_>) -> Result<Text, &'static str> {
    match value.status {
        Status::Whole | Status::Cut => Ok(Text::from(value.bytes)),
        Status::Nil => Err("a pointer on the way to it is nil"),
        Status::NoRoom => Err("the record was full"),
        Status::Fault
        | Status::OutOfRange
        | Status::NotKept
        | Status::Absent
        | Status::Unsearched
        | Status::NoLayout => Err(NOT_READ),
    }
}

/// What is not there of a message, if only its beginning was taken.
pub(super) fn cut_message(value: Option<&Value<'_>>) -> Option<Missing> {
    let value = value.filter(|value| value.status == Status::Cut)?;
    let reason = format!("only the first {} of its {} bytes were taken", value.bytes.len(), value.total);
    Some(Missing::new("go_panic.message", reason))
}

/// What is not there of a stack, if no more than its innermost frames were taken.
pub(super) fn cut_stack(addresses: &[u64], told: &[GoFrame]) -> Option<Missing> {
    let last = told.last().and_then(|frame| frame.function.as_deref());
    let whole = addresses.len() < FRAMES_MAX || last.is_some_and(|last| OUTERMOST.contains(&last));
    let reason = format!("only its innermost {FRAMES_MAX} return addresses were taken");
    (!whole).then(|| Missing::new("go_panic.stack", reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_name(name: &str, kind: Option<TypeKind>, package: Option<&str>) -> TypeName {
        TypeName { name: name.to_owned(), kind, direct: false, package: package.map(str::to_owned) }
    }

    fn value(bytes: &[u8]) -> Value<'_> {
        let total = u64::try_from(bytes.len()).unwrap_or_default();
        Value { field: 0, status: Status::Whole, bytes, total, dynamic_type: Some(16) }
    }

    #[test]
    fn only_what_the_program_would_print_is_a_message() {
        let string = Some(TypeKind::STRING);
        let of =
            |name: &str, kind, package| message(Some(&value(b"here")), Some(&type_name(name, kind, package)));
        let told = |text: &str| Ok(Text::from(text));
        assert_eq!(of("string", string, None), told("here"));
        assert_eq!(of("runtime.plainError", string, Some("runtime")), told("here"));
        assert_eq!(of("runtime.errorString", string, Some("runtime")), told("runtime error: here"));
        assert_eq!(of("*errors.errorString", None, Some("errors")), told("here"));
        assert_eq!(of("*errors.errorString", None, None), told("here"));
        // What their methods say is not known.
        assert!(of("main.code", string, Some("main")).is_err_and(|why| why.contains("its own")));
        assert!(of("runtime.errorString", string, Some("example.com/runtime")).is_err());
        assert!(of("*errors.errorString", None, Some("example.com/errors")).is_err());
        assert!(of("main.custom", None, Some("main")).is_err_and(|why| why.contains("neither")));
    }

    #[test]
    fn an_empty_message_is_one_and_nil_has_none() {
        let string = type_name("string", Some(TypeKind::STRING), None);
        assert_eq!(message(Some(&value(b"")), Some(&string)), Ok(Text::from("")));
        let fault = Value { status: Status::Fault, ..value(b"") };
        assert_eq!(message(Some(&fault), Some(&string)), Err(NOT_READ));
        let nil = Value { status: Status::Nil, dynamic_type: None, ..value(b"") };
        assert_eq!((message(Some(&nil), None), type_of(Some(&nil), None)), (Err(NIL), Err(NIL)));
        let made = value(b"here");
        assert_eq!((message(Some(&made), None), type_of(Some(&made), None)), (Err(NO_TYPE), Err(NO_TYPE)));
        assert_eq!(type_of(None, None), Err(NOT_READ));
    }

    #[test]
    fn what_is_cut_is_told() {
        assert_eq!(cut_message(Some(&value(b"whole"))), None);
        let cut = Value { status: Status::Cut, total: 900, ..value(b"begin") };
        let reason = "only the first 5 of its 900 bytes were taken";
        assert_eq!(cut_message(Some(&cut)), Some(Missing::new("go_panic.message", reason)));

        let frame = |function: &str| [GoFrame { function: Some(function.to_owned()), ..GoFrame::default() }];
        let most = [0; FRAMES_MAX];
        assert!(cut_stack(&most, &frame("main.work")).is_some_and(|cut| cut.reason.contains("innermost 64")));
        assert!(cut_stack(&most, &[GoFrame::default()]).is_some());
        assert_eq!(cut_stack(&most, &frame("runtime.goexit")), None);
        assert_eq!(cut_stack(&most[1..], &frame("main.work")), None);
    }
}
