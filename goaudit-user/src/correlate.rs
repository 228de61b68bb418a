//! Records become events: pieces put together, processes known, repeats told once, losses told at all.
//!
//! Pure: no clock, no files. Time comes with the records and with [`Correlator::flush`]; what only the host
//! knows comes through [`HostInfo`], asked once per thing. Every record that goes in is in the books: as part of
//! an event, as a [`Control::Loss`], or as filtered.

use goaudit_ebpf::hook::exec::flags as exec_flags;
use goaudit_ebpf::hook::{exec, exit, fork, prctl, ptrace};
use goaudit_ebpf::units::{Ktime, Nanos};
use goaudit_ebpf::wire::{CpuState, Header, Section, Text as TextHead, missing};

use std::sync::Arc;

use crate::decode::{DecodeError, Record, decode};
use crate::event::control::{Counters, Loss};
use crate::event::{Control, Event, Missing, Payload, Process, Repeats, Source, Target, Text};
use crate::hook;

pub mod assemble;
pub mod bounded;
pub mod conservation;
pub mod container;
pub mod env;
pub mod go;
pub mod host;
pub mod phantom;
pub mod process_table;
pub mod runs;
pub mod sequence;

use assemble::{Assembly, Pieces};
use env::EnvNames;
use go::{GoBook, GoCalls, Gone, NoBook};
use host::{Cgroup, HostInfo, HostProcess, Memory};
use process_table::{Known, ProcessTable, Start, Task};
use runs::{Run, Runs};
use sequence::{Arrival, Fit, Sequences};

/// What the correlator is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Most processes that are remembered.
    pub processes: usize,
    /// Environment variables that are kept.
    pub env: EnvNames,
    /// Identical calls are told as one event for at most this long.
    pub run_max_age: Nanos,
    /// Pieces wait this long for their main record.
    pub text_max_age: Nanos,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            processes: 65_536,
            env: EnvNames::default(),
            run_max_age: Nanos(100_000_000),
            text_max_age: Nanos(2_000_000_000),
        }
    }
}

/// Odd things that happened, by name: none is expected on a healthy host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Oddities {
    late_records: u64,
    orphan_texts: u64,
    decode: [u64; DecodeError::NAMES.len()],
}

/// See the module.
#[derive(Debug)]
pub struct Correlator<H> {
    config: Config,
    host: Memory<H>,
    processes: ProcessTable,
    assembly: Assembly,
    runs: Runs,
    sequences: Sequences,
    oddities: Oddities,
    losses: Vec<Loss>,
    go: GoCalls,
}

impl<H: HostInfo> Correlator<H> {
    /// A correlator at the start of a run: every CPU's next record is number 1.
    pub fn new(config: Config, host: H) -> Self {
        Self {
            processes: ProcessTable::new(config.processes),
            config,
            host: Memory::new(host),
            assembly: Assembly::default(),
            runs: Runs::default(),
            sequences: Sequences::default(),
            oddities: Oddities::default(),
            losses: Vec::new(),
            go: GoCalls::new(Arc::new(NoBook)),
        }
    }

    /// Tells who knows the probes in Go programs. To be called before the first record.
    pub fn know_go(&mut self, book: Arc<dyn GoBook>) {
        self.go = GoCalls::new(book);
    }

    /// Tells of a process that ran when recording began.
    pub fn learn(&mut self, tgid: u32, process: HostProcess) {
        self.processes.put(tgid, process.into());
    }

    /// Tells of a thread that ran when recording began, by its id inside its pid namespace.
    pub fn learn_thread(&mut self, pid_ns: u32, ns_tid: u32, task: Task) {
        self.processes.put_thread(pid_ns, ns_tid, task);
    }

    /// Takes the bytes of one record; events that are ready go to `out`. Bytes that do not decode are counted.
    #[inline]
    pub fn push(&mut self, record: &[u8], out: &mut Vec<Event>) {
        if let Some(cpu) = self.runs.extend(record, self.config.run_max_age.0) {
            self.sequences.step(cpu);
            return;
        }
        self.push_other(record, out);
    }

