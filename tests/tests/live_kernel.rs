//! The kernel side on a real kernel: sessions are started, known things are done, the records are compared.
//!
//! Needs root, and skips only when loading programs is not allowed, saying so. It has a main function of its
//! own (no test harness) because it is also the fixture: with `GOAUDIT_LIVE_ROLE` set it does one known thing,
//! down to the threads that end it. It runs as the only program of a kernel lab guest, too. Arguments are
//! parts of the names of the tests to run.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test panics with what it found"
)]

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use goaudit_ebpf::hook::exec::{self, Exec};
use goaudit_ebpf::hook::exit::Exit;
use goaudit_ebpf::hook::fork::{self, Fork};
use goaudit_ebpf::hook::prctl::{self, Change, Prctl};
use goaudit_ebpf::hook::ptrace::{self, Ptrace};
use goaudit_ebpf::wire::{Header, Kind, Section, Text, text};
use goaudit_user::kernel::{
    Config, Counters, Hook, KernelError, Session, features, offsets, verify_programs,
};
use zerocopy::FromBytes;

const ROLE: &str = "GOAUDIT_LIVE_ROLE";

/// How the standard harness ends when a test failed.
const FAILED_TESTS: i32 = 101;

/// Everything a session gave.
struct Recording {
    records: Vec<Vec<u8>>,
    counters: Counters,
}

/// Records what happens during `act`; none when this process may not.
fn record(config: &Config, act: impl FnOnce(&mut Session)) -> Option<Recording> {
    let started = Instant::now();
    let mut session = match Session::start(config) {
        Ok(session) => session,
        Err(error @ KernelError::NoPrivilege { .. }) => {
            eprintln!("skipped, ability `bpf privileges` is missing: {error}");
            return None;
        }
        Err(error) => panic!("failed to {error}"),
    };
    eprintln!("session started in {:?}", started.elapsed());
    let mut records = Vec::new();
    act(&mut session);
    let mut take = |bytes: &[u8]| records.push(bytes.to_vec());
    // What other CPUs are still writing comes within this time.
    let until = Instant::now() + Duration::from_millis(150);
    while Instant::now() < until {
        session.drain(Duration::from_millis(20), &mut take).unwrap();
    }
    session.detach_producers();
    while session.drain(Duration::ZERO, &mut take).unwrap() > 0 {}
    let counters = session.counters().unwrap();
    let recording = Recording { records, counters };
    recording.check_conservation();
    Some(recording)
}

impl Recording {
    fn headers(&self) -> impl Iterator<Item = (Header, &[u8])> {
        self.records.iter().map(|bytes| (Header::read_from_prefix(bytes).unwrap().0, bytes.as_slice()))
    }

    fn of<T: FromBytes>(&self, kind: Kind) -> Vec<(T, &[u8])> {
        self.headers()
            .filter(|(header, _)| header.kind == kind as u16)
            .map(|(_, bytes)| T::read_from_prefix(bytes).expect("a whole record"))
            .collect()
    }

    /// `seq = records + lost` on every CPU, no number twice, every length true.
    fn check_conservation(&self) {
        let mut seen: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for (header, bytes) in self.headers() {
            assert_eq!(header.len as usize, bytes.len(), "length of {header:?}");
            seen.entry(header.cpu).or_default().push(header.seq);
        }
        for (cpu, state) in (0u32..).zip(&self.counters.per_cpu) {
            let mut numbers = seen.remove(&cpu).unwrap_or_default();
            let count = numbers.len() as u64;
            let lost: u64 = state.lost.iter().sum();
            assert_eq!(state.seq, count + lost, "cpu {cpu}: {state:?}, {count} records");
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len() as u64, count, "cpu {cpu}: a number was given twice");
            assert_eq!(state.busy, 0, "cpu {cpu}: a scratch buffer was not given back");
        }
        assert!(seen.is_empty(), "records of CPUs without books: {seen:?}");
    }

    fn lost(&self) -> u64 {
        self.counters.per_cpu.iter().flat_map(|state| state.lost).sum()
    }

    /// Main exec records with their texts put together.
    fn execs(&self) -> Vec<Assembled> {
        let mut texts: HashMap<(u32, u64), Vec<Piece>> = HashMap::new();
        let mut execs = Vec::new();
        for (header, bytes) in self.headers() {
            if header.kind == Kind::Text as u16 {
                let (text, rest) = Text::read_from_prefix(bytes).unwrap();
                assert_eq!(text.len as usize, rest.len());
                texts.entry((header.cpu, text.link)).or_default().push((text, rest.to_vec()));
            } else if header.kind == Kind::Exec as u16 {
                let (main, _) = Exec::read_from_prefix(bytes).unwrap();
                let pieces = texts.remove(&(header.cpu, main.link)).unwrap_or_default();
                assert_eq!(pieces.len(), main.texts as usize, "{main:?}");
                execs.push(Assembled { main, pieces });
            }
        }
        assert!(texts.is_empty(), "texts without an exec");
        execs
    }
}

