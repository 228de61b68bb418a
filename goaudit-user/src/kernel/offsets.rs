//! Offsets of kernel struct members, from the running kernel's BTF.
//!
//! A member that this kernel does not have stays [`ABSENT`], and its name is reported: the programs then
//! leave out exactly what needs it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use btf_rs::{Backend, Btf, Struct, Type};
use goaudit_ebpf::settings::{ABSENT, Bit, OFFSETS, Offsets, REGISTER_WINDOW, Registers};
use zerocopy::{FromBytes, IntoBytes};

/// Where the kernel shows its BTF (since 5.4, `CONFIG_DEBUG_INFO_BTF`).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// What keeps offsets from being resolved.
#[derive(Debug, thiserror::Error)]
pub enum OffsetsError {
    /// No BTF.
    #[error(
        "read the kernel's type information {path}: {source} (a kernel with CONFIG_DEBUG_INFO_BTF is needed)"
    )]
    NoBtf {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not BTF.
    #[error("understand the kernel's type information: {0}")]
    Parse(#[from] btf_rs::Error),
}

/// Everything that the loader takes from BTF.
#[derive(Debug)]
pub struct Resolved {
    /// Byte offsets.
    pub offsets: Offsets,
    /// Arguments of a system call.
    pub registers: Registers,
    /// The task is inside a 32-bit system call.
    pub task_compat: Bit,
    /// `signal_struct.is_child_subreaper`.
    pub signal_subreaper: Bit,
    /// Size of `struct upid`.
    pub upid_size: u32,
    /// `sched_process_exit` tells which thread is the last.
    pub exit_group_dead: bool,
    /// Names of the offsets that this kernel does not have.
    pub absent: Vec<&'static str>,
    btf: KernelTypes,
}

/// Structs and functions of a kernel.
pub struct KernelTypes {
    btf: Btf,
    /// Looked up before: each look goes through all types of the kernel.
    structures: RefCell<HashMap<String, Option<Rc<Struct>>>>,
}

impl std::fmt::Debug for KernelTypes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KernelTypes")
    }
}

/// A member that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    bit: u32,
    width: Option<u32>,
}

impl KernelTypes {
    /// Reads a BTF file.
    pub fn read(path: &Path) -> Result<Self, OffsetsError> {
        // Mapped where the kernel allows it (its own BTF: since 6.16). Else read in one go: parsing from the
        // file itself seeks for every type, which is 130,000 system calls.
        if let Ok(btf) = Btf::from_file_with_backend(path, Backend::Mmap) {
            return Ok(Self { btf, structures: RefCell::default() });
        }
        let bytes = std::fs::read(path)
            .map_err(|source| OffsetsError::NoBtf { path: path.display().to_string(), source })?;
        Ok(Self { btf: Btf::from_bytes(&bytes)?, structures: RefCell::default() })
    }

    /// The struct of this name with the most members (others are forward declarations of modules).
    fn structure(&self, name: &str) -> Option<Rc<Struct>> {
        if let Some(found) = self.structures.borrow().get(name) {
            return found.clone();
        }
        let found = self.find_structure(name).map(Rc::new);
        self.structures.borrow_mut().insert(name.to_owned(), found.clone());
        found
    }

    fn find_structure(&self, name: &str) -> Option<Struct> {
        let types = self.btf.resolve_types_by_name(name).ok()?;
        types
            .into_iter()
            .filter_map(|found| match found {
                Type::Struct(found) | Type::Union(found) => Some(found),
                _ => None,
            })
            .max_by_key(|found| found.members.len())
    }

    /// Steps through typedefs and qualifiers to a struct or union.
    fn behind(&self, id: u32) -> Option<Struct> {
        let mut id = id;
        for _ in 0..16 {
            id = match self.btf.resolve_type_by_id(id).ok()? {
                Type::Struct(found) | Type::Union(found) => return Some(found),
                Type::Typedef(next) => btf_rs::BtfType::get_type_id(&next)?,
                Type::Const(next) | Type::Volatile(next) => btf_rs::BtfType::get_type_id(&next)?,
                Type::TypeTag(next) => btf_rs::BtfType::get_type_id(&next)?,
                _ => return None,
            };
        }
        None
    }