    fn push_other(&mut self, bytes: &[u8], out: &mut Vec<Event>) {
        let record = match decode(bytes) {
            Ok(record) => record,
            Err(error) => {
                self.end_runs(Ktime(u64::MAX), out);
                self.sequences.undecodable();
                if let Some(count) = self.oddities.decode.get_mut(error.index()) {
                    *count = count.saturating_add(1);
                }
                return;
            }
        };
        let header = *record.header();
        if !matches!(record, Record::Prctl(_, None)) || !self.runs.free(header.cpu) {
            self.end_runs(Ktime(u64::MAX), out);
        }
        let arrival = self.sequences.arrive(header.cpu, header.seq);
        if arrival == Arrival::Overdue {
            self.oddities.late_records = self.oddities.late_records.saturating_add(1);
        }
        let fit = Fit::from(arrival);
        match record {
            Record::Text(head, section, piece) => self.text(&head, section, piece, fit, out),
            Record::Exec(record) => self.exec(&record, fit, out),
            Record::Fork(record) => self.fork(&record, fit, out),
            Record::Exit(record) => self.exit(&record, fit, out),
            Record::Ptrace(record) => self.ptrace(&record, fit, out),
            Record::GoEnter(call, cells) => self.go_enter(&call, cells, fit, out),
            Record::GoReturn(call, cells) => self.go_return(&call, cells, fit, out),
            Record::GoUnwind(unwind) => self.go_unwind(&unwind, fit, out),
            Record::GoSignal(signal) => self.go_signal(&signal, fit, out),
            Record::Prctl(record, None) if self.runs.begin(bytes, record, fit) => {}
            Record::Prctl(record, change) => self.prctl(&record, change.as_ref(), fit, None, out),
        }
    }

    /// Ends what has waited long enough and tells losses. To be called at every idle poll and at least a few
    /// times a second under load; more often costs little. `now` is boot time; `kernel` is the map `CPU_STATE`, one entry a CPU.
    pub fn flush(&mut self, now: Ktime, kernel: &[CpuState], out: &mut Vec<Event>) {
        self.end_runs(Ktime(now.0.saturating_sub(self.config.run_max_age.0)), out);
        self.expire_texts(now.0.saturating_sub(self.config.text_max_age.0));
        self.go_silent(now, out);
        let mut losses = std::mem::take(&mut self.losses);
        self.sequences.settle(now, kernel, &mut losses);
        self.losses = losses;
        self.tell_losses(now, out);
    }

    /// The end of a run, after the programs are detached and the ring is empty: everything that waits goes to
    /// `out`, every number up to the kernel's last one is accounted for.
    pub fn finish(&mut self, now: Ktime, kernel: &[CpuState], out: &mut Vec<Event>) {
        self.end_runs(Ktime(u64::MAX), out);
        self.go_finish(out);
        self.expire_texts(u64::MAX);
        let mut losses = std::mem::take(&mut self.losses);
        self.sequences.close(kernel, &mut losses);
        self.losses = losses;
        self.tell_losses(now, out);
    }

    /// Counts an event that a filter leaves out of the log: its records are accounted for as filtered.
    pub fn filtered(&mut self, event: &Event) {
        if let Some(source) = &event.source {
            for piece in source.pieces() {
                self.sequences.filtered(piece.cpu, piece.records);
            }
        }
    }

    /// The books. `not_run` is the caller's to fill in.
    pub fn counters(&self) -> Counters {
        let named = |name: &str, count| (name.to_owned(), count);
        let mut oddities = vec![
            named("late_records", self.oddities.late_records),
            named("orphan_texts", self.oddities.orphan_texts),
            named("processes_forgotten", self.processes.evicted()),
            named("kernel_loss_without_gap", self.sequences.unexplained_kernel_loss()),
            named("go_returns_without_entry", self.go.returns_without_entry),
            named("go_calls_given_up", self.go.given_up),
            named("go_goroutine_not_believed", self.go.unbelieved),
            named("go_traceback_too_late", self.go.late_writes),
            named("go_unknown_probe", self.go.unknown_probes),
        ];
        for (name, count) in DecodeError::NAMES.iter().zip(self.oddities.decode) {
            oddities.push((format!("undecodable_{name}"), count));
        }
        oddities.retain(|row| row.1 > 0);
        self.sequences.counters(oddities)
    }

