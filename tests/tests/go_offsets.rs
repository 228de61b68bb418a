//! The stored offsets of Go's own structures, against what the DWARF of several Go versions tells.
//!
//! `cargo xtask go-offsets --bless` writes the stored file from all versions.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use gimli::{AttributeValue, EndianSlice, LittleEndian};
use goaudit_tests::ability::tell_skip;
use goaudit_tests::go_fixture::{ALL, Build, toolchain, versions};
use goaudit_user::golang::{Confidence, RuntimeOffsets};
use object::{Object, ObjectSection};

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Minor release to offset; `None` where the release has no such member.
type Offsets = BTreeMap<u32, Option<u64>>;

/// What is stored: name in `RuntimeOffsets`, Go's structure, members to go through, meaning.
#[rustfmt::skip]
const FIELDS: &[(&str, &str, &str, &str)] = &[
    ("g_stack_lo", "runtime.g", "stack.lo", "Lowest address of the goroutine's stack."),
    ("g_stack_hi", "runtime.g", "stack.hi", "End of the goroutine's stack."),
    ("g_panic", "runtime.g", "_panic", "Innermost panic, `_panic*`."),
    ("g_m", "runtime.g", "m", "Thread that runs it, `m*`; 0 when none does."),
    ("g_sched_sp", "runtime.g", "sched.sp", "Saved stack pointer while it does not run."),
    ("g_sched_pc", "runtime.g", "sched.pc", "Saved instruction pointer while it does not run."),
    ("g_sched_bp", "runtime.g", "sched.bp", "Saved frame pointer while it does not run."),
    ("g_atomicstatus", "runtime.g", "atomicstatus", "State, 4 bytes: 2 is running, 6 is dead."),
    ("g_goid", "runtime.g", "goid", "Number of the goroutine, 8 bytes; 0 for g0 and gsignal."),
    ("g_parent_goid", "runtime.g", "parentGoid", "Number of the goroutine that started it, 8 bytes."),
    ("g_gopc", "runtime.g", "gopc", "Address of the `go` statement that made it."),
    ("g_startpc", "runtime.g", "startpc", "Address of its function."),
    ("g_sigcode0", "runtime.g", "sigcode0", "Up to 1.21: stack pointer to which a panic is recovered."),
    ("g_sigcode1", "runtime.g", "sigcode1", "Up to 1.21: address at which a recovered panic goes on."),
    ("g_labels", "runtime.g", "labels", "Labels of the profiler, pointer."),
    ("m_g0", "runtime.m", "g0", "The thread's own goroutine for the scheduler, `g*`."),
    ("m_gsignal", "runtime.m", "gsignal", "The thread's goroutine for signals, `g*`."),
    ("m_procid", "runtime.m", "procid", "Thread id (tid), 8 bytes."),
    ("m_curg", "runtime.m", "curg", "The goroutine that the thread runs, `g*`."),
    ("panic_argp", "runtime._panic", "argp", "Arguments of the deferred call that runs."),
    ("panic_arg", "runtime._panic", "arg", "Argument of panic: interface of type and data."),
    ("panic_link", "runtime._panic", "link", "The panic before this one."),
    ("panic_start_sp", "runtime._panic", "startSP", "Stack pointer where the panic began."),
    ("panic_sp", "runtime._panic", "sp", "Stack pointer of the frame whose deferred calls run; up to 1.21 absent or of the abort."),
    ("panic_recovered", "runtime._panic", "recovered", "Whether it is over, 1 byte."),
    ("panic_goexit", "runtime._panic", "goexit", "Whether it is a Goexit, 1 byte."),
    ("moduledata_text", "runtime.moduledata", "text", "Begin of the code."),
    ("moduledata_etext", "runtime.moduledata", "etext", "End of the code."),
    ("moduledata_types", "runtime.moduledata", "types", "Begin of the types."),
    ("moduledata_etypes", "runtime.moduledata", "etypes", "End of the types."),
    ("heap_live", "runtime.gcControllerState", "heapLive", "Bytes that the last collection left and since allocated, 8 bytes."),
    ("heap_in_use", "runtime.gcControllerState", "heapInUse", "Bytes in spans in use, 8 bytes."),
    ("heap_free", "runtime.gcControllerState", "heapFree", "Bytes in free spans not given back, 8 bytes."),
    ("heap_total_alloc", "runtime.gcControllerState", "totalAlloc", "Bytes ever allocated, 8 bytes."),
    ("heap_total_free", "runtime.gcControllerState", "totalFree", "Bytes ever freed, 8 bytes."),
    ("mstats_heap_in_use", "runtime.mstats", "heap_inuse", "Up to 1.18: bytes in spans in use, 8 bytes."),
    ("sched_ngsys", "runtime.schedt", "ngsys", "Number of the runtime's own goroutines, 4 bytes."),
    ("sched_gfree_n", "runtime.schedt", "gFree.n", "Up to 1.24: number of dead goroutines kept for reuse, 4 bytes."),
    ("hmap_count", "runtime.hmap", "count", "Entries of an old map, 8 bytes."),
    ("hmap_b", "runtime.hmap", "B", "Two's logarithm of an old map's buckets, 1 byte."),
    ("hmap_buckets", "runtime.hmap", "buckets", "Buckets of an old map."),
    ("hmap_oldbuckets", "runtime.hmap", "oldbuckets", "Buckets from before an old map grew, which still may have entries."),
    ("map_used", "internal/runtime/maps.Map", "used", "Entries of a Swiss map, 8 bytes."),
    ("map_dir_ptr", "internal/runtime/maps.Map", "dirPtr", "The only group of a small Swiss map, or its tables."),
    ("map_dir_len", "internal/runtime/maps.Map", "dirLen", "Number of a Swiss map's table pointers; 0 if it is small."),
    ("map_global_depth", "internal/runtime/maps.Map", "globalDepth", "Two's logarithm of the number of table pointers, 1 byte."),
    ("table_groups", "internal/runtime/maps.table", "groups.data", "Groups of a Swiss map's table."),
    ("table_length_mask", "internal/runtime/maps.table", "groups.lengthMask", "Number of groups less one."),
    ("request_method", "net/http.Request", "Method", "String."),
    ("request_url", "net/http.Request", "URL", "`url.URL*`."),
    ("request_header", "net/http.Request", "Header", "Map of strings to slices of strings."),
    ("request_host", "net/http.Request", "Host", "String."),
    ("request_remote_addr", "net/http.Request", "RemoteAddr", "String."),
    ("request_ctx", "net/http.Request", "ctx", "`context.Context`: interface."),
    ("url_path", "net/url.URL", "Path", "String."),
    ("value_ctx_context", "context.valueCtx", "Context", "The context around it: interface."),
    ("value_ctx_key", "context.valueCtx", "key", "Interface."),
    ("value_ctx_val", "context.valueCtx", "val", "Interface."),
    ("cancel_ctx_context", "context.cancelCtx", "Context", "The context around it: interface."),
];

