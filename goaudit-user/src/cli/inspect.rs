//! `goaudit inspect`: what goaudit would do to a Go program, without touching it.

use std::fmt::Write;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::OFlags;
use serde::Serialize;

use super::capture::profiles;
use super::{Exit, output};
use crate::golang::profile::Chosen;
use crate::golang::{
    Arch, BuildInfo, Class, Confidence, Costs, Format, Loading, Module, Probe, Program, RuntimeOffsets,
    Verdict, Wanted,
};
use crate::kernel;
use crate::view::text::visible;

/// Larger files are not programs; bounds what a wrong argument can make goaudit read.
const MAX_FILE: u64 = 4 << 30;

/// Tell which functions of a Go program can be probed, where, and at what cost. Touches nothing.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Verdicts: present (every call is seen), inlined_at (some calls were inlined), inlined_only, absent, refused; each with its reason.\nExit codes: 0 ok, 1 not a Go program that can be read, 2 usage, 4 with --strict when a function cannot be probed, a call may be unseen, or there is no function at all."
)]
pub(super) struct Args {
    /// The program's file, or the number of a running process (for a file of that name: ./1234).
    #[arg(value_name = "BINARY|PID")]
    program: PathBuf,

    /// A function to plan for: import path (a major version may be left out), dot, and its name as Go writes it, e.g.
    /// 'github.com/casbin/casbin.(*Enforcer).Enforce'. May be repeated [default: the functions of profiles that the
    /// program has].
    #[arg(long, value_name = "NAME")]
    function: Vec<String>,

    /// A file with profiles, whose functions are looked for in addition to those of the built-in ones. May be repeated.
    #[arg(long, value_name = "FILE", conflicts_with = "function")]
    profile: Vec<PathBuf>,

    /// Measure on goaudit's own code what a hit costs on this host (needs the privileges of `record`), and tell what a
    /// call will cost.
    #[arg(long, conflicts_with = "emulated_ns")]
    calibrate: bool,

    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,

    /// Exit with 4 unless every function, and at least one, can be probed with no call unseen.
    #[arg(long)]
    strict: bool,

    /// What a hit at an emulated instruction costs on this host, in nanoseconds.
    #[arg(long, value_name = "NS", requires = "stepped_ns")]
    emulated_ns: Option<u64>,

    /// What a hit at a single-stepped instruction costs on this host, in nanoseconds.
    #[arg(long, value_name = "NS", requires = "emulated_ns")]
    stepped_ns: Option<u64>,
}

/// The JSON view (docs/events.md).
#[derive(Serialize)]
struct View<'a> {
    binary: String,
    go_version: Option<&'a str>,
    build: Build<'a>,
    runtime_layout: Layout,
    stack_traces: StackTraces,
    modules: &'a [Module],
    functions: u64,
    warnings: Vec<String>,
    /// Nanoseconds of a hit on this host, as given or measured.
    costs: Option<HitCosts>,
    probes: Vec<Row>,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "names of the JSON view, with their unit")]
struct HitCosts {
    emulated_ns: u64,
    stepped_ns: u64,
    /// Of making the record, on top.
    record_ns: u64,
    /// Of reading each value, on top.
    value_ns: u64,
}

/// The plan for a function, and the profile's probe that asked for it.
#[derive(Serialize)]
struct Row {
    profile: Option<String>,
    #[serde(flatten)]
    plan: Probe,
}

/// Whose offsets of the runtime's structures are used: goroutine numbers, panics, maps and requests are read with them.
#[derive(Serialize)]
struct Layout {
    /// `known`: measured with this release. `assumed`: those of another; what is read is checked, and may be missing.
    confidence: &'static str,
    /// The Go release that they were measured with.
    release: String,
}

/// What stack traces of it have, stripped or not: they are read from the tables that Go's own tracebacks use.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states")]
struct StackTraces {
    /// Names of Go functions.
    functions: bool,
    /// File and line.
    lines: bool,
    /// Functions that were inlined, with the place of the call.
    inlined: bool,
    /// Names of C functions.
    c_functions: bool,
}