    /// Number of processes that are remembered.
    pub fn processes(&self) -> usize {
        self.processes.len()
    }

    fn end_runs(&mut self, before: Ktime, out: &mut Vec<Event>) {
        let mut runs = std::mem::take(&mut self.runs);
        runs.end(before, |run| self.run(run, out));
        self.runs = runs;
    }

    fn run(&mut self, run: &Run, out: &mut Vec<Event>) {
        let repeats = (run.count > 1).then_some(Repeats { count: run.count, last: run.last });
        self.prctl(&run.first, None, run.fit, repeats, out);
    }

    fn expire_texts(&mut self, before: u64) {
        let mut assembly = std::mem::take(&mut self.assembly);
        assembly.expire(before, |cpu, pieces| self.orphan(cpu, pieces));
        self.assembly = assembly;
    }

    fn orphan(&mut self, cpu: u32, pieces: &Pieces) {
        self.oddities.orphan_texts = self.oddities.orphan_texts.saturating_add(pieces.records);
        self.sequences.orphaned(cpu, pieces.records, pieces.range, &mut self.losses);
    }

    fn tell_losses(&mut self, now: Ktime, out: &mut Vec<Event>) {
        out.extend(self.losses.drain(..).map(|loss| Event {
            ktime: now,
            source: None,
            process: None,
            payload: Payload::Control(Box::new(Control::Loss(loss))),
            missing: Vec::new(),
            sealed: None,
        }));
    }

    fn text(&mut self, head: &TextHead, section: Section, piece: &[u8], fit: Fit, out: &mut Vec<Event>) {
        if let Some(orphan) = self.assembly.add(head, section, piece, fit) {
            self.orphan(head.header.cpu, &orphan);
            self.tell_losses(head.header.ktime, out);
        }
    }

    fn exec(&mut self, record: &exec::Exec, fit: Fit, out: &mut Vec<Event>) {
        let header = &record.header;
        let pieces = self.assembly.take(header.cpu, record.link);
        let mut source = Source {
            cpu: header.cpu,
            first: header.seq,
            records: fit.records,
            lost_before: fit.lost_before,
            repeats: None,
            more: Vec::new(),
        };
        if let Some(pieces) = &pieces {
            source.first = source.first.min(pieces.range.0);
            source.records = source.records.saturating_add(pieces.records);
            source.lost_before = pieces.lost_before;
        }
        let mut gone = Vec::new();
        let hook::exec::Read { exec: mut payload, exe } =
            hook::exec::read(record, pieces, &self.config.env, &mut gone);
        if header.flags & exec_flags::FAILED == 0 {
            self.go_gone(header.tgid.0, Gone::Executed, Some(header.ktime), out);
            payload.previous_exe = self.executed(record, exe);
            if payload.previous_exe.is_none() {
                gone.push(Missing::new("exec.previous_exe", "not known: the process was not seen before"));
            }
            // `hook::exec` has told why the new binary's path is not known or not whole.
            let told = gone.iter().any(|missing| missing.field == "process.exe");
            let process = self.process(header, &mut gone, told);
            self.emit(header.ktime, source, process, Payload::Exec(Box::new(payload)), gone, out);
        } else {
            self.attempted(record);
            let process = self.process(header, &mut gone, false);
            self.emit(header.ktime, source, process, Payload::Exec(Box::new(payload)), gone, out);
        }
    }

    /// A failed exec changes nothing, but its record tells what may not be known of the process yet.
    fn attempted(&mut self, record: &exec::Exec) {
        let header = &record.header;
        let namespaces = (header.missing & exec::missing::NAMESPACES == 0).then_some(record.namespaces);
        let session = (header.missing & exec::missing::SESSION == 0).then_some(record.session);
        if let Some(known) = self.known(header.tgid.0, start_of(header)) {
            known.pid_ns = known.pid_ns.or(namespaces.map(|ns| ns.pid).filter(|ns| *ns != 0));
            known.user_ns = namespaces.map(|ns| ns.user).filter(|ns| *ns != 0).or(known.user_ns);
            known.session = known.session.or(session);
        }
    }

