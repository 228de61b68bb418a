//! What is known of the probes that were attached, and of the programs and processes that they are in.
//!
//! Written by whoever attaches, read by the correlator for every call. Memory grows with the number of programs, not
//! of processes or calls.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use goaudit_ebpf::hook::go::{PROCESSORS, Status};
use goaudit_ebpf::settings::ABSENT;

use super::{panics, policy};
use crate::correlate::go::{BEGINNING_UNSEEN, Ended, GoBook};
use crate::event::go::{GoFrame, GoPanic, RequestContext};
use crate::event::{GoCall, Missing, Payload, Text};
use crate::golang::profile::{Compiled, Kind};
use crate::golang::target::Planned;
use crate::golang::type_name::{Memory, TypeName, TypeNames};
use crate::golang::{BuildInfo, Figures, Image, Place, Program};
use crate::hook::go::{Role, cells};

const UNREAD: &str = "the process's memory could not be read";
const NO_PARENTS: &str = "the runtime of Go before 1.21 does not keep it";

/// A probed function.
#[derive(Debug)]
struct Known {
    role: Role,
    id: String,
    function: String,
    module_version: Option<String>,
    compiled: Option<Compiled>,
    figures: Option<Figures>,
    /// The runtime keeps which goroutine started another.
    keeps_parents: bool,
    /// Addresses of the sites in the file.
    entry: u64,
    returns: Vec<u64>,
    names: Arc<Names>,
}

impl Known {
    /// How far above the addresses of its file the program is loaded, where the site at this address was hit. Programs
    /// are loaded at whole pages, so of several returns the one that was hit is told by the address in the page.
    fn bias(&self, site: u64) -> Option<u64> {
        const PAGE: u64 = 4096;
        let sites = [self.entry].into_iter().chain(self.returns.iter().copied());
        let mut fits = sites.map(|known| site.wrapping_sub(known)).filter(|bias| bias.is_multiple_of(PAGE));
        fits.next()
    }