    /// A direct member of `of`, looking through anonymous structs and unions.
    fn direct(&self, of: &Struct, name: &str, depth: u32) -> Option<(Found, u32)> {
        for member in &of.members {
            let type_id = btf_rs::BtfType::get_type_id(member)?;
            let member_name = self.btf.resolve_name(member).unwrap_or_default();
            if member_name == name {
                let width = member.bitfield_size().filter(|width| *width > 0);
                return Some((Found { bit: member.bit_offset(), width }, type_id));
            }
            if member_name.is_empty()
                && depth < 8
                && let Some(inner) = self.behind(type_id)
                && let Some((found, type_id)) = self.direct(&inner, name, depth + 1)
            {
                return Some((Found { bit: member.bit_offset() + found.bit, ..found }, type_id));
            }
        }
        None
    }

    /// The member at `path` (dots step into members) of `of`.
    fn member(&self, of: &Struct, path: &str) -> Option<Found> {
        let mut steps = path.split('.');
        let (mut found, mut type_id) = self.direct(of, steps.next()?, 0)?;
        for step in steps {
            let inner = self.behind(type_id)?;
            let (next, next_id) = self.direct(&inner, step, 0)?;
            found = Found { bit: found.bit + next.bit, ..next };
            type_id = next_id;
        }
        Some(found)
    }

    /// Byte offset of a member that is no bit field.
    pub fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let structure = self.structure(structure)?;
        let found = self.member(&structure, path)?;
        (found.width.is_none() && found.bit % 8 == 0).then_some(found.bit / 8)
    }

    /// Word and mask of a flag: a bit field, or a `bool`.
    fn bits(&self, structure: &str, path: &str) -> Option<Bit> {
        let structure = self.structure(structure)?;
        let found = self.member(&structure, path)?;
        // A plain `bool` is a byte (`is_child_subreaper` in 7.3).
        let width = found.width.unwrap_or(8);
        let shift = found.bit % 32;
        let mask = u32::try_from(((1u64 << width) - 1) << shift).ok()?;
        Some(Bit { offset: found.bit / 32 * 4, mask })
    }

    /// Number of arguments of the kernel function `name`, and its type id.
    pub fn function(&self, name: &str) -> Option<(u32, usize)> {
        for id in self.btf.resolve_ids_by_name(name).ok()? {
            if let Ok(Type::Func(function)) = self.btf.resolve_type_by_id(id)
                && let Ok(Type::FuncProto(prototype)) = self.btf.resolve_chained_type(&function)
            {
                return Some((id, prototype.parameters.len()));
            }
        }
        None
    }

    /// Whether the kernel preempts programs at tracepoints of system calls (seen in 7.3): it does it by this function.
    pub fn preempts_programs(&self) -> bool {
        self.function("trace_call_bpf_faultable").is_some()
    }

    /// Number of arguments of the raw tracepoint `name`.
    fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        for found in self.btf.resolve_types_by_name(&format!("btf_trace_{name}")).ok()? {
            if let Type::Typedef(typedef) = found
                && let Ok(Type::Ptr(pointer)) = self.btf.resolve_chained_type(&typedef)
                && let Ok(Type::FuncProto(prototype)) = self.btf.resolve_chained_type(&pointer)
            {
                // The first one is the tracepoint's own data.
                return prototype.parameters.len().checked_sub(1);
            }
        }
        None
    }
}

impl Resolved {
    /// From the running kernel.
    pub fn of_this_kernel() -> Result<Self, OffsetsError> {
        Self::of(Path::new(VMLINUX))
    }