    /// Notes what a process now runs; gives what it ran before.
    fn executed(&mut self, record: &exec::Exec, exe: Option<Text>) -> Option<Text> {
        let header = &record.header;
        let start = start_of(header);
        let before = self.processes.get(header.tgid.0, start).cloned();
        let previous = before.as_ref().and_then(|known| known.exe.clone());
        let namespaces = (header.missing & exec::missing::NAMESPACES == 0).then_some(record.namespaces);
        let session = (header.missing & exec::missing::SESSION == 0).then_some(record.session);
        let known = Known {
            start: start.map_or(Start::Unknown, Start::Exact),
            exe,
            exe_replaced: false,
            exec_ktime_ns: Some(header.ktime.0),
            comm: Some(hook::padded(&header.comm)),
            uid: Some(header.uid),
            pid_ns: namespaces
                .map(|ns| ns.pid)
                .filter(|ns| *ns != 0)
                .or(before.as_ref().and_then(|known| known.pid_ns)),
            user_ns: namespaces.map(|ns| ns.user).filter(|ns| *ns != 0),
            ns_tgid: namespaces.map(|ns| ns.tgid).or(before.as_ref().and_then(|known| known.ns_tgid)),
            session: session.or(before.as_ref().and_then(|known| known.session)),
            cgroup: before.map(|known| known.cgroup).unwrap_or_default(),
        };
        self.processes.put(header.tgid.0, known);
        previous
    }

    fn fork(&mut self, record: &fork::Fork, fit: Fit, out: &mut Vec<Event>) {
        let header = &record.header;
        let mut gone = Vec::new();
        let payload = hook::fork::payload(record, &mut gone);
        let process = self.process(header, &mut gone, false);
        if let (true, Some(pid_ns), Some(ns_tid)) =
            (payload.thread, payload.child_pid_ns, payload.child_ns_tid)
        {
            let task = Task { tgid: payload.child_tgid, tid: payload.child_tid };
            self.processes.put_thread(pid_ns, ns_tid, task);
        }
        if !payload.thread
            && let Some(parent) = self.processes.get(header.tgid.0, start_of(header)).cloned()
        {
            let child = Known {
                start: payload.child_start_ktime_ns.map_or(Start::Unknown, Start::Exact),
                comm: Some(hook::padded(&header.comm)),
                uid: Some(header.uid),
                pid_ns: payload.child_pid_ns,
                ns_tgid: payload.child_ns_tid,
                ..parent
            };
            self.processes.put(payload.child_tgid, child);
        }
        self.emit(header.ktime, single(header, fit), process, Payload::Fork(payload), gone, out);
    }

    fn exit(&mut self, record: &exit::Exit, fit: Fit, out: &mut Vec<Event>) {
        let header = &record.header;
        let mut gone = Vec::new();
        let start = start_of(header);
        let payload = hook::exit::payload(record, start);
        if start.is_none() {
            gone.push(Missing::new("exit.lifetime_ns", "the start time is not known"));
        }
        let process = self.process(header, &mut gone, false);
        self.processes.end(header.tgid.0, start);
        self.go_gone(header.tgid.0, Gone::exited(&payload), Some(header.ktime), out);
        self.emit(header.ktime, single(header, fit), process, Payload::Exit(payload), gone, out);
    }

    fn prctl(
        &mut self,
        record: &prctl::Prctl,
        change: Option<&prctl::Change>,
        fit: Fit,
        repeats: Option<Repeats>,
        out: &mut Vec<Event>,
    ) {
        let header = &record.header;
        let mut gone = Vec::new();
        let payload = hook::prctl::payload(record, change);
        if payload.renamed.is_some()
            && header.tid.0 == header.tgid.0
            && let Some(known) = self.processes.get(header.tgid.0, start_of(header))
        {
            known.comm = Some(hook::padded(&header.comm));
        }
        if hook::prctl::replaces_exe(&payload)
            && let Some(known) = self.processes.get(header.tgid.0, start_of(header))
        {
            known.exe = None;
            known.exe_replaced = true;
        }
        let process = self.process(header, &mut gone, false);
        let mut source = single(header, fit);
        if let Some(repeats) = repeats {
            source.records = fit.records.saturating_add(repeats.count.saturating_sub(1));
            source.repeats = Some(repeats);
        }
        self.emit(header.ktime, source, process, Payload::Prctl(payload), gone, out);
    }