/// A text record and its bytes.
type Piece = (Text, Vec<u8>);

struct Assembled {
    main: Exec,
    pieces: Vec<Piece>,
}

impl Assembled {
    fn section(&self, section: Section) -> Option<(Vec<u8>, u16)> {
        let mut flags = 0;
        let mut whole = Vec::new();
        let mut found = false;
        for (text, bytes) in self.pieces.iter().filter(|(text, _)| text.section == section as u16) {
            assert_eq!(text.offset as usize, whole.len());
            whole.extend_from_slice(bytes);
            flags |= text.header.flags;
            found = true;
        }
        found.then_some((whole, flags))
    }

    fn text(&self, section: Section) -> String {
        String::from_utf8_lossy(&self.section(section).unwrap_or_default().0).into_owned()
    }

    /// Arguments of the committed mm.
    fn argv(&self) -> Vec<Vec<u8>> {
        let (whole, flags) = self.section(Section::ArgsEnv).unwrap_or_default();
        assert_eq!(flags, 0, "arguments are whole");
        assert_eq!(whole.len(), (self.main.arg_bytes + self.main.env_bytes) as usize);
        strings(&whole[..self.main.arg_bytes as usize])
    }

    fn path(&self, section: Section) -> String {
        let (whole, flags) = self.section(section).unwrap_or_default();
        assert_eq!(flags & (text::CUT | text::FAULT), 0, "{section:?} is whole");
        let mut names = strings(&whole);
        names.reverse();
        names.iter().flat_map(|name| ["/".into(), String::from_utf8_lossy(name)]).collect()
    }
}

fn strings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut list: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    assert_eq!(list.pop().as_deref(), Some(&[][..]), "the last string ends with NUL");
    list
}

fn role(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, name);
    command
}

/// A fixture's exit status, and its process id.
fn run(mut command: Command) -> (u32, std::process::ExitStatus) {
    let mut child = command.spawn().unwrap();
    (child.id(), child.wait().unwrap())
}

/// Every test.
const TESTS: &[(&str, fn())] = &[
    ("every_wanted_program_attaches_or_says_why", every_wanted_program_attaches_or_says_why),
    ("successful_execs_are_whole", successful_execs_are_whole),
    ("failed_execs_tell_what_was_tried", failed_execs_tell_what_was_tried),
    ("processes_are_born_and_die_once", processes_are_born_and_die_once),
    ("prctl_tells_old_and_new", prctl_tells_old_and_new),
    ("ptrace_tells_request_and_result", ptrace_tells_request_and_result),
    ("scope_follows_descendants", scope_follows_descendants),
    ("only_chosen_hooks_record", only_chosen_hooks_record),
    ("inside_a_pid_namespace", inside_a_pid_namespace),
    ("loss_is_counted", loss_is_counted),
];

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        fixture(&role);
        return;
    }
    // The harness's own options (`--nocapture`, `--test-threads=1`) mean nothing here.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let begun = Instant::now();
        let ok = std::panic::catch_unwind(test).is_ok();
        eprintln!("test {name} ... {} ({:?})", if ok { "ok" } else { "FAILED" }, begun.elapsed());
        *if ok { &mut passed } else { &mut failed } += 1;
    }
    // The standard harness's words: the lab counts tests by them.
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {passed} passed; {failed} failed; 0 ignored");
    std::process::exit(if failed > 0 { FAILED_TESTS } else { 0 });
}

