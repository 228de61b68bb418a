//! Probes in Go programs: the tables of the generic programs, and attaching them to sites.
//!
//! A site is an offset in an open file, so what is probed is exactly the file that was read and planned, whatever
//! its path names by now. There is no way to make a uretprobe here: a return probe that replaces return
//! addresses crashes Go programs (golang/go#22008). A link goes with its descriptor, so an agent that dies leaves
//! no probe behind.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::{fs, io};

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::programs::raw_trace_point::RawTracePointLink;
use aya::programs::{RawTracePoint, UProbe};
use aya::{Ebpf, Pod};
use goaudit_ebpf::hook::go::{FIELDS_MAX, Field, Health, PROBES_MAX, Probe, RuntimeLayout, traits};

use super::load::side_by_side;
use super::object::{self, Instructions};
use super::{KernelError, sys};
use crate::golang::Costs;

mod multi;
mod places;

use multi::Multi;
use places::Places;

/// A value that aya copies as plain bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain<T>(T);

// SAFETY: integers without padding (their zerocopy derives prove it).
unsafe impl Pod for Plain<Probe> {}
// SAFETY: as above.
unsafe impl Pod for Plain<Field> {}
// SAFETY: as above.
unsafe impl Pod for Plain<Health> {}

/// Which program hangs at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// Where a call begins, or a goroutine's life turns.
    Enter,
    /// A return instruction.
    Return,
    /// `runtime.recovery`.
    Unwind,
}

impl Site {
    /// Every kind, in the order of the programs.
    const ALL: [Self; 3] = [Self::Enter, Self::Return, Self::Unwind];

    /// Name of the program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Enter => "go_enter",
            Self::Return => "go_return",
            Self::Unwind => "go_unwind",
        }
    }

    /// Its program among those of every kind, in the order of [`Self::ALL`].
    fn of(self, programs: &[OwnedFd; Self::ALL.len()]) -> BorrowedFd<'_> {
        let [enter, leave, unwind] = programs;
        match self {
            Self::Enter => enter.as_fd(),
            Self::Return => leave.as_fd(),
            Self::Unwind => unwind.as_fd(),
        }
    }
}

/// A probe that takes nothing.
pub(super) const BLANK: Probe = Probe {
    traits_: 0,
    entry_first: 0,
    entry_count: 0,
    return_first: 0,
    return_count: 0,
    processors: 0,
    processor_word: 0,
    runtime: RuntimeLayout::NONE,
};

/// Names of the programs.
pub(super) const PROGRAMS: [&str; Site::ALL.len()] =
    [Site::Enter.program(), Site::Return.program(), Site::Unwind.program()];

/// The program that sees signals, beside those of sites.
pub(super) const SIGNAL_PROGRAM: &str = "go_signal";

/// Attached sites of one probe: dropping it detaches.
#[derive(Debug)]
pub struct Link {
    // In this order: the links first, then the events that they hang on.
    _links: Vec<OwnedFd>,
    _events: Vec<OwnedFd>,
}

/// The loaded programs and their tables.
pub struct GoProbes {
    programs: [OwnedFd; Site::ALL.len()],
    /// Where the kernel has multi-links; else why not.
    multi: Result<Multi, String>,
    /// Whether multi-links see every thread of a process: found out at the first attach.
    whole: OnceCell<bool>,
    /// Index of a probe that takes nothing, for trying things on ourselves.
    blank: u32,
    /// Indexes of probes that do all but send, without values and with some, for measuring.
    rehearsed: [u32; 2],
    probes: Array<MapData, Plain<Probe>>,
    fields: Array<MapData, Plain<Field>>,
    health: PerCpuArray<MapData, Plain<Health>>,
    kept: HashMap<MapData, [u64; 3], [u64; 5]>,
    processes: HashMap<MapData, u32, u8>,
    /// Holds the program that sees signals in place; else why it is not.
    signals: Result<RawTracePointLink, String>,
    uprobe: u32,
    free_probes: Places,
    free_fields: Places,
    /// Where the fields of each probe lie: the first one, and how many.
    added: BTreeMap<u32, (u32, u32)>,
}

