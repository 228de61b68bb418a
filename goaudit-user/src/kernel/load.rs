//! From the object to attached programs, as types: [`Loaded`] has maps and settings in the kernel,
//! [`Attached`] has programs running. Each program stands alone: one that fails is reported, not fatal.

use std::any::Any;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use aya::programs::{FExit, Program as AyaProgram, ProgramError, RawTracePoint, TracePoint};
use aya::{Btf, Ebpf, EbpfLoader};
use goaudit_ebpf::settings::{ABSENT, Offsets, Settings, SyscallNumbers, toggle};
use goaudit_ebpf::wire::{ABI, Kind};
use zerocopy::IntoBytes;

use super::features::{Feature, try_feature};
use super::go::GoPrograms;
use super::hooks::{AttachPoint, Hook, PROGRAMS, Program};
use super::object::Instructions;
use super::offsets::{Resolved, VMLINUX};
use super::tracefs::Tracefs;
use super::{AttachReport, Config, KernelError, object, sys};

/// Programs that the verifier takes longest for (30 ms each; a quarter of a second where it must follow loops round by
/// round): they are loaded side by side.
const SLOW: &[&str] = &[
    "exec_commit",
    "exec_exit",
    "exec_commit_relief",
    "exec_commit_last",
    "exec_exit_relief",
    "ptrace_exit",
    "ptrace_exit_relief",
];
/// The object is in the kernel, nothing runs.
pub(super) struct Loaded {
    ebpf: Ebpf,
    resolved: Resolved,
    hooks: BTreeSet<Hook>,
    fexit: Result<(), String>,
    scoped: bool,
    relief: bool,
    instructions: Instructions,
}

/// The programs run.
pub(super) struct Attached {
    /// The maps, and the programs for Go, which are not loaded yet.
    pub(super) programs: GoPrograms,
    /// What holds the programs in place.
    pub(super) links: Vec<Box<dyn Any + Send>>,
    /// One for each program.
    pub(super) reports: Vec<AttachReport>,
}

impl Loaded {
    /// Resolves, writes settings, loads maps.
    pub(super) fn load(config: &Config) -> Result<Self, KernelError> {
        try_feature(Feature::Bpf, None).map_err(super::no_privilege)?;
        // A new loader reads the kernel's type information, wanted or not: at the same time, not in turn.
        let (resolved, mut loader) = std::thread::scope(|scope| {
            let loader = scope.spawn(EbpfLoader::new);
            (Resolved::of_this_kernel(), loader.join().unwrap_or_default())
        });
        let resolved = resolved?;
        try_feature(Feature::RingBuffer, None).map_err(KernelError::NoRingBuffer)?;
        let instructions = Instructions {
            fetch_atomics: try_feature(Feature::FetchAtomics, None).is_ok(),
            may_goto: !config.followed_loops && try_feature(Feature::MayGoto, None).is_ok(),
            typed_tasks: try_feature(Feature::TypedTasks, None).is_ok(),
        };

        let hooks: BTreeSet<Hook> = match &config.only_hooks {
            Some(only) => only.iter().copied().collect(),
            None => Hook::ALL.into_iter().collect(),
        };
        let fexit = if hooks.contains(&Hook::Ptrace) {
            try_feature(Feature::Fexit, Some(resolved.types())).map_err(|error| error.to_string())
        } else {
            Ok(())
        };
        let relief = config.relief.unwrap_or_else(|| resolved.types().preempts_programs());
        let own_tgid = sys::initial_tgid().unwrap_or_else(|_| std::process::id());
        let settings = Settings {
            own_tgid,
            relief: u32::from(relief),
            ..settings(config, &resolved, &hooks, instructions, fexit.is_ok())
        };
        let scoped = config.scoped || config.skip_descendants;
        loader
            .btf(None)
            .override_global("SETTINGS", settings.as_bytes(), true)
            .map_max_entries("EVENTS", settings.ring_bytes);
        if !scoped {
            loader.map_max_entries("SCOPE", 1);
        }
        if !instructions.fetch_atomics {
            loader.map_max_entries("SCRATCH", 1);
        }
        if !relief {
            loader.map_max_entries("MARKS", 1);
        }
        if !config.go {
            for map in
                ["GO_PROBES", "GO_FIELDS", "GO_HEALTH", "GO_KEPT", "GO_WORK", "GO_DYING", "GO_PROCESSES"]
            {
                loader.map_max_entries(map, 1);
            }
        }
        let ebpf = loader.load(&object::with(instructions))?;
        Ok(Self { ebpf, resolved, hooks, fexit, scoped, relief, instructions })
    }

