//! The plan: for each function asked for, a verdict with its reason, and the sites if it can be probed.
//!
//! Silence is a defect: a function that was inlined away or never linked says so here, before anything is
//! attached. The plan is exactly what attaching carries out later.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::image::Arch;
use super::name::{self, Wanted};
use super::pclntab::{Format, Function};
use super::site::{self, Class, Code, Costs};
use super::{Program, inline};

/// Callers named for an inlined function; the rest is counted.
const CALLERS_TOLD: usize = 8;
/// Nearest names told for an absent function.
const NEAREST_TOLD: usize = 3;

/// What can be done with a function that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is there, and nowhere inlined: every call is seen.
    Present,
    /// It is there, but some calls of it were inlined and will not be seen; or the program does not tell whether.
    InlinedAt,
    /// Every call of it was inlined: nothing to probe.
    InlinedOnly,
    /// The program does not contain it.
    Absent,
    /// It is there, but probing it would be unsafe or wrong.
    Refused,
}

/// A function that has inlined copies of the one asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InlinedInto {
    /// The caller's name.
    pub function: String,
    /// Copies in it.
    pub places: u64,
}

/// The plan for one function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// What was asked for.
    pub id: String,
    /// The function's name in the program; what was asked for when there is none.
    pub function: String,
    /// What can be done.
    pub verdict: Verdict,
    /// Why, and what to do about it.
    pub reason: String,
    /// Where calls are seen to begin.
    pub entry: Option<EntrySite>,
    /// File offsets of the return instructions.
    pub returns: Vec<u64>,
    /// How the kernel executes a return.
    pub return_class: Option<Class>,
    /// Predicted cost of one call on this host; `None` when its costs are not calibrated, or nothing is probed.
    pub predicted_ns_per_call: Option<u64>,
    /// Source file of the first instruction, as recorded.
    pub file: Option<String>,
    /// SHA-256 of the function's code: its identity when attaching.
    pub code_sha256: Option<String>,
    /// The same with its place.
    #[serde(skip)]
    pub code: Option<CodeIdentity>,
    /// Inlined copies in the whole program.
    pub inlined_places: u64,
    /// The callers with most copies.
    pub inlined_into: Vec<InlinedInto>,
    /// Names like it, when it is absent.
    pub nearest: Vec<String>,
}

/// A function's code in the file: what must still be there when it is probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeIdentity {
    /// Where it is in the file.
    pub offset: u64,
    /// Bytes, padding included.
    pub len: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

/// An entry site as the JSON view has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EntrySite {
    /// Offset in the file.
    pub offset: u64,
    /// How the kernel executes it.
    pub class: Class,
    /// See `Entry::ignore_when_taken`.
    pub ignore_when_taken: bool,
}

/// Runtime functions that goaudit itself needs; they run on stacks and at moments where a probe is harmless. Any
/// other function of the runtime may run on a signal stack, without g, or inside the scheduler.
const RUNTIME_ALLOWED: [&str; 8] = [
    "runtime.recovery",
    "runtime.gopanic",
    "runtime.fatalpanic",
    "runtime.throw",
    "runtime.fatal",
    "runtime.newproc1",
    "runtime.goexit1",
    "runtime.Goexit",
];
const RUNTIME_PACKAGES: [&str; 4] = ["runtime.", "runtime/internal/", "internal/runtime/", "internal/abi."];

const MORESTACK: &[u8] = b"runtime.morestack";

/// What one pass over the program found for the requests.
#[derive(Default)]
struct Found {
    /// Functions by name offset.
    functions: BTreeMap<u32, Vec<Function>>,
    /// Inlined copies by name offset: caller's name offset and number.
    inlined: HashMap<u32, BTreeMap<u32, u64>>,
    morestack: HashSet<u64>,
    /// Functions whose inlined calls cannot be read.
    unreadable: u64,
}

