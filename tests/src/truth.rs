//! What a hard case told about itself ([`crate::hardcase`]): read and put together.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

/// The truth of one run.
#[derive(Debug, Default)]
pub struct Truth {
    /// Process id of the case itself.
    pub pid: u64,
    /// Calls of execve and execveat, by process, in order. A success has the fields of the executed program's own
    /// view and, where somebody told it, what the caller meant below `intended`; a failure has the caller's.
    pub execs: BTreeMap<u64, Vec<Value>>,
    /// prctl calls by process and thread, in order.
    pub prctls: BTreeMap<(u64, u64), Vec<Value>>,
    /// ptrace calls by process and thread, in order.
    pub ptraces: BTreeMap<(u64, u64), Vec<Value>>,
    /// New processes and threads.
    pub forks: Vec<Value>,
    /// Ends of processes.
    pub exits: Vec<Value>,
    /// Many identical prctl calls.
    pub storms: Vec<Value>,
    /// Short-lived processes: `[pid, index, exit code]`.
    pub short_lived: Vec<Value>,
    /// What this machine could not do: ability and reason.
    pub unable: Vec<(String, String)>,
}

impl Truth {
    /// Reads a truth file.
    ///
    /// # Panics
    /// When the case failed, or told something that makes no sense: the test is worth nothing then.
    #[must_use]
    #[expect(clippy::expect_used, clippy::panic, reason = "a test without truth has failed")]
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read(path).expect("the case has told its truth");
        let lines: Vec<Value> = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).expect("a line of truth is JSON"))
            .collect();
        let mut truth = Self::default();
        let mut intended: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
        let mut after: BTreeMap<(u64, u64), Value> = BTreeMap::new();
        truth.pid = lines.first().map_or(0, |line| number(line, "pid"));
        let own = lines.first().cloned().unwrap_or_default();
        let executed = own.get("call").and_then(Value::as_str) == Some("executed");
        for mut line in lines {
            outside(&mut line, &own);
            let pid = number(&line, "pid");
            let thread = (pid, number(&line, "tid"));
            match line.get("call").and_then(Value::as_str).unwrap_or_default() {
                "begins" => {}
                "executed" | "exec_failed" => truth.execs.entry(pid).or_default().push(line),
                "exec" => intended.entry(pid).or_default().push(line),
                "prctl" => truth.prctls.entry(thread).or_default().push(line),
                "prctl_after" => {
                    if let Some(value) = line.get("new") {
                        after.insert(thread, value.clone());
                    }
                    amend(truth.prctls.get_mut(&thread), after.remove(&thread));
                }
                "ptrace" => truth.ptraces.entry(thread).or_default().push(line),
                "fork" => truth.forks.push(line),
                "exit" => truth.exits.push(line),
                "storm" => truth.storms.push(line),
                "short_lived" => truth
                    .short_lived
                    .extend(line.get("children").and_then(Value::as_array).cloned().unwrap_or_default()),
                "unable" => truth.unable.push((string(&line, "ability"), string(&line, "why"))),
                other => panic!("the case told `{other}`: {line}"),
            }
        }
        for (pid, outcomes) in &mut truth.execs {
            let mut meant = intended.remove(pid).unwrap_or_default();
            // Who executed the case itself tells nothing.
            if *pid == truth.pid && executed {
                meant.insert(0, Value::Null);
            }
            assert_eq!(meant.len(), outcomes.len(), "process {pid} told {meant:?} and {outcomes:?}");
            for (outcome, meant) in outcomes.iter_mut().zip(meant) {
                if let Some(outcome) = outcome.as_object_mut() {
                    outcome.insert("intended".to_owned(), meant);
                }
            }
        }
        assert!(intended.is_empty(), "programs that never told anything: {intended:?}");
        truth
    }

    /// Tells the abilities that were missing; true if there were any.
    #[must_use]
    pub fn skipped(&self, test: &str) -> bool {
        for (ability, why) in &self.unable {
            crate::ability::tell_skip(test, ability, why);
        }
        !self.unable.is_empty()
    }

    /// Every process that the truth names.
    #[must_use]
    pub fn pids(&self) -> std::collections::BTreeSet<u64> {
        let children = self.forks.iter().filter(|fork| fork.get("thread") == Some(&Value::Bool(false)));
        let short = self.short_lived.iter().filter_map(|child| child.get(0)?.as_u64());
        std::iter::once(self.pid)
            .chain(self.execs.keys().copied())
            .chain(children.map(|fork| number(fork, "child")))
            .chain(short)
            .collect()
    }
}

/// In a user namespace without a mapping a process sees other ids than goaudit, which tells those of the initial
/// one. Cases change either the ids or the namespace: there the ids are those of the case itself.
fn outside(line: &mut Value, own: &Value) {
    let path = "/namespaces/user";
    if line.pointer(path).is_some_and(|namespace| Some(namespace) != own.pointer(path)) {
        for name in ["uid", "euid", "suid", "gid", "egid"] {
            if let (Some(seen), Some(real)) = (line.get_mut(name), own.get(name)) {
                seen.clone_from(real);
            }
        }
    }
}

/// Adds the value after to the last setting call that lacks it.
fn amend(calls: Option<&mut Vec<Value>>, value: Option<Value>) {
    let last = calls.and_then(|calls| {
        calls
            .iter_mut()
            .rev()
            .filter_map(Value::as_object_mut)
            .find(|call| call.contains_key("old") && !call.contains_key("new"))
    });
    if let (Some(call), Some(value)) = (last, value) {
        Map::insert(call, "new".to_owned(), value);
    }
}

/// A number of a line; 0 if it has none.
#[must_use]
pub fn number(line: &Value, name: &str) -> u64 {
    line.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// A string of a line; empty if it has none.
#[must_use]
pub fn string(line: &Value, name: &str) -> String {
    line.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