    /// Loads and attaches every program of the chosen hooks. Those for Go come later, when there is a Go program.
    pub(super) fn attach(mut self) -> Attached {
        let mut links = Vec::new();
        let mut reports = Vec::new();
        let mut failed: BTreeSet<&str> = BTreeSet::new();
        self.load_slow();
        let tracefs = Tracefs::open();
        let btf = if self.fexit.is_ok() && self.hooks.contains(&Hook::Ptrace) {
            Some(Btf::parse_file(VMLINUX, aya::Endianness::default()))
        } else {
            None
        };
        for program in PROGRAMS {
            if !self.wanted(program)
                || program.instead_of.is_some_and(|first| !failed.contains(first))
                || program.relief_of.is_some_and(|first| failed.contains(first))
            {
                continue;
            }
            let outcome = self.attach_one(program, tracefs.as_ref(), btf.as_ref());
            if outcome.is_err() {
                failed.insert(program.name);
            }
            let (attached, reason) = match outcome {
                Ok(link) => {
                    links.push(link);
                    (true, None)
                }
                Err(reason) => (false, Some(reason)),
            };
            reports.push(AttachReport {
                hook: program.hook,
                program: program.name,
                attach_point: program.point.to_string(),
                attached,
                not_seen: (!attached).then_some(program.not_seen),
                reason,
            });
        }
        explain_stand_ins(&mut reports);
        Attached { programs: self.idle(), links, reports }
    }

    /// Attaches nothing more: the programs for Go alone.
    pub(super) fn idle(self) -> GoPrograms {
        let Self { ebpf, instructions, .. } = self;
        GoPrograms::new(ebpf, instructions)
    }

    /// Loads every program by itself; see [`super::verify_programs`].
    pub(super) fn verify(mut self) -> Vec<super::Verdict> {
        let mut names: BTreeSet<&str> = PROGRAMS.iter().map(|program| program.name).collect();
        names.extend(super::go::PROGRAMS);
        names.insert(super::go::SIGNAL_PROGRAM);
        names.into_iter().map(|name| (name, verifier_log(&mut self.ebpf, name))).collect()
    }

    /// Whether a program is needed: exit keeps the maps tidy, fork hands on the scope.
    fn wanted(&self, program: &Program) -> bool {
        let hook = self.hooks.contains(&program.hook)
            || program.hook == Hook::Exit
            || (program.hook == Hook::Fork && self.scoped);
        hook && (self.relief || program.relief_of.is_none())
    }

    /// Loads the slow programs, each in a thread of its own. One that fails is tried again when its turn comes,
    /// which tells why.
    fn load_slow(&mut self) {
        let slow: BTreeSet<&str> = PROGRAMS
            .iter()
            .filter(|program| self.wanted(program) && SLOW.contains(&program.name))
            .map(|program| program.name)
            .collect();
        side_by_side(&mut self.ebpf, |name| slow.contains(name));
    }

    fn attach_one(
        &mut self,
        program: &Program,
        tracefs: Result<&Tracefs, &std::io::Error>,
        btf: Option<&Result<Btf, aya::BtfError>>,
    ) -> Result<Box<dyn Any + Send>, String> {
        let loaded = self.ebpf.program_mut(program.name).ok_or("the object has no such program")?;
        match program.point {
            AttachPoint::RawTracepoint(name) => {
                let raw: &mut RawTracePoint = loaded.try_into().map_err(one_line)?;
                if raw.fd().is_err() {
                    raw.load().map_err(one_line)?;
                }
                let link = raw.attach(name).map_err(one_line)?;
                Ok(Box::new(raw.take_link(link).map_err(one_line)?))
            }
            AttachPoint::Tracepoint(category, name) => {
                let tracefs = tracefs.map_err(|error| format!("tracefs cannot be opened: {error}"))?;
                let id = tracefs.id(category, name).map_err(|error| {
                    format!("{category}/{name} is not in tracefs ({}): {error}", tracefs.place())
                })?;
                let trace: &mut TracePoint = loaded.try_into().map_err(one_line)?;
                // Some programs hang at several tracepoints, some are loaded already.
                if trace.fd().is_err() {
                    trace.load().map_err(one_line)?;
                }
                let fd = trace.fd().map_err(one_line)?;
                let link: OwnedFd = sys::attach_tracepoint(id, fd.as_fd())
                    .map_err(|error| format!("perf_event_open or its ioctl: {error}"))?;
                Ok(Box::new(link))
            }
            AttachPoint::Fexit(function, arguments) => {
                if let Err(reason) = &self.fexit {
                    return Err(format!("fexit is not allowed here: {reason}"));
                }
                match self.resolved.types().function(function) {
                    None => return Err("this kernel has no such function (not built in, or inlined)".into()),
                    Some((_, count)) if count != arguments => {
                        return Err(format!("the function has {count} arguments here, not {arguments}"));
                    }
                    Some(_) => {}
                }
                let btf = match btf {
                    Some(Ok(btf)) => btf,
                    Some(Err(error)) => return Err(one_line(error)),
                    None => return Err("type information was not read".into()),
                };
                let fexit: &mut FExit = loaded.try_into().map_err(one_line)?;
                fexit.load(function, btf).map_err(one_line)?;
                let link = fexit.attach().map_err(one_line)?;
                Ok(Box::new(fexit.take_link(link).map_err(one_line)?))
            }
        }
    }
}

