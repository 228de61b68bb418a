//! The few raw system calls: bpf(2) for probes, `perf_event_open` for tracepoints. Neither is in rustix, and
//! aya's tracepoint attach needs tracefs mounted where it expects it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `BPF_PROG_TYPE_*`
pub(super) const RAW_TRACEPOINT: u32 = 17;
pub(super) const TRACEPOINT: u32 = 5;
pub(super) const TRACING: u32 = 26;
pub(super) const KPROBE: u32 = 2;
/// `BPF_TRACE_FEXIT`
pub(super) const TRACE_FEXIT: u32 = 25;
/// `BPF_TRACE_UPROBE_MULTI`
pub(super) const TRACE_UPROBE_MULTI: u32 = 48;
/// `BPF_MAP_TYPE_RINGBUF`
pub(super) const RINGBUF: u32 = 27;

/// `BPF_MAP_TYPE_PROG_ARRAY`
const PROGRAM_ARRAY: u32 = 3;

const MAP_CREATE: libc::c_int = 0;
const PROG_LOAD: libc::c_int = 5;
const PROG_TEST_RUN: libc::c_int = 10;
const PROG_GET_INFO: libc::c_int = 15;
const RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const LINK_CREATE: libc::c_int = 28;

/// `BPF_PERF_EVENT`, as the type of a link.
const PERF_EVENT: u32 = 41;

/// `PERF_EVENT_IOC_SET_BPF`, `_ENABLE`, `_DISABLE`.
const IOC_SET_BPF: u64 = 0x4004_2408;
const IOC_ENABLE: u64 = 0x2400;

/// The head of `union bpf_attr`; the kernel takes zeros for the rest.
#[repr(C, align(8))]
struct Attr([u8; 144]);

impl Attr {
    fn new() -> Self {
        Self([0; 144])
    }

    fn put<const N: usize>(mut self, at: usize, bytes: [u8; N]) -> Self {
        if let Some(to) = self.0.get_mut(at..at + N) {
            to.copy_from_slice(&bytes);
        }
        self
    }

    fn call(&mut self, command: libc::c_int) -> io::Result<libc::c_int> {
        // SAFETY: the attributes are as long as stated; pointers in them outlive the call (see the callers).
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), self.0.len()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { descriptor(result) }
    }
}

/// The kernel's answer as a descriptor number (or 0).
fn descriptor(answer: libc::c_long) -> io::Result<libc::c_int> {
    libc::c_int::try_from(answer).map_err(io::Error::other)
}

/// Takes a descriptor that a system call has just returned.
fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Loads a program of a few instructions; only for probes.
pub(super) fn load_program(kind: u32, attach: u32, btf_id: u32, instructions: &[u64]) -> io::Result<OwnedFd> {
    let license = c"Dual MIT/GPL";
    let count = u32::try_from(instructions.len()).unwrap_or(0);
    let fd = Attr::new()
        .put(0, kind.to_ne_bytes())
        .put(4, count.to_ne_bytes())
        .put(8, (instructions.as_ptr() as u64).to_ne_bytes())
        .put(16, (license.as_ptr() as u64).to_ne_bytes())
        .put(68, attach.to_ne_bytes())
        .put(108, btf_id.to_ne_bytes())
        .call(PROG_LOAD)?;
    Ok(owned(fd))
}

/// This process's number in the initial pid namespace, which is the one that programs see: asked of a program that is
/// run once, here (raw tracepoint programs can be since 5.10).
pub(super) fn initial_tgid() -> io::Result<u32> {
    // call bpf_get_current_pid_tgid; r0 >>= 32; exit
    let program = load_program(RAW_TRACEPOINT, 0, 0, &[14 << 32 | 0x85, 32 << 32 | 0x77, 0x95])?;
    let mut attr = Attr::new().put(0, program.as_raw_fd().to_ne_bytes());
    attr.call(PROG_TEST_RUN)?;
    attr.0
        .get(4..8)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_ne_bytes)
        .filter(|tgid| *tgid != 0)
        .ok_or_else(|| io::Error::other("the program gave no number"))
}