/// Does one known thing.
fn fixture(role: &str) {
    match role {
        "prctl" => {
            rustix::thread::set_name(c"renamed").unwrap();
            // SAFETY: no pointers.
            unsafe {
                assert!(libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) >= 0);
                assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0), 0);
                assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 77, 0, 0, 0), -1);
                assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
                assert_eq!(libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
                assert_eq!(libc::prctl(libc::PR_SET_TIMERSLACK, 123_456, 0, 0, 0), 0);
                assert_eq!(libc::prctl(libc::PR_SET_PDEATHSIG, 9, 0, 0, 0), 0);
                assert_eq!(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0), 0);
                assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, 99, 0, 0, 0), -1);
            }
            std::process::exit(7);
        }
        "ptrace" => {
            // SAFETY: no pointers are followed.
            unsafe {
                let none = std::ptr::null_mut::<u8>();
                assert_eq!(libc::ptrace(libc::PTRACE_ATTACH, 4_000_000, none, none), -1);
                let child = libc::fork();
                if child == 0 {
                    libc::pause();
                }
                assert_eq!(libc::ptrace(libc::PTRACE_ATTACH, child, none, 0x55 as *mut u8), 0);
                libc::waitpid(child, std::ptr::null_mut(), libc::__WALL);
                assert_eq!(libc::ptrace(libc::PTRACE_DETACH, child, none, none), 0);
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, std::ptr::null_mut(), libc::__WALL);
                assert_eq!(libc::ptrace(libc::PTRACE_TRACEME, 0, none, none), 0);
            }
            std::process::exit(0);
        }
        // All threads, the first one included, end on their own at the same time.
        "racers" => {
            let barrier = std::sync::Arc::new(std::sync::Barrier::new(17));
            for _ in 0..16 {
                let barrier = barrier.clone();
                std::thread::spawn(move || {
                    barrier.wait();
                    // SAFETY: ends this thread; it owns nothing that matters.
                    unsafe { libc::syscall(libc::SYS_exit, 3) }
                });
            }
            barrier.wait();
            // SAFETY: as above.
            unsafe { libc::syscall(libc::SYS_exit, 5) };
        }
        "thread_exec" => {
            std::thread::spawn(|| panic!("{}", Command::new("/bin/true").arg("from a thread").exec()))
                .join()
                .ok();
        }
        "crash" => {
            // SAFETY: ends this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
        // Records for eight seconds and tells the books: for measuring what recording costs.
        "record" => {
            let mut session = Session::start(&Config::default()).unwrap();
            eprintln!("recording");
            let until = Instant::now() + Duration::from_secs(8);
            let mut count = 0;
            while Instant::now() < until {
                count += session.drain(Duration::from_millis(100), &mut |_| {}).unwrap();
            }
            session.detach_producers();
            count += session.drain(Duration::ZERO, &mut |_| {}).unwrap();
            eprintln!("{count} records, {:?}", session.counters().unwrap());
        }
        "nested" => {
            // SAFETY: no pointers; from here on this process makes no threads.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
            let (_, status) = run(self::role("nested-inside"));
            std::process::exit(status.code().unwrap_or(1));
        }
        "nested-inside" => nested(),
        other => panic!("no role {other}"),
    }
}