/// How it was built.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of a build, not states")]
struct Build<'a> {
    mode: &'a str,
    arch: Arch,
    stripped: bool,
    dwarf: bool,
    pie: bool,
    /// No dynamic loader runs before it.
    #[serde(rename = "static")]
    is_static: bool,
    race: bool,
    cgo: bool,
    table_format: Format,
    #[serde(rename = "build_id")]
    identity: Option<String>,
    main_package: Option<&'a str>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let path = path_of(&args.program)?;
    let failed = || format!("failed to inspect {}", path.display());
    let data = read(&path).with_context(failed)?;
    let program = Program::parse(&data).with_context(failed)?;
    let costs = costs(args)?;
    let mut warnings = program.warnings();
    let probes =
        if args.function.is_empty() {
            let profile = profiles(&args.profile)?;
            let chosen = profile.choose(program.build());
            let passed = profile.passed_over(program.build(), &chosen);
            warnings.extend(passed.iter().map(|passed| {
                format!("{} is not probed: {}", passed.declared.wanted().text(), passed.reason())
            }));
            of_profiles(&program, &chosen, costs)
        } else {
            let wanted: Vec<Wanted> = args.function.iter().map(|name| Wanted::new(name)).collect();
            program.plan(&wanted, costs).into_iter().map(|plan| Row { profile: None, plan }).collect()
        };
    let complete = !probes.is_empty() && probes.iter().all(|probe| probe.plan.verdict == Verdict::Present);
    let view = View {
        binary: path.display().to_string(),
        go_version: program.build().map(|build| build.go_version.as_str()),
        build: build_of(&program),
        runtime_layout: layout_of(&program),
        stack_traces: stack_traces_of(&program),
        modules: program.build().map_or(&[], |build| &build.modules),
        functions: program.table().len(),
        warnings,
        costs: costs.map(|Costs { emulated_ns, stepped_ns, record_ns, value_ns }| HitCosts {
            emulated_ns,
            stepped_ns,
            record_ns,
            value_ns,
        }),
        probes,
    };
    let text = if args.json { serde_json::to_string(&view)? + "\n" } else { text(&view, args)? };
    output::result(text.as_bytes())?;
    Ok(if args.strict && !complete { Exit::Incomplete } else { Exit::Ok })
}

/// What a hit costs here: as given, or measured.
fn costs(args: &Args) -> anyhow::Result<Option<Costs>> {
    if args.calibrate {
        let measured = kernel::rehearse().context("failed to calibrate")?;
        return Ok(Some(measured.costs.ok_or_else(|| {
            Exit::Unsupported.because(
                "what a hit costs can be measured on x86-64 only; give --emulated-ns and --stepped-ns",
            )
        })?));
    }
    let given = args.emulated_ns.zip(args.stepped_ns);
    Ok(given.map(|(emulated_ns, stepped_ns)| Costs { emulated_ns, stepped_ns, ..Costs::default() }))
}

/// The functions of profiles that the program has, each once: also those that cannot be probed, and those of the user's own
/// profiles that it should have.
fn of_profiles(program: &Program<'_>, chosen: &[Chosen], costs: Option<Costs>) -> Vec<Row> {
    let wanted: Vec<Wanted> = chosen.iter().map(|chosen| chosen.declared.wanted()).collect();
    let rows = program.plan(&wanted, costs).into_iter().map(|plan| {
        let asked = wanted.iter().position(|wanted| wanted.text() == plan.id);
        (asked.and_then(|at| chosen.get(at)), plan)
    });
    // Of the libraries that goaudit knows most programs have some functions only.
    let told = rows
        .filter(|(chosen, plan)| plan.verdict != Verdict::Absent || chosen.is_some_and(Chosen::is_expected));
    told.map(|(chosen, plan)| Row { profile: chosen.map(|chosen| chosen.declared.id.clone()), plan })
        .collect()
}