/// Structures by name: members, their offsets and the names of their types.
type Layouts = BTreeMap<String, BTreeMap<String, (u64, String)>>;

fn layouts(program: &Path) -> Layouts {
    let data = fs::read(program).unwrap();
    let file = object::File::parse(&*data).unwrap();
    let section = |id: gimli::SectionId| -> Result<Slice<'_>, gimli::Error> {
        let bytes = file.section_by_name(id.name()).and_then(|section| section.data().ok());
        Ok(EndianSlice::new(bytes.unwrap_or_default(), LittleEndian))
    };
    let dwarf = gimli::Dwarf::load(section).unwrap();
    let mut names = BTreeMap::new();
    let mut structures = Vec::new();
    let mut units = dwarf.units();
    while let Some(header) = units.next().unwrap() {
        let unit = dwarf.unit(header).unwrap();
        let name_of = |entry: &gimli::DebuggingInformationEntry<Slice<'_>>| {
            let name = entry.attr_value(gimli::DW_AT_name)?;
            Some(dwarf.attr_string(&unit, name).unwrap().to_string_lossy().into_owned())
        };
        let mut tree = unit.entries_tree(None).unwrap();
        let mut children = tree.root().unwrap().children();
        while let Some(child) = children.next().unwrap() {
            let Some(name) = name_of(child.entry()) else { continue };
            let at = child.entry().offset().to_debug_info_offset(&unit.header).unwrap();
            names.insert(at, name.clone());
            if child.entry().tag() != gimli::DW_TAG_structure_type {
                continue;
            }
            let mut members = Vec::new();
            let mut inner = child.children();
            while let Some(member) = inner.next().unwrap() {
                let entry = member.entry();
                let offset =
                    entry.attr(gimli::DW_AT_data_member_location).and_then(gimli::Attribute::udata_value);
                let of = match entry.attr_value(gimli::DW_AT_type) {
                    Some(AttributeValue::DebugInfoRef(of)) => Some(of),
                    Some(AttributeValue::UnitRef(of)) => of.to_debug_info_offset(&unit.header),
                    _ => None,
                };
                if let (Some(name), Some(offset), Some(of)) = (name_of(entry), offset, of) {
                    members.push((name, offset, of));
                }
            }
            structures.push((name, members));
        }
    }
    let name = |of| names.get(&of).cloned().unwrap_or_default();
    structures
        .into_iter()
        .map(|(structure, members)| {
            let members = members.into_iter().map(|(member, offset, of)| (member, (offset, name(of))));
            (structure, members.collect())
        })
        .collect()
}