/// Creates a map; only for probes.
pub(super) fn create_map(kind: u32, max_entries: u32) -> io::Result<OwnedFd> {
    let fd = Attr::new().put(0, kind.to_ne_bytes()).put(12, max_entries.to_ne_bytes()).call(MAP_CREATE)?;
    Ok(owned(fd))
}

/// Creates an array of programs with one empty place.
pub(super) fn create_program_array() -> io::Result<OwnedFd> {
    let fd = Attr::new()
        .put(0, PROGRAM_ARRAY.to_ne_bytes())
        .put(4, 4u32.to_ne_bytes())
        .put(8, 4u32.to_ne_bytes())
        .put(12, 1u32.to_ne_bytes())
        .call(MAP_CREATE)?;
    Ok(owned(fd))
}

/// Attaches a raw tracepoint program (or, without a name, a tracing program).
pub(super) fn open_raw_tracepoint(name: Option<&std::ffi::CStr>, program: &OwnedFd) -> io::Result<OwnedFd> {
    let fd = Attr::new()
        .put(0, name.map_or(0, |name| name.as_ptr() as u64).to_ne_bytes())
        .put(8, program.as_raw_fd().to_ne_bytes())
        .call(RAW_TRACEPOINT_OPEN)?;
    Ok(owned(fd))
}

/// `bpf_prog_info.recursion_misses` (since 5.12): times the kernel skipped the program because it, or
/// another one, was under way on that CPU.
pub(super) fn recursion_misses(program: BorrowedFd<'_>) -> Option<u64> {
    const AT: usize = 208;
    let mut info = [0u8; 232];
    let mut attr = Attr::new()
        .put(0, program.as_raw_fd().to_ne_bytes())
        .put(4, 232u32.to_ne_bytes())
        .put(8, (info.as_mut_ptr() as u64).to_ne_bytes());
    attr.call(PROG_GET_INFO).ok()?;
    let known = attr.0.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes)?;
    let misses = info.get(AT..AT + 8)?.try_into().ok().map(u64::from_ne_bytes)?;
    (known as usize >= AT + 8).then_some(misses)
}

/// Opens the tracepoint with this id on all CPUs and lets `program` run at it.
pub(super) fn attach_tracepoint(id: u64, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // `struct perf_event_attr`, first published size: type 2 is a tracepoint, config its id, one sample each.
    #[repr(C)]
    struct PerfEventAttr {
        kind: u32,
        size: u32,
        config: u64,
        sample_period: u64,
        rest: [u64; 5],
    }
    const CLOEXEC: libc::c_ulong = 8;
    let attr = PerfEventAttr { kind: 2, size: 64, config: id, sample_period: 1, rest: [0; 5] };
    // SAFETY: the attributes are as long as `size` says; the program runs on every CPU whatever CPU the event
    // is opened on.
    let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attr, -1, 0, -1, CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let event = owned(descriptor(fd)?);
    // SAFETY: both descriptors are open; the commands take an integer.
    let attached = unsafe {
        libc::ioctl(event.as_raw_fd(), IOC_SET_BPF as _, program.as_raw_fd()) == 0
            && libc::ioctl(event.as_raw_fd(), IOC_ENABLE as _, 0) == 0
    };
    if attached { Ok(event) } else { Err(io::Error::last_os_error()) }
}

/// `struct perf_event_attr` of a uprobe, second published size.
#[repr(C)]
struct UprobeEvent {
    kind: u32,
    size: u32,
    /// Bit 0 would make it a uretprobe (`/sys/bus/event_source/devices/uprobe/format/retprobe`).
    config: u64,
    sample: [u64; 5],
    path: u64,
    offset: u64,
}

