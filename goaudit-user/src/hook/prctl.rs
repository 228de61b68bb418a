//! prctl: option by name, arguments decoded, result; value before and after where the kernel keeps one.
//!
//! Needs the tracepoint `sys_exit` (and `sys_enter` for the value before). A result from -4095 to -1 is an
//! error, whatever its number; for some options a result above 0 is a value. Names and meanings come from one
//! table, [`options::OPTIONS`], and are derived for the views: the log keeps the numbers.

use std::fmt::Write;

use goaudit_ebpf::hook::prctl::{self as wire, flags};
use goaudit_ebpf::wire::Kind;

use super::{Hook, padded};
use crate::event::{Prctl, Text};
use crate::names::{capability, errno, signal};

pub mod options;
mod values;
use options::{OPTIONS, Row, Shape};

/// This hook.
pub const HOOK: Hook = Hook {
    name: "prctl",
    kinds: &[Kind::Prctl],
    sees: "every prctl with option, arguments and result; old and new value of what it sets",
    needs: "raw tracepoint sys_exit; without sys_enter no value before the call",
};

/// `PR_SET_NAME`.
const SET_NAME: u64 = 15;
/// `PR_SET_MM`, and what of it can put another file behind `/proc/PID/exe`: `PR_SET_MM_EXE_FILE`, `PR_SET_MM_MAP`.
const SET_MM: u32 = 35;
const SET_MM_EXE: [u64; 2] = [13, 14];

/// The payload.
pub(crate) fn payload(record: &wire::Prctl, change: Option<&wire::Change>) -> Prctl {
    let [option, arg2, arg3, arg4, arg5] = record.args;
    let has = |flag| change.filter(|_| record.header.flags & flag != 0);
    Prctl {
        option,
        args: [arg2, arg3, arg4, arg5],
        ret: record.ret,
        old: has(flags::OLD).map(|change| change.old),
        new: has(flags::NEW).map(|change| change.new),
        renamed: change
            .filter(|_| u64::from(option_number(option)) == SET_NAME && !errno::is_error(record.ret))
            .map(|change| (padded(&change.old_comm), padded(&record.header.comm))),
    }
}

/// Whether the process may show another binary from now on than the one that it executed.
pub(crate) fn replaces_exe(call: &Prctl) -> bool {
    let [what, ..] = call.args;
    option_number(call.option) == SET_MM && SET_MM_EXE.contains(&what) && !errno::is_error(call.ret)
}

/// The kernel looks at the low 32 bits of the option only.
#[expect(clippy::cast_possible_truncation, reason = "this is what the kernel does: the parameter is an int")]
const fn option_number(option: u64) -> u32 {
    option as u32
}

/// The table's row of an option.
pub fn option(number: u64) -> Option<&'static Row> {
    let number = option_number(number);
    OPTIONS.iter().find(|row| row.number == number)
}

/// Whether a successful call changes what the process may do or how it looks: views call it out.
pub fn attention(call: &Prctl) -> bool {
    option(call.option).is_some_and(|row| row.attention)
}

/// A decoded argument or result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// A number.
    Number(i64),
    /// A number beyond `i64`.
    Unsigned(u64),
    /// A name, or an address as `0x...`.
    Name(String),
    /// Flags by name; bits without a name as `0x...`.
    Flags(Vec<String>),
    /// A truth value.
    Bool(bool),
    /// Text of the kernel.
    Text(Text),
}

/// The call in words: name and meaning, in a fixed order. Unknown options have none.
pub fn decoded(call: &Prctl) -> Vec<(&'static str, Meaning)> {
    let Some(row) = option(call.option) else { return Vec::new() };
    let mut words: Vec<_> = row
        .args
        .iter()
        .zip(call.args)
        .map(|((name, shape), value)| (*name, meaning(*shape, value)))
        .collect();
    if let Some((old, new)) = &call.renamed {
        words.push(("old", Meaning::Text(old.clone())));
        words.push(("new", Meaning::Text(new.clone())));
    }
    let kept = row.kept;
    words.extend(call.old.map(|old| ("old", meaning(kept, old))));
    words.extend(call.new.map(|new| ("new", meaning(kept, new))));
    if let (Some(shape), false) = (row.result, errno::is_error(call.ret)) {
        words.push(("result", meaning(shape, call.ret.cast_unsigned())));
    }
    words
}

