//! What a contestant stored, counted from its own files: the proof that nothing is missing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::agent::program;
use super::contestant::Contestant;

/// The files of a contestant that has ended.
pub(super) struct Store {
    pub(super) contestant: Contestant,
    pub(super) dir: PathBuf,
    /// What the kernel's audit says that it lost.
    pub(super) audit_lost: Option<u64>,
}

/// The word of `exec-tagged` before its number.
const TAG: &str = "goaudit-tag-";

impl Store {
    /// Bytes of all files, without what programs only said.
    pub(super) fn bytes(&self) -> u64 {
        size(&self.dir)
    }

    /// Events in a goaudit log, once `verify` has found nothing wrong with it.
    pub(super) fn events(&self) -> Result<u64> {
        verified(&self.dir.join("log"), "events")
    }

    /// Events that the contestant itself says it lost.
    pub(super) fn lost(&self) -> Result<Option<u64>> {
        Ok(match self.contestant {
            Contestant::Bare => None,
            Contestant::Goaudit => Some(verified(&self.dir.join("log"), "lost")?),
            Contestant::Auditd(_) => self.audit_lost,
            // It says "Lost N events" now and then.
            Contestant::Bpftrace(_) => {
                let mut lost = 0;
                for file in ["stdout", "stderr", "output"] {
                    let text = fs::read(self.dir.join(file)).unwrap_or_default();
                    let text = String::from_utf8_lossy(&text);
                    lost += text
                        .lines()
                        .filter_map(|line| {
                            line.strip_prefix("Lost ")?.strip_suffix(" events")?.parse::<u64>().ok()
                        })
                        .sum::<u64>();
                }
                Some(lost)
            }
        })
    }

    /// Calls of prctl(PR_GET_DUMPABLE) of a process that it stored; for bpftrace all of prctl, which is one more
    /// (a library's at the start), because its exit tracepoint does not tell the option.
    pub(super) fn prctls_of(&self, pid: u32) -> Result<Option<u64>> {
        let mut count = 0;
        let (here, there) = (format!("\"tgid\":{pid},"), format!(" pid={pid} "));
        let begin = format!("{pid} ");
        let kind = self.contestant;
        self.lines("prctl", |line| {
            count += match kind {
                Contestant::Goaudit if line.contains(&here) && line.contains("\"option\":3,") => {
                    repeats(line)?
                }
                Contestant::Auditd(_) => u64::from(
                    line.starts_with("type=SYSCALL")
                        && line.contains(" syscall=157 ")
                        && line.contains(" a0=3 ")
                        && line.contains(&there),
                ),
                Contestant::Bpftrace(_) => u64::from(line.starts_with(&begin)),
                Contestant::Bare | Contestant::Goaudit => 0,
            };
            Ok(())
        })
        .map(|any| any.then_some(count))
    }

    /// Successful execs of `path` that it stored.
    pub(super) fn execs_of(&self, path: &Path) -> Result<Option<u64>> {
        let path = path.display();
        let (here, there) = (format!("\"filename\":\"{path}\""), format!(" exe=\"{path}\""));
        let inside = format!(" {path} ");
        let kind = self.contestant;
        let mut count = 0;
        self.lines("exec", |line| {
            count += u64::from(match kind {
                Contestant::Goaudit => line.contains(&here),
                Contestant::Auditd(_) => line.starts_with("type=SYSCALL") && line.contains(&there),
                Contestant::Bpftrace(_) => line.contains(&inside),
                Contestant::Bare => false,
            });
            Ok(())
        })
        .map(|any| any.then_some(count))
    }

    /// Numbers of the tagged execs that it stored.
    pub(super) fn tags(&self) -> Result<Option<BTreeSet<u64>>> {
        let mut tags = BTreeSet::new();
        self.lines("exec", |line| {
            tags.extend(line.split(TAG).skip(1).filter_map(leading_number));
            Ok(())
        })
        .map(|any| any.then_some(tags))
    }