fn offset(layouts: &Layouts, structure: &str, path: &str) -> Option<u64> {
    let mut structure = structure.to_owned();
    let mut sum = 0;
    for member in path.split('.') {
        let (offset, of) = layouts.get(&structure)?.get(member)?.clone();
        sum += offset;
        structure = of;
    }
    Some(sum)
}

/// Offsets of all fields, with the versions that can be had; and how many those were.
fn told(arch: &str, versions: &[String]) -> (BTreeMap<&'static str, Offsets>, usize) {
    let mut fields: BTreeMap<&'static str, Offsets> = BTreeMap::new();
    let mut had = 0;
    for version in versions {
        let toolchain = match toolchain(version) {
            Ok(toolchain) => toolchain,
            Err(why) => {
                tell_skip("go_offsets", &format!("go toolchain {version}"), &why);
                continue;
            }
        };
        had += 1;
        let build = Build::of("offsets").arch(arch).flags(&["-ldflags=-compressdwarf=false"]);
        let layouts = layouts(&toolchain.build(&build).unwrap());
        for (name, structure, path, _) in FIELDS {
            fields.entry(name).or_default().insert(toolchain.minor(), offset(&layouts, structure, path));
        }
    }
    (fields, had)
}

/// The file that is compiled into goaudit.
fn written(fields: &BTreeMap<&str, Offsets>) -> String {
    let mut text = String::from(
        "//! Offsets in Go's structures, by Go release. `cargo xtask go-offsets --bless` writes this file from real\n\
         //! toolchains; do not edit it.\n\
         //!\n\
         //! A line has the first offset, then those that are different since a minor release.\n\n\
         super::offsets! {\n",
    );
    for (name, structure, path, meaning) in FIELDS {
        let offsets = fields.get(name).unwrap();
        let always = offsets.values().all(Option::is_some);
        let shown = |offset: &Option<u64>| match offset {
            Some(offset) if always => offset.to_string(),
            Some(offset) => format!("Some({offset})"),
            None => "None".to_owned(),
        };
        let mut changes = offsets.iter();
        let (_, first) = changes.next().unwrap();
        let mut before = first;
        let mut later = Vec::new();
        for (minor, offset) in changes {
            if offset != before {
                later.push(format!("({minor}, {})", shown(offset)));
                before = offset;
            }
        }
        let kind = if always { "u32" } else { "Option<u32>" };
        writeln!(text, "    /// `{structure}`, `{path}`: {meaning}").unwrap();
        writeln!(text, "    {name}: {kind} = {}, [{}];", shown(first), later.join(", ")).unwrap();
    }
    text.push_str("}\n");
    text
}

fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../goaudit-user/src/golang/offsets/table.rs")
}

#[test]
fn stored_offsets_are_what_the_toolchains_tell() {
    if std::env::var_os("GOAUDIT_BLESS").is_some() {
        let all = ALL.map(str::to_owned);
        let (fields, had) = told("amd64", &all);
        assert_eq!(had, all.len(), "the file is written from all versions or not at all");
        fs::write(stored(), written(&fields)).unwrap();
        return;
    }
    let (fields, _) = told("amd64", &versions());
    for (name, offsets) in fields {
        for (minor, offset) in offsets {
            let (stored, confidence) = RuntimeOffsets::of(Some((1, minor, 0)));
            let stored: BTreeMap<_, _> = stored.named().into_iter().collect();
            let offset = offset.map(|offset| u32::try_from(offset).unwrap());
            assert_eq!(stored.get(name), Some(&offset), "{name} in Go 1.{minor}");
            assert_eq!(confidence, Confidence::Known);
        }
    }
}

#[test]
fn arm64_has_the_same_offsets() {
    let newest = versions().last().cloned().into_iter().collect::<Vec<_>>();
    assert_eq!(told("arm64", &newest), told("amd64", &newest));
}
