//! `goaudit doctor`: what this host allows, each ability tried for real, with cause and fix.

use serde::Serialize;

use super::Exit;
use crate::host::identity;
use crate::kernel::features::{FEATURES, FeatureInfo, try_feature};
use crate::kernel::hooks::Hook;
use crate::kernel::offsets::Resolved;
use crate::kernel::{self, AttachReport, RehearsalError, Rehearsed};

/// Try what this host allows, for real, and say what to do about the rest.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all is there, or only what goaudit can do without is missing; 5 this kernel lacks something needed; 77 a privilege is missing."
)]
pub(super) struct Args {
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Findings {
    kernel: String,
    machine: String,
    features: Vec<FeatureFinding>,
    missing_offsets: Vec<&'static str>,
    probes: Vec<ProbeFinding>,
    go: GoFinding,
    blind_spots: Vec<BlindSpots>,
    verdict: &'static str,
}

#[derive(Debug, Serialize)]
struct FeatureFinding {
    name: &'static str,
    since: &'static str,
    ok: bool,
    required: bool,
    error: Option<String>,
    without: &'static str,
    fix: &'static str,
}

#[derive(Debug, Serialize)]
struct ProbeFinding {
    hook: &'static str,
    program: &'static str,
    attach_point: String,
    attached: bool,
    reason: Option<String>,
    not_seen: Option<&'static str>,
}

/// Whether Go programs can be probed: tried on goaudit's own code.
#[derive(Debug, Serialize)]
struct GoFinding {
    ok: bool,
    mechanism: Option<String>,
    /// What a hit costs; `null` where it cannot be measured.
    emulated_ns: Option<u64>,
    stepped_ns: Option<u64>,
    error: Option<String>,
    fix: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct BlindSpots {
    hook: &'static str,
    not_seen: &'static [&'static str],
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let host = identity::host();
    let resolved = Resolved::of_this_kernel();
    let types = resolved.as_ref().ok().map(Resolved::types);
    let features: Vec<_> =
        FEATURES.iter().map(|info| feature(info, try_feature(info.feature, types))).collect();
    let (probes, exit) = match kernel::Session::start(&kernel::Config::default()) {
        Ok(session) => (session.reports().iter().map(probe).collect(), Exit::Ok),
        Err(error) => (Vec::new(), Exit::of(&anyhow::Error::new(error))),
    };
    let findings = Findings {
        kernel: host.kernel,
        machine: host.machine,
        features,
        missing_offsets: resolved.map(|resolved| resolved.absent.clone()).unwrap_or_default(),
        probes,
        go: go(kernel::rehearse()),
        blind_spots: Hook::ALL
            .iter()
            .map(|hook| BlindSpots { hook: hook.name(), not_seen: hook.blind_spots() })
            .filter(|spots| !spots.not_seen.is_empty())
            .collect(),
        verdict: match exit {
            Exit::Ok => "can record",
            Exit::NoPrivilege => "no privilege",
            Exit::Unsupported => "unsupported",
            Exit::Error | Exit::Usage | Exit::Tampered | Exit::Incomplete => "cannot record",
        },
    };
    if args.json {
        let mut line = serde_json::to_vec(&findings)?;
        line.push(b'\n');
        super::output::result(&line)?;
    } else {
        super::output::result(text(&findings).as_bytes())?;
    }
    Ok(exit)
}

fn feature(info: &FeatureInfo, tried: std::io::Result<()>) -> FeatureFinding {
    FeatureFinding {
        name: info.name,
        since: info.since,
        ok: tried.is_ok(),
        required: info.required,
        error: tried.err().map(|error| error.to_string()),
        without: info.without,
        fix: info.fix,
    }
}

fn probe(report: &AttachReport) -> ProbeFinding {
    ProbeFinding {
        hook: report.hook.name(),
        program: report.program,
        attach_point: report.attach_point.clone(),
        attached: report.attached,
        reason: report.reason.clone(),
        not_seen: report.not_seen,
    }
}

fn go(tried: Result<Rehearsed, RehearsalError>) -> GoFinding {
    let costs = tried.as_ref().ok().and_then(|found| found.costs);
    GoFinding {
        ok: tried.is_ok(),
        mechanism: tried.as_ref().ok().map(|found| found.mechanism.clone()),
        emulated_ns: costs.map(|costs| costs.emulated_ns),
        stepped_ns: costs.map(|costs| costs.stepped_ns),
        fix: tried.as_ref().err().map(RehearsalError::fix),
        error: tried.err().map(|error| error.to_string()),
    }
}

/// The findings for people: one line each, cause and fix below what is missing.
fn text(findings: &Findings) -> String {
    let mut lines = vec![format!("HOST    Linux {} {}", findings.kernel, findings.machine)];
    for feature in &findings.features {
        let Some(error) = &feature.error else {
            lines.push(format!("ok      {}", feature.name));
            continue;
        };
        let mark = if feature.required { "FAIL" } else { "warn" };
        lines.push(format!("{mark}    {:<30} {error}", feature.name));
        lines.push(format!("        without it: {}", feature.without));
        lines.push(format!("        fix: {} (since {})", feature.fix, feature.since));
    }
    if !findings.missing_offsets.is_empty() {
        lines.push(format!("note    this kernel has no {}", findings.missing_offsets.join(", ")));
    }
    for probe in &findings.probes {
        if probe.attached {
            lines.push(format!("ok      {:<8} {}", probe.hook, probe.attach_point));
        } else {
            let reason = probe.reason.as_deref().unwrap_or("unknown reason");
            lines.push(format!("warn    {:<8} {}: {reason}", probe.hook, probe.attach_point));
            if let Some(not_seen) = probe.not_seen {
                lines.push(format!("        not seen: {not_seen}"));
            }
        }
    }
    let go = &findings.go;
    match (&go.error, go.emulated_ns.zip(go.stepped_ns)) {
        (Some(error), _) => {
            lines.push(format!("warn    {:<8} Go programs cannot be probed: failed to {error}", "go"));
            lines.push("        without it: calls, decisions and panics of Go programs".to_owned());
            lines.push(format!("        fix: {}", go.fix.unwrap_or_default()));
        }
        (None, costs) => {
            lines.push(format!("ok      {:<8} {}", "go", go.mechanism.as_deref().unwrap_or_default()));
            if let Some((emulated, stepped)) = costs {
                lines.push(format!(
                    "        a hit costs {emulated} ns at an emulated instruction, {stepped} ns at a single-stepped one"
                ));
            }
        }
    }
    lines.push("Not seen by design:".to_owned());
    for spots in &findings.blind_spots {
        lines.extend(spots.not_seen.iter().map(|spot| format!("        {:<8} {spot}", spots.hook)));
    }
    lines.push(format!("VERDICT {}", findings.verdict));
    lines.push(String::new());
    lines.join("\n")
}
