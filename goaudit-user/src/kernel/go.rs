//! Probes in Go programs: the tables of the generic programs, and attaching them to sites.
//!
//! A site is an offset in an open file, so what is probed is exactly the file that was read and planned, whatever
//! its path names by now. There is no way to make a uretprobe here: a return probe that replaces return
//! addresses crashes Go programs (golang/go#22008). A link goes with its descriptor, so an agent that dies leaves
//! no probe behind.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::{fs, io};

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use aya::programs::UProbe;
use aya::{Ebpf, Pod};
use goaudit_ebpf::hook::go::{FIELDS_MAX, Field, Health, PROBES_MAX, Probe, RuntimeLayout};

use super::{KernelError, sys};

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
}

/// Names of the programs.
pub(super) const PROGRAMS: [&str; Site::ALL.len()] =
    [Site::Enter.program(), Site::Return.program(), Site::Unwind.program()];

/// An attached site: dropping it detaches.
#[derive(Debug)]
pub struct Link {
    // In this order: the link first, then the event that it hangs on.
    _link: OwnedFd,
    _event: OwnedFd,
}

/// The loaded programs and their tables.
pub struct GoProbes {
    programs: [OwnedFd; Site::ALL.len()],
    probes: Array<MapData, Plain<Probe>>,
    fields: Array<MapData, Plain<Field>>,
    health: PerCpuArray<MapData, Plain<Health>>,
    kept: HashMap<MapData, [u64; 3], [u64; 5]>,
    uprobe: u32,
    next_probe: u32,
    next_field: u32,
}

/// Why a Go program cannot be probed at all on this host.
pub type Unavailable = String;

impl GoProbes {
    /// Loads the programs and takes the tables. The error says what is missing.
    pub(super) fn load(ebpf: &mut Ebpf) -> Result<Self, Unavailable> {
        let uprobe = fs::read_to_string("/sys/bus/event_source/devices/uprobe/type")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or("this kernel has no uprobes (CONFIG_UPROBE_EVENTS), or /sys is not mounted")?;
        let [enter, leave, unwind] = Site::ALL.map(|site| load_one(ebpf, site));
        let mut take =
            |name: &str| ebpf.take_map(name).ok_or_else(|| format!("the object has no map {name}"));
        let one_line = |error: MapError| super::load::one_line(error);
        Ok(Self {
            programs: [enter?, leave?, unwind?],
            probes: Array::try_from(take("GO_PROBES")?).map_err(one_line)?,
            fields: Array::try_from(take("GO_FIELDS")?).map_err(one_line)?,
            health: PerCpuArray::try_from(take("GO_HEALTH")?).map_err(one_line)?,
            kept: HashMap::try_from(take("GO_KEPT")?).map_err(one_line)?,
            uprobe,
            next_probe: 0,
            next_field: 0,
        })
    }

    /// Puts a function into the tables: the fields of its entry and of its return, and its probe, whose places of
    /// fields are set here. Returns its index, the cookie of its sites; `None` when the tables are full.
    pub fn add(&mut self, probe: Probe, entry: &[Field], exit: &[Field]) -> Result<Option<u32>, KernelError> {
        let index = self.next_probe;
        let entry_first = self.next_field;
        let count = |fields: &[Field]| u32::try_from(fields.len()).unwrap_or(u32::MAX);
        let return_first = entry_first.saturating_add(count(entry));
        let end = return_first.saturating_add(count(exit));
        if index >= PROBES_MAX || end > FIELDS_MAX {
            return Ok(None);
        }
        for (at, field) in (entry_first..).zip(entry.iter().chain(exit)) {
            self.fields.set(at, Plain(*field), 0)?;
        }
        let probe = Probe {
            entry_first,
            entry_count: count(entry),
            return_first,
            return_count: count(exit),
            ..probe
        };
        self.probes.set(index, Plain(probe), 0)?;
        self.next_probe = index.saturating_add(1);
        self.next_field = end;
        Ok(Some(index))
    }

    /// Attaches a site of the probe `index` at `offset` of `file`, in one process or in all.
    pub fn attach(
        &self,
        site: Site,
        index: u32,
        file: BorrowedFd<'_>,
        offset: u64,
        process: Option<u32>,
    ) -> io::Result<Link> {
        let program = match site {
            Site::Enter => &self.programs[0],
            Site::Return => &self.programs[1],
            Site::Unwind => &self.programs[2],
        };
        let event = sys::open_uprobe(self.uprobe, file, offset, process)?;
        let link = sys::link_perf_event(program.as_fd(), event.as_fd(), u64::from(index))?;
        Ok(Link { _link: link, _event: event })
    }

    /// Measures what a hit costs on this host; takes a tenth of a second. `None` where it cannot be measured.
    pub fn site_costs(&mut self) -> Result<Option<super::SiteCosts>, KernelError> {
        let probe = Probe {
            traits_: 0,
            tgid: 0,
            entry_first: 0,
            entry_count: 0,
            return_first: 0,
            return_count: 0,
            runtime: RuntimeLayout::NONE,
        };
        let Some(index) = self.add(probe, &[], &[])? else { return Ok(None) };
        Ok(super::calibrate::site_costs(self, index))
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

    /// Removes what frames of this process have kept for returns that will not come.
    pub fn forget(&mut self, tgid: u32) {
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

fn load_one(ebpf: &mut Ebpf, site: Site) -> Result<OwnedFd, Unavailable> {
    load_program(ebpf, site).map_err(|error| {
        format!("Go programs are probed with cookies of uprobes, which came with Linux 5.15; here: {error}")
    })
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
