//! System calls as the kernel takes them: the only unsafe code of the workload.
//!
//! Tests need exact arguments (also wrong ones) and exact results, so nothing here interprets: a result below
//! zero is -errno. Names of constants come from libc, which has them from the kernel's headers.

use std::ffi::CString;
use std::os::raw::{c_char, c_int, c_long, c_void};
use std::ptr;

use anyhow::bail;

/// A raw system call; the result is -errno on failure.
///
/// # Safety
/// The arguments must not make the kernel write where Rust does not expect it.
unsafe fn raw(number: c_long, args: [u64; 6]) -> i64 {
    // SAFETY: the caller answers for the arguments.
    let ret = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) };
    if ret == -1 { -i64::from(errno()) } else { ret }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// `prctl`. Pointers among the arguments must point to [`memory`] or be meant to be bad; options that move
/// the program's own memory areas only change what `/proc` shows.
pub(super) fn prctl(option: u64, args: [u64; 4]) -> i64 {
    let [a, b, c, d] = args;
    // SAFETY: see above: the kernel writes only into memory that is there to be written.
    unsafe { raw(libc::SYS_prctl, [option, a, b, c, d, 0]) }
}

/// `prctl` and then nothing but `write` and the end of the thread, whatever happens.
pub(super) fn prctl_then_end(option: u64, args: [u64; 4], if_ok: &[u8], if_not: &[u8], descriptor: i32) -> ! {
    let line = if prctl(option, args) == 0 { if_ok } else { if_not };
    let _ = write(descriptor, line);
    // SAFETY: ends the thread.
    unsafe { raw(libc::SYS_exit, [0; 6]) };
    unreachable!("exit does not return")
}

/// `ptrace`, raw: `PTRACE_PEEK*` store into the word that `data` points to.
pub(super) fn ptrace(request: u64, pid: i32, addr: u64, data: u64) -> i64 {
    // SAFETY: the tracer's memory is written only where `data` points to: [`memory`], or bad on purpose.
    unsafe { raw(libc::SYS_ptrace, [request, pid.cast_unsigned().into(), addr, data, 0, 0]) }
}