fn every_wanted_program_attaches_or_says_why() {
    let _ = record(&Config::default(), |session| {
        for report in session.reports() {
            eprintln!("{report:?}");
            assert_eq!(report.attached, report.reason.is_none(), "{report:?}");
        }
        for hook in Hook::ALL {
            let blind = session.reports().iter().any(|report| {
                report.hook == hook && report.not_seen.is_some() && !report.attach_point.starts_with("fexit")
            });
            assert!(!blind, "{hook:?} sees everything that does not need fexit");
        }
        for info in features::FEATURES {
            eprintln!("{}: {:?}", info.name, features::try_feature(info.feature, None));
        }
    });
    let go = goaudit_tests::ability::Ability::GoUprobes.check().is_ok();
    // Also as kernels before 6.9 do it: round by round, and they give up after a million instructions. What stands in for
    // another kernel's program need not load; what is attached was told above.
    for followed_loops in [false, true] {
        let config = Config { followed_loops, go: true, ..Config::default() };
        for (name, verdict) in verify_programs(&config).into_iter().flatten() {
            eprintln!("verifier, {name}, loops followed {followed_loops}: {verdict:?}");
            assert!(verdict.is_ok() || !go || !name.starts_with("go_"), "{name}");
            assert!(verdict.unwrap_or(0) < 900_000, "{name}");
        }
    }
    let begun = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let resolved = offsets::Resolved::of_this_kernel().unwrap();
    let ended = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let micros = (ended.tv_sec - begun.tv_sec) * 1_000_000 + (ended.tv_nsec - begun.tv_nsec) / 1000;
    eprintln!("offsets in {micros} us of CPU; absent: {:?}", resolved.absent);
}

fn successful_execs_are_whole() {
    for followed_loops in [false, true] {
        execs_are_whole(&Config { followed_loops, ..Config::default() });
    }
}

fn execs_are_whole(config: &Config) {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/b c/dé");
    std::fs::create_dir_all(&inner).unwrap();
    let long = vec![b'x'; 131_071];
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/bin/sh -e\nexit 4\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let mut pids = Vec::new();
    let recorded = record(config, |_| {
        let mut plain = Command::new("/bin/true");
        plain.args(["one", "two words", ""]).current_dir(&inner).env_clear().env("A", "b");
        pids.push(run(plain).0);
        let mut one_long = Command::new("/bin/true");
        one_long.arg(std::ffi::OsStr::from_bytes(&long)).arg("after");
        pids.push(run(one_long).0);
        let mut many = Command::new("/bin/true");
        many.args((0..15).map(|i| format!("{i}{}", "y".repeat(104_000))));
        pids.push(run(many).0);
        let (pid, status) = run(Command::new(&script));
        assert_eq!(status.code(), Some(4));
        pids.push(pid);
        pids.push(run(role("thread_exec")).0);
    });
    let Some(recorded) = recorded else { return };
    assert_eq!(recorded.lost(), 0);
    let execs = recorded.execs();
    let of = |pid: u32| {
        execs.iter().rfind(|exec| exec.main.header.tgid.0 == pid && exec.main.ret == 0).expect("an exec")
    };

    let plain = of(pids[0]);
    assert_eq!(plain.main.header.missing & !(1 << 3), 0, "{:?}", plain.main);
    assert_eq!(plain.argv(), [b"/bin/true".to_vec(), b"one".to_vec(), b"two words".to_vec(), Vec::new()]);
    assert_eq!((plain.main.argc, plain.main.envc), (4, 1));
    let (whole, _) = plain.section(Section::ArgsEnv).unwrap();
    assert_eq!(strings(&whole[plain.main.arg_bytes as usize..]), [b"A=b".to_vec()]);
    assert_eq!(plain.text(Section::Filename), "/bin/true");
    assert!(plain.section(Section::Interp).is_none());
    assert_eq!(plain.path(Section::Cwd), inner.canonicalize().unwrap().to_str().unwrap());
    let real = std::fs::canonicalize("/bin/true").unwrap();
    assert_eq!(plain.path(Section::Exe), real.to_str().unwrap());
    let file = std::fs::metadata(&real).unwrap();
    assert_eq!(plain.main.exe_inode, std::os::unix::fs::MetadataExt::ino(&file));
    assert_ne!(plain.main.header.flags & exec::flags::ENTRY_SEEN, 0);
    assert_eq!(plain.main.user_argc, 4);
    assert_eq!(strings(&plain.section(Section::UserArgs).unwrap().0), plain.argv());
    assert_eq!(plain.main.header.ppid.0, std::process::id());
    let own = |name: &str| {
        let link = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let link = link.to_str().unwrap().to_owned();
        link[name.len() + 2..link.len() - 1].parse::<u32>().unwrap()
    };
    let spaces = plain.main.namespaces;
    assert_eq!(
        (spaces.user, spaces.pid, spaces.mnt, spaces.net, spaces.uts, spaces.ipc, spaces.cgroup),
        (own("user"), own("pid"), own("mnt"), own("net"), own("uts"), own("ipc"), own("cgroup"))
    );
    assert_eq!(spaces.tgid, pids[0]);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    assert_eq!(plain.main.capabilities.bounding, u64::from_str_radix(bounding, 16).unwrap());

    assert_eq!(of(pids[1]).argv(), [b"/bin/true".to_vec(), long, b"after".to_vec()]);
    let many = of(pids[2]).argv();
    assert_eq!(many.len(), 16);
    assert!(
        many.iter()
            .skip(1)
            .zip(0..)
            .all(|(arg, i)| { *arg == format!("{i}{}", "y".repeat(104_000)).into_bytes() })
    );

    let script_exec = of(pids[3]);
    assert_eq!(script_exec.text(Section::Interp), "/bin/sh");
    assert_eq!(script_exec.text(Section::Filename), script.to_str().unwrap());
    assert_eq!(script_exec.argv()[..2], [b"/bin/sh".to_vec(), b"-e".to_vec()]);

    let from_thread = of(pids[4]);
    assert_eq!(from_thread.argv()[1], b"from a thread");
    assert_ne!(from_thread.main.old_tid, from_thread.main.header.tid.0);
    assert_ne!(from_thread.main.header.flags & exec::flags::ENTRY_SEEN, 0, "found by the old thread id");
}