/// Why a Go program cannot be probed at all on this host.
pub type Unavailable = String;

/// The programs for Go programs before they are loaded. That takes a tenth of a second, so it waits until there is a Go
/// program.
pub struct GoPrograms {
    /// With all maps that the programs name by descriptor.
    pub(super) ebpf: Ebpf,
    instructions: Instructions,
}

impl GoPrograms {
    pub(super) const fn new(ebpf: Ebpf, instructions: Instructions) -> Self {
        Self { ebpf, instructions }
    }

    /// Loads them.
    pub fn load(mut self) -> Result<GoProbes, Unavailable> {
        side_by_side(&mut self.ebpf, |name| PROGRAMS.contains(&name));
        GoProbes::load(&object::with(self.instructions), &mut self.ebpf)
    }
}

/// Whether this kernel can probe Go programs, as far as that is known without loading the programs.
pub(super) fn available() -> Result<(), Unavailable> {
    uprobe_events()?;
    // call bpf_get_attach_cookie; r0 = 0; exit
    sys::load_program(sys::KPROBE, 0, 0, &[174 << 32 | 0x85, 0xb7, 0x95]).map(drop).map_err(no_cookies)
}

fn no_cookies(error: impl std::fmt::Display) -> Unavailable {
    format!("Go programs are probed with cookies of uprobes, which came with Linux 5.15; here: {error}")
}

impl GoProbes {
    /// Loads the programs and takes the tables. The error says what is missing.
    fn load(object: &[u8], ebpf: &mut Ebpf) -> Result<Self, Unavailable> {
        let uprobe = uprobe_events()?;
        let [enter, leave, unwind] = Site::ALL.map(|site| load_one(ebpf, site));
        let programs = [enter?, leave?, unwind?];
        let multi = Multi::load(object, ebpf);
        let signals = attach_signals(ebpf);
        let mut take =
            |name: &str| ebpf.take_map(name).ok_or_else(|| format!("the object has no map {name}"));
        let one_line = |error: MapError| super::load::one_line(error);
        let mut probes = Self {
            programs,
            multi,
            whole: OnceCell::new(),
            blank: 0,
            rehearsed: [0; 2],
            probes: Array::try_from(take("GO_PROBES")?).map_err(one_line)?,
            fields: Array::try_from(take("GO_FIELDS")?).map_err(one_line)?,
            health: PerCpuArray::try_from(take("GO_HEALTH")?).map_err(one_line)?,
            kept: HashMap::try_from(take("GO_KEPT")?).map_err(one_line)?,
            processes: HashMap::try_from(take("GO_PROCESSES")?).map_err(one_line)?,
            signals,
            uprobe,
            free_probes: Places::new(PROBES_MAX),
            free_fields: Places::new(FIELDS_MAX),
            added: BTreeMap::new(),
        };
        let mut add = |probe: Probe, fields: &[Field]| {
            probes.add(probe, fields, &[]).map(Option::unwrap_or_default).map_err(super::load::one_line)
        };
        let rehearses = Probe { traits_: traits::REHEARSES, ..BLANK };
        let values = [super::calibrate::value(); super::calibrate::VALUES];
        let (blank, rehearsed) = (add(BLANK, &[])?, [add(rehearses, &[])?, add(rehearses, &values)?]);
        (probes.blank, probes.rehearsed) = (blank, rehearsed);
        Ok(probes)
    }