/// A page of this process for the kernel to write results into; never freed, never read as anything but bytes.
pub(super) fn memory(pages: usize) -> anyhow::Result<u64> {
    // SAFETY: an anonymous mapping at a place of the kernel's choice touches nothing of ours.
    let at = unsafe {
        libc::mmap(
            ptr::null_mut(),
            pages * PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if at == libc::MAP_FAILED {
        bail!("mmap: errno {}", errno());
    }
    Ok(at as u64)
}

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;

/// Copies bytes into [`memory`].
pub(super) fn store(at: u64, bytes: &[u8]) {
    // SAFETY: `at` comes from `memory` and callers store less than they asked for.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) }
}

/// Reads bytes of [`memory`].
pub(super) fn load(at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    // SAFETY: `at` comes from `memory` and callers load less than they asked for.
    unsafe { ptr::copy_nonoverlapping(at as *const u8, bytes.as_mut_ptr(), len) };
    bytes
}

/// `fork`: 0 in the child. The workload forks only while it has one thread.
pub(super) fn fork() -> anyhow::Result<i32> {
    // SAFETY: one thread, so no lock is held by a thread that the child lacks.
    match unsafe { libc::fork() } {
        -1 => bail!("fork: errno {}", errno()),
        pid => Ok(pid),
    }
}

/// `clone3` for a child with a process id of the caller's choice: 0 in the child, or -errno.
pub(super) fn fork_with_pid(pid: i32) -> i64 {
    let set_tid = [pid];
    let args = CloneArgs {
        exit_signal: libc::SIGCHLD as u64,
        set_tid: set_tid.as_ptr() as u64,
        set_tid_size: 1,
        ..CloneArgs::default()
    };
    // SAFETY: no CLONE_VM: the child has a copy of everything, as with fork.
    unsafe { raw(libc::SYS_clone3, [&raw const args as u64, size_of::<CloneArgs>() as u64, 0, 0, 0, 0]) }
}

/// `struct clone_args`, since 5.5 with `set_tid`.
#[derive(Debug, Default)]
#[repr(C)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Strings as execve takes them: alive as long as this value.
#[derive(Debug)]
pub(super) struct Strings {
    owned: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    /// Of bytes without NUL.
    pub(super) fn new<B: Into<Vec<u8>>>(all: impl IntoIterator<Item = B>) -> anyhow::Result<Self> {
        let owned = all.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
        let pointers = owned.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
        Ok(Self { owned, pointers })
    }

    /// The bytes, without terminators.
    pub(super) fn bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.owned.iter().map(CString::as_bytes)
    }

    /// Adds a string at an address of this process, at the end.
    pub(super) fn push_address(&mut self, at: u64) {
        self.pointers.pop();
        self.pointers.push(at as *const c_char);
        self.pointers.push(ptr::null());
    }

    fn address(&self) -> u64 {
        self.pointers.as_ptr() as u64
    }
}

/// `execve`; returns only on failure.
pub(super) fn execve(path: &CString, argv: &Strings, envp: &Strings) -> i64 {
    // SAFETY: the kernel only reads.
    unsafe { raw(libc::SYS_execve, [path.as_ptr() as u64, argv.address(), envp.address(), 0, 0, 0]) }
}

/// `execve` with addresses, good or bad; returns only on failure.
pub(super) fn execve_at_addresses(path: u64, argv: u64, envp: u64) -> i64 {
    // SAFETY: the kernel only reads, and refuses what is not mapped.
    unsafe { raw(libc::SYS_execve, [path, argv, envp, 0, 0, 0]) }
}

/// `execveat`; returns only on failure.
pub(super) fn execveat(directory: i32, path: &CString, argv: &Strings, envp: &Strings, flags: i32) -> i64 {
    let args = [
        directory.cast_unsigned().into(),
        path.as_ptr() as u64,
        argv.address(),
        envp.address(),
        flags.cast_unsigned().into(),
        0,
    ];
    // SAFETY: the kernel only reads.
    unsafe { raw(libc::SYS_execveat, args) }
}

/// What a child on borrowed memory needs to execute a program.
#[derive(Debug)]
pub(super) struct Image<'a> {
    /// Program.
    pub(super) path: &'a CString,
    /// Arguments.
    pub(super) argv: &'a Strings,
    /// Environment.
    pub(super) envp: &'a Strings,
}

/// A child that shares this process's memory while this process waits, and executes a program: what vfork
/// does, with a stack of the child's own. Returns the child's process id.
pub(super) fn vfork_exec(image: &Image<'_>) -> anyhow::Result<i32> {
    extern "C" fn body(image: *mut c_void) -> c_int {
        // SAFETY: points to the caller's image, and the caller waits.
        let image = unsafe { &*image.cast_const().cast::<Image<'_>>() };
        execve(image.path, image.argv, image.envp);
        127
    }
    let mut stack = vec![0u128; 4096];
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: CLONE_VFORK keeps this thread, and with it stack and image, until the child has executed or ended.
    let pid = unsafe {
        libc::clone(
            body,
            top.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            ptr::from_ref(image).cast_mut().cast(),
        )
    };
    anyhow::ensure!(pid > 0, "clone: errno {}", errno());
    Ok(pid)
}

/// `posix_spawn`, the C library's; returns the child's process id.
pub(super) fn posix_spawn(image: &Image<'_>) -> anyhow::Result<i32> {
    let mut pid = 0;
    // SAFETY: all pointers live through the call; posix_spawn does not write to argv and envp.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            image.path.as_ptr(),
            ptr::null(),
            ptr::null(),
            image.argv.pointers.as_ptr().cast::<*mut c_char>(),
            image.envp.pointers.as_ptr().cast::<*mut c_char>(),
        )
    };
    if error == 0 { Ok(pid) } else { bail!("posix_spawn: errno {error}") }
}

