//! What will be probed in a program: the functions of profiles that it contains, and the places of the runtime
//! where a goroutine's life turns. Attaching carries out exactly this.
//!
//! Pure: a program's bytes and profiles in, a list of sites out.

use goaudit_ebpf::hook::go::{
    Field, MapLayout, Op, Probe as KernelProbe, RuntimeLayout, Step, Take, VALUE_MAX, traits,
};

use super::offsets::{Confidence, RuntimeOffsets};
use super::plan::{CodeIdentity, EntrySite, Verdict};
use super::profile::{Compiled, Kind, Profile};
use super::site::Class;
use super::type_name::TypeNames;
use super::{BuildInfo, Figures, Program, Wanted, name};
use crate::hook::go::{Role, WRITE_PIECES};

/// A function and its sites.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What it means for the goroutine.
    pub role: Role,
    /// Id of the probe in its profile; the function's name for the runtime's.
    pub id: String,
    /// The function's name in the program.
    pub function: String,
    /// The plan's reason: what is seen, and what is not.
    pub reason: String,
    /// Whether some calls are not seen, because they were inlined.
    pub partly: bool,
    /// Its code.
    pub code: CodeIdentity,
    /// Where it is entered.
    pub entry: EntrySite,
    /// File offsets of its returns; empty for functions that are not to be seen returning.
    pub returns: Vec<u64>,
    /// How the kernel executes a return.
    pub return_class: Option<Class>,
    /// How its values are read; none for the runtime's functions.
    pub compiled: Option<Compiled>,
    /// Version of its module.
    pub module_version: Option<String>,
    /// Traits and layout for the kernel's table.
    pub kernel: KernelProbe,
    /// What is read at the entry.
    pub entry_fields: Vec<Field>,
    /// What of the runtime's figures is among that, behind the first field, in this order: all goroutines, what is to be
    /// subtracted, the heap.
    pub figures: Option<Figures>,
    /// What is read at a return.
    pub return_fields: Vec<Field>,
}

/// A function that a profile names and that is not probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotProbed {
    /// Id of the probe.
    pub id: String,
    /// The function as the profile names it.
    pub function: String,
    /// Why not, and what can be done.
    pub reason: String,
}

/// Everything about a program that attaching needs.
#[derive(Debug, Clone)]
pub struct Target {
    /// In the order of attaching.
    pub planned: Vec<Planned>,
    /// What its libraries have and is not probed, and what of its modules a profile of the user's own names and it has not.
    /// Libraries that are not in the program are not told.
    pub not_probed: Vec<NotProbed>,
    /// Go version, as recorded.
    pub go_version: Option<String>,
    /// How far the runtime's layout is known.
    pub confidence: Confidence,
    /// Address of the code, less its offset in the file.
    pub code_delta: u64,
    /// Attach only after it runs: a static position-independent program.
    pub only_running: bool,
}

impl Target {
    /// Whether a function of a profile is among what is probed.
    pub fn has_calls(&self) -> bool {
        self.planned.iter().any(|planned| planned.role == Role::Call)
    }

    /// Whether decisions of a library are probed.
    pub fn has_library(&self, library: &str) -> bool {
        let declared = self.planned.iter().filter_map(|planned| planned.compiled.as_ref());
        declared.into_iter().any(|compiled| compiled.declared.library() == library)
    }