    fn ptrace(&mut self, record: &ptrace::Ptrace, fit: Fit, out: &mut Vec<Event>) {
        let header = &record.header;
        let mut gone = Vec::new();
        let process = self.process(header, &mut gone, false);
        let caller = self.processes.get(header.tgid.0, start_of(header));
        let (pid_ns, user_ns) = caller.map_or((None, None), |known| (known.pid_ns, known.user_ns));
        let target = self.target(record, pid_ns, &mut gone);
        let payload = Payload::Ptrace(Box::new(hook::ptrace::payload(record, target, user_ns)));
        self.emit(header.ktime, single(header, fit), process, payload, gone, out);
    }

    /// The traced task: as a check saw it, or by its number in the caller's pid namespace.
    fn target(
        &mut self,
        record: &ptrace::Ptrace,
        pid_ns: Option<u32>,
        gone: &mut Vec<Missing>,
    ) -> Option<Target> {
        const FIELD: &str = "ptrace.target";
        let seen = record.header.flags & ptrace::flags::TARGET != 0;
        let [request, pid, ..] = record.args;
        // Whatever a check was given: kernels with and without observed checks tell the same.
        let task = if seen && request != hook::ptrace::request::TRACEME {
            Task { tgid: record.target.tgid.0, tid: record.target.tid.0 }
        } else if request == hook::ptrace::request::TRACEME {
            gone.push(Missing::new(
                FIELD,
                "PTRACE_TRACEME has none: the parent (process.ppid) becomes the tracer",
            ));
            return None;
        } else {
            let found = match (pid_ns, u32::try_from(pid)) {
                (Some(pid_ns), Ok(pid)) => {
                    self.processes.task(pid_ns, pid).ok_or("no process of that id is known")
                }
                (None, Ok(_)) => Err("the caller's pid namespace is not known"),
                (_, Err(_)) => Err("the pid argument is not a process id"),
            };
            match found {
                Ok(task) => task,
                Err(reason) => {
                    gone.push(Missing::new(FIELD, reason));
                    return None;
                }
            }
        };
        let known = self.known(task.tgid, None).cloned();
        let mut target = Target {
            tgid: Some(task.tgid),
            tid: Some(task.tid),
            uid: seen.then_some(record.target.uids[0]),
            ..Target::default()
        };
        if let Some(known) = known {
            target.comm = known.comm;
            target.exe = known.exe;
            target.uid = target.uid.or(known.uid);
            target.start_ktime_ns = match known.start {
                Start::Exact(start) => Some(start),
                Start::Tick(_) | Start::Unknown => None,
            };
        }
        for (field, absent) in [
            ("ptrace.target.comm", target.comm.is_none()),
            ("ptrace.target.exe", target.exe.is_none()),
            ("ptrace.target.uid", target.uid.is_none()),
            ("ptrace.target.start_ktime_ns", target.start_ktime_ns.is_none()),
        ] {
            if absent {
                gone.push(Missing::new(
                    field,
                    "no record told it of the target, and the host does not know it (exactly)",
                ));
            }
        }
        Some(target)
    }

    /// What is known of a process; the host is asked once if nothing is.
    fn known(&mut self, tgid: u32, start: Option<u64>) -> Option<&mut Known> {
        if self.processes.get(tgid, start).is_none() {
            let mut known = self.host.process(tgid).map(Known::from);
            // The id may have been reused between the record and the question.
            let asked = known.take_if(|known| known.fits(start));
            let mut known = asked.unwrap_or_else(|| HostProcess::default().into());
            if let Some(start) = start {
                known.start = Start::Exact(start);
            }
            self.processes.put(tgid, known);
        }
        self.processes.get(tgid, start)
    }

