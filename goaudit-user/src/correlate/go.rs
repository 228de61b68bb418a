//! Calls of Go functions: entries and returns are joined here, goroutine by goroutine.
//!
//! The ring keeps the order of what happens one after the other, on whichever CPUs, so a return is always read
//! behind its entry. A goroutine's open calls are a stack, as its frames are: a frame is named by its depth. What
//! can end a call is a return, a recovered panic (`runtime.recovery` tells which depths are gone),
//! `runtime.Goexit`, and the end of the process. A call whose return was lost is found out by the next call at its
//! depth or above. Nothing here is kept for ever: the number of open calls is bounded.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use goaudit_ebpf::hook::go::{Call, FRAMES, Signal, Unwind, flags};
use goaudit_ebpf::units::Ktime;
use goaudit_ebpf::wire::Header;

use super::host::HostInfo;
use super::sequence::Fit;
use super::{Correlator, single};
use crate::event::go::{GoCall, GoExit, GoPanic, GoSignal, Outcome, RequestContext, RequestSource};
use crate::event::{Event, Missing, Payload, Piece, Process, Source};
use crate::hook::go::{Role, cells};

mod dying;
mod gone;
mod lineage;

use dying::{DyingThreads, Taken};
pub(super) use gone::Gone;
use lineage::Lineage;

/// A call that ended, for [`GoBook::payload`].
#[derive(Debug)]
pub struct Ended<'a> {
    /// Index of its probe.
    pub probe: u32,
    /// Address of the site where it was entered; where it returned, if its entry was not seen.
    pub site: u64,
    /// What is known of it; names and values are still to be filled in.
    pub call: GoCall,
    /// The cells of its entry.
    pub entry: Option<&'a [u8]>,
    /// The cells of its return.
    pub exit: Option<&'a [u8]>,
    /// Probes of the calls of the same goroutine that it is nested in, outermost first.
    pub within: &'a [u32],
    /// When its process began (boot time).
    pub process_start_ktime_ns: Option<u64>,
}

/// What is known of probes and of the programs that they are in.
pub trait GoBook: fmt::Debug + Send + Sync {
    /// What a probe means; none for an index that was never given out.
    fn role(&self, probe: u32) -> Option<Role>;

    /// Makes an event's payload of a call, and tells what could not be had. None for a call that is not told by
    /// itself, because it is a part of one that it is nested in.
    fn payload(&self, ended: Ended<'_>) -> Option<(Payload, Vec<Missing>)>;

    /// What a request carries that begins with a call, if the probe is one of requests.
    fn request(&self, probe: u32, site: u64, entry: &[u8]) -> Option<RequestContext>;

    /// Fills in type, message and stack of a panic: `cells` as the probe took them, `frames` innermost first.
    fn panic(&self, probe: u32, site: u64, cells: &[u8], frames: &[u64], panic: &mut GoPanic)
    -> Vec<Missing>;
}

/// Nothing is probed.
#[derive(Debug)]
pub struct NoBook;

impl GoBook for NoBook {
    fn role(&self, _: u32) -> Option<Role> {
        None
    }

    fn payload(&self, ended: Ended<'_>) -> Option<(Payload, Vec<Missing>)> {
        Some((Payload::GoCall(Box::new(ended.call)), Vec::new()))
    }

    fn request(&self, _: u32, _: u64, _: &[u8]) -> Option<RequestContext> {
        None
    }

    fn panic(&self, _: u32, _: u64, _: &[u8], _: &[u64], _: &mut GoPanic) -> Vec<Missing> {
        Vec::new()
    }
}

/// Why what only an entry tells is not known of a call.
const ENTRY_UNSEEN: &str = "the entry was not seen: the call began before the probe was attached or while it was taken away, or its record was lost";

/// Why nothing is known of a panic but how it ended.
pub(crate) const BEGINNING_UNSEEN: &str = "the beginning of the panic was not seen";

/// Calls that may be under way at a time. A service with more is told so, call by call.
const OPEN_MAX: usize = 65_536;

/// A goroutine of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Goroutine {
    /// By its number, which is never used twice.
    Id(u64),
    /// By the address of its `runtime.g`, when the number is not believed.
    At(u64),
}