impl UprobeEvent {
    /// One at `offset` of the file at `path`, never a uretprobe.
    const fn new(kind: u32, path: u64, offset: u64) -> Self {
        Self { kind, size: 72, config: 0, sample: [0; 5], path, offset }
    }
}

/// Opens a uprobe at `offset` of the file, in one process or in all. `kind`: the number that the kernel gave to
/// its uprobe events.
pub(super) fn open_uprobe(
    kind: u32,
    file: BorrowedFd<'_>,
    offset: u64,
    process: Option<u32>,
) -> io::Result<OwnedFd> {
    const CLOEXEC: libc::c_ulong = 8;
    // The path is looked up while the call lasts: it names the file that is open, not what has its name now.
    let path = std::ffi::CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let attr = UprobeEvent::new(kind, path.as_ptr() as u64, offset);
    let (pid, cpu) = match process {
        Some(tgid) => (libc::pid_t::try_from(tgid).map_err(io::Error::other)?, -1),
        None => (-1, 0),
    };
    // SAFETY: the attributes are as long as `size` says, the path outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attr, pid, cpu, -1, CLOEXEC) };
    if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(owned(descriptor(fd)?)) }
}

/// Lets `program` run at a perf event, with a cookie (since 5.15).
pub(super) fn link_perf_event(
    program: BorrowedFd<'_>,
    event: BorrowedFd<'_>,
    cookie: u64,
) -> io::Result<OwnedFd> {
    let fd = Attr::new()
        .put(0, program.as_raw_fd().to_ne_bytes())
        .put(4, event.as_raw_fd().to_ne_bytes())
        .put(8, PERF_EVENT.to_ne_bytes())
        .put(16, cookie.to_ne_bytes())
        .call(LINK_CREATE)?;
    Ok(owned(fd))
}

/// Lets `program` run at `offsets` of a file, all by one link, with one cookie (since 6.6).
pub(super) fn link_uprobes(
    program: BorrowedFd<'_>,
    path: &std::ffi::CStr,
    offsets: &[u64],
    cookie: u64,
    process: Option<u32>,
) -> io::Result<OwnedFd> {
    let cookies = vec![cookie; offsets.len()];
    let count = u32::try_from(offsets.len()).map_err(io::Error::other)?;
    let pointers = [path.as_ptr() as u64, offsets.as_ptr() as u64, cookies.as_ptr() as u64];
    // The pointers outlive the call.
    let fd = multi_link(program.as_raw_fd(), pointers, count, process).call(LINK_CREATE)?;
    Ok(owned(fd))
}

/// What makes a multi-link: pointers to the path, the offsets and the cookies. The flags, at 52, stay 0:
/// `BPF_F_UPROBE_MULTI_RETURN` (1) would make uretprobes.
fn multi_link(program: i32, pointers: [u64; 3], count: u32, process: Option<u32>) -> Attr {
    let [path, offsets, cookies] = pointers;
    Attr::new()
        .put(0, program.to_ne_bytes())
        .put(8, TRACE_UPROBE_MULTI.to_ne_bytes())
        .put(16, path.to_ne_bytes())
        .put(24, offsets.to_ne_bytes())
        .put(40, cookies.to_ne_bytes())
        .put(48, count.to_ne_bytes())
        .put(56, process.unwrap_or(0).to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_perf_event_is_a_uretprobe() {
        for offset in [0, 1, u64::MAX] {
            assert_eq!(UprobeEvent::new(u32::MAX, u64::MAX, offset).config, 0);
        }
        assert_eq!(size_of::<UprobeEvent>(), 72);
    }

    #[test]
    fn no_multi_link_is_one_of_uretprobes() {
        let Attr(bytes) = multi_link(i32::MAX, [u64::MAX; 3], u32::MAX, Some(u32::MAX));
        // The neighbours are what they should be, so this is the place of the flags.
        assert_eq!(bytes.get(48..60), Some(&[[0xff; 4], [0; 4], [0xff; 4]].concat()[..]));
    }
}
