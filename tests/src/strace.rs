//! strace as an independent witness: the same run, watched by strace and by goaudit, both asked what happened.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;

/// One call as strace tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// execve or execveat: arguments (none if they could not be read) and result (-errno name on failure).
    Exec {
        /// Arguments.
        argv: Option<Vec<Vec<u8>>>,
        /// Path argument.
        path: Option<Vec<u8>>,
        /// execveat.
        at: bool,
        /// Outcome.
        result: Outcome,
    },
    /// prctl or ptrace: arguments as numbers and result.
    Raw {
        /// `prctl` or `ptrace`.
        name: String,
        /// Arguments.
        args: Vec<u64>,
        /// Outcome.
        result: Outcome,
    },
}

/// What a call returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A value.
    Value(u64),
    /// An error by name.
    Error(String),
}

/// Command line that runs `command` below strace, which writes to `output`.
#[must_use]
pub fn below(output: &Path, command: Vec<OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = [
        "strace",
        "-f",
        "-q",
        "-v",
        "-xx",
        "-s",
        "262144",
        "-e",
        "trace=execve,execveat,prctl,ptrace",
        "-e",
        "raw=prctl,ptrace",
        "-e",
        "signal=none",
        "-o",
    ]
    .into_iter()
    .map(Into::into)
    .collect();
    words.push(output.into());
    words.push("--".into());
    words.extend(command);
    words
}

/// The calls by thread, in order.
///
/// # Panics
/// When a line makes no sense: the witness is worth nothing then.
#[must_use]
#[expect(clippy::expect_used, reason = "a witness that is not understood is none")]
pub fn read(output: &Path) -> BTreeMap<u64, Vec<Call>> {
    let text = std::fs::read_to_string(output).expect("strace has written");
    let mut calls: BTreeMap<u64, Vec<Call>> = BTreeMap::new();
    let mut unfinished: BTreeMap<u64, String> = BTreeMap::new();
    for line in text.lines() {
        let (tid, rest) = line.split_once(' ').expect("a line begins with a thread");
        let tid: u64 = tid.parse().expect("a thread id");
        let rest = rest.trim_start();
        if let Some(from) = rest.strip_prefix("+++ superseded by execve in pid ") {
            // A thread executes and becomes the leader: its call goes on under the leader's id.
            let from: u64 = from.trim_end_matches(" +++").parse().expect("a thread id");
            if let Some(call) = unfinished.remove(&from) {
                unfinished.insert(tid, call);
            }
        } else if rest.starts_with("+++") || rest.starts_with("---") {
        } else if let Some(begin) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(tid, begin.trim_end().to_owned());
        } else if rest.starts_with("<... ") {
            let (_, end) = rest.split_once(" resumed>").expect("a resumed call");
            let begin = unfinished.remove(&tid).expect("a resumed call has begun");
            calls.entry(tid).or_default().extend(call(&format!("{begin}{end}")));
        } else {
            calls.entry(tid).or_default().extend(call(rest));
        }
    }
    calls
}

/// Reads one call; none for one whose result nobody saw.
#[expect(clippy::expect_used, clippy::panic, reason = "a witness that is not understood is none")]
fn call(line: &str) -> Option<Call> {
    let (name, rest) = line.split_once('(').expect("a call");
    let (args, result) = rest
        .rsplit_once(") = ")
        .or_else(|| {
            // strace pads short calls to a column.
            let (args, result) = rest.rsplit_once(" = ")?;
            Some((args.trim_end().strip_suffix(')')?, result))
        })
        .unwrap_or_else(|| panic!("no result: {line}"));
    let result = outcome(result)?;
    Some(match name {
        "execve" | "execveat" => {
            let at = name == "execveat";
            let mut reader = Reader { rest: args };
            if at {
                reader.word();
            }
            Call::Exec { path: reader.string(), argv: reader.strings(), at, result }
        }
        "prctl" | "ptrace" => Call::Raw {
            name: name.to_owned(),
            args: args.split(", ").map(|word| number(word).expect("a raw argument")).collect(),
            result,
        },
        _ => panic!("not asked for: {line}"),
    })
}