/// Loads programs, each in a thread of its own. Why one fails is told by the next try.
pub(super) fn side_by_side(ebpf: &mut Ebpf, wanted: impl Fn(&str) -> bool) {
    std::thread::scope(|scope| {
        for (_, program) in ebpf.programs_mut().filter(|(name, _)| wanted(name)) {
            scope.spawn(move || {
                let _ = match program {
                    AyaProgram::RawTracePoint(program) => program.load(),
                    AyaProgram::TracePoint(program) => program.load(),
                    AyaProgram::UProbe(program) => program.load(),
                    _ => Ok(()),
                };
            });
        }
    });
}

/// A program that another one stands in for is not missed.
fn explain_stand_ins(reports: &mut [AttachReport]) {
    let stand_ins: Vec<(&str, &str)> = reports
        .iter()
        .filter(|report| report.attached)
        .filter_map(|report| PROGRAMS.iter().find(|program| program.name == report.program))
        .filter_map(|program| Some((program.instead_of?, program.name)))
        .collect();
    for report in reports.iter_mut().filter(|report| !report.attached) {
        if let Some((_, name)) = stand_ins.iter().find(|(instead_of, _)| *instead_of == report.program) {
            report.not_seen = None;
            report.reason = report.reason.take().map(|reason| format!("{name} stands in: {reason}"));
        }
    }
}

/// The settings that the programs see as constants.
fn settings(
    config: &Config,
    resolved: &Resolved,
    hooks: &BTreeSet<Hook>,
    instructions: Instructions,
    fexit: bool,
) -> Settings {
    let mut toggles = 0;
    if config.scoped {
        toggles |= toggle::SCOPED;
    }
    if config.skip_descendants {
        toggles |= toggle::SKIP_DESCENDANTS;
    }
    let mut kinds = 1 << Kind::Text as u32;
    for hook in hooks {
        kinds |= 1
            << match hook {
                Hook::Exec => Kind::Exec,
                Hook::Fork => Kind::Fork,
                Hook::Exit => Kind::Exit,
                Hook::Prctl => Kind::Prctl,
                Hook::Ptrace => Kind::Ptrace,
            } as u32;
    }
    let checks = PROGRAMS
        .iter()
        .filter(|_| fexit)
        .filter_map(|program| match program.point {
            AttachPoint::Fexit(function, arguments) => {
                let matches =
                    resolved.types().function(function).is_some_and(|(_, count)| count == arguments);
                program.check.filter(|_| matches)
            }
            AttachPoint::RawTracepoint(_) | AttachPoint::Tracepoint(..) => None,
        })
        .fold(0, |checks, check| checks | 1 << check as u32);
    Settings {
        abi: ABI,
        own_tgid: u32::MAX,
        toggles,
        ring_bytes: ring_bytes(config.ring_bytes),
        wake_bytes: wake_bytes(ring_bytes(config.ring_bytes)),
        upid_size: resolved.upid_size,
        ptrace_checks: checks,
        fetch_atomics: u32::from(instructions.fetch_atomics),
        may_goto: u32::from(instructions.may_goto),
        exit_group_dead: u32::from(resolved.exit_group_dead),
        kinds,
        relief: 0,
        typed_tasks: u32::from(instructions.typed_tasks && knows_tasks(&resolved.offsets)),
        registers: resolved.registers,
        task_compat: resolved.task_compat,
        signal_subreaper: resolved.signal_subreaper,
        numbers: SyscallNumbers {
            execve: number(libc::SYS_execve),
            execveat: number(libc::SYS_execveat),
            prctl: number(libc::SYS_prctl),
            ptrace: number(libc::SYS_ptrace),
        },
        offsets: resolved.offsets,
    }
}