#[derive(Debug)]
struct Open {
    probe: u32,
    depth: u64,
    site: u64,
    start: u64,
    source: Source,
    process: Process,
    missing: Vec<Missing>,
    cells: Box<[u8]>,
    goid: Option<u64>,
    parent: Option<u64>,
    within: Box<[u32]>,
    /// The request that it serves.
    serves: Option<Arc<RequestContext>>,
    /// The request that it works for.
    request: Option<RequestContext>,
}

#[derive(Debug)]
struct Panicking {
    depth: u64,
    ktime: Ktime,
    source: Source,
    process: Process,
    missing: Vec<Missing>,
    panic: GoPanic,
}

#[derive(Debug, Default)]
struct Goroutines {
    calls: HashMap<Goroutine, Vec<Open>>,
    panics: HashMap<Goroutine, Vec<Panicking>>,
    lineage: Lineage,
}

impl Goroutines {
    /// The request that a goroutine works for.
    fn request_of(&mut self, goroutine: Goroutine, parent: Option<u64>) -> Option<RequestContext> {
        let serving = |goroutine| {
            let calls: &Vec<Open> = self.calls.get(&goroutine)?;
            calls.iter().rev().find_map(|open| open.serves.as_ref())
        };
        if let Some(request) = serving(goroutine) {
            return Some(request.by(RequestSource::Request));
        }
        let Goroutine::Id(goid) = goroutine else { return None };
        let request = self.lineage.request_of(goid, parent, |goid| serving(Goroutine::Id(goid)))?;
        Some(request.by(RequestSource::Parent))
    }
}

/// The open calls of all processes.
#[derive(Debug)]
pub(super) struct GoCalls {
    book: Arc<dyn GoBook>,
    processes: HashMap<u32, Goroutines>,
    open: usize,
    dying: DyingThreads,
    /// What threads wrote of which it was not, or no longer, known that they die.
    pub(super) late_writes: u64,
    /// Returns whose entry was not seen.
    pub(super) returns_without_entry: u64,
    /// Calls given up because too many were under way.
    pub(super) given_up: u64,
    /// Hits whose goroutine could not be believed.
    pub(super) unbelieved: u64,
    /// Records of probes that nobody knows.
    pub(super) unknown_probes: u64,
}

impl GoCalls {
    pub(super) fn new(book: Arc<dyn GoBook>) -> Self {
        Self {
            book,
            processes: HashMap::new(),
            open: 0,
            dying: DyingThreads::default(),
            late_writes: 0,
            returns_without_entry: 0,
            given_up: 0,
            unbelieved: 0,
            unknown_probes: 0,
        }
    }

    /// A goroutine as what it has open is kept: by its address `g` if its number was not believed where that began. Only
    /// entries look whether the number is that of what runs.
    fn kept_as(&self, tgid: u32, goroutine: Goroutine, g: u64) -> Goroutine {
        let at = Goroutine::At(g);
        let has = |process: &Goroutines| process.calls.contains_key(&at) || process.panics.contains_key(&at);
        if self.unbelieved > 0 && self.processes.get(&tgid).is_some_and(has) { at } else { goroutine }
    }

    /// Takes the calls of a goroutine that `gone` says are gone, innermost first.
    fn take(&mut self, tgid: u32, goroutine: Goroutine, gone: impl Fn(&Open) -> bool) -> Vec<Open> {
        let Some(process) = self.processes.get_mut(&tgid) else { return Vec::new() };
        let Some(calls) = process.calls.get_mut(&goroutine) else { return Vec::new() };
        let mut taken: Vec<Open> = calls.extract_if(.., |open| gone(open)).collect();
        if calls.is_empty() {
            process.calls.remove(&goroutine);
        }
        self.open = self.open.saturating_sub(taken.len());
        taken.reverse();
        taken
    }