/// `waitpid`: process id and status of a child that ended or (with `WUNTRACED`, or traced) stopped.
pub(super) fn wait(pid: i32, options: i32) -> anyhow::Result<(i32, i32)> {
    let mut status = 0;
    loop {
        // SAFETY: writes only `status`.
        match unsafe { libc::waitpid(pid, &raw mut status, options) } {
            -1 if errno() == libc::EINTR => {}
            -1 => bail!("waitpid {pid}: errno {}", errno()),
            pid => return Ok((pid, status)),
        }
    }
}

/// Ends the process at once.
pub(super) fn exit_group(code: i32) -> ! {
    // SAFETY: no code of ours runs after it.
    unsafe { libc::_exit(code) }
}

/// Ends the calling thread only.
pub(super) fn exit_thread(code: i32) -> ! {
    // SAFETY: no code of this thread runs after it; its stack is not freed, the process ends soon.
    unsafe { raw(libc::SYS_exit, [code.cast_unsigned().into(), 0, 0, 0, 0, 0]) };
    unreachable!("exit does not return")
}

/// Waits for signals until one ends the process.
pub(super) fn pause() -> ! {
    loop {
        // SAFETY: only waits.
        unsafe { libc::pause() };
    }
}

/// `kill`.
pub(super) fn kill(pid: i32, signal: i32) -> i64 {
    // SAFETY: takes numbers only.
    unsafe { raw(libc::SYS_kill, [pid.cast_unsigned().into(), signal.cast_unsigned().into(), 0, 0, 0, 0]) }
}

/// Process id of the caller in its own pid namespace.
pub(super) fn getpid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::getpid() }
}

/// Thread id of the caller in its own pid namespace.
pub(super) fn gettid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::gettid() }
}

/// Effective user id of the caller.
pub(super) fn geteuid() -> u32 {
    // SAFETY: takes nothing.
    unsafe { libc::geteuid() }
}

/// Real, effective and saved user (and the same group) ids of this thread, and no supplementary groups.
pub(super) fn become_user(real: u32, effective: u32, saved: u32) -> anyhow::Result<()> {
    let ids = [u64::from(real), u64::from(effective), u64::from(saved), 0, 0, 0];
    for (what, number, args) in [
        ("setgroups", libc::SYS_setgroups, [0; 6]),
        ("setresgid", libc::SYS_setresgid, ids),
        ("setresuid", libc::SYS_setresuid, ids),
    ] {
        // SAFETY: takes numbers and an empty list.
        let ret = unsafe { raw(number, args) };
        if ret != 0 {
            bail!("{what}: errno {}", -ret);
        }
    }
    Ok(())
}

/// Sets the capability sets of this thread.
pub(super) fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "the interface splits 64 bits into two halves")]
    let half = |set: u64, high: bool| if high { (set >> 32) as u32 } else { set as u32 };
    // _LINUX_CAPABILITY_VERSION_3, this thread.
    let header: [u32; 2] = [0x2008_0522, 0];
    let data: [u32; 6] = [
        half(effective, false),
        half(permitted, false),
        half(inheritable, false),
        half(effective, true),
        half(permitted, true),
        half(inheritable, true),
    ];
    // SAFETY: header and data have the layout of version 3; the kernel writes the header only if it were wrong.
    unsafe { raw(libc::SYS_capset, [header.as_ptr() as u64, data.as_ptr() as u64, 0, 0, 0, 0]) }
}

/// `unshare`.
pub(super) fn unshare(flags: i32) -> i64 {
    // SAFETY: the workload has one thread when it unshares.
    unsafe { raw(libc::SYS_unshare, [flags.cast_unsigned().into(), 0, 0, 0, 0, 0]) }
}

/// Sets the soft limit of a resource as high as asked for and allowed; returns it.
pub(super) fn raise_limit(resource: libc::__rlimit_resource_t, wanted: u64) -> anyhow::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes only `limit`.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        bail!("getrlimit: errno {}", errno());
    }
    limit.rlim_cur = wanted.min(limit.rlim_max);
    // SAFETY: reads only `limit`.
    if unsafe { libc::setrlimit(resource, &raw const limit) } != 0 {
        bail!("setrlimit: errno {}", errno());
    }
    Ok(limit.rlim_cur)
}