/// Whether all is there that the programs read of a typed task without looking whether it is.
fn knows_tasks(offsets: &Offsets) -> bool {
    [
        offsets.task_group_leader,
        offsets.task_start_boottime,
        offsets.task_real_parent,
        offsets.task_tgid,
        offsets.task_cred,
        offsets.cred_uid,
    ]
    .iter()
    .all(|offset| *offset != ABSENT)
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(ABSENT)
}

/// A size that the kernel takes: a power of two, at least a page, at most 1 GiB.
fn ring_bytes(wanted: u32) -> u32 {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(65_536);
    wanted.clamp(page, 1 << 30).checked_next_power_of_two().unwrap_or(1 << 30)
}

/// Bytes of one CPU after which a sleeping reader is woken: all CPUs together leave most of the ring free, and a
/// batch is never so large that nothing else runs meanwhile.
fn wake_bytes(ring_bytes: u32) -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let share = ring_bytes / 4 / u32::try_from(cpus).unwrap_or(u32::MAX).max(1);
    share.clamp(4 << 10, 256 << 10)
}

/// An error with its causes, without the verifier's log lines behind the first.
pub(super) fn one_line(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let line = next.to_string();
        if !text.contains(&line) {
            text = format!("{text}: {line}");
        }
        cause = next.source();
    }
    verdict(&text)
}

/// Of a verifier log only what failed: its last line that is not a statistic.
fn verdict(text: &str) -> String {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    let last = lines
        .map(str::trim)
        .rfind(|line| {
            !line.is_empty()
                && !["processed ", "verification time", "stack depth"]
                    .iter()
                    .any(|start| line.starts_with(start))
        })
        .unwrap_or_default();
    if last.is_empty() { first } else { format!("{first} {last}") }
}

/// Loads a program without attaching it; the whole verifier log on failure. For the kernel lab.
fn verifier_log(ebpf: &mut Ebpf, name: &str) -> Result<u32, String> {
    let load = |program: &mut AyaProgram| -> Result<(), ProgramError> {
        match program {
            AyaProgram::RawTracePoint(program) => program.load(),
            AyaProgram::TracePoint(program) => program.load(),
            AyaProgram::UProbe(program) => program.load(),
            _ => Ok(()),
        }
    };
    let program = ebpf.program_mut(name).ok_or("no such program")?;
    load(program).map_err(|error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        text
    })?;
    Ok(program.info().ok().and_then(|info| info.verified_instruction_count()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_a_power_of_two_of_pages() {
        assert_eq!(ring_bytes(0), u32::try_from(rustix::param::page_size()).unwrap_or(0));
        assert_eq!(ring_bytes(5 << 20), 8 << 20);
        assert_eq!(ring_bytes(8 << 20), 8 << 20);
        assert_eq!(ring_bytes(u32::MAX), 1 << 30);
    }

    #[test]
    fn a_verifier_log_is_told_in_one_line() {
        let log =
            "load failed\n0: R1=ctx()\ninvalid func unknown#158\nprocessed 12 insns (limit 1000000)\n\n";
        assert_eq!(verdict(log), "load failed invalid func unknown#158");
        assert_eq!(verdict("no log"), "no log");
    }

    #[test]
    fn a_program_that_is_stood_in_for_is_not_missed() {
        let report = |program, attached| AttachReport {
            hook: Hook::Prctl,
            program,
            attach_point: String::new(),
            attached,
            reason: (!attached).then(|| "refused".into()),
            not_seen: (!attached).then_some("prctl"),
        };
        let mut reports = [report("prctl_exit", false), report("prctl_exit_raw", true)];
        explain_stand_ins(&mut reports);
        assert!(reports.iter().all(|report| report.not_seen.is_none()));
        let mut reports = [report("prctl_exit", false), report("prctl_exit_raw", false)];
        explain_stand_ins(&mut reports);
        assert!(reports.iter().all(|report| report.not_seen == Some("prctl")));
    }
}