fn failed_execs_tell_what_was_tried() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("not executable");
    std::fs::write(&plain, "").unwrap();
    let recorded = record(&Config::default(), |_| {
        assert!(Command::new("/nonexistent/thing").args(["a", "b c", ""]).spawn().is_err());
        assert!(Command::new(&plain).spawn().is_err());
        let huge = "z".repeat(200_000);
        assert!(Command::new("/bin/true").arg("first").arg(huge).spawn().is_err());
    });
    let Some(recorded) = recorded else { return };
    let execs = recorded.execs();
    let failed = |ret: i64, name: &str| {
        let found = execs.iter().find(|exec| {
            exec.main.ret == ret
                && exec.main.header.ppid.0 == std::process::id()
                && exec.text(Section::UserFilename) == name
        });
        found.unwrap_or_else(|| panic!("no failed exec of {name} with {ret}"))
    };
    let enoent = failed(-2, "/nonexistent/thing");
    assert_ne!(enoent.main.header.flags & exec::flags::FAILED, 0);
    assert_eq!(
        strings(&enoent.section(Section::UserArgs).unwrap().0),
        [b"/nonexistent/thing".to_vec(), b"a".to_vec(), b"b c".to_vec(), Vec::new()]
    );
    let cwd = std::env::current_dir().unwrap();
    assert_eq!(enoent.path(Section::Cwd), cwd.to_str().unwrap().trim_end_matches('/'));
    failed(-13, plain.to_str().unwrap());
    let e2big = failed(-7, "/bin/true");
    assert_ne!(e2big.main.header.flags & exec::flags::USER_ARGS_CUT, 0);
    assert!(e2big.text(Section::UserArgs).starts_with("/bin/true\0first\0zzz"));
}

fn processes_are_born_and_die_once() {
    let mut pids = Vec::new();
    let mut shell = 0;
    let recorded = record(&Config::default(), |_| {
        for _ in 0..30 {
            pids.push(run(role("racers")));
        }
        pids.push(run(role("crash")));
        let mut two = Command::new("/bin/sh");
        two.args(["-c", "/bin/true & /bin/true & wait"]);
        shell = run(two).0;
    });
    let Some(recorded) = recorded else { return };
    let exits = recorded.of::<Exit>(Kind::Exit);
    let forks = recorded.of::<Fork>(Kind::Fork);
    for (pid, status) in pids {
        let own: Vec<_> = exits.iter().filter(|(exit, _)| exit.header.tgid.0 == pid).collect();
        assert_eq!(own.len(), 1, "exits of {pid}");
        assert_eq!(own[0].0.status, u32::try_from(status.into_raw()).unwrap());
    }
    // The agent's own forks are not recorded, its children's are.
    let born: Vec<_> = forks.iter().filter(|(fork, _)| fork.header.tgid.0 == shell).collect();
    assert_eq!(born.len(), 2, "forks of the shell");
    for (fork, _) in born {
        assert_eq!(fork.header.flags & fork::flags::THREAD, 0);
        assert_eq!(fork.child_ns_tid, fork.child_tid.0);
        let own: Vec<_> = exits.iter().filter(|(exit, _)| exit.header.tgid == fork.child_tgid).collect();
        assert_eq!(own.len(), 1, "exits of {fork:?}");
        assert_eq!((own[0].0.header.start, own[0].0.header.ppid.0), (fork.child_start, shell));
    }
    assert!(forks.iter().any(|(fork, _)| fork.header.flags & fork::flags::THREAD != 0));
}