/// A process's program is opened through /proc, so that it is the one that runs, also in a container or deleted.
fn path_of(program: &Path) -> anyhow::Result<PathBuf> {
    let pid = program.to_str().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let Some(pid) = pid else { return Ok(program.to_owned()) };
    let directory = Path::new("/proc").join(pid);
    if !directory.is_dir() {
        return Err(Exit::Error.because(format!(
            "no process has the number {pid}: it ended, or is in another container (for a file of that name: ./{pid})"
        )));
    }
    Ok(directory.join("exe"))
}

/// Whether this is the program of a process that is still there.
fn is_process(path: &Path) -> bool {
    path.strip_prefix("/proc").is_ok() && path.ends_with("exe") && path.parent().is_some_and(Path::is_dir)
}

pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    // A pipe would keep the opening waiting for somebody to write.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && is_process(path) => {
            anyhow::bail!(
                "no program runs there: it is a thread of the kernel, or a process that has ended and that its parent has not asked for yet; name another process, or the program's file"
            )
        }
        opened => opened?,
    };
    let metadata = file.metadata()?;
    anyhow::ensure!(metadata.is_file(), "it is not a regular file: name the program itself");
    anyhow::ensure!(metadata.len() <= MAX_FILE, "it has more than 4 GiB: no Go program is that large");
    // Read, not mapped: a file that is cut off meanwhile must not kill goaudit.
    let mut data = Vec::with_capacity(usize::try_from(metadata.len())?);
    file.take(MAX_FILE).read_to_end(&mut data)?;
    Ok(data)
}

fn layout_of(program: &Program<'_>) -> Layout {
    let release = program.build().and_then(BuildInfo::release);
    let (_, confidence) = RuntimeOffsets::of_program(release, program.table().format());
    let (confidence, (major, minor)) = match confidence {
        Confidence::Known => ("known", release.unwrap_or_default()),
        Confidence::Assumed(release) => ("assumed", release),
    };
    Layout { confidence, release: format!("{major}.{minor}") }
}

fn stack_traces_of(program: &Program<'_>) -> StackTraces {
    // The oldest format has other tables of files and inlined calls.
    let read = program.table().format() > Format::Go1_2;
    StackTraces {
        functions: true,
        lines: read,
        inlined: read && program.module().gofunc.is_some(),
        c_functions: false,
    }
}

fn build_of<'a>(program: &'a Program<'_>) -> Build<'a> {
    let image = program.image();
    let pie = image.position_independent();
    let recorded = program.build().and_then(|build| build.setting("-buildmode"));
    Build {
        mode: recorded.unwrap_or(match program.loading() {
            Loading::Library => "library",
            Loading::Dynamic | Loading::Static | Loading::StaticPie if pie => "pie",
            Loading::Dynamic | Loading::Static | Loading::StaticPie => "exe",
        }),
        arch: image.arch(),
        stripped: !image.has_symbols(),
        dwarf: image.has_dwarf(),
        pie,
        is_static: matches!(program.loading(), Loading::Static | Loading::StaticPie),
        race: program.is_race(),
        cgo: program.is_cgo(),
        table_format: program.table().format(),
        identity: program.build_id(),
        main_package: program.build().and_then(|build| build.main_package.as_deref()),
    }
}