    /// The process of a record. `exe_told`: why its binary is not known is already in `gone`.
    fn process(&mut self, header: &Header, gone: &mut Vec<Missing>, exe_told: bool) -> Process {
        const KERNEL: &str = "the kernel's field could not be read";
        const UNSEEN: &str = "no record told it, and the host no longer knows";
        let start = start_of(header);
        let known = self.known(header.tgid.0, start);
        let (exe, replaced, exec_ktime_ns, session, pid_ns, fallback) = match known {
            Some(known) => {
                known.uid = Some(header.uid);
                (
                    known.exe.clone(),
                    known.exe_replaced,
                    known.exec_ktime_ns,
                    known.session,
                    known.pid_ns,
                    Some(known.cgroup.clone()),
                )
            }
            None => (None, false, None, None, None, None),
        };
        let cgroup = self.cgroup(header.cgroup, fallback);
        let user = self.host.user(header.uid);
        let read = |bit: u32| header.missing & bit == 0;
        let unset = |id: u32| id == u32::MAX;
        let mut gone_if = |absent: bool, field: &'static str, reason: &'static str| {
            if absent {
                gone.push(Missing::new(field, reason));
            }
        };
        gone_if(start.is_none(), "process.start_ktime_ns", KERNEL);
        gone_if(start.is_none() && exec_ktime_ns.is_none(), "process.exec_id", "the start time is not known");
        gone_if(!read(missing::PPID), "process.ppid", KERNEL);
        gone_if(exe.is_none() && !exe_told && !replaced, "process.exe", UNSEEN);
        gone_if(replaced, "process.exe", "PR_SET_MM may have replaced it");
        gone_if(!read(missing::CRED), "process.euid", KERNEL);
        gone_if(!read(missing::CRED), "process.egid", KERNEL);
        gone_if(!read(missing::AUID), "process.auid", "this kernel keeps no login user id");
        gone_if(read(missing::AUID) && unset(header.auid), "process.auid", "unset");
        gone_if(session.is_none(), "process.session", UNSEEN);
        gone_if(session.is_some_and(unset), "process.session", "unset");
        gone_if(cgroup.path.is_none(), "process.cgroup", "the host no longer knows that cgroup");
        gone_if(pid_ns.is_none(), "process.pid_ns", UNSEEN);
        gone_if(user.is_none(), "process.user", "the host has no name for that user");
        Process {
            tgid: header.tgid.0,
            tid: header.tid.0,
            start_ktime_ns: start,
            ppid: read(missing::PPID).then_some(header.ppid.0),
            comm: hook::padded(&header.comm),
            exe,
            uid: header.uid,
            gid: header.gid,
            euid: read(missing::CRED).then_some(header.euid),
            egid: read(missing::CRED).then_some(header.egid),
            auid: (read(missing::AUID) && !unset(header.auid)).then_some(header.auid),
            session: session.filter(|session| !unset(*session)),
            cgroup_id: header.cgroup,
            cgroup: cgroup.path,
            container_id: cgroup.container_id,
            pid_ns,
            user,
            exec_ktime_ns,
        }
    }

    /// The cgroup by its id; what `/proc` said of the process when that says more (hosts with cgroup v1, where
    /// the id is that of the empty v2 hierarchy).
    fn cgroup(&mut self, id: u64, fallback: Option<Cgroup>) -> Cgroup {
        let by_id = self.host.cgroup(id);
        match fallback {
            Some(known) if by_id.container_id.is_none() && known.container_id.is_some() => known,
            Some(known) if by_id.path.is_none() => known,
            Some(_) | None => by_id,
        }
    }

    /// Hands out an event and enters every record behind it, on whatever CPU, into the books as stored.
    fn emit(
        &mut self,
        ktime: Ktime,
        source: Source,
        process: Process,
        payload: Payload,
        missing: Vec<Missing>,
        out: &mut Vec<Event>,
    ) {
        for piece in source.pieces() {
            self.sequences.stored(piece.cpu, piece.records);
        }
        out.push(Event {
            ktime,
            source: Some(source),
            process: Some(process),
            payload,
            missing,
            sealed: None,
        });
    }
}

/// When the process of a record started (boot time, ns).
fn start_of(header: &Header) -> Option<u64> {
    (header.missing & missing::START == 0).then_some(header.start.0)
}

/// The source of an event that stands for one record.
const fn single(header: &Header, fit: Fit) -> Source {
    Source {
        cpu: header.cpu,
        first: header.seq,
        records: fit.records,
        lost_before: fit.lost_before,
        repeats: None,
        more: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
