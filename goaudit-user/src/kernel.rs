//! The kernel side as user space sees it: the only module that names aya.
//!
//! [`Session::start`] resolves struct offsets, loads the object, attaches every program by itself and says
//! of each whether and why not; [`Session::drain`] hands out ring records as bytes. What records mean is not
//! known here.
#![expect(unsafe_code, reason = "system calls and map values; each block says why it is sound")]

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use aya::EbpfError;
use aya::maps::{Array, HashMap, MapData, MapError};
use thiserror::Error;

mod calibrate;
mod counters;
mod empty;
pub mod features;
pub mod go;
pub mod hooks;
mod load;
mod maps;
pub mod object;
pub mod offsets;
mod rehearsal;
mod ring;
mod sys;
pub mod tracefs;

pub use counters::{Counters, Skips};
pub use empty::{EmptyProbes, Hanging};
pub use hooks::Hook;
pub use rehearsal::{RehearsalError, Rehearsed, rehearse};
pub use ring::REST;

use counters::Books;
use go::GoPrograms;
use load::{Attached, Loaded};
use maps::own;
use ring::Ring;

/// What to record and how.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent choices, not states")]
pub struct Config {
    /// Size of the ring in bytes; made a power of two.
    pub ring_bytes: u32,
    /// Record only processes given to [`Session::scope_add`], and what descends from them.
    pub scoped: bool,
    /// Leave out what descends from this process.
    pub skip_descendants: bool,
    /// Only these hooks; none means all.
    pub only_hooks: Option<Vec<Hook>>,
    /// Attach other copies of programs, for calls that the kernel skips the first one for; none: where the kernel
    /// preempts programs. Otherwise for tests.
    pub relief: Option<bool>,
    /// Whether Go programs will be probed: otherwise their tables are made as small as they can be.
    pub go: bool,
    /// Have loops verified round by round, as kernels before 6.9 must: for tests of what those run.
    pub followed_loops: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ring_bytes: 16 << 20,
            scoped: false,
            skip_descendants: false,
            only_hooks: None,
            relief: None,
            go: false,
            followed_loops: false,
        }
    }
}

/// Whether a program runs, and if not, why and what that means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachReport {
    /// The hook that it serves.
    pub hook: Hook,
    /// Program name.
    pub program: &'static str,
    /// Where it hangs.
    pub attach_point: String,
    /// Whether it does.
    pub attached: bool,
    /// If not: why.
    pub reason: Option<String>,
    /// If not, and nothing stands in for it: what is not seen.
    pub not_seen: Option<&'static str>,
}