    /// Hands every stored line to `each`; goaudit's of one kind of event only. False when there is no store.
    fn lines(&self, kind: &str, mut each: impl FnMut(&str) -> Result<()>) -> Result<bool> {
        let file = match self.contestant {
            Contestant::Bare => return Ok(false),
            Contestant::Auditd(_) => "audit.log",
            Contestant::Bpftrace(_) => "output",
            Contestant::Goaudit => {
                let mut replay = Command::new(program("goaudit"));
                replay.arg("replay").arg(self.dir.join("log")).args(["--only", kind, "-o", "json"]);
                let mut child = replay
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .spawn()
                    .context("failed to start `goaudit replay`")?;
                let output = child.stdout.take().context("`goaudit replay` has no output")?;
                every_line(BufReader::new(output), &mut each)?;
                let status = child.wait().context("failed to wait for `goaudit replay`")?;
                if !status.success() {
                    bail!("`goaudit replay` ended with {status}");
                }
                return Ok(true);
            }
        };
        let path = self.dir.join(file);
        let file = fs::File::open(&path).with_context(|| format!("failed to open {}", path.display()))?;
        every_line(BufReader::new(file), &mut each)?;
        Ok(true)
    }
}

fn every_line(mut from: impl BufRead, each: &mut impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).context("failed to read what was stored")? > 0 {
        each(&String::from_utf8_lossy(&line))?;
        line.clear();
    }
    Ok(())
}

/// How many calls an event of goaudit stands for.
fn repeats(line: &str) -> Result<u64> {
    let event: Value = serde_json::from_str(line).context("`goaudit replay` told a line that is no JSON")?;
    Ok(event.pointer("/repeats/count").and_then(Value::as_u64).unwrap_or(1))
}

fn leading_number(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

/// A count of a goaudit log's report, once `verify` has found nothing wrong with it.
pub(super) fn verified(log: &Path, count: &str) -> Result<u64> {
    let mut verify = Command::new(program("goaudit"));
    let output =
        verify.args(["verify", "--json"]).arg(log).output().context("failed to start `goaudit verify`")?;
    // 4: nothing is wrong, but something was lost, or the recorder was killed.
    if !matches!(output.status.code(), Some(0 | 4)) {
        bail!("`goaudit verify` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stdout));
    }
    let report: Value = serde_json::from_slice(&output.stdout).context("`goaudit verify` told no JSON")?;
    report.get(count).and_then(Value::as_u64).with_context(|| format!("`goaudit verify` told no {count}"))
}

fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                size(&path)
            } else if ["stdout", "stderr", "auditd.conf"].iter().any(|name| path.ends_with(name)) {
                0
            } else {
                entry.metadata().map_or(0, |data| data.len())
            }
        })
        .sum()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn an_event_counts_as_often_as_it_was_repeated() {
        assert_eq!(repeats(r#"{"kind":"prctl"}"#).unwrap(), 1);
        assert_eq!(repeats(r#"{"kind":"prctl","repeats":{"count":7}}"#).unwrap(), 7);
        assert!(repeats("no json").is_err());
    }

    #[test]
    fn each_contestant_is_counted_in_its_own_words() {
        let dir = std::env::temp_dir().join(format!("xtask-stored-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(
            dir.join("audit.log"),
            "type=SYSCALL msg=audit(1): arch=c000003e syscall=157 a0=3 ppid=7 pid=8 exe=\"/x\"\n\
             type=SYSCALL msg=audit(2): arch=c000003e syscall=157 a0=3 ppid=8 pid=9 exe=\"/x\"\n\
             type=EXECVE msg=audit(3): argc=2 a0=\"/x\" a1=\"goaudit-tag-12\"\n",
        )
        .unwrap();
        fs::write(dir.join("output"), "8 prctl 1\n88 prctl 1\n9 0 /x goaudit-tag-3\nLost 5 events\n")
            .unwrap();
        let store = |contestant| Store { contestant, dir: dir.clone(), audit_lost: Some(3) };
        let auditd = store(Contestant::Auditd(&[]));
        assert_eq!(auditd.prctls_of(8).unwrap(), Some(1));
        assert_eq!(auditd.execs_of(Path::new("/x")).unwrap(), Some(2));
        assert_eq!(auditd.tags().unwrap(), Some(BTreeSet::from([12])));
        assert_eq!(auditd.lost().unwrap(), Some(3));
        let bpftrace = store(Contestant::Bpftrace(""));
        assert_eq!(bpftrace.prctls_of(8).unwrap(), Some(1));
        assert_eq!(bpftrace.execs_of(Path::new("/x")).unwrap(), Some(1));
        assert_eq!(bpftrace.tags().unwrap(), Some(BTreeSet::from([3])));
        assert_eq!(bpftrace.lost().unwrap(), Some(5));
        assert_eq!(store(Contestant::Bare).tags().unwrap(), None);
        fs::remove_dir_all(&dir).unwrap();
    }
}