    /// Takes the panics of a goroutine whose frame is deeper than `above`.
    fn take_panics(&mut self, tgid: u32, goroutine: Goroutine, above: u64) -> Vec<Panicking> {
        let Some(process) = self.processes.get_mut(&tgid) else { return Vec::new() };
        let Some(panics) = process.panics.get_mut(&goroutine) else { return Vec::new() };
        let taken = panics.extract_if(.., |panic| panic.depth > above).collect();
        if panics.is_empty() {
            process.panics.remove(&goroutine);
        }
        taken
    }
}

/// What a panic's own probe tells.
const OF_ITS_BEGINNING: [&str; 7] = [
    "go_panic.type",
    "go_panic.message",
    "go_panic.parent_goid",
    "go_panic.request",
    "go_panic.stack",
    "go_panic.goroutines",
    "go_panic.heap_alloc_bytes",
];

/// Why a goroutine has no number, and what goes by the number is not known either.
const UNBELIEVED: &str =
    "the goroutine's number is not believed: it is told from others by the address of its runtime.g";

/// What is not known of a goroutine whose number is not believed, of `of`.
fn unbelieved(of: &str) -> [Missing; 2] {
    ["goid", "parent_goid"].map(|field| Missing::new(format!("{of}.{field}"), UNBELIEVED))
}

const fn goroutine_of(call: &Call) -> Goroutine {
    if call.header.flags & flags::GOID != 0 { Goroutine::Id(call.goid.0) } else { Goroutine::At(call.g) }
}

const fn goid_of(call: &Call) -> Option<u64> {
    if call.header.flags & flags::GOID != 0 { Some(call.goid.0) } else { None }
}

/// What is not known of the goroutine of a call whose number is not believed.
fn unknown_goroutine(payload: &Payload) -> Vec<Missing> {
    if let Payload::Authz(authz) = payload
        && authz.call.goid.is_none()
    {
        return unbelieved("authz.call").into();
    }
    let Payload::GoCall(call) = payload else { return Vec::new() };
    if call.goid.is_some() {
        return Vec::new();
    }
    let request = call.request.is_none().then(|| Missing::new("go_call.request", UNBELIEVED));
    unbelieved("go_call").into_iter().chain(request).collect()
}

/// Further records behind an event.
const fn piece(header: &Header, fit: Fit) -> Piece {
    Piece { cpu: header.cpu, first: header.seq, records: fit.records, lost_before: fit.lost_before }
}

impl<H: HostInfo> Correlator<H> {
    /// A Go function was entered, or a goroutine's life turns.
    pub(super) fn go_enter(&mut self, call: &Call, cells: &[u8], fit: Fit, out: &mut Vec<Event>) {
        let role = self.go.book.role(call.probe);
        // A dying thread writes on its own stack.
        if call.header.flags & flags::GOID == 0 && role != Some(Role::Write) {
            self.go.unbelieved = self.go.unbelieved.saturating_add(1);
        }
        match role {
            Some(Role::Call | Role::Recovery) => self.go_begin(call, cells, fit, out),
            Some(Role::Panic) => self.go_panic(call, cells, fit),
            Some(Role::Fatal) => self.go_fatal(call, cells, fit, out),
            Some(Role::Throw) => self.go_throw(call, cells, fit, out),
            Some(Role::Goexit) => self.go_exit(call, fit, out),
            Some(Role::Write) => self.go_write(call, cells, fit),
            None => {
                self.go.unknown_probes = self.go.unknown_probes.saturating_add(1);
                self.go_begin(call, cells, fit, out);
            }
        }
    }

