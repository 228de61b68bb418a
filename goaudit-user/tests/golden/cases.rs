//! The records of the golden files, as a kernel would write them.

use goaudit_ebpf::hook::exec::{Capabilities, Exec, Namespaces, flags as exec_flags};
use goaudit_ebpf::hook::exit::Exit;
use goaudit_ebpf::hook::fork::{Fork, flags as fork_flags};
use goaudit_ebpf::hook::prctl::{Change, Prctl, flags as prctl_flags};
use goaudit_ebpf::hook::ptrace::{CHECKS, Check, Ptrace, Target, flags as ptrace_flags};
use goaudit_ebpf::units::{Ktime, Tgid, Tid};
use goaudit_ebpf::wire::{CpuState, Lost, Section, missing};
use goaudit_user::decode::Record;

use super::CONTAINER;
use super::kernel::{Kernel, Who};

/// A line of a `.records` file.
pub(crate) enum Step {
    Record(Vec<u8>),
    Note(&'static str),
}

/// A golden file.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Step>,
    pub(crate) kernel: Vec<CpuState>,
}

/// Writes a case down.
struct Script {
    name: &'static str,
    kernel: Kernel,
    steps: Vec<Step>,
}

const BASH: Who = Who::new(50, "bash");
const HOST_PID_NS: u32 = 4_026_531_836;

impl Script {
    fn new(name: &'static str) -> Self {
        Self { name, kernel: Kernel::new(2), steps: Vec::new() }
    }

    fn note(&mut self, note: &'static str) {
        self.steps.push(Step::Note(note));
    }

    fn send(&mut self, record: &Record<'_>) {
        self.steps.push(Step::Record(Kernel::bytes(record)));
    }

    fn exec(&mut self, who: Who, values: &[(Section, &[u8])], fill: impl FnOnce(&mut Exec)) {
        let records = self.kernel.exec(0, who, 4096, values, |exec| {
            exec.exe_inode = 1234;
            exec.exe_device = 0x0080_0001;
            exec.namespaces = Namespaces {
                user: HOST_PID_NS + 1,
                pid: HOST_PID_NS,
                mnt: 4_026_531_841,
                net: 4_026_531_840,
                uts: 4_026_531_838,
                ipc: 4_026_531_839,
                cgroup: 4_026_531_835,
                tgid: who.tgid,
            };
            exec.capabilities = Capabilities { bounding: 0x01ff_ffff_ffff, ..Capabilities::default() };
            exec.suid = who.uid;
            fill(exec);
        });
        self.steps.extend(records.into_iter().map(Step::Record));
    }

    fn fork(&mut self, parent: Who, child: Who, flags: u16) {
        let mut header = self.kernel.head(0, parent);
        header.flags = flags;
        self.send(&Record::Fork(Fork {
            header,
            child_start: Ktime(child.start),
            child_tgid: Tgid(child.tgid),
            child_tid: Tid(child.tid),
            child_ns_tid: child.tid,
            child_pid_ns: HOST_PID_NS,
        }));
    }

    fn exit(&mut self, who: Who, status: u32) {
        let header = self.kernel.head(0, who);
        self.send(&Record::Exit(Exit { header, status, reserved: 0 }));
    }

    fn prctl(&mut self, args: [u64; 5], ret: i64, change: Option<Change>) {
        let mut header = self.kernel.head(0, BASH);
        if change.is_some() {
            header.flags = prctl_flags::OLD | prctl_flags::NEW;
        }
        self.send(&Record::Prctl(Prctl { header, args, ret }, change));
    }

    fn done(self) -> Case {
        Case { name: self.name, steps: self.steps, kernel: self.kernel.states }
    }
}