fn prctl_tells_old_and_new() {
    let mut pid = 0;
    let recorded = record(&Config::default(), |_| {
        let (child, status) = run(role("prctl"));
        assert_eq!(status.code(), Some(7));
        pid = child;
    });
    let Some(recorded) = recorded else { return };
    let calls: Vec<(Prctl, Option<Change>)> = recorded
        .of::<Prctl>(Kind::Prctl)
        .into_iter()
        .filter(|(call, _)| call.header.tgid.0 == pid)
        .map(|(call, bytes)| (call, Change::read_from_prefix(bytes).ok().map(|c| c.0)))
        .collect();
    let find = |option: u64, arg: Option<u64>| {
        calls
            .iter()
            .find(|(call, _)| call.args[0] == option && arg.is_none_or(|arg| call.args[1] == arg))
            .unwrap_or_else(|| panic!("no prctl {option} in {calls:?}"))
    };
    let changed = |option: u64, arg: u64, old: u64, new: u64| {
        let (call, change) = find(option, Some(arg));
        let change = change.expect("a change");
        assert_eq!((call.ret, change.old, change.new), (0, old, new), "prctl {option}");
        assert_eq!(call.header.flags, prctl::flags::CHANGE | prctl::flags::OLD | prctl::flags::NEW);
    };
    let (renamed, change) = calls
        .iter()
        .find(|(call, _)| call.args[0] == 15 && call.header.comm.starts_with(b"renamed\0"))
        .unwrap();
    assert_eq!(renamed.ret, 0);
    assert!(!change.unwrap().old_comm.starts_with(b"renamed\0"));
    let (read, change) = find(3, None);
    assert!(read.ret == 1 && change.is_none());
    changed(4, 0, 1, 0);
    assert_eq!(find(4, Some(77)).0.ret, -22);
    changed(38, 1, 0, 1);
    changed(36, 1, 0, 1);
    changed(29, 123_456, 50_000, 123_456);
    changed(1, 9, 0, 9);
    changed(8, 1, 0, 1 << 4);
    assert_eq!(find(22, Some(99)).0.ret, -22);
}

fn ptrace_tells_request_and_result() {
    let mut pid = 0;
    let mut fexit = false;
    let recorded = record(&Config::default(), |session| {
        fexit = session.reports().iter().any(|report| report.program == "check_attach" && report.attached);
        let (child, status) = run(role("ptrace"));
        assert!(status.success(), "{status:?}");
        pid = child;
    });
    let Some(recorded) = recorded else { return };
    let calls: Vec<Ptrace> = recorded
        .of::<Ptrace>(Kind::Ptrace)
        .into_iter()
        .map(|(call, _)| call)
        .filter(|call| call.header.tgid.0 == pid)
        .collect();
    assert_eq!(calls.len(), 4, "{calls:?}");
    assert!(calls.iter().all(|call| call.header.flags & ptrace::flags::ENTERED != 0));
    assert_eq!((calls[0].args[0], calls[0].args[1], calls[0].ret), (16, 4_000_000, -3));
    let child = calls[1].args[1];
    assert_eq!((calls[1].args[0], calls[1].args[3], calls[1].ret), (16, 0x55, 0));
    assert_eq!((calls[2].args[0], calls[2].ret), (17, 0));
    assert_eq!((calls[3].args[0], calls[3].ret), (0, 0));
    if fexit {
        let attach = &calls[1];
        let check = |check: ptrace::Check| 1 << check as u32;
        for expected in [ptrace::Check::Attach, ptrace::Check::MayAccess, ptrace::Check::SecurityAccess] {
            assert_ne!(attach.called & check(expected), 0, "{expected:?} in {attach:?}");
            assert_eq!(attach.returned[expected as usize], 0);
        }
        assert_ne!(attach.header.flags & ptrace::flags::TARGET, 0);
        assert_eq!(u64::from(attach.target.tgid.0), child);
        assert_ne!(calls[3].called & check(ptrace::Check::SecurityTraceme), 0);
    } else {
        assert!(calls.iter().all(|call| call.called == 0 && call.observed == 0));
    }
}