/// What keeps recording from starting.
#[derive(Debug, Error)]
pub enum KernelError {
    /// Not allowed to load programs.
    #[error(
        "load eBPF programs: {source}; missing {missing} (run as root, or `setcap \
         cap_bpf,cap_perfmon,cap_sys_admin=ep` on the binary; in a container --privileged or --cap-add)"
    )]
    NoPrivilege {
        /// The capabilities that are not there.
        missing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// No or unreadable BTF.
    #[error(transparent)]
    Offsets(#[from] offsets::OffsetsError),
    /// No ring buffer map.
    #[error("create a ring buffer: {0} (the kernel must be 5.8 or later)")]
    NoRingBuffer(#[source] io::Error),
    /// The object was refused.
    #[error("load the eBPF object: {0}")]
    Load(#[from] EbpfError),
    /// A map operation failed.
    #[error("use an eBPF map: {0}")]
    Map(#[from] MapError),
    /// Nothing could be attached.
    #[error("attach any program; the first refusal: {0}")]
    NothingAttached(String),
}

/// A running recording.
pub struct Session {
    /// What holds the programs in place.
    links: Vec<Box<dyn std::any::Any + Send>>,
    reports: Vec<AttachReport>,
    ring: Ring,
    books: Books,
    scope: Option<HashMap<MapData, u32, u8>>,
    last_child: Option<Array<MapData, u32>>,
    /// Not loaded yet.
    go: Option<GoPrograms>,
    /// What the programs say of themselves; goes to the `log` crate's logger at each drain.
    #[cfg(feature = "kernel-log")]
    diagnostics: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
}

impl Session {
    /// Loads and attaches.
    pub fn start(config: &Config) -> Result<Self, KernelError> {
        let Attached { programs, links, reports } = Loaded::load(config)?.attach();
        if !reports.iter().any(|report| report.attached) {
            let reason = reports.iter().find_map(|report| report.reason.clone());
            return Err(KernelError::NothingAttached(reason.unwrap_or_else(|| "none".into())));
        }
        #[cfg(feature = "kernel-log")]
        let mut programs = programs;
        #[cfg(feature = "kernel-log")]
        let diagnostics = aya_log::EbpfLogger::init(&mut programs.ebpf).ok();
        let ebpf = &programs.ebpf;
        Ok(Self {
            links,
            reports,
            ring: Ring::of(ebpf)?,
            books: Books::of(ebpf)?,
            scope: own(ebpf, "SCOPE")?.map(HashMap::try_from).transpose()?,
            last_child: own(ebpf, "LAST_CHILD")?.map(Array::try_from).transpose()?,
            go: Some(programs),
            #[cfg(feature = "kernel-log")]
            diagnostics,
        })
    }

    /// The programs for Go programs, not loaded yet; the error says why this host cannot have them. To be taken once.
    pub fn take_go(&mut self) -> Result<GoPrograms, go::Unavailable> {
        go::available()?;
        self.go.take().ok_or_else(|| "they were taken before".to_owned())
    }

    /// What runs and what does not.
    pub fn reports(&self) -> &[AttachReport] {
        &self.reports
    }

    /// Hands the records that are there to `f`, in ring order; waits up to `timeout` for the first. Returns
    /// how many there were.
    pub fn drain(&mut self, timeout: Duration, f: &mut dyn FnMut(&[u8])) -> Result<usize, KernelError> {
        self.drain_some(timeout, usize::MAX, f)
    }

    /// As [`Self::drain`], but at most `budget` records.
    pub fn drain_some(
        &mut self,
        timeout: Duration,
        budget: usize,
        f: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, KernelError> {
        #[cfg(feature = "kernel-log")]
        if let Some(diagnostics) = &mut self.diagnostics {
            diagnostics.flush();
        }
        Ok(self.ring.drain(timeout, budget, f)?)
    }

    /// The books of the kernel side. Final once [`Self::detach_producers`] was called and the ring is empty.
    pub fn counters(&self) -> Result<Counters, KernelError> {
        Ok(self.books.read()?)
    }

    /// The per-CPU part of [`Self::counters`], which is cheap: for looking at often.
    pub fn cpu_states(&self) -> Result<Vec<goaudit_ebpf::wire::CpuState>, KernelError> {
        Ok(self.books.read_per_cpu()?)
    }

    /// Records (or, with `skip_descendants`, leaves out) this process and what will descend from it. Inside a pid
    /// namespace it must be the child that this process made last.
    pub fn scope_add(&mut self, tgid: u32) -> Result<(), KernelError> {
        let tgid = self.initial_tgid(tgid)?;
        if let Some(scope) = &mut self.scope {
            scope.insert(tgid, 1, 0)?;
        }
        Ok(())
    }

    /// Whether this process runs inside a pid namespace: its numbers of processes are not those of records.
    pub fn is_nested(&self) -> bool {
        sys::initial_tgid().is_ok_and(|tgid| tgid != std::process::id())
    }

    /// The number in the initial pid namespace of the child that this process made last, of which it knows `tgid`.
    fn initial_tgid(&self, tgid: u32) -> Result<u32, MapError> {
        if !self.is_nested() {
            return Ok(tgid);
        }
        let Some(last) = &self.last_child else { return Ok(tgid) };
        Ok(match last.get(&0, 0)? {
            0 => tgid,
            last => last,
        })
    }

    /// Detaches every program, so that what is on the ring is the rest.
    pub fn detach_producers(&mut self) {
        // In this order: another copy that is alone would take over what nobody was skipped for.
        while self.links.pop().is_some() {}
        // A program that is under way on another CPU ends within microseconds; the kernel's own grace
        // period for detached tracepoints is shorter than this.
        std::thread::sleep(Duration::from_millis(20));
    }

    /// SHA-256 of the object, in hex.
    pub fn object_sha256(&self) -> String {
        object::sha256()
    }
}

/// Names what is missing of the capabilities that loading needs.
fn no_privilege(source: io::Error) -> KernelError {
    use rustix::thread::{CapabilitySet, capabilities};
    let effective = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let wanted = [
        (CapabilitySet::BPF, "CAP_BPF"),
        (CapabilitySet::PERFMON, "CAP_PERFMON"),
        (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    ];
    let missing: BTreeSet<&str> =
        wanted.iter().filter(|(set, _)| !effective.contains(*set)).map(|(_, name)| *name).collect();
    let missing = if missing.is_empty() {
        "the privilege in the initial user namespace, or lockdown or seccomp forbids bpf".to_owned()
    } else {
        missing.into_iter().collect::<Vec<_>>().join(", ")
    };
    KernelError::NoPrivilege { missing, source }
}

/// A program's name, and how many instructions the verifier looked at or its log.
pub type Verdict = (&'static str, Result<u32, String>);

/// Loads every program that needs no BTF and attaches none: its name, and how many instructions the verifier
/// looked at (0 where the kernel does not say, before 5.16) or its log.
/// For the kernel lab.
pub fn verify_programs(config: &Config) -> Result<Vec<Verdict>, KernelError> {
    Loaded::load(config).map(Loaded::verify)
}