/// `write`: bytes written, or errno.
pub(super) fn write(descriptor: i32, bytes: &[u8]) -> Result<usize, i32> {
    // SAFETY: reads only `bytes`.
    let ret = unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(ret).map_err(|_| errno())
}

/// `read`: bytes read, or errno.
pub(super) fn read(descriptor: i32, bytes: &mut [u8]) -> Result<usize, i32> {
    // SAFETY: writes only `bytes`.
    let ret = unsafe { libc::read(descriptor, bytes.as_mut_ptr().cast(), bytes.len()) };
    usize::try_from(ret).map_err(|_| errno())
}

/// A pipe: read end, write end. They stay open in executed programs.
pub(super) fn pipe() -> anyhow::Result<(i32, i32)> {
    let mut ends = [0; 2];
    // SAFETY: writes two descriptors into `ends`.
    if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
        bail!("pipe: errno {}", errno());
    }
    Ok((ends[0], ends[1]))
}

/// Closes a descriptor of [`pipe`].
pub(super) fn close(descriptor: i32) {
    // SAFETY: a descriptor that nothing owns.
    unsafe { libc::close(descriptor) };
}

/// `dup2`: the new descriptor stays open in executed programs.
pub(super) fn duplicate_to(descriptor: i32, to: i32) -> anyhow::Result<()> {
    // SAFETY: `to` is a number that nothing else uses.
    if unsafe { libc::dup2(descriptor, to) } < 0 {
        bail!("dup2: errno {}", errno());
    }
    Ok(())
}

/// `userfaultfd`, ready to be asked: the descriptor, or -errno.
pub(super) fn userfault() -> i64 {
    // SAFETY: takes a flag.
    let descriptor =
        unsafe { raw(libc::SYS_userfaultfd, [libc::O_CLOEXEC.cast_unsigned().into(), 0, 0, 0, 0, 0]) };
    if descriptor < 0 {
        return descriptor;
    }
    // struct uffdio_api { api = UFFD_API, features = 0, ioctls }.
    let mut api: [u64; 3] = [0xaa, 0, 0];
    match ioctl(descriptor, 0xc018_aa3f, &mut api) {
        0 => descriptor,
        error => error,
    }
}

/// Asks to be told when a page of [`memory`] is touched for the first time.
pub(super) fn userfault_register(descriptor: i64, at: u64) -> i64 {
    // struct uffdio_register { range { start, len }, mode = MISSING, ioctls }.
    ioctl(descriptor, 0xc020_aa00, &mut [at, PAGE as u64, 1, 0])
}

/// Fills a page that somebody waits for.
pub(super) fn userfault_fill(descriptor: i64, at: u64, page: &[u8; PAGE]) -> i64 {
    // struct uffdio_copy { dst, src, len, mode, copy }.
    ioctl(descriptor, 0xc028_aa03, &mut [at, page.as_ptr() as u64, PAGE as u64, 0, 0])
}

fn ioctl<const N: usize>(descriptor: i64, request: u64, argument: &mut [u64; N]) -> i64 {
    // SAFETY: callers pass a struct of the size that the request states.
    unsafe {
        raw(libc::SYS_ioctl, [descriptor.cast_unsigned(), request, argument.as_mut_ptr() as u64, 0, 0, 0])
    }
}

/// Gives a signal its default effect again.
pub(super) fn default_signal(signal: i32) -> anyhow::Result<()> {
    // SAFETY: the default action is no code of ours.
    if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
        bail!("signal: errno {}", errno());
    }
    Ok(())
}

/// The environment strings as the kernel handed them over, also those that are no `NAME=value`.
/// (`/proc/self/environ` is closed to a process whose user changed by its exec.)
pub(super) fn environment() -> Vec<Vec<u8>> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let mut all = Vec::new();
    // SAFETY: the C library's array ends with a null pointer, and nothing of the workload changes it.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            all.push(std::ffi::CStr::from_ptr(*at).to_bytes().to_vec());
            at = at.add(1);
        }
    }
    all
}