    fn go_begin(&mut self, call: &Call, cells: &[u8], fit: Fit, out: &mut Vec<Event>) {
        let header = &call.header;
        let goroutine = goroutine_of(call);
        // A frame at this depth, or deeper, cannot be there any more: its return was not seen.
        let gone = self.go.take(header.tgid.0, goroutine, |open| open.depth >= call.depth);
        for open in gone {
            self.go_end(open, Outcome::Lost, None, None, out);
        }
        if self.go.open >= OPEN_MAX {
            self.go_give_up(out);
        }
        let mut missing = Vec::new();
        let process = self.process(header, &mut missing, false);
        let known = goid_of(call);
        let parent = known.and(Some(call.parent.0).filter(|parent| *parent != 0));
        let serves = self.go.book.request(call.probe, call.site, cells).map(Arc::new);
        let goroutines = self.go.processes.entry(header.tgid.0).or_default();
        if serves.is_some() {
            goroutines.lineage.served();
        }
        let request = if serves.is_none() { goroutines.request_of(goroutine, parent) } else { None };
        let calls = goroutines.calls.entry(goroutine).or_default();
        let open = Open {
            probe: call.probe,
            depth: call.depth,
            site: call.site,
            start: header.ktime.0,
            source: single(header, fit),
            process,
            missing,
            cells: cells.into(),
            goid: known,
            parent,
            serves,
            request,
            within: calls.iter().map(|open| open.probe).collect(),
        };
        calls.push(open);
        self.go.open = self.go.open.saturating_add(1);
    }

    /// A Go function returned.
    pub(super) fn go_return(&mut self, call: &Call, cells: &[u8], fit: Fit, out: &mut Vec<Event>) {
        let header = &call.header;
        let tgid = header.tgid.0;
        let goroutine = self.go.kept_as(tgid, goroutine_of(call), call.g);
        // Deeper frames are gone by now.
        let gone = self.go.take(tgid, goroutine, |open| open.depth > call.depth);
        for open in gone {
            self.go_end(open, Outcome::Lost, None, None, out);
        }
        let mut ended =
            self.go.take(tgid, goroutine, |open| open.depth == call.depth && open.probe == call.probe);
        if let Some(open) = ended.pop() {
            let exit = Some((piece(header, fit), cells));
            self.go_end(open, Outcome::Returned, Some(header.ktime), exit, out);
            return;
        }
        self.go.returns_without_entry = self.go.returns_without_entry.saturating_add(1);
        let mut missing = Vec::new();
        let process = self.process(header, &mut missing, false);
        let told = GoCall {
            goid: goid_of(call),
            end_ktime_ns: Some(header.ktime.0),
            outcome: Outcome::Returned,
            depth: call.depth,
            ..GoCall::default()
        };
        let ended = Ended {
            probe: call.probe,
            site: call.site,
            call: told,
            entry: None,
            exit: Some(cells),
            within: &[],
            process_start_ktime_ns: process.start_ktime_ns,
        };
        let payload = self.go.book.payload(ended);
        let unseen: &[&str] = match &payload {
            Some((Payload::Authz(_), _)) => &["authz.authz_eval_start_ns", "authz.call.parent_goid"],
            _ => &["go_call.start_ktime_ns", "go_call.parent_goid", "go_call.request"],
        };
        missing.extend(unseen.iter().map(|field| Missing::new(*field, ENTRY_UNSEEN)));
        self.go_tell(header.ktime, single(header, fit), process, payload, missing, out);
    }