    /// Plans a program.
    pub fn plan(program: &Program<'_>, profile: &Profile) -> Self {
        let release = program.build().and_then(BuildInfo::release);
        let (offsets, confidence) = RuntimeOffsets::of_program(release, program.table().format());
        let layout = layout(&offsets, maps(program.build(), &offsets));
        let mut target = Self {
            planned: turns(program, &offsets, layout),
            not_probed: Vec::new(),
            go_version: program.build().map(|build| build.go_version.clone()),
            confidence,
            code_delta: program.image().code_delta(),
            only_running: program.image().position_independent() && !program.image().has_interpreter(),
        };
        let chosen = profile.choose(program.build());
        let passed = profile.passed_over(program.build(), &chosen);
        target.not_probed.extend(passed.iter().map(|passed| NotProbed {
            id: passed.declared.id.clone(),
            function: passed.declared.wanted().text().to_owned(),
            reason: passed.reason(),
        }));
        let wanted: Vec<Wanted> = chosen.iter().map(|chosen| chosen.declared.wanted()).collect();
        for row in program.plan(&wanted, None) {
            let Some(index) = wanted.iter().position(|wanted| wanted.text() == row.id) else { continue };
            let Some(chosen) = chosen.get(index) else { continue };
            let release = program.build().and_then(BuildInfo::release);
            let declared = &chosen.declared.for_release(release);
            let mut not_probed = |function: &str, reason: String| {
                target.not_probed.push(NotProbed {
                    id: declared.id.clone(),
                    function: function.to_owned(),
                    reason,
                });
            };
            let (Verdict::Present | Verdict::InlinedAt, Some(entry), Some(code)) =
                (row.verdict, row.entry, row.code)
            else {
                if row.verdict != Verdict::Absent || chosen.is_expected() {
                    not_probed(&row.function, row.reason);
                }
                continue;
            };
            let dictionary = name::dictionary(&row.function).map(|dictionary| dictionary.in_release(release));
            let mut compiled = match declared.compile(program.image().arch(), dictionary) {
                Ok(compiled) => compiled,
                Err(error) => {
                    not_probed(&row.function, format!("its values cannot be read here: {error}"));
                    continue;
                }
            };
            let site = entry.offset.wrapping_add(program.image().code_delta());
            compiled.find_types(|name| {
                let address = TypeNames::of(program)?.address(program.image(), name)?;
                Some(address.wrapping_sub(site))
            });
            compiled.find_spans(program.build());
            // Of several major versions the one that the function belongs to.
            let module_version = program
                .build()
                .and_then(|build| build.module_of(&row.function))
                .map(|module| module.version.clone())
                .or_else(|| chosen.version.clone());
            let mut bits = 0;
            if compiled.keeps {
                bits |= traits::KEEPS;
            }
            target.planned.push(Planned {
                role: Role::Call,
                id: declared.id.clone(),
                function: row.function,
                partly: row.verdict == Verdict::InlinedAt,
                reason: row.reason,
                kernel: kernel_probe(bits, entry, layout),
                code,
                entry,
                returns: row.returns,
                return_class: row.return_class,
                entry_fields: compiled.entry.clone(),
                figures: None,
                return_fields: compiled.returned.clone(),
                compiled: Some(compiled),
                module_version,
            });
        }
        // Requests matter only for what is told of them.
        let told = |planned: &Planned| {
            planned.compiled.as_ref().is_some_and(|compiled| compiled.declared.kind != Kind::Request)
        };
        if !target.planned.iter().any(told) {
            target.planned.retain(|planned| planned.role != Role::Call);
        }
        target
    }
}

/// How maps are laid out. What a toolchain was built with beside the usual stands behind its version.
fn maps(build: Option<&BuildInfo>, offsets: &RuntimeOffsets) -> MapLayout {
    let experiment = |name: &str| build.is_some_and(|build| build.go_version.contains(name));
    if experiment("mapsplitgroup") && !experiment("nomapsplitgroup") {
        MapLayout::Unknown
    } else if offsets.map_used.is_none() || experiment("noswissmap") {
        MapLayout::Buckets
    } else {
        MapLayout::Groups
    }
}

fn layout(offsets: &RuntimeOffsets, maps: MapLayout) -> RuntimeLayout {
    use goaudit_ebpf::settings::ABSENT;
    let or_absent = |offset: Option<u32>| offset.unwrap_or(ABSENT);
    RuntimeLayout {
        goid: offsets.g_goid,
        parent_goid: or_absent(offsets.g_parent_goid),
        m: offsets.g_m,
        curg: offsets.m_curg,
        panic: offsets.g_panic,
        // Up to Go 1.21 `recovery` takes the stack pointer from elsewhere.
        panic_sp: or_absent(offsets.panic_start_sp.map(|_| offsets.panic_sp)),
        panic_start_sp: or_absent(offsets.panic_start_sp),
        sigcode0: offsets.g_sigcode0,
        maps: maps as u32,
        reserved: 0,
    }
}

const fn kernel_probe(bits: u32, entry: EntrySite, runtime: RuntimeLayout) -> KernelProbe {
    let jump = if entry.ignore_when_taken { traits::IGNORE_TAKEN_JUMP } else { 0 };
    KernelProbe {
        traits_: bits | jump,
        entry_first: 0,
        entry_count: 0,
        return_first: 0,
        return_count: 0,
        processors: 0,
        processor_word: 0,
        runtime,
    }
}

/// The runtime's functions, in the order of attaching: what takes frames away must be seen before any frame is.
const TURNS: [(&str, Role); 8] = [
    ("runtime.recovery", Role::Recovery),
    ("runtime.Goexit", Role::Goexit),
    ("runtime.gopanic", Role::Panic),
    ("runtime.fatalpanic", Role::Fatal),
    ("runtime.throw", Role::Throw),
    ("runtime.fatal", Role::Throw),
    ("runtime.writeErrData", Role::Write),
    ("runtime.gwrite", Role::Write),
];