fn meaning(shape: Shape, value: u64) -> Meaning {
    match shape {
        Shape::Number => match i64::try_from(value) {
            Ok(number) => Meaning::Number(number),
            Err(_) => Meaning::Unsigned(value),
        },
        Shape::Signed => Meaning::Number(value.cast_signed()),
        Shape::Address => Meaning::Name(format!("{value:#x}")),
        Shape::CapabilitySet => Meaning::Name(format!("{value:016x}")),
        Shape::Bool => Meaning::Bool(value != 0),
        // 0 is no signal, and a number rather than the text "0".
        Shape::Signal => match signal::name(value).filter(|_| value != 0) {
            Some(name) => Meaning::Name(name),
            None => meaning(Shape::Number, value),
        },
        Shape::Capability => match capability::name(value) {
            Some(name) => Meaning::Name(name.into()),
            None => meaning(Shape::Number, value),
        },
        Shape::Choice(names) => match names.iter().find(|(number, _)| *number == value) {
            Some((_, name)) => Meaning::Name((*name).into()),
            None => meaning(Shape::Number, value),
        },
        Shape::Flags(names) => {
            let mut left = value;
            let mut known = Vec::new();
            for (bits, name) in names {
                if value & bits == *bits {
                    known.push((*name).to_owned());
                    left &= !bits;
                }
            }
            if left != 0 {
                let mut rest = String::new();
                let _ = write!(rest, "{left:#x}");
                known.push(rest);
            }
            Meaning::Flags(known)
        }
    }
}

#[cfg(test)]
mod tests {
    use goaudit_ebpf::wire::Header;

    use super::*;

    fn call(option: u64, args: [u64; 4], ret: i64) -> Prctl {
        Prctl { option, args, ret, old: None, new: None, renamed: None }
    }

    fn name(text: &str) -> Meaning {
        Meaning::Name(text.into())
    }

    #[test]
    fn arguments_by_name() {
        let words = |option, args, ret| decoded(&call(option, args, ret));
        assert_eq!(words(1, [9, 0, 0, 0], 0), [("signal", name("SIGKILL"))]);
        assert_eq!(words(1, [0; 4], 0), [("signal", Meaning::Number(0))]);
        assert_eq!(words(24, [19, 0, 0, 0], 0), [("capability", name("CAP_SYS_PTRACE"))]);
        assert_eq!(words(3, [0; 4], 1), [("result", name("SUID_DUMP_USER"))]);
        assert_eq!(words(3, [0; 4], -22), []);
        assert_eq!(
            words(28, [0x2f, 0, 0, 0], 0),
            [(
                "securebits",
                Meaning::Flags(
                    [
                        "SECBIT_NOROOT",
                        "SECBIT_NOROOT_LOCKED",
                        "SECBIT_NO_SETUID_FIXUP",
                        "SECBIT_NO_SETUID_FIXUP_LOCKED",
                        "SECBIT_KEEP_CAPS_LOCKED"
                    ]
                    .map(str::to_owned)
                    .to_vec()
                )
            )]
        );
        assert_eq!(
            words(35, [8, 0x7fff_0000, 0, 0], -1),
            [
                ("what", name("PR_SET_MM_ARG_START")),
                ("address", name("0x7fff0000")),
                ("size", Meaning::Number(0))
            ]
        );
        assert_eq!(words(0x5961_6d61, [u64::MAX, 0, 0, 0], 0), [("tracer", name("PR_SET_PTRACER_ANY"))]);
        assert_eq!(words(9999, [0; 4], -22), []);
    }

    #[test]
    fn the_upper_half_of_the_option_is_ignored_as_the_kernel_does() {
        assert_eq!(option(0xffff_ffff_0000_0004).map(|row| row.name), Some("PR_SET_DUMPABLE"));
    }

    #[test]
    fn changes() {
        let header = Header { flags: flags::CHANGE | flags::OLD | flags::NEW, ..Header::default() };
        let record = wire::Prctl { header, args: [4, 0, 0, 0, 0], ret: 0 };
        let change = wire::Change { old: 1, new: 0, ..wire::Change::default() };
        let told = payload(&record, Some(&change));
        assert!(attention(&told));
        assert_eq!(
            decoded(&told),
            [
                ("dumpable", name("SUID_DUMP_DISABLE")),
                ("old", name("SUID_DUMP_USER")),
                ("new", name("SUID_DUMP_DISABLE"))
            ]
        );
        let mut named = wire::Prctl { header, args: [15, 0, 0, 0, 0], ret: 0 };
        named.header.flags = flags::CHANGE;
        named.header.comm[..3].copy_from_slice(b"new");
        let mut before = wire::Change::default();
        before.old_comm[..3].copy_from_slice(b"old");
        assert_eq!(payload(&named, Some(&before)).renamed, Some(("old".into(), "new".into())));
    }

    #[test]
    fn the_table_has_each_number_and_name_once() {
        for (at, row) in OPTIONS.iter().enumerate() {
            assert!(row.name.starts_with("PR_"));
            assert!(row.args.len() <= 4);
            assert!(
                OPTIONS.iter().skip(at + 1).all(|other| other.number != row.number && other.name != row.name),
                "{}",
                row.name
            );
        }
    }
}