fn scope_follows_descendants() {
    let mut inside = 0;
    let config = Config { scoped: true, ..Config::default() };
    let recorded = record(&config, |session| {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read x; /bin/true in; (/bin/true deeper)"]).stdin(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        inside = child.id();
        session.scope_add(inside).unwrap();
        run(Command::new("/bin/true"));
        drop(child.stdin.take());
        child.wait().unwrap();
    });
    if let Some(recorded) = recorded {
        let execs = recorded.execs();
        assert_eq!(execs.iter().filter(|exec| exec.argv()[0] == b"/bin/true").count(), 2);
        let ends = recorded.of::<Exit>(Kind::Exit);
        assert!(ends.iter().any(|(exit, _)| exit.header.tgid.0 == inside), "the marked one's own end");
    }
    let config = Config { skip_descendants: true, ..Config::default() };
    if let Some(recorded) = record(&config, |_| {
        run(Command::new("/bin/true"));
    }) {
        let ours = |header: &Header| header.ppid.0 == std::process::id();
        assert_eq!(recorded.headers().filter(|(header, _)| ours(header)).count(), 0);
    }
}

fn only_chosen_hooks_record() {
    let config = Config { only_hooks: Some(vec![Hook::Prctl]), ..Config::default() };
    if let Some(recorded) = record(&config, |_| {
        run(role("prctl"));
    }) {
        assert!(recorded.records.len() > 5);
        assert!(recorded.headers().all(|(header, _)| header.kind == Kind::Prctl as u16));
    }
}

fn inside_a_pid_namespace() {
    let (_, status) = run(role("nested"));
    assert!(status.success(), "{status}");
}

/// Where process numbers are not those that the kernel side sees: the agent is left out, its command is in scope.
fn nested() {
    assert_eq!(std::process::id(), 1);
    let config = Config { scoped: true, ..Config::default() };
    let recorded = record(&config, |session| {
        assert!(session.is_nested());
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read x; /bin/true nested; exit 3"]).stdin(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        session.scope_add(child.id()).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
    });
    if let Some(recorded) = recorded {
        let execs = recorded.execs();
        assert_eq!(execs.iter().filter(|exec| exec.argv()[0] == b"/bin/true").count(), 1);
        let statuses: Vec<u32> =
            recorded.of::<Exit>(Kind::Exit).iter().map(|(exit, _)| exit.status).collect();
        assert!(statuses.contains(&0x300), "{statuses:?}");
    }
    let recorded = record(&Config::default(), |_| {
        rustix::thread::set_name(c"agent").unwrap();
        run(role("prctl"));
    });
    if let Some(recorded) = recorded {
        let named =
            |name: &[u8]| recorded.headers().filter(|(header, _)| header.comm.starts_with(name)).count();
        assert!(named(b"renamed") > 5, "others are recorded");
        // Its children bear its name until they run something else, and are others.
        let prctls = recorded.of::<Prctl>(Kind::Prctl);
        assert!(
            !prctls.iter().any(|(prctl, _)| prctl.header.comm.starts_with(b"agent")),
            "the agent recorded itself"
        );
    }
}

/// A ring that is too small loses records, and every one is accounted for.
fn loss_is_counted() {
    let config = Config { ring_bytes: 4096, ..Config::default() };
    let recorded = record(&config, |_| {
        for _ in 0..20 {
            run(role("prctl"));
        }
    });
    if let Some(recorded) = recorded {
        assert!(recorded.lost() > 0);
    }
}