/// Those of the runtime's functions that the program has.
fn turns(program: &Program<'_>, offsets: &RuntimeOffsets, layout: RuntimeLayout) -> Vec<Planned> {
    let names = TURNS.map(|(name, _)| name);
    let sites = program.plan_turns(&names).into_iter().zip(TURNS);
    let figures = program.figures(offsets);
    let mut writes = false;
    let planned = sites.filter_map(|(site, (name, role))| {
        let (entry, code) = site.ok()?;
        let (mut bits, mut fields) = match role {
            Role::Panic => (traits::FRAMES, vec![panic_value()]),
            Role::Fatal => (traits::DIES, vec![fatal_value(offsets.panic_arg)]),
            Role::Throw => (traits::FRAMES | traits::DIES, vec![text_argument()]),
            Role::Write => (traits::WRITES, written()),
            Role::Call | Role::Goexit | Role::Recovery => (0, Vec::new()),
        };
        // The first that the program has is nearest to the write itself.
        if role == Role::Write && std::mem::replace(&mut writes, true) {
            return None;
        }
        let mut kernel = kernel_probe(0, entry, layout);
        let site = entry.offset.wrapping_add(program.image().code_delta());
        let figures = matches!(role, Role::Panic | Role::Throw).then(|| within_reach(&figures, site));
        if let Some(Figures { goroutines, heap_live }) = &figures {
            if let Ok(goroutines) = goroutines {
                bits |= traits::PROCESSORS;
                kernel.processors = distance(site, goroutines.processors).unwrap_or_default();
                kernel.processor_word = goroutines.processor_free;
                fields.push(global(site, goroutines.all, 8));
                let less = [goroutines.system].into_iter().chain(goroutines.free.iter().copied());
                fields.extend(less.map(|address| global(site, address, 4)));
            }
            fields.extend(heap_live.iter().map(|address| global(site, *address, 8)));
        }
        kernel.traits_ |= bits;
        Some(Planned {
            role,
            id: name.to_owned(),
            function: name.to_owned(),
            reason: String::new(),
            partly: false,
            code,
            entry,
            returns: Vec::new(),
            return_class: None,
            compiled: None,
            module_version: None,
            kernel,
            entry_fields: fields,
            figures,
            return_fields: Vec::new(),
        })
    });
    planned.collect()
}

/// How far a variable lies behind a site.
fn distance(site: u64, address: u64) -> Option<u32> {
    address.checked_sub(site).and_then(|distance| u32::try_from(distance).ok())
}

/// Those of the figures that a step from the site can reach.
fn within_reach(figures: &Figures, site: u64) -> Figures {
    const FAR: &str = "the program's variables are too far from its code";
    let near = |address: u64| distance(site, address).is_some();
    let Figures { goroutines, heap_live } = figures.clone();
    let reaches = |all: &super::Goroutines| {
        let one_by_one = [all.all, all.system, all.processors].into_iter().chain(all.free.iter().copied());
        one_by_one.into_iter().all(near)
    };
    Figures {
        goroutines: goroutines.and_then(|found| if reaches(&found) { Ok(found) } else { Err(FAR) }),
        heap_live: heap_live.and_then(|at| if near(at) { Ok(at) } else { Err(FAR) }),
    }
}

/// A variable of the program, of so many bytes.
fn global(site: u64, address: u64, bytes: u16) -> Field {
    let field = steps(&[
        (Op::Site, 0, 0),
        (Op::Add, 0, distance(site, address).unwrap_or_default()),
        (Op::Load, bytes, 0),
    ]);
    Field { take: Take::Word as u8, ..field }
}

/// `writeErrData(data *byte, n int32)`, `gwrite(b []byte)`
fn written() -> Vec<Field> {
    let size = u32::try_from(VALUE_MAX).unwrap_or_default();
    let piece = |number: u32| {
        let rest = (Op::Skip, 0, number.saturating_mul(size));
        let whole = [(Op::RegisterA, 0, 0), (Op::RegisterB, 1, 0)];
        if number == 0 { steps(&whole) } else { steps(&[whole[0], whole[1], rest]) }
    };
    (0..WRITE_PIECES).map(piece).collect()
}

fn steps(list: &[(Op, u16, u32)]) -> Field {
    let mut field =
        Field { take: Take::Bytes as u8, max: u32::try_from(VALUE_MAX).unwrap_or(256), ..Field::default() };
    for (to, (op, n, offset)) in field.steps.iter_mut().zip(list) {
        *to = Step { op: *op as u8, reserved: 0, n: *n, offset: *offset };
    }
    field
}

/// `gopanic(e any)`: the type, and what would be the value's bytes if it were a string or a struct that begins with
/// one. Whether it is, the type tells.
fn panic_value() -> Field {
    steps(&[(Op::RegisterA, 0, 0), (Op::Type, 0, 0), (Op::RegisterA, 1, 0), (Op::LoadPair, 0, 0)])
}

/// `fatalpanic(msgs *_panic)`: the same of `msgs.arg`, which by now is the message if the value was an error or a
/// Stringer.
fn fatal_value(arg: u32) -> Field {
    steps(&[
        (Op::RegisterA, 0, 0),
        (Op::LoadPair, 0, arg),
        (Op::Type, 0, 0),
        (Op::TakeB, 0, 0),
        (Op::LoadPair, 0, 0),
    ])
}

/// `throw(s string)`
fn text_argument() -> Field {
    steps(&[(Op::RegisterA, 0, 0), (Op::RegisterB, 1, 0)])
}