    /// From a BTF file.
    pub fn of(path: &Path) -> Result<Self, OffsetsError> {
        let btf = KernelTypes::read(path)?;
        let mut absent = Vec::new();
        let mut words = Vec::with_capacity(OFFSETS.len());
        for &(name, structure, member) in OFFSETS {
            let found = btf
                .structure(structure)
                .and_then(|structure| btf.member(&structure, member))
                .filter(|found| found.width.is_none() && found.bit % 8 == 0);
            if found.is_none() {
                absent.push(name);
            }
            words.push(found.map_or(ABSENT, |found| found.bit / 8));
        }
        let mut offsets = Offsets::read_from_bytes(words.as_bytes()).unwrap_or(Offsets::NONE);
        // The programs read the eight ids in one go.
        if !ids_in_a_row(&btf, offsets.cred_uid) {
            offsets.cred_uid = ABSENT;
            absent.push("cred_uid");
        }
        // Dumpability is in one of two places.
        if offsets.exec_state_dumpable == ABSENT {
            absent.retain(|name| !["task_exec_state", "exec_state_dumpable"].contains(name));
        } else {
            offsets.mm_flags = ABSENT;
            absent.retain(|name| *name != "mm_flags");
        }
        // The records of tracepoints are read by programs that only kernels that preempt programs need.
        if !btf.preempts_programs() {
            absent.retain(|name| !name.contains("_record_"));
        }
        let upid_size =
            btf.structure("upid").and_then(|upid| u32::try_from(upid.size()).ok()).unwrap_or(ABSENT);
        Ok(Self {
            offsets,
            registers: registers(&btf),
            task_compat: task_compat(&btf),
            signal_subreaper: btf.bits("signal_struct", "is_child_subreaper").unwrap_or(Bit::NONE),
            upid_size,
            exit_group_dead: btf.tracepoint_arguments("sched_process_exit").is_some_and(|count| count >= 2),
            absent,
            btf,
        })
    }

    /// The kernel's types, for looking up functions.
    pub fn types(&self) -> &KernelTypes {
        &self.btf
    }
}

fn ids_in_a_row(btf: &KernelTypes, first: u32) -> bool {
    ["uid", "gid", "suid", "sgid", "euid", "egid", "fsuid", "fsgid"]
        .iter()
        .zip(0u32..)
        .all(|(name, position)| btf.offset("cred", name) == Some(first.wrapping_add(position * 4)))
}

/// Where this architecture keeps a system call's number and arguments in `pt_regs`.
fn registers(btf: &KernelTypes) -> Registers {
    let none = Registers { first: ABSENT, window: ABSENT, number: ABSENT, rest: [0; 4] };
    let of = |member: &str| btf.offset("pt_regs", member);
    let found = if cfg!(target_arch = "aarch64") {
        let Some(regs) = of("regs") else { return none };
        [of("orig_x0"), of("syscallno"), Some(regs + 8), Some(regs + 16), Some(regs + 24), Some(regs + 32)]
    } else {
        [of("di"), of("orig_ax"), of("si"), of("dx"), of("r10"), of("r8")]
    };
    let [Some(first), Some(number), Some(a), Some(b), Some(c), Some(d)] = found else { return none };
    let rest = [a, b, c, d];
    let window = rest.into_iter().min().unwrap_or(0);
    let fits = |offset: u32| (offset - window) as usize + 8 <= REGISTER_WINDOW;
    if !rest.into_iter().all(fits) {
        return none;
    }
    Registers { first, window, number, rest: rest.map(|offset| (offset - window) / 8) }
}

/// `TS_COMPAT` of x86's `thread_info.status`, `TIF_32BIT` of aarch64's `thread_info.flags`.
fn task_compat(btf: &KernelTypes) -> Bit {
    let (member, mask) = if cfg!(target_arch = "aarch64") {
        ("thread_info.flags", 1 << 22)
    } else {
        ("thread_info.status", 2)
    };
    btf.offset("task_struct", member).map_or(Bit::NONE, |offset| Bit { offset, mask })
}