    /// A panic was recovered: the frames between are gone.
    pub(super) fn go_unwind(&mut self, unwind: &Unwind, fit: Fit, out: &mut Vec<Event>) {
        let header = &unwind.header;
        let tgid = header.tgid.0;
        let goroutine = if header.flags & flags::GOID != 0 {
            Goroutine::Id(unwind.goid.0)
        } else {
            Goroutine::At(unwind.g)
        };
        let goroutine = self.go.kept_as(tgid, goroutine, unwind.g);
        let gone =
            self.go.take(tgid, goroutine, |open| open.depth > unwind.above && open.depth <= unwind.up_to);
        let unwound = u64::try_from(gone.len()).unwrap_or(u64::MAX);
        for open in gone {
            self.go_end(open, Outcome::Panicked, Some(header.ktime), None, out);
        }
        let mut panics = self.go.take_panics(tgid, goroutine, unwind.above);
        let Some(mut last) = panics.pop() else {
            // The panic itself was not seen.
            let goid = (header.flags & flags::GOID != 0).then_some(unwind.goid.0);
            let unseen = |field| Missing::new(field, BEGINNING_UNSEEN);
            let mut missing: Vec<Missing> = OF_ITS_BEGINNING.into_iter().map(unseen).collect();
            if goid.is_none() {
                missing.push(Missing::new("go_panic.goid", UNBELIEVED));
            }
            let process = self.process(header, &mut missing, false);
            let panic = GoPanic { goid, recovered: true, calls_unwound: unwound, ..GoPanic::default() };
            let payload = Payload::GoPanic(Box::new(panic));
            self.emit(header.ktime, single(header, fit), process, payload, missing, out);
            return;
        };
        for earlier in panics {
            // A later panic of a deferred call took its place.
            self.go_panicked(earlier, |panic| panic.recovered = true, out);
        }
        last.source.more.push(piece(header, fit));
        self.go_panicked(
            last,
            |panic| {
                panic.recovered = true;
                panic.calls_unwound = unwound;
            },
            out,
        );
    }

    /// A panic begins; how it ends is told later.
    fn go_panic(&mut self, call: &Call, cells: &[u8], fit: Fit) {
        let panicking = self.go_panicking(call, cells, fit);
        let goroutines = self.go.processes.entry(call.header.tgid.0).or_default();
        goroutines.panics.entry(goroutine_of(call)).or_default().push(panicking);
    }

    fn go_panicking(&mut self, call: &Call, bytes: &[u8], fit: Fit) -> Panicking {
        let header = &call.header;
        let mut missing = Vec::new();
        let process = self.process(header, &mut missing, false);
        let frames: Vec<u64> = cells(bytes)
            .flatten()
            .filter(|cell| cell.field == FRAMES)
            .flat_map(|cell| cell.bytes.chunks_exact(8))
            .filter_map(|word| word.try_into().ok().map(u64::from_ne_bytes))
            .collect();
        let goid = goid_of(call);
        let parent = goid.and(Some(call.parent.0).filter(|parent| *parent != 0));
        let goroutines = self.go.processes.entry(header.tgid.0).or_default();
        let mut panic = GoPanic {
            goid,
            parent_goid: parent,
            request: goroutines.request_of(goroutine_of(call), parent),
            ..GoPanic::default()
        };
        if goid.is_none() {
            missing.extend(unbelieved("go_panic"));
            if panic.request.is_none() {
                missing.push(Missing::new("go_panic.request", UNBELIEVED));
            }
        }
        missing.extend(self.go.book.panic(call.probe, call.site, bytes, &frames, &mut panic));
        Panicking {
            depth: call.depth,
            ktime: header.ktime,
            source: single(header, fit),
            process,
            missing,
            panic,
        }
    }

    /// A panic that nobody recovered; `fatalpanic` knows the message even of errors and Stringers.
    fn go_fatal(&mut self, call: &Call, cells: &[u8], fit: Fit, out: &mut Vec<Event>) {
        let told = self.go_panicking(call, cells, fit);
        let mut panics = self.go.take_panics(call.header.tgid.0, goroutine_of(call), 0);
        let Some(mut last) = panics.pop() else {
            self.go_dies(&call.header, told, out);
            return;
        };
        for earlier in panics {
            self.go_panicked(earlier, |panic| panic.fatal = true, out);
        }
        last.source.more.push(piece(&call.header, fit));
        if let Some(message) = told.panic.message {
            last.panic.message = Some(message);
            // What was said of the value as it was before; a message that is cut is told as that.
            let of_message = |missing: &Missing| missing.field == "go_panic.message";
            last.missing.retain(|missing| !of_message(missing));
            last.missing.extend(told.missing.into_iter().filter(of_message));
        }
        self.go_dies(&call.header, last, out);
    }

