//! The conservation law joins the verdict: `seen = stored + lost + filtered`, recomputed from the file alone.
//!
//! The log's structure is `audit`'s business and the law itself is `correlate::conservation`'s; here the two
//! become one report.

use crate::audit::{BadPlace, Check, Report, Verdict};
use crate::correlate::conservation::{Finding, Run};

/// Adds the checks `decoded` and `conservation` to the report. Books that do not agree are tampering or a bug, an
/// open book or told loss makes a log incomplete. Of a log that is damaged, or unknown in parts, the findings are told and
/// make nothing worse.
///
/// `undecodable`: number of the first event whose bytes are not an event, and why.
pub fn judge(report: &mut Report, runs: &[Run], undecodable: Option<(u64, String)>) {
    if let Some((seq, why)) = undecodable {
        let what = format!("event {seq} is sealed but is not an event of this version: {why}");
        bad(report, Verdict::Incomplete, Some(seq), &what);
        report.checks.push(Check { name: "decoded", ok: false, detail: what });
    } else {
        report.checks.push(Check { name: "decoded", ok: true, detail: "every event can be read".to_owned() });
    }
    // Books cannot balance where a part of the log could not be read: that says nothing more than what is said already.
    let whole = report.first_bad.is_none();
    report.lost = runs.iter().map(|run| run.lost).sum();
    report.not_run = runs.iter().map(|run| run.not_run).sum();
    report.probes_taken_away = runs.iter().map(|run| run.taken_away).sum();
    let findings: Vec<String> = runs
        .iter()
        .enumerate()
        .flat_map(|(number, run)| run.findings.iter().map(move |finding| (number, finding)))
        .map(|(number, finding)| {
            let what = format!("run {}: {}", number + 1, tell(finding));
            if whole {
                bad(report, severity(finding), None, &what);
            }
            what
        })
        .collect();
    let nothing_lost = report.lost == 0 && report.not_run == 0 && report.probes_taken_away == 0;
    if !nothing_lost {
        report.verdict = report.verdict.max(Verdict::Incomplete);
    }
    let stored: u64 = runs.iter().map(|run| run.stored).sum();
    let filtered: u64 = runs.iter().map(|run| run.filtered).sum();
    let detail = if findings.is_empty() {
        format!(
            "seen {} = stored {stored} + lost {} + filtered {filtered}, on every CPU of {} runs",
            stored + report.lost + filtered,
            report.lost,
            runs.len()
        )
    } else {
        findings.join("; ")
    };
    report.checks.push(Check { name: "conservation", ok: findings.is_empty(), detail });
    let mut causes: Vec<String> = runs
        .iter()
        .flat_map(|run| run.causes.iter().map(|(cause, count)| format!("{count} {cause}")))
        .collect();
    if report.probes_taken_away > 0 {
        causes.push(format!("{} times probes taken away", report.probes_taken_away));
    }
    let detail = if causes.is_empty() { "nothing was lost".to_owned() } else { causes.join(", ") };
    report.checks.push(Check { name: "no_loss", ok: nothing_lost, detail });
}

/// Why the books of a log cannot be balanced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotJudged {
    /// Only its end was read.
    OnlyTheEnd,
    /// Its events are encrypted and were not opened.
    Encrypted,
}

/// Adds to the report that the books were not balanced, and what batch headers tell. They tell it of all batches, also of
/// those that are encrypted.
pub fn not_judged(report: &mut Report, why: NotJudged) {
    let detail = match why {
        NotJudged::OnlyTheEnd => {
            "only what came since the last verification was read; verify without --state to balance the books"
        }
        NotJudged::Encrypted => {
            "events are encrypted and were not opened; verify with --content-key to balance the books"
        }
    };
    report.checks.push(Check { name: "conservation", ok: false, detail: detail.to_owned() });
    if why == NotJudged::Encrypted && report.lost > 0 {
        report.verdict = report.verdict.max(Verdict::Incomplete);
    }
    let detail = format!("batch headers tell of {} lost events", report.lost);
    report.checks.push(Check { name: "no_loss", ok: false, detail });
}

fn bad(report: &mut Report, verdict: Verdict, event: Option<u64>, what: &str) {
    report.verdict = report.verdict.max(verdict);
    if verdict > Verdict::Incomplete && report.first_bad.is_none() {
        report.first_bad =
            Some(BadPlace { segment: None, offset: None, batch: None, event, what: what.to_owned() });
    }
}

/// A run that was cut off is incomplete; numbers that disagree cannot come from a crash.
const fn severity(finding: &Finding) -> Verdict {
    match finding {
        Finding::NotClosed | Finding::NoStart => Verdict::Incomplete,
        Finding::Unexplained { .. } | Finding::Losses { .. } => Verdict::Tampered,
    }
}

fn tell(finding: &Finding) -> String {
    match finding {
        Finding::Unexplained { cpu, range: (first, last), seen, explained } => format!(
            "CPU {cpu}: {seen} records were seen and {explained} are explained, the difference lies between its \
             numbers {first} and {last}"
        ),
        Finding::Losses { cause, claimed, told } => {
            format!("{claimed} records were counted as lost by {cause}, the log tells of {told}")
        }
        Finding::NotClosed => {
            "it has no orderly end (killed, power loss, or still recording): what was lost after its last \
             heartbeat cannot be told"
                .to_owned()
        }
        Finding::NoStart => "records before any start event: the beginning of the log is gone".to_owned(),
    }
}