    /// Puts a function into the tables: the fields of its entry and of its return, and its probe, whose places of
    /// fields are set here. Returns its index, the cookie of its sites; `None` when the tables are full.
    pub fn add(&mut self, probe: Probe, entry: &[Field], exit: &[Field]) -> Result<Option<u32>, KernelError> {
        let count = |fields: &[Field]| u32::try_from(fields.len()).unwrap_or(u32::MAX);
        let (entry_count, return_count) = (count(entry), count(exit));
        let Some(len) = entry_count.checked_add(return_count) else { return Ok(None) };
        let Some(index) = self.free_probes.take(1) else { return Ok(None) };
        let Some(entry_first) = self.free_fields.take(len) else {
            self.free_probes.give_back(index, 1);
            return Ok(None);
        };
        self.added.insert(index, (entry_first, len));
        for (at, field) in (entry_first..).zip(entry.iter().chain(exit)) {
            self.fields.set(at, Plain(*field), 0)?;
        }
        let return_first = entry_first.saturating_add(entry_count);
        let probe = Probe { entry_first, entry_count, return_first, return_count, ..probe };
        self.probes.set(index, Plain(probe), 0)?;
        Ok(Some(index))
    }

    /// Takes a function out of the tables. Nothing of it may be attached, and nothing that it sent may still be under
    /// way: its index will be another function's.
    pub fn remove(&mut self, index: u32) -> Result<(), KernelError> {
        let Some((first, len)) = self.added.remove(&index) else { return Ok(()) };
        self.free_fields.give_back(first, len);
        // The next function counts from the beginning; where that cannot be had, there is none.
        let cpus = self.health.get(&index, 0)?.len();
        let unused =
            PerCpuValues::try_from(vec![Plain(Health::default()); cpus]).map_err(MapError::IoError)?;
        self.health.set(index, unused, 0)?;
        self.free_probes.give_back(index, 1);
        Ok(())
    }

    /// Attaches the sites of the probe `index` at `offsets` of `file`, in one process or in all: all of them, or none.
    pub fn attach(
        &self,
        site: Site,
        index: u32,
        file: BorrowedFd<'_>,
        offsets: &[u64],
        process: Option<u32>,
    ) -> io::Result<Link> {
        let cookie = u64::from(index);
        if let Some(multi) = self.usable_multi()
            && let Ok(link) = multi.attach(site, cookie, file, offsets, process)
        {
            return Ok(Link { _links: vec![link], _events: Vec::new() });
        }
        let program = site.of(&self.programs);
        let mut links = Vec::with_capacity(offsets.len());
        let mut events = Vec::with_capacity(offsets.len());
        for offset in offsets {
            let event = sys::open_uprobe(self.uprobe, file, *offset, process)?;
            links.push(sys::link_perf_event(program, event.as_fd(), cookie)?);
            events.push(event);
        }
        Ok(Link { _links: links, _events: events })
    }

    /// Multi-links, if the kernel has them and they see what they must.
    fn usable_multi(&self) -> Option<&Multi> {
        let multi = self.multi.as_ref().ok()?;
        self.whole.get_or_init(|| self.sees_threads(multi)).then_some(multi)
    }

    /// Whether a multi-link in one process sees all its threads: 6.6 to 6.9 looked at the first one only
    /// (torvalds/linux 46ba0e49b642). Tried on ourselves; where that cannot be done, not believed.
    fn sees_threads(&self, multi: &Multi) -> bool {
        let Some((file, offset, call)) = super::calibrate::own_function() else { return false };
        let own = Some(std::process::id());
        let seen = || self.health(self.blank).map(|health| health.out_of_scope.wrapping_add(health.entries));
        let attached = multi.attach(Site::Enter, u64::from(self.blank), file.as_fd(), &[offset], own);
        let (Ok(link), Ok(before)) = (attached, seen()) else { return false };
        let called = std::thread::spawn(move || call()).join().is_ok();
        let after = seen();
        // Letting go waits for a grace period: not here.
        std::thread::spawn(move || drop(link));
        called && after.is_ok_and(|after| after != before)
    }

