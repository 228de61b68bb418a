//! Many sites by one link (`BPF_TRACE_UPROBE_MULTI`, since 6.6).
//!
//! A perf event for each site works everywhere, but the kernel closes them one after the other, each behind a grace
//! period: a function with a dozen returns keeps an agent that ends waiting for seconds. A multi-link takes all sites
//! of a function at once, and lets go of them at once. A program must be loaded for it, which aya 0.14 does not
//! know: here the same object is loaded a second time, with the same maps.

use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{MapFd, MapInfo};
use aya::programs::UProbe;
use aya_obj::Object;
use aya_obj::generated::bpf_insn;

use super::Site;
use crate::kernel::load::one_line;
use crate::kernel::sys;

/// The array of programs that leads nowhere (goaudit-ebpf/src/hook/go/program.rs says what it is for).
const NOWHERE: &str = "GO_NOWHERE";

/// The programs, loaded for multi-links.
pub(super) struct Multi {
    programs: [OwnedFd; Site::ALL.len()],
}

impl Multi {
    /// Loads them; `object` is what `ebpf` was loaded from, whose programs have been loaded already.
    pub(super) fn load(object: &[u8], ebpf: &Ebpf) -> Result<Self, String> {
        let mut object = Object::parse(object).map_err(one_line)?;
        // Only our programs, and what they may call: functions outside of any program's section.
        let sections: HashSet<usize> =
            object.programs.values().map(|program| program.section_index).collect();
        object.programs.retain(|name, _| super::PROGRAMS.contains(&name.as_str()));
        let ours: HashSet<_> = object.programs.values().map(aya_obj::Program::function_key).collect();
        let texts: HashSet<usize> = object
            .functions
            .keys()
            .map(|(section, _)| *section)
            .filter(|at| !sections.contains(at))
            .collect();
        object.functions.retain(|key, _| ours.contains(key) || texts.contains(&key.0));
        let maps = maps_of(ebpf)?;
        let known = object.maps.clone();
        // An array of programs belongs to programs of one way of attaching: these need one of their own.
        let nowhere = sys::create_program_array().map_err(one_line)?;
        let found = maps.iter().filter_map(|(name, fd)| {
            let fd = if name == NOWHERE { nowhere.as_raw_fd() } else { fd.as_fd().as_raw_fd() };
            known.get(name).map(|map| (name.as_str(), fd, map))
        });
        object.relocate_maps(found, &texts).map_err(one_line)?;
        object.relocate_calls(&texts).map_err(one_line)?;
        let load = &|site: Site| {
            let program = object.programs.get(site.program()).ok_or("the object has no such program")?;
            let function = object.functions.get(&program.function_key()).ok_or("a program has no code")?;
            let instructions: Vec<u64> = function.instructions.iter().copied().map(word).collect();
            sys::load_program(sys::KPROBE, sys::TRACE_UPROBE_MULTI, 0, &instructions).map_err(one_line)
        };
        // Side by side: the verifier takes its time for each.
        let [enter, leave, unwind] = std::thread::scope(|scope| {
            let threads = Site::ALL.map(|site| scope.spawn(move || load(site)));
            threads.map(|thread| {
                thread.join().unwrap_or_else(|_| Err("the thread that loads it ended".to_owned()))
            })
        });
        Ok(Self { programs: [enter?, leave?, unwind?] })
    }

    /// Hangs a program at sites of a file.
    pub(super) fn attach(
        &self,
        site: Site,
        cookie: u64,
        file: BorrowedFd<'_>,
        offsets: &[u64],
        process: Option<u32>,
    ) -> io::Result<OwnedFd> {
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        sys::link_uprobes(site.of(&self.programs), &path, offsets, cookie, process)
    }
}

/// The maps that the loaded programs use, by name.
fn maps_of(ebpf: &Ebpf) -> Result<Vec<(String, MapFd)>, String> {
    let mut maps: Vec<(String, MapFd)> = Vec::new();
    for name in super::PROGRAMS {
        let program = ebpf.program(name).ok_or("the object has no such program")?;
        let program: &UProbe = program.try_into().map_err(one_line)?;
        let ids = program.info().and_then(|info| info.map_ids()).map_err(one_line)?;
        for id in ids.unwrap_or_default() {
            let info = MapInfo::from_id(id).map_err(one_line)?;
            let name = info.name_as_str().ok_or("a map has no name")?.to_owned();
            if maps.iter().all(|(known, _)| *known != name) {
                maps.push((name, info.fd().map_err(one_line)?));
            }
        }
    }
    Ok(maps)
}

/// An instruction as the kernel takes it.
const fn word(instruction: bpf_insn) -> u64 {
    // SAFETY: eight bytes without padding, of which every pattern is a number.
    unsafe { std::mem::transmute(instruction) }
}
