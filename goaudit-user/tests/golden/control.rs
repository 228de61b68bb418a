//! One control event of each type.

use goaudit_ebpf::units::Ktime;
use goaudit_user::event::control::{
    Calibration, ClockStep, Counters, Genesis, Host, Loss, NOT_RUN, Policy, Probe, Read, Reader, Snapshot,
    Start, Stop,
};
use goaudit_user::event::{Control, Event, Payload, Process};

pub(crate) fn all() -> Vec<Event> {
    controls()
        .into_iter()
        .zip(1..)
        .map(|(control, second)| Event {
            ktime: Ktime(second * 1_000_000_000),
            source: None,
            process: None,
            payload: Payload::Control(Box::new(control)),
            missing: Vec::new(),
            sealed: None,
        })
        .collect()
}

#[expect(clippy::too_many_lines, reason = "a list of one of each")]
fn controls() -> Vec<Control> {
    let host = Host { name: "golden".into(), kernel: "6.12.1".into(), machine: "x86_64".into() };
    let counters = Counters {
        seen: vec![10, 5],
        stored: vec![7, 5],
        lost: vec![("ring_full".into(), 2)],
        filtered: vec![1, 0],
        undecodable: 0,
        not_run: 3,
        oddities: vec![("late_records".into(), 1)],
    };
    let running =
        Process { tgid: 1, tid: 1, comm: "init".into(), start_ktime_ns: Some(10), ..Process::default() };
    vec![
        Control::Genesis(Genesis {
            origin: "goaudit.example/golden".into(),
            verification_key: "goaudit.example/golden+1234abcd+AQID".into(),
            agent: "0.1.0".into(),
            host: host.clone(),
        }),
        Control::Start(Start {
            host: host.clone(),
            agent: "0.1.0".into(),
            clean: false,
            torn: Some((17, "ab".repeat(32))),
            command: vec!["goaudit".into(), "record".into()],
            cpus: 2,
            object_sha256: "cd".repeat(32),
            damage: Some("segment 2 at byte 8192: checksum does not match".into()),
            adopted_batches: 3,
            clock_behind_ns: Some(1_500_000_000),
        }),
        Control::Probe(Probe {
            hook: "exec".into(),
            program: "sched_process_exec".into(),
            attach_point: "raw_tracepoint/sched_process_exec".into(),
            attached: true,
            reason: None,
            not_seen: None,
            entry_stepped: None,
        }),
        Control::Probe(Probe {
            hook: "ptrace".into(),
            program: "yama_ptrace_access_check".into(),
            attach_point: "fexit/yama_ptrace_access_check".into(),
            attached: false,
            reason: Some("this kernel has no Yama".into()),
            not_seen: Some("refusals by Yama".into()),
            entry_stepped: None,
        }),
        Control::Probe(Probe {
            hook: "go".into(),
            program: "casbin.enforce".into(),
            attach_point: "uprobe//srv/shop pid 400: main.f entry 0x47a1b2 (emulated) returns 0x47a1ff"
                .into(),
            attached: true,
            reason: None,
            not_seen: None,
            entry_stepped: Some(false),
        }),
        Control::Calibration(Calibration {
            emulated_ns: 1_400,
            stepped_ns: 2_900,
            record_ns: Some(600),
            value_ns: Some(40),
        }),
        Control::Policy(Policy {
            library: "casbin".into(),
            path: "/srv/shop/policy.csv".into(),
            sha256: Some("ba7816bf".into()),
            previous: Some("e3b0c442".into()),
            error: None,
            bytes: Some(3),
            changed_ktime_ns: Some(99),
            processes: vec![400, 401],
        }),
        Control::Policy(Policy {
            library: "opa".into(),
            path: b"/srv/\xff.rego"[..].into(),
            sha256: None,
            previous: None,
            error: Some("Permission denied (os error 13)".into()),
            bytes: None,
            changed_ktime_ns: None,
            processes: Vec::new(),
        }),
        Control::Read(Read {
            file: "01795262400000000000-77.read".into(),
            reader: Some(Reader {
                command: "replay".into(),
                at_ns: 1_795_262_400_000_000_000,
                pid: 77,
                uid: 0,
                login_uid: Some(1000),
                argv: vec!["goaudit".into(), "replay".into(), b"\xff\x1b[2J"[..].into()],
                argv_cut: 2,
                from: Some(5),
                to: None,
                follow: true,
            }),
            error: None,
        }),
        Control::Read(Read {
            file: b"\xff.read"[..].into(),
            reader: None,
            error: Some("it is a link".into()),
        }),
        Control::Snapshot(Snapshot { process: running, argv: vec!["/sbin/init".into(), "\u{1b}[2J".into()] }),
        Control::Heartbeat(counters.clone()),
        Control::Loss(Loss {
            cpu: Some(0),
            cause: "ring_full".into(),
            count: 2,
            range: Some((4, 5)),
            program: None,
        }),
        Control::Loss(Loss {
            cpu: None,
            cause: NOT_RUN.into(),
            count: 3,
            range: None,
            program: Some("prctl_exit".into()),
        }),
        Control::ClockStep(ClockStep { delta_ns: -3_600_000_000_000 }),
        Control::Segment(host),
        Control::Stop(Stop { reason: "signal".into(), counters }),
    ]
}