    fn go_throw(&mut self, call: &Call, cells: &[u8], fit: Fit, out: &mut Vec<Event>) {
        let told = self.go_panicking(call, cells, fit);
        self.go_dies(&call.header, told, out);
    }

    /// A fatal panic waits for what the runtime writes about it.
    fn go_dies(&mut self, header: &Header, panicking: Panicking, out: &mut Vec<Event>) {
        let thread = (header.tgid.0, header.tid.0);
        let earlier = self.go.dying.begin(thread, header.ktime, panicking);
        self.go_died(earlier, out);
    }

    /// Fatal panics of which everything is known that will be.
    fn go_died(&mut self, died: impl IntoIterator<Item = Panicking>, out: &mut Vec<Event>) {
        for panicking in died {
            self.go_panicked(panicking, |panic| panic.fatal = true, out);
        }
    }

    /// A dying thread writes to standard error.
    fn go_write(&mut self, call: &Call, cells: &[u8], fit: Fit) {
        let header = &call.header;
        let thread = (header.tgid.0, header.tid.0);
        let taken = self.go.dying.write(thread, header.ktime, cells, piece(header, fit));
        if taken == Taken::Kept {
            return;
        }
        // What is not kept is in the books as filtered; the event tells of a report that is full.
        if taken == Taken::Unknown {
            self.go.late_writes = self.go.late_writes.saturating_add(1);
        }
        self.sequences.stored(header.cpu, fit.records);
        self.sequences.filtered(header.cpu, fit.records);
    }

    /// Fatal panics of processes that neither end nor write any more.
    pub(super) fn go_silent(&mut self, now: Ktime, out: &mut Vec<Event>) {
        let silent = self.go.dying.silent(now);
        self.go_died(silent, out);
    }

    /// A probed process got a signal that says that its code may be broken.
    pub(super) fn go_signal(&mut self, signal: &Signal, fit: Fit, out: &mut Vec<Event>) {
        let header = &signal.header;
        let mut missing = Vec::new();
        let process = self.process(header, &mut missing, false);
        let told = GoSignal { signal: signal.signal, code: signal.code, handled: signal.handled != 0 };
        self.emit(header.ktime, single(header, fit), process, Payload::GoSignal(told), missing, out);
    }

    fn go_panicked(&mut self, panicking: Panicking, change: impl FnOnce(&mut GoPanic), out: &mut Vec<Event>) {
        let Panicking { ktime, source, process, missing, mut panic, .. } = panicking;
        change(&mut panic);
        self.emit(ktime, source, process, Payload::GoPanic(Box::new(panic)), missing, out);
    }

    /// `runtime.Goexit`: every frame of the goroutine is going to go.
    fn go_exit(&mut self, call: &Call, fit: Fit, out: &mut Vec<Event>) {
        let header = &call.header;
        let gone = self.go.take(header.tgid.0, goroutine_of(call), |_| true);
        let calls_unwound = u64::try_from(gone.len()).unwrap_or(u64::MAX);
        for open in gone {
            self.go_end(open, Outcome::Goexit, Some(header.ktime), None, out);
        }
        // It also ends every panic that the goroutine's deferred calls have not recovered, and the program goes on.
        for panicking in self.go.take_panics(header.tgid.0, goroutine_of(call), 0) {
            self.go_panicked(panicking, |_| {}, out);
        }
        let mut missing = Vec::new();
        let goid = goid_of(call);
        if goid.is_none() {
            missing.push(Missing::new("go_exit.goid", UNBELIEVED));
        }
        let process = self.process(header, &mut missing, false);
        let payload = Payload::GoExit(GoExit { goid, calls_unwound });
        self.emit(header.ktime, single(header, fit), process, payload, missing, out);
    }