fn outcome(text: &str) -> Option<Outcome> {
    if let Some(error) = text.strip_prefix("-1 ") {
        return Some(Outcome::Error(error.split(' ').next()?.to_owned()));
    }
    number(text.split(' ').next()?).map(Outcome::Value)
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Reads strace's arguments from the left.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    /// Skips one argument that is no string and no array.
    fn word(&mut self) {
        self.rest = self.rest.split_once(", ").map_or("", |(_, rest)| rest);
    }

    /// A string, or none for an address.
    fn string(&mut self) -> Option<Vec<u8>> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            self.word();
            return None;
        };
        let (body, rest) = quoted.split_once('"')?;
        self.rest = rest.strip_prefix(", ").unwrap_or(rest);
        Some(unescape(body))
    }

    /// An array of strings, or none for an address.
    fn strings(&mut self) -> Option<Vec<Vec<u8>>> {
        let Some(list) = self.rest.strip_prefix('[') else {
            self.word();
            return None;
        };
        let (body, rest) = list.split_once(']')?;
        self.rest = rest;
        let mut reader = Reader { rest: body };
        let mut all = Vec::new();
        while !reader.rest.is_empty() {
            all.push(reader.string()?);
        }
        Some(all)
    }
}

/// Bytes of `\x2f\x62`.
fn unescape(body: &str) -> Vec<u8> {
    body.split("\\x").skip(1).filter_map(|digits| u8::from_str_radix(digits, 16).ok()).collect()
}

/// The same call as goaudit's event tells it; none for other kinds.
#[must_use]
pub fn of_event(event: &Value) -> Option<Call> {
    let at = |path: &str| event.pointer(path).unwrap_or(&Value::Null);
    let result = |kind: &str| {
        let errno = at(&format!("/{kind}/errno"));
        errno.as_str().map_or_else(
            || Outcome::Value(at(&format!("/{kind}/ret")).as_i64().unwrap_or(-1).cast_unsigned()),
            |name| Outcome::Error(name.to_owned()),
        )
    };
    let numbers =
        |path: &str| at(path).as_array().into_iter().flatten().filter_map(Value::as_u64).collect::<Vec<_>>();
    match at("/kind").as_str()? {
        "exec" => Some(Call::Exec {
            argv: (at("/exec/argv_complete") == &Value::Bool(true))
                .then(|| at("/exec/argv").as_array().into_iter().flatten().map(bytes).collect()),
            path: Some(bytes(at("/exec/filename"))),
            at: at("/exec/execveat") == &Value::Bool(true),
            result: result("exec"),
        }),
        "prctl" => Some(Call::Raw {
            name: "prctl".to_owned(),
            args: [vec![at("/prctl/option").as_u64()?], numbers("/prctl/args")].concat(),
            result: result("prctl"),
        }),
        "ptrace" => Some(Call::Raw {
            name: "ptrace".to_owned(),
            args: vec![
                at("/ptrace/request").as_u64()?,
                at("/ptrace/pid").as_i64()?.cast_unsigned() & 0xffff_ffff,
                at("/ptrace/addr").as_u64()?,
                at("/ptrace/data").as_u64()?,
            ],
            result: result("ptrace"),
        }),
        _ => None,
    }
}

/// Bytes of a text of an event.
#[must_use]
pub fn bytes(text: &Value) -> Vec<u8> {
    use base64::Engine;
    match text {
        Value::String(text) => text.as_bytes().to_vec(),
        other => other
            .get("b64")
            .and_then(Value::as_str)
            .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn calls_are_read_as_strace_6_writes_them() {
        assert_eq!(
            call(r#"execve("\x2f\x62", ["\x61\x22", "", "\xff"], ["\x50\x3d"]) = 0"#).unwrap(),
            Call::Exec {
                argv: Some(vec![b"a\"".to_vec(), Vec::new(), vec![0xff]]),
                path: Some(b"/b".to_vec()),
                at: false,
                result: Outcome::Value(0)
            }
        );
        assert_eq!(
            call(r#"execveat(AT_FDCWD, "", [], 0x7ffd /* 3 vars */, AT_EMPTY_PATH) = -1 EBADF (Bad file descriptor)"#).unwrap(),
            Call::Exec { argv: Some(Vec::new()), path: Some(Vec::new()), at: true, result: Outcome::Error("EBADF".to_owned()) }
        );
        assert_eq!(
            call("prctl(0x3, 0, 0, 0, 0)            = 0x1").unwrap(),
            Call::Raw { name: "prctl".to_owned(), args: vec![3, 0, 0, 0, 0], result: Outcome::Value(1) }
        );
        assert_eq!(call("prctl(0x16, 0x1, 0, 0, 0) = ?"), None);
    }
}