/// Argument strings, each with its NUL.
fn area(strings: &[&[u8]]) -> Vec<u8> {
    strings.iter().flat_map(|string| [string, &b"\0"[..]]).flatten().copied().collect()
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

/// A successful exec with the entry view.
fn ran(script: &mut Script, who: Who, file: &[u8], entry: &[&[u8]], argv: &[&[u8]], env: &[&[u8]]) {
    let (user, args, env_area) = (area(entry), area(argv), area(env));
    let both = [args.clone(), env_area.clone()].concat();
    let values: [(Section, &[u8]); 6] = [
        (Section::UserArgs, &user),
        (Section::Filename, file),
        (Section::Interp, file),
        (Section::Exe, b"ls\0bin\0usr\0"),
        (Section::Cwd, b"alice\0home\0"),
        (Section::ArgsEnv, &both),
    ];
    script.exec(who, &values, |exec| {
        exec.header.flags = exec_flags::ENTRY_SEEN;
        exec.argc = u32::try_from(argv.len()).unwrap();
        exec.envc = u32::try_from(env.len()).unwrap();
        exec.arg_bytes = len(&args);
        exec.env_bytes = len(&env_area);
        exec.user_argc = u32::try_from(entry.len()).unwrap();
    });
}

fn exec_success() -> Case {
    let mut script = Script::new("exec_success");
    let child = Who::new(1907, "ls");
    script.note("bash forks, the child runs ls: environment by list only, parent's binary as previous_exe");
    script.fork(BASH, Who { comm: "bash", ..child }, 0);
    let argv: &[&[u8]] = &[b"ls", b"-l", b"", b"a b", b"$(reboot)"];
    ran(
        &mut script,
        child,
        b"/usr/bin/ls",
        argv,
        argv,
        &[b"PATH=/usr/bin", b"SECRET=x", b"GOROOT=/usr/lib/go"],
    );
    script.note("argv empty: one empty string since 5.18");
    ran(&mut script, child, b"/usr/bin/ls", &[], &[b""], &[]);
    script.note("bytes that are no text, and text that would move a cursor");
    let odd: &[&[u8]] = &[b"\xff\xfe", b"\x1b[2J\x1b]0;pwned\x07", "a\u{202e}b".as_bytes(), b"line\nbreak"];
    ran(&mut script, child, b"/tmp/\xff", odd, odd, &[b"PATH=\xff", b"PATH=second"]);
    script.done()
}

fn exec_script() -> Case {
    let mut script = Script::new("exec_script");
    let who = Who::new(60, "x.sh");
    let (user, args) = (area(&[b"x.sh", b"arg"]), area(&[b"/bin/sh", b"-e", b"/tmp/x.sh", b"arg"]));
    let values: [(Section, &[u8]); 6] = [
        (Section::UserArgs, &user),
        (Section::Filename, b"/tmp/x.sh"),
        (Section::Interp, b"/bin/sh"),
        (Section::Exe, b"dash\0bin\0usr\0"),
        (Section::Cwd, b""),
        (Section::ArgsEnv, &args),
    ];
    script.note("the kernel put interpreter, its argument and the path in front; cwd is the root; thread 61 called execveat");
    script.exec(who, &values, |exec| {
        exec.header.flags = exec_flags::ENTRY_SEEN | exec_flags::EXECVEAT;
        (exec.argc, exec.arg_bytes, exec.user_argc, exec.old_tid) = (4, len(&args), 2, 61);
    });
    script.done()
}

fn exec_phantom() -> Case {
    let mut script = Script::new("exec_phantom");
    let who = Who::new(61, "curl");
    script.note("shown at entry: a harmless address; committed: another one");
    let (shown, got): (&[&[u8]], &[&[u8]]) = (&[b"curl", b"https://ok/"], &[b"curl", b"https://evil/"]);
    ran(&mut script, who, b"/usr/bin/curl", shown, got, &[]);
    script.note("the entry view faulted before a difference shows");
    let (user, args) = (area(&[b"curl"]), area(got));
    let values: [(Section, &[u8]); 3] =
        [(Section::UserArgs, &user), (Section::Filename, b"/usr/bin/curl"), (Section::ArgsEnv, &args)];
    script.exec(who, &values, |exec| {
        exec.header.flags = exec_flags::ENTRY_SEEN | exec_flags::USER_ARGS_FAULT;
        (exec.argc, exec.arg_bytes, exec.user_argc) = (2, len(&args), 1);
    });
    script.done()
}

fn exec_failed() -> Case {
    let mut script = Script::new("exec_failed");
    let user = area(&[b"nope", b"--help"]);
    let values: [(Section, &[u8]); 3] =
        [(Section::UserArgs, &user), (Section::UserFilename, b"/usr/bin/nope"), (Section::Cwd, b"tmp\0")];
    script.note("ENOENT with the caller's arguments");
    script.exec(BASH, &values, |exec| {
        exec.header.flags = exec_flags::FAILED | exec_flags::ENTRY_SEEN;
        (exec.ret, exec.user_argc) = (-2, 2);
    });
    script.note("EACCES, more arguments than a program reads");
    script.exec(BASH, &values, |exec| {
        exec.header.flags = exec_flags::FAILED | exec_flags::USER_ARGS_CUT;
        (exec.ret, exec.user_argc) = (-13, 2);
    });
    script.note("EFAULT: neither name nor arguments could be read");
    script.exec(BASH, &[], |exec| {
        exec.header.flags = exec_flags::FAILED | exec_flags::USER_ARGS_FAULT;
        (exec.ret, exec.user_argc) = (-14, 0);
    });
    script.done()
}

fn exec_pieces() -> Case {
    let mut script = Script::new("exec_pieces");
    let who = Who::new(62, "big");
    let args = area(&[b"big", &[b'x'; 300]]);
    let values: [(Section, &[u8]); 2] = [(Section::Filename, b"/usr/bin/big"), (Section::ArgsEnv, &args)];
    let fill = |exec: &mut Exec| {
        (exec.argc, exec.arg_bytes) = (2, len(&args));
    };
    script.note("in pieces of 128 bytes, whole");
    let whole = script.kernel.exec(0, who, 128, &values, fill);
    script.steps.extend(whole.into_iter().map(Step::Record));
    script.note("the second piece of the arguments is lost, and with the next one its main record");
    for lost in [2, 4] {
        let records = script.kernel.exec(0, who, 128, &values, fill);
        for (at, record) in records.into_iter().enumerate() {
            if at == lost {
                script.kernel.states[0].lost[Lost::RingFull as usize] += 1;
            } else {
                script.steps.push(Step::Record(record));
            }
        }
    }
    script.exit(who, 0);
    script.done()
}

fn life() -> Case {
    let mut script = Script::new("life");
    let child = Who::new(70, "worker");
    script.fork(BASH, child, 0);
    script.note("a thread, then death by SIGSEGV with a core");
    script.fork(child, Who { tid: 71, ..child }, fork_flags::THREAD);
    script.exit(child, 11 | 0x80);
    script.note("the id is used again by another process: nothing of the old one sticks");
    let mut again = Who { start: 900_000_000, uid: 0, comm: "other", ..child };
    script.exit(again, 3 << 8);
    script.note("a process that nothing is known of, on a kernel that lacks fields");
    again.tgid = 99;
    let mut header = script.kernel.head(1, again);
    header.missing = missing::START | missing::PPID | missing::CRED | missing::AUID;
    script.send(&Record::Exit(Exit { header, status: 9, reserved: 0 }));
    script.done()
}

fn prctl() -> Case {
    let mut script = Script::new("prctl");
    script.note("PR_SET_NAME with the old name");
    let mut old = Change::default();
    old.old_comm[..4].copy_from_slice(b"sh\x1b[");
    let mut header = script.kernel.head(0, BASH);
    header.flags = 0;
    script.send(&Record::Prctl(Prctl { header, args: [15, 0x7fff_0000, 0, 0, 0], ret: 0 }, Some(old)));
    script.note("set with old and new value: dumpable, no_new_privs, seccomp, bounding set");
    let change = |old, new| Some(Change { old, new, ..Change::default() });
    script.prctl([4, 0, 0, 0, 0], 0, change(1, 0));
    script.prctl([38, 1, 0, 0, 0], 0, change(0, 1));
    script.prctl([22, 2, 0x5000, 0, 0], 0, change(0, 2));
    script.prctl([24, 21, 0, 0, 0], 0, change(0x01ff_ffff_ffff, 0x01ff_ffdf_ffff));
    script.note("refused and unknown");
    script.prctl([24, 21, 0, 0, 0], -1, None);
    script.prctl([4242, u64::MAX, 1, 2, 3], -22, None);
    script.note("memory map, Yama, speculation, a value as result");
    script.prctl([35, 8, 0x7ffc_1234_5000, 0, 0], 0, None);
    script.prctl([0x5961_6d61, u64::MAX, 0, 0, 0], 0, None);
    script.prctl([52, 0, 0, 0, 0], 3, None);
    script.prctl([30, 0, 0, 0, 0], 50_000, None);
    script.note("the same call five times is one event");
    for _ in 0..5 {
        script.prctl([3, 0, 0, 0, 0], 1, None);
    }
    script.done()
}

fn ptrace() -> Case {
    let mut script = Script::new("ptrace");
    let target =
        Target { tgid: Tgid(50), tid: Tid(50), uids: [1000; 3], gids: [1000; 3], dumpable: 1, task_flags: 0 };
    let gdb = Who::new(80, "gdb");
    let mut call =
        |note, who: Who, args: [u64; 4], ret: i64, target: Option<Target>, checks: &[(Check, i32)]| {
            script.note(note);
            let mut header = script.kernel.head(1, who);
            header.flags = ptrace_flags::ENTERED | if target.is_some() { ptrace_flags::TARGET } else { 0 };
            let mut record = Ptrace {
                header,
                args,
                ret,
                target: target.unwrap_or_default(),
                observed: (1 << CHECKS) - 1,
                ..Ptrace::default()
            };
            for (check, returned) in checks {
                record.called |= 1 << (*check as u32);
                record.returned[*check as usize] = *returned;
            }
            script.send(&Record::Ptrace(record));
        };
    let (access, security) = ((Check::MayAccess, -1), (Check::SecurityAccess, -1));
    call("allowed", gdb, [16, 50, 0, 0], 0, Some(target), &[(Check::MayAccess, 0)]);
    call("PTRACE_CONT by number in the namespace", gdb, [7, 50, 0, 9], 0, None, &[]);
    call(
        "refused by Yama",
        gdb,
        [0x4206, 50, 0, 0],
        -1,
        Some(target),
        &[access, security, (Check::Yama, -1)],
    );
    let root = Target { uids: [0; 3], gids: [0; 3], ..target };
    call("refused by ids", gdb, [16, 50, 0, 0], -1, Some(root), &[access, (Check::CapCapable, -1)]);
    let hidden = Target { dumpable: 0, ..target };
    call("refused by dumpability", gdb, [16, 50, 0, 0], -1, Some(hidden), &[access, (Check::CapCapable, -1)]);
    let kthread = Target { tgid: Tgid(2), tid: Tid(2), task_flags: 0x0020_0000, ..root };
    call("a kernel thread", gdb, [16, 2, 0, 0], -1, Some(kthread), &[(Check::Attach, -1)]);
    let boxed = Who { cgroup: CONTAINER.0, ..Who::new(81, "dlv") };
    call("in a container, target not found", boxed, [16, 1, 0, 0], -3, None, &[]);
    call("TRACEME", boxed, [0, 0, 0, 0], 0, None, &[(Check::SecurityTraceme, 0)]);
    script.note("stopped by seccomp before the kernel looked");
    let header = script.kernel.head(1, boxed);
    script.send(&Record::Ptrace(Ptrace { header, args: [16, 1, 0, 0], ret: -38, ..Ptrace::default() }));
    script.done()
}

fn loss() -> Case {
    let mut script = Script::new("loss");
    script.exit(BASH, 0);
    script.note("three lost by a full ring, one interrupted; then damaged bytes; then two lost at the end");
    script.kernel.lose(0, 3, Lost::RingFull);
    script.kernel.lose(0, 1, Lost::Reentered);
    script.exit(Who::new(90, "after"), 0);
    let header = script.kernel.head(0, BASH);
    let mut damaged = Kernel::bytes(&Record::Exit(Exit { header, ..Exit::default() }));
    damaged.truncate(100);
    script.steps.push(Step::Record(damaged));
    script.kernel.lose(1, 2, Lost::Yielded);
    script.done()
}

/// Every golden file.
pub(crate) fn all() -> Vec<Case> {
    vec![
        exec_success(),
        exec_script(),
        exec_phantom(),
        exec_failed(),
        exec_pieces(),
        life(),
        prctl(),
        ptrace(),
        loss(),
    ]
}