impl Program<'_> {
    /// Plans probes for the functions asked for, in that order. A request that matches several functions (type
    /// arguments, several major versions) gives one row each.
    pub fn plan(&self, wanted: &[Wanted], costs: Option<Costs>) -> Vec<Probe> {
        let (matches, morestack) = self.matching_names(wanted);
        let found = self.find(&matches, &morestack);
        let mut probes = Vec::new();
        let mut unmatched = Vec::new();
        for (index, wanted) in wanted.iter().enumerate() {
            let names: Vec<u32> = matches
                .iter()
                .filter(|(_, indexes)| indexes.contains(&index))
                .map(|(&name, _)| name)
                .collect();
            let rows = self.rows(wanted, &names, &found, costs);
            if rows.is_empty() {
                unmatched.push((probes.len(), wanted));
                probes.push(Probe::empty(wanted.text(), Verdict::Absent));
            }
            probes.extend(rows);
        }
        self.explain_absent(&unmatched, found.unreadable > 0, &mut probes);
        probes
    }

    /// Offsets of the names that were asked for (with the requests' indexes), and of `morestack`'s.
    fn matching_names(&self, wanted: &[Wanted]) -> (BTreeMap<u32, Vec<usize>>, HashSet<u32>) {
        let mut matches: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        let mut morestack = HashSet::new();
        let mut look = |offset: u32, raw: &[u8]| {
            if raw.starts_with(MORESTACK) {
                morestack.insert(offset);
            }
            for (index, wanted) in wanted.iter().enumerate() {
                if wanted.matches(raw) {
                    let indexes = matches.entry(offset).or_default();
                    if !indexes.contains(&index) {
                        indexes.push(index);
                    }
                }
            }
        };
        if self.table.format() == Format::Go1_2 {
            self.functions().for_each(|(function, raw)| look(function.name, raw));
        } else {
            self.table.all_names().for_each(|(offset, raw)| look(offset, raw));
        }
        (matches, morestack)
    }

    fn find(&self, matches: &BTreeMap<u32, Vec<usize>>, morestack: &HashSet<u32>) -> Found {
        let mut found = Found::default();
        for function in self.table.functions(&self.image, self.module.text) {
            if matches.contains_key(&function.name) {
                found.functions.entry(function.name).or_default().push(function);
            }
            if morestack.contains(&function.name) {
                found.morestack.insert(function.entry);
            }
            let inlined = inline::inlined_names(&self.image, &self.table, &self.module, &function);
            if inlined.is_err() {
                found.unreadable = found.unreadable.saturating_add(1);
            }
            for callee in inlined.into_iter().flatten() {
                if matches.contains_key(&callee) {
                    let places = found.inlined.entry(callee).or_default();
                    *places.entry(function.name).or_default() += 1;
                }
            }
        }
        found
    }

    fn rows(&self, wanted: &Wanted, names: &[u32], found: &Found, costs: Option<Costs>) -> Vec<Probe> {
        // The linker stores a name once per symbol version, so one name may be there at two offsets.
        let mut by_text: BTreeMap<&[u8], Vec<u32>> = BTreeMap::new();
        for &offset in names {
            by_text.entry(self.table.name_at(offset).unwrap_or_default()).or_default().push(offset);
        }
        let mut rows = Vec::new();
        for (name, offsets) in by_text {
            let (places, callers) = self.callers(&offsets, found);
            let all = offsets.iter().filter_map(|offset| found.functions.get(offset)).flatten();
            let functions: Vec<Function> =
                all.clone().filter(|function| !self.wraps_instance(name, function)).copied().collect();
            // A call through a wrapper is seen in the instance.
            if functions.is_empty() && all.count() > 0 {
                continue;
            }
            let mut add = |mut row: Probe| {
                row.function = String::from_utf8_lossy(name).into_owned();
                row.inlined_places = places;
                row.inlined_into.clone_from(&callers);
                rows.push(row);
            };
            if functions.is_empty() {
                let reason = if places > 0 {
                    format!(
                        "the compiler inlined every call of it ({}): probe a function that calls it, or build with //go:noinline on it",
                        counted(places, "place")
                    )
                } else if found.unreadable > 0 {
                    format!(
                        "the program has its name and not its code: it was inlined everywhere, or removed; which, {}",
                        untold(found.unreadable)
                    )
                } else {
                    // A name that is neither a function nor inlined is left over from dead code.
                    continue;
                };
                add(Probe { reason, ..Probe::empty(wanted.text(), Verdict::InlinedOnly) });
                continue;
            }
            match self.one_body(name, &functions) {
                Some(bodies) => bodies.iter().for_each(|function| {
                    add(self.row(wanted, name, function, places, found, costs));
                }),
                None => add(refused(
                    wanted,
                    format!(
                        "{} share this name and cannot be told apart",
                        counted(functions.len() as u64, "function")
                    ),
                )),
            }
        }
        rows
    }

    /// Whether it does nothing but call the instance of a generic function, which is probed itself.
    fn wraps_instance(&self, name: &[u8], function: &Function) -> bool {
        name::is_generic(name) && self.table.is_numbered(function)
    }

    /// Functions of one name that are to be probed. Go writes the same name for an assembly body, and for the
    /// wrapper between calling conventions; the one with Go's own convention is meant. Instances of a generic
    /// function share a name in Go 1.18 to 1.20. `None`: it cannot be told.
    fn one_body(&self, name: &[u8], functions: &[Function]) -> Option<Vec<Function>> {
        if functions.len() == 1 || name::is_generic(name) {
            return Some(functions.to_vec());
        }
        let keep = |test: &dyn Fn(&Function) -> bool, all: Vec<Function>| {
            let kept: Vec<Function> = all.iter().filter(|function| test(function)).copied().collect();
            if kept.is_empty() { all } else { kept }
        };
        let rest = keep(&|function| !self.table.is_assembly(function), functions.to_vec());
        let rest = keep(&|function| self.file(function) != Some(b"<autogenerated>"), rest);
        (rest.len() == 1).then_some(rest)
    }

    fn row(
        &self,
        wanted: &Wanted,
        name: &[u8],
        function: &Function,
        places: u64,
        found: &Found,
        costs: Option<Costs>,
    ) -> Probe {
        let file = self.file(function).map(|file| String::from_utf8_lossy(file).into_owned());
        let mut row = match self.sites(name, function, found) {
            Ok(sites) => self.probed(wanted, &sites, costs),
            Err(reason) => refused(wanted, reason),
        };
        if row.verdict == Verdict::Present {
            if places > 0 {
                row.verdict = Verdict::InlinedAt;
                row.reason = format!(
                    "calls through {} where it was inlined will not be seen",
                    counted(places, "place")
                );
            } else if found.unreadable > 0 {
                row.verdict = Verdict::InlinedAt;
                row.reason = format!(
                    "whether it was inlined elsewhere, so that calls will not be seen, {}",
                    untold(found.unreadable)
                );
            } else if file.as_deref() == Some("<autogenerated>") {
                "it is a wrapper that the compiler made: only calls through it (from an interface or a method value) are seen"
                    .clone_into(&mut row.reason);
            } else {
                "every call is seen".clone_into(&mut row.reason);
            }
        }
        row.code = self.code_identity(function);
        row.code_sha256 = row.code.as_ref().map(|code| hex(&code.sha256));
        row.file = file;
        row
    }

    fn sites(&self, name: &[u8], function: &Function, found: &Found) -> Result<site::Sites, String> {
        if let Some(old) = self.old_convention() {
            return Err(old);
        }
        let normal = name::normalise(name);
        if RUNTIME_PACKAGES.iter().any(|package| normal.starts_with(package))
            && !RUNTIME_ALLOWED.contains(&normal.as_str())
        {
            return Err("it belongs to the Go runtime and may run without a goroutine or on a signal stack: probing it could crash the program".to_owned());
        }
        if self.table.is_assembly(function) {
            return Err("its body is assembly, which keeps neither arguments nor goroutine in their registers: probe its Go caller".to_owned());
        }
        let is_morestack = |address| found.morestack.contains(&address);
        let pointer = |address| self.image.pointer(address);
        let code = Code {
            bytes: self.code(function).ok_or_else(|| site::Refusal::NoCode.to_string())?,
            address: function.entry,
            is_morestack: &is_morestack,
            pointer: &pointer,
        };
        site::find(self.image.arch(), &code).map_err(|refusal| refusal.to_string())
    }

    /// Where functions of the runtime are entered, in the order asked for: those that goaudit needs itself, most of
    /// which never return. The reason where one cannot be probed.
    pub fn plan_turns(&self, names: &[&str]) -> Vec<Result<(EntrySite, CodeIdentity), String>> {
        let wanted: Vec<Wanted> = names.iter().map(|name| Wanted::new(name)).collect();
        let (matches, morestack) = self.matching_names(&wanted);
        let found = self.find(&matches, &morestack);
        let of = |index: usize| -> Result<(EntrySite, CodeIdentity), String> {
            if let Some(old) = self.old_convention() {
                return Err(old);
            }
            let names = matches.iter().filter(|(_, indexes)| indexes.contains(&index));
            let functions = names.filter_map(|(name, _)| found.functions.get(name)).flatten();
            let functions: Vec<Function> = functions.copied().collect();
            let bodies = self.one_body(b"", &functions).filter(|bodies| bodies.len() == 1);
            let function = bodies.and_then(|bodies| bodies.first().copied());
            let function = function.ok_or("the program does not contain it")?;
            let is_morestack = |address| found.morestack.contains(&address);
            let pointer = |address| self.image.pointer(address);
            let code = Code {
                bytes: self.code(&function).ok_or_else(|| site::Refusal::NoCode.to_string())?,
                address: function.entry,
                is_morestack: &is_morestack,
                pointer: &pointer,
            };
            let entry = site::find_entry(self.image.arch(), &code).map_err(|refusal| refusal.to_string())?;
            let offset =
                self.image.code_offset(entry.address).ok_or_else(|| site::Refusal::NoCode.to_string())?;
            let identity = self.code_identity(&function).ok_or_else(|| site::Refusal::NoCode.to_string())?;
            let class = entry.class;
            Ok((EntrySite { offset, class, ignore_when_taken: entry.ignore_when_taken }, identity))
        };
        (0..names.len()).map(of).collect()
    }

    fn code_identity(&self, function: &Function) -> Option<CodeIdentity> {
        let code = self.code(function)?;
        let len = u64::try_from(code.len()).ok()?;
        let offset = self.image.code_offset(function.entry)?;
        Some(CodeIdentity { offset, len, sha256: Sha256::digest(code).into() })
    }

    /// Go passes arguments and the goroutine in registers since 1.17 (amd64) and 1.18 (arm64).
    fn old_convention(&self) -> Option<String> {
        let first = match self.image.arch() {
            Arch::Amd64 => (1, 17),
            Arch::Arm64 => (1, 18),
        };
        let release = self.build.as_ref().and_then(super::BuildInfo::release);
        let old = match release {
            Some(release) => release < first,
            None => self.table.format() < Format::Go1_18,
        };
        old.then(|| {
            format!(
                "it was built by {}, which passes arguments on the stack: rebuild with Go {}.{} or newer",
                self.build.as_ref().map_or("an old Go", |build| build.go_version.as_str()),
                first.0,
                first.1
            )
        })
    }

    fn probed(&self, wanted: &Wanted, sites: &site::Sites, costs: Option<Costs>) -> Probe {
        let entry = self.image.code_offset(sites.entry.address);
        let returns: Option<Vec<u64>> =
            sites.returns.iter().map(|&address| self.image.code_offset(address)).collect();
        let (Some(offset), Some(returns)) = (entry, returns) else {
            return refused(wanted, site::Refusal::NoCode.to_string());
        };
        let mut row = Probe::empty(wanted.text(), Verdict::Present);
        let site::Entry { class, ignore_when_taken, .. } = sites.entry;
        row.entry = Some(EntrySite { offset, class, ignore_when_taken });
        row.returns = returns;
        row.return_class = Some(sites.return_class);
        row.predicted_ns_per_call = costs.map(|costs| costs.per_call(class, sites.return_class));
        row
    }

    fn callers(&self, callee: &[u32], found: &Found) -> (u64, Vec<InlinedInto>) {
        let mut places: BTreeMap<&[u8], u64> = BTreeMap::new();
        for (caller, count) in callee.iter().filter_map(|offset| found.inlined.get(offset)).flatten() {
            *places.entry(self.table.name_at(*caller).unwrap_or_default()).or_default() += count;
        }
        let mut callers: Vec<InlinedInto> = places
            .iter()
            .map(|(&caller, &places)| InlinedInto {
                function: String::from_utf8_lossy(caller).into_owned(),
                places,
            })
            .collect();
        callers.sort_by(|a, b| b.places.cmp(&a.places).then_with(|| a.function.cmp(&b.function)));
        callers.truncate(CALLERS_TOLD);
        (places.values().sum(), callers)
    }

    fn explain_absent(&self, unmatched: &[(usize, &Wanted)], unreadable: bool, probes: &mut [Probe]) {
        if unmatched.is_empty() {
            return;
        }
        let wanted: Vec<&Wanted> = unmatched.iter().map(|(_, wanted)| *wanted).collect();
        // Functions may share a name; each is compared once.
        let mut seen = HashSet::new();
        let names = self.functions().filter(|(function, _)| seen.insert(function.name)).map(|(_, raw)| raw);
        let near = name::nearest(&wanted, names, NEAREST_TOLD);
        for ((row, _), near) in unmatched.iter().zip(near) {
            let Some(row) = probes.get_mut(*row) else { continue };
            let why = if unreadable {
                "the program has no function of this name: it was never linked, is spelt otherwise, or was inlined (what was cannot be read)"
            } else {
                "the program does not contain it: it was never linked, or is spelt otherwise"
            };
            row.reason = match near.first() {
                Some(first) => format!("{why} (nearest: {first})"),
                None => why.to_owned(),
            };
            row.nearest = near;
        }
    }
}

impl Probe {
    fn empty(wanted: &str, verdict: Verdict) -> Self {
        Self {
            id: wanted.to_owned(),
            function: wanted.to_owned(),
            verdict,
            reason: String::new(),
            entry: None,
            returns: Vec::new(),
            return_class: None,
            predicted_ns_per_call: None,
            file: None,
            code_sha256: None,
            code: None,
            inlined_places: 0,
            inlined_into: Vec::new(),
            nearest: Vec::new(),
        }
    }
}

fn refused(wanted: &Wanted, reason: String) -> Probe {
    Probe { reason, ..Probe::empty(wanted.text(), Verdict::Refused) }
}

/// The end of a reason: what was inlined is not known.
fn untold(functions: u64) -> String {
    format!("cannot be told: the inline data of {} cannot be read", counted(functions, "function"))
}

fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