    /// A process ended or runs another program: nothing of it is under way any more.
    pub(super) fn go_gone(&mut self, tgid: u32, gone: Gone, at: Option<Ktime>, out: &mut Vec<Event>) {
        let died = self.go.dying.of_process(tgid);
        self.go_died(died, out);
        let Some(goroutines) = self.go.processes.remove(&tgid) else { return };
        let mut calls: Vec<Open> = goroutines.calls.into_values().flatten().collect();
        self.go.open = self.go.open.saturating_sub(calls.len());
        calls.sort_unstable_by_key(|open| open.start);
        for open in calls {
            self.go_end(open, gone.outcome(), at, None, out);
        }
        let mut panics: Vec<Panicking> = goroutines.panics.into_values().flatten().collect();
        panics.sort_unstable_by_key(|panic| panic.ktime);
        for mut panicking in panics {
            let (fatal, why) = gone.fatal();
            panicking.missing.push(Missing::new("go_panic.fatal", why));
            self.go_panicked(panicking, |panic| panic.fatal = fatal, out);
        }
    }

    /// The end of a run: what is still under way is told as that.
    pub(super) fn go_finish(&mut self, out: &mut Vec<Event>) {
        let died = self.go.dying.all();
        self.go_died(died, out);
        let mut processes: Vec<u32> = self.go.processes.keys().copied().collect();
        processes.sort_unstable();
        for tgid in processes {
            self.go_gone(tgid, Gone::Open, None, out);
        }
    }

    /// Too many calls are under way: those of the process that has most are given up.
    fn go_give_up(&mut self, out: &mut Vec<Event>) {
        let of = |process: &Goroutines| process.calls.values().map(Vec::len).sum::<usize>();
        let most = self.go.processes.iter().max_by_key(|(_, process)| of(process));
        let Some((tgid, count)) = most.map(|(tgid, process)| (*tgid, of(process))) else { return };
        self.go.given_up = self.go.given_up.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        self.go_gone(tgid, Gone::GivenUp, None, out);
    }

    fn go_end(
        &mut self,
        open: Open,
        outcome: Outcome,
        at: Option<Ktime>,
        exit: Option<(Piece, &[u8])>,
        out: &mut Vec<Event>,
    ) {
        let Open { probe, depth, site, start, mut source, process, missing, cells, .. } = open;
        let Open { goid, parent, within, request, .. } = open;
        let call = GoCall {
            goid,
            parent_goid: parent,
            start_ktime_ns: Some(start),
            end_ktime_ns: at.map(|at| at.0),
            outcome,
            depth,
            nested_in: u32::try_from(within.len()).unwrap_or(u32::MAX),
            request,
            ..GoCall::default()
        };
        source.more.extend(exit.map(|(piece, _)| piece));
        let ended = Ended {
            probe,
            site,
            call,
            entry: Some(&cells),
            exit: exit.map(|(_, cells)| cells),
            within: &within,
            process_start_ktime_ns: process.start_ktime_ns,
        };
        let payload = self.go.book.payload(ended);
        self.go_tell(at.unwrap_or(Ktime(start)), source, process, payload, missing, out);
    }

    /// Tells a call; one that is not told by itself is in the books as filtered.
    fn go_tell(
        &mut self,
        ktime: Ktime,
        source: Source,
        process: Process,
        payload: Option<(Payload, Vec<Missing>)>,
        mut missing: Vec<Missing>,
        out: &mut Vec<Event>,
    ) {
        if let Some((payload, absent)) = payload {
            missing.extend(absent);
            missing.extend(unknown_goroutine(&payload));
            self.emit(ktime, source, process, payload, missing, out);
            return;
        }
        let pieces = source.more.iter().map(|piece| (piece.cpu, piece.records));
        for (cpu, records) in pieces.chain([(source.cpu, source.records)]) {
            self.sequences.stored(cpu, records);
            self.sequences.filtered(cpu, records);
        }
    }
}

#[cfg(test)]
mod tests;