    /// How sites are attached on this kernel, and why not better.
    pub fn mechanism(&self) -> String {
        match (&self.multi, self.usable_multi()) {
            (_, Some(_)) => "uprobe multi-links".to_owned(),
            (Ok(_), None) => {
                "a perf event for each site (multi-links do not see every thread here)".to_owned()
            }
            (Err(reason), None) => format!("a perf event for each site (no multi-links: {reason})"),
        }
    }

    /// Measures what a hit costs on this host; takes a tenth of a second. `None` where it cannot be measured.
    pub fn site_costs(&self) -> Option<Costs> {
        super::calibrate::site_costs(self, self.blank, self.rehearsed)
    }

    /// What the kernel side counted of a probe, over all CPUs.
    pub fn health(&self, index: u32) -> Result<Health, KernelError> {
        let mut sum = Health::default();
        for Plain(cpu) in self.health.get(&index, 0)?.iter() {
            sum.entries = sum.entries.wrapping_add(cpu.entries);
            sum.returns = sum.returns.wrapping_add(cpu.returns);
            sum.restarts = sum.restarts.wrapping_add(cpu.restarts);
            sum.implausible = sum.implausible.wrapping_add(cpu.implausible);
            sum.faults = sum.faults.wrapping_add(cpu.faults);
            sum.out_of_scope = sum.out_of_scope.wrapping_add(cpu.out_of_scope);
        }
        Ok(sum)
    }

    /// Why it is not seen when a probed program gets a signal, if so.
    pub fn no_signals(&self) -> Option<&str> {
        self.signals.as_ref().err().map(String::as_str)
    }

    /// Has the signals of a process seen until [`Self::forget`].
    pub fn watch_signals(&mut self, tgid: u32) -> Result<(), KernelError> {
        Ok(self.processes.insert(tgid, 1, 0)?)
    }

    /// Removes the process from those whose signals are seen, and what frames of this process have kept for returns that will not come.
    pub fn forget(&mut self, tgid: u32) {
        // It may never have been there.
        let _ = self.processes.remove(&tgid);
        // struct Frame { tgid: u32, probe: u32, g: u64, depth: u64 }
        let of_process = |key: &[u64; 3]| {
            let [first, ..] = *key;
            let [a, b, c, d, ..] = first.to_ne_bytes();
            u32::from_ne_bytes([a, b, c, d]) == tgid
        };
        let gone: Vec<_> = self.kept.keys().filter_map(Result::ok).filter(of_process).collect();
        for key in gone {
            // Another CPU may have removed it.
            let _ = self.kept.remove(&key);
        }
    }
}

/// The number that the kernel gave to its uprobe events.
pub(super) fn uprobe_events() -> Result<u32, &'static str> {
    fs::read_to_string("/sys/bus/event_source/devices/uprobe/type")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or("this kernel has no uprobes (CONFIG_UPROBE_EVENTS), or /sys is not mounted")
}

fn attach_signals(ebpf: &mut Ebpf) -> Result<RawTracePointLink, String> {
    let program = ebpf.program_mut(SIGNAL_PROGRAM).ok_or("the object has no such program")?;
    let program: &mut RawTracePoint = program.try_into().map_err(super::load::one_line)?;
    program.load().map_err(super::load::one_line)?;
    let link = program.attach("signal_deliver").map_err(super::load::one_line)?;
    program.take_link(link).map_err(super::load::one_line)
}

fn load_one(ebpf: &mut Ebpf, site: Site) -> Result<OwnedFd, Unavailable> {
    load_program(ebpf, site).map_err(no_cookies)
}

fn load_program(ebpf: &mut Ebpf, site: Site) -> Result<OwnedFd, Unavailable> {
    let program = ebpf.program_mut(site.program()).ok_or("the object has no such program")?;
    let program: &mut UProbe = program.try_into().map_err(super::load::one_line)?;
    // It may have been loaded beside others.
    if program.fd().is_err() {
        program.load().map_err(super::load::one_line)?;
    }
    let fd = program.fd().map_err(super::load::one_line)?;
    fd.as_fd().try_clone_to_owned().map_err(super::load::one_line)
}