    fn type_name(&self, bias: u64, address: u64) -> Option<TypeName> {
        self.names.type_at(address.checked_sub(bias)?)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Book {
    probes: RwLock<HashMap<u32, Arc<Known>>>,
    policies: RwLock<policy::Versions>,
    /// Go into the hash of a decision's context.
    labels: Vec<(String, String)>,
}

impl Book {
    pub(crate) fn new(labels: Vec<(String, String)>) -> Self {
        Self { labels, ..Self::default() }
    }

    /// The policy files have these versions from now on.
    pub(super) fn set_policies(&self, versions: policy::Versions) {
        *self.policies.write().unwrap_or_else(PoisonError::into_inner) = versions;
    }

    /// Version of a library's policy files, as a process that began at a time has read them; none if there are no such
    /// files.
    fn policy_version(&self, library: &str, began: Option<u64>) -> Option<Result<String, String>> {
        let versions = self.policies.read().unwrap_or_else(PoisonError::into_inner);
        Some(match versions.get(library)? {
            Ok(version) if began.is_some_and(|began| began >= version.since_ktime_ns) => {
                Ok(version.text.clone())
            }
            Ok(_) => {
                Err("the policy files (--policy) were changed after this process began: it may have read \
                          them again or not"
                    .to_owned())
            }
            Err(error) => Err(format!("a policy file (--policy) cannot be read: {error}")),
        })
    }

    /// A probe is going to be attached in a program whose code lies `code_delta` above its place in the file.
    pub(crate) fn add(&self, index: u32, planned: &Planned, code_delta: u64, names: Arc<Names>) {
        let address = |offset: u64| offset.wrapping_add(code_delta);
        let known = Known {
            entry: address(planned.entry.offset),
            returns: planned.returns.iter().copied().map(address).collect(),
            names,
            role: planned.role,
            id: planned.id.clone(),
            function: planned.function.clone(),
            module_version: planned.module_version.clone(),
            compiled: planned.compiled.clone(),
            figures: planned.figures.clone(),
            keeps_parents: planned.kernel.runtime.parent_goid != ABSENT,
        };
        self.probes.write().unwrap_or_else(PoisonError::into_inner).insert(index, Arc::new(known));
    }

    /// A probe is no more, and its number may be another one's from now on.
    pub(super) fn remove(&self, index: u32) {
        self.probes.write().unwrap_or_else(PoisonError::into_inner).remove(&index);
    }

    fn known(&self, probe: u32) -> Option<Arc<Known>> {
        self.probes.read().unwrap_or_else(PoisonError::into_inner).get(&probe).cloned()
    }

    /// The function whose site was hit, and how far above its file's addresses the program is loaded. A number may have
    /// been another program's before: that one has no such site.
    fn hit(&self, probe: u32, site: u64) -> Option<(Arc<Known>, u64)> {
        let known = self.known(probe)?;
        let bias = known.bias(site)?;
        Some((known, bias))
    }
}

impl GoBook for Book {
    fn role(&self, probe: u32) -> Option<Role> {
        self.known(probe).map(|known| known.role)
    }

    fn payload(&self, ended: Ended<'_>) -> Option<(Payload, Vec<Missing>)> {
        let Ended { probe, site, call, entry, exit, within, process_start_ktime_ns } = ended;
        let Some((known, bias)) = self.hit(probe, site) else {
            let missing = vec![Missing::new("go_call.probe", "no probe of that number was attached")];
            return Some((Payload::GoCall(Box::new(call)), missing));
        };
        let call = GoCall {
            probe: known.id.clone(),
            function: known.function.clone(),
            module_version: known.module_version.clone(),
            ..call
        };
        let no_parent = call.goid.is_some() && !known.keeps_parents;
        let no_parent = |field: &'static str| no_parent.then(|| Missing::new(field, NO_PARENTS));
        let Some(compiled) = &known.compiled else {
            let missing = no_parent("go_call.parent_goid").into_iter().collect();
            return Some((Payload::GoCall(Box::new(call)), missing));
        };
        let outer = within.iter().filter_map(|probe| self.known(*probe));
        if outer.into_iter().any(|outer| compiled.declared.is_quiet_under(&outer.id)) {
            return None;
        }
        let reading = compiled.read(entry, exit, &|address| known.type_name(bias, address));
        Some(match compiled.declared.kind {
            Kind::Call => {
                let (call, mut missing) = Compiled::call(call, reading);
                missing.extend(no_parent("go_call.parent_goid"));
                (Payload::GoCall(Box::new(call)), missing)
            }
            Kind::Authz => {
                let version = self.policy_version(compiled.declared.library(), process_start_ktime_ns);
                let (authz, mut missing) = compiled.authz(call, reading, version, &self.labels);
                missing.extend(no_parent("authz.call.parent_goid"));
                (Payload::Authz(Box::new(authz)), missing)
            }
            Kind::Request => return None,
        })
    }

    fn request(&self, probe: u32, site: u64, entry: &[u8]) -> Option<RequestContext> {
        let (known, bias) = self.hit(probe, site)?;
        let compiled = known.compiled.as_ref()?;
        if compiled.declared.kind != Kind::Request {
            return None;
        }
        let reading = compiled.read(Some(entry), None, &|address| known.type_name(bias, address));
        Some(Compiled::request(&reading))
    }

    fn panic(
        &self,
        probe: u32,
        site: u64,
        bytes: &[u8],
        frames: &[u64],
        panic: &mut GoPanic,
    ) -> Vec<Missing> {
        let mut missing = Vec::new();
        let value = cells(bytes).flatten().find(|value| value.field == 0);
        let value = value.as_ref();
        let Some((known, bias)) = self.hit(probe, site) else {
            return vec![Missing::new("go_panic.type", "no probe of that number was attached")];
        };
        let dynamic = || known.type_name(bias, value?.dynamic_type?);
        let (of_type, message) = if known.role == Role::Throw {
            (Ok("runtime.throw".to_owned()), value.map_or(Err(UNREAD), panics::text))
        } else {
            let dynamic = dynamic();
            let message = panics::message(value, dynamic.as_ref());
            // By the time of `fatalpanic` the message of an error stands in the error's place.
            let begun = known.role == Role::Panic;
            (if begun { panics::type_of(value, dynamic) } else { Err(BEGINNING_UNSEEN) }, message)
        };
        note(&mut panic.value_type, of_type, "go_panic.type", &mut missing);
        note(&mut panic.message, message, "go_panic.message", &mut missing);
        if panic.message.is_some() {
            missing.extend(panics::cut_message(value));
        }
        if panic.goid.is_some() && !known.keeps_parents {
            missing.push(Missing::new("go_panic.parent_goid", NO_PARENTS));
        }
        if known.role == Role::Fatal {
            let fields = ["go_panic.stack", "go_panic.goroutines", "go_panic.heap_alloc_bytes"];
            missing.extend(fields.map(|field| Missing::new(field, BEGINNING_UNSEEN)));
            return missing;
        }
        panic.stack = known.names.frames(frames, bias);
        if panic.stack.is_empty() {
            missing.push(Missing::new("go_panic.stack", "no return address could be read"));
        }
        missing.extend(panics::cut_stack(frames, &panic.stack));
        match figures(known.figures.as_ref(), bytes) {
            (Ok(goroutines), heap) => {
                panic.goroutines = Some(goroutines);
                note(&mut panic.heap_alloc_bytes, heap, "go_panic.heap_alloc_bytes", &mut missing);
            }
            (Err(reason), heap) => {
                missing.push(Missing::new("go_panic.goroutines", reason));
                note(&mut panic.heap_alloc_bytes, heap, "go_panic.heap_alloc_bytes", &mut missing);
            }
        }
        missing
    }
}

/// Notes a value, or why it is not there.
fn note<T>(
    place: &mut Option<T>,
    found: Result<T, &'static str>,
    field: &'static str,
    missing: &mut Vec<Missing>,
) {
    match found {
        Ok(value) => *place = Some(value),
        Err(reason) => missing.push(Missing::new(field, reason)),
    }
}

/// Goroutines and heap of the process, out of the cells behind the first one (`Planned::figures` says which they are).
fn figures(known: Option<&Figures>, bytes: &[u8]) -> (Result<u64, &'static str>, Result<u64, &'static str>) {
    let Some(Figures { goroutines, heap_live }) = known else { return (Err(UNREAD), Err(UNREAD)) };
    let cell = |number: u16| {
        let value = cells(bytes).flatten().find(|value| value.field == number);
        value.filter(|value| value.status == Status::Whole).and_then(|value| value.word()).ok_or(UNREAD)
    };
    let mut next = 1;
    let mut take = || {
        let number = next;
        next += 1;
        cell(number)
    };
    let count = match goroutines {
        Ok(found) => {
            let all = take();
            let less: Vec<_> = (0..=found.free.len()).map(|_| take()).collect();
            let idle = cells(bytes).flatten().find(|value| value.field == PROCESSORS);
            let idle = match idle.map(|value| (value.status, value.word())) {
                Some((Status::Whole, Some(idle))) => Ok(idle),
                Some((Status::OutOfRange, _)) => Err("the program uses more than 64 processors (GOMAXPROCS)"),
                _ => Err(UNREAD),
            };
            let sum: Result<u64, &'static str> =
                less.into_iter().chain([idle]).try_fold(0u64, |sum, one| Ok(sum.saturating_add(one?)));
            // Not taken at one moment: at least the one that panics is there.
            all.and_then(|all| sum.map(|sum| all.saturating_sub(sum).max(1)))
        }
        Err(reason) => Err(*reason),
    };
    let heap = match heap_live {
        Ok(_) => take(),
        Err(reason) => Err(*reason),
    };
    (count, heap)
}

/// Names in a program: of types, and of places in its code. The file is read when a name is asked for the first time,
/// and not kept.
#[derive(Debug)]
pub(crate) struct Names {
    file: File,
    types: Mutex<HashMap<u64, Option<TypeName>>>,
    /// By address in the file, and whether it is that of the instruction itself.
    frames: Mutex<HashMap<(u64, bool), Vec<GoFrame>>>,
}

/// Names that are kept of one program.
const NAMES_MAX: usize = 4096;

impl Names {
    /// Of an open program file.
    pub(crate) fn new(file: File) -> Self {
        Self { file, types: Mutex::default(), frames: Mutex::default() }
    }

    /// The file.
    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    fn type_at(&self, address: u64) -> Option<TypeName> {
        if let Some(known) = lock(&self.types).get(&address) {
            return known.clone();
        }
        let found = self.ask(|program| {
            let release = program.build().and_then(BuildInfo::release);
            TypeNames::new(program.module(), release)?.find(&InFile(program.image()), address)
        });
        let found = found.flatten();
        let mut types = lock(&self.types);
        if types.len() < NAMES_MAX {
            types.insert(address, found.clone());
        }
        found
    }

    /// The frames of a stack, innermost first, with those of inlined calls.
    fn frames(&self, addresses: &[u64], bias: u64) -> Vec<GoFrame> {
        let known = |key: &(u64, bool)| lock(&self.frames).get(key).cloned();
        let mut told: Vec<GoFrame> = Vec::new();
        let mut program: Option<Vec<u8>> = None;
        for address in addresses {
            // The runtime puts a call of `sigpanic` in front of the instruction that failed.
            let exact = told.last().and_then(|frame| frame.function.as_deref()) == Some("runtime.sigpanic");
            let key = (address.wrapping_sub(bias), exact);
            let frames = known(&key).unwrap_or_else(|| {
                let bytes = program.get_or_insert_with(|| read(&self.file).unwrap_or_default());
                let found = Program::parse(bytes).map(|program| frames_at(&program, key.0, exact));
                let found = found.unwrap_or_else(|_| vec![GoFrame::default()]);
                let mut frames = lock(&self.frames);
                if frames.len() < NAMES_MAX {
                    frames.insert(key, found.clone());
                }
                found
            });
            told.extend(frames.into_iter().map(|frame| GoFrame { address: *address, ..frame }));
        }
        told
    }

    /// Asks the program's file.
    fn ask<T>(&self, question: impl FnOnce(&Program<'_>) -> T) -> Option<T> {
        let bytes = read(&self.file)?;
        Program::parse(&bytes).ok().map(|program| question(&program))
    }
}

/// The bytes of a program's file by address.
struct InFile<'a>(&'a Image<'a>);

impl Memory for InFile<'_> {
    fn read_at(&self, address: u64, len: usize) -> Option<&[u8]> {
        self.0.at(address)?.slice(0, u64::try_from(len).ok()?)
    }
}

/// The frames that a return address stands for: the call is the instruction before it. At least one.
fn frames_at(program: &Program<'_>, address: u64, exact: bool) -> Vec<GoFrame> {
    let call = if exact { address } else { address.saturating_sub(1) };
    let frame = |place: Place<'_>| GoFrame {
        address,
        function: Some(String::from_utf8_lossy(place.function).into_owned()),
        file: place.line.map(|(file, _)| Text::from(file)),
        line: place.line.map(|(_, line)| line),
        inlined: place.inlined,
    };
    let mut frames: Vec<GoFrame> = program.places(call).into_iter().map(frame).collect();
    if frames.is_empty() {
        frames.push(GoFrame::default());
    }
    frames
}

/// Larger files are not programs.
const FILE_MAX: u64 = 4 << 30;

/// The whole file. Read, not mapped: one that is cut off meanwhile must not kill goaudit.
pub(crate) fn read(file: &File) -> Option<Vec<u8>> {
    let len = file.metadata().ok()?.len();
    let mut bytes = vec![0; usize::try_from(len).ok().filter(|_| len <= FILE_MAX)?];
    file.read_exact_at(&mut bytes, 0).ok()?;
    Some(bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