fn text(view: &View<'_>, args: &Args) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let yes = |flag: bool, word: &'static str| if flag { word } else { "" };
    let build = &view.build;
    writeln!(out, "{}", visible(&view.binary))?;
    let traits = [
        &*visible(build.mode),
        yes(build.is_static, "static"),
        yes(build.stripped, "stripped"),
        yes(build.cgo, "cgo"),
        yes(build.race, "race detector"),
        yes(build.dwarf, "DWARF"),
    ];
    let traits: Vec<&str> = traits.into_iter().filter(|word| !word.is_empty()).collect();
    let arch = match build.arch {
        Arch::Amd64 => "amd64",
        Arch::Arm64 => "arm64",
    };
    let version = visible(view.go_version.unwrap_or("unknown Go version"));
    writeln!(out, "  {version} {arch}, {}, {} functions", traits.join(", "), view.functions)?;
    layout_text(&mut out, view)?;
    for module in view.modules {
        write!(out, "  module {} {}", visible(&module.path), visible(&module.version))?;
        if let Some(replace) = &module.replace {
            write!(out, " => {} {}", visible(&replace.path), visible(&replace.version))?;
        }
        writeln!(out)?;
    }
    for warning in &view.warnings {
        writeln!(out, "  warning: {}", visible(warning))?;
    }
    if view.probes.is_empty() {
        writeln!(
            out,
            "  no function of a profile is in it; name others with --function to see where they can be probed"
        )?;
    }
    for row in &view.probes {
        probe_text(&mut out, row)?;
    }
    match &view.costs {
        Some(HitCosts { emulated_ns, stepped_ns, record_ns, value_ns }) => {
            writeln!(
                out,
                "\na hit costs {emulated_ns} ns at an emulated instruction, {stepped_ns} ns at a single-stepped one"
            )?;
            if *record_ns > 0 {
                writeln!(
                    out,
                    "making a record costs {record_ns} ns on top, and each value that is read {value_ns} ns"
                )?;
            }
        }
        None if view.probes.iter().any(|row| row.plan.entry.is_some()) => writeln!(
            out,
            "\nwhat a call will cost on this host: sudo goaudit inspect --calibrate {}",
            visible(&args.program.display().to_string())
        )?,
        None => {}
    }
    Ok(out)
}

/// How far what is read of a program can be relied on, and what its stacks look like.
fn layout_text(out: &mut String, view: &View<'_>) -> std::fmt::Result {
    let Layout { confidence, release } = &view.runtime_layout;
    let meaning = match *confidence {
        "known" => "measured with this release",
        _ => {
            "the nearest that was measured; what is read is checked, and goroutines, panics, maps and requests may be missing"
        }
    };
    writeln!(out, "  runtime layout {confidence}: that of Go {release}, {meaning}")?;
    let StackTraces { functions: _, lines, inlined, c_functions: _ } = view.stack_traces;
    let lines = if lines { " with file and line" } else { ", no lines" };
    let inlined = if inlined { "inlined calls too" } else { "inlined calls not" };
    let c_code = if view.build.cgo { "; C frames as addresses only" } else { "" };
    writeln!(out, "  stack traces: Go functions{lines}, {inlined} (no symbol table is needed){c_code}")
}

fn probe_text(out: &mut String, row: &Row) -> std::fmt::Result {
    let Row { profile, plan: probe } = row;
    let verdict = match probe.verdict {
        Verdict::Present => "present",
        Verdict::InlinedAt => "present, inlined in places",
        Verdict::InlinedOnly => "inlined only",
        Verdict::Absent => "absent",
        Verdict::Refused => "refused",
    };
    writeln!(out, "\n{}", visible(&probe.function))?;
    writeln!(out, "  {verdict}: {}", visible(&probe.reason))?;
    if let Some(id) = profile {
        writeln!(out, "  profile {}", visible(id))?;
    }
    if let Some(entry) = probe.entry {
        let class = |class: Class| match class {
            Class::Emulated => "emulated",
            Class::Stepped => "single-stepped",
        };
        let jump = if entry.ignore_when_taken { ", the jump of the stack check" } else { "" };
        writeln!(out, "  entry   {:#x} ({}{jump})", entry.offset, class(entry.class))?;
        let offsets: Vec<String> = probe.returns.iter().map(|offset| format!("{offset:#x}")).collect();
        let returns = probe.return_class.map_or("", class);
        writeln!(out, "  returns {} ({returns})", offsets.join(" "))?;
    }
    if let Some(cost) = probe.predicted_ns_per_call {
        writeln!(out, "  cost    {cost} ns per call")?;
    }
    for caller in &probe.inlined_into {
        writeln!(out, "  inlined {} x into {}", caller.places, visible(&caller.function))?;
    }
    for name in &probe.nearest {
        writeln!(out, "  nearest {}", visible(name))?;
    }
    Ok(())
}
