//! Events of every kind with anything in them, for tests of laws.

use goaudit_ebpf::units::Ktime;
use goaudit_user::event::control::{Counters, Loss, Start, Stop};
use goaudit_user::event::go::{Field, Outcome, RequestContext, RequestSource, Value};
use goaudit_user::event::{
    ArgsTrust, Authz, Capabilities, Control, Event, Exec, Exit, FileId, Fork, GoCall, GoExit, GoFrame,
    GoPanic, GoSignal, Missing, Namespaces, Payload, Piece, Prctl, Process, Ptrace, Repeats, Sealed, Source,
    Target, Text,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = Text> {
    prop_oneof![vec(any::<u8>(), 0..20).prop_map(Text::from), any::<String>().prop_map(Text::from)]
}

fn process() -> impl Strategy<Value = Process> {
    let ids = (
        any::<[u32; 4]>(),
        of(any::<u64>()),
        of(any::<u32>()),
        of(any::<u32>()),
        of(any::<u32>()),
        of(any::<u64>()),
    );
    let texts = (text(), of(text()), of(text()), of(text()), of(any::<String>()), any::<u64>());
    (ids, texts).prop_map(
        |((four, start, ppid, euid, session, exec), (comm, exe, cgroup, user, container, id))| {
            let [tgid, tid, uid, gid] = four;
            Process {
                tgid,
                tid,
                start_ktime_ns: start,
                ppid,
                comm,
                exe,
                uid,
                gid,
                euid,
                egid: euid,
                auid: session,
                session,
                cgroup_id: id,
                cgroup,
                container_id: container,
                pid_ns: ppid,
                user,
                exec_ktime_ns: exec,
            }
        },
    )
}

fn exec() -> impl Strategy<Value = Exec> {
    let lists = (vec(text(), 0..5), vec((text(), text()), 0..4), vec(text(), 0..3));
    let options = (of(any::<u32>()), of(any::<u64>()), of(text()), of(text()), of(any::<bool>()));
    let rest = (any::<i64>(), any::<bool>(), any::<[u64; 5]>(), any::<[u32; 8]>());
    (lists, options, rest).prop_map(
        |((argv, env, entry_argv), (count, bytes, path, name, args_changed), (ret, flag, sets, numbers))| {
            let [effective, permitted, inheritable, bounding, ambient] = sets;
            let [user, pid, mnt, net, uts, ipc, cgroup, tgid] = numbers;
            Exec {
                argv,
                argc: count,
                argv_bytes: bytes,
                argv_complete: flag,
                envc: count,
                env,
                cwd: path.clone(),
                filename: name.clone(),
                interpreter: path,
                ret,
                args_trust: if flag { ArgsTrust::Committed } else { ArgsTrust::UserRacy },
                args_changed,
                entry_argv,
                at: !flag,
                caller_tid: count,
                capabilities: flag.then_some(Capabilities {
                    effective,
                    permitted,
                    inheritable,
                    bounding,
                    ambient,
                }),
                namespaces: flag.then_some(Namespaces { user, pid, mnt, net, uts, ipc, cgroup, tgid }),
                file: flag.then_some(FileId { inode: ambient, major: user, minor: pid }),
                previous_exe: name,
                env_bytes: bytes,
                suid: count,
            }
        },
    )
}

fn go_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Nil),
        Just(Value::Opaque),
        Just(Value::Missing),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::Uint),
        text().prop_map(Value::Text),
        vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
    ]
}

fn go_call() -> impl Strategy<Value = GoCall> {
    let fields = vec((any::<String>(), go_value(), of(any::<String>()), of(any::<u64>())), 0..4);
    let outcome = prop::sample::select(Outcome::NAMES.map(|row| row.0).to_vec());
    let ids = (of(any::<u64>()), of(any::<u64>()), any::<u64>(), any::<u32>());
    let ends = (of(any::<u64>()), of(any::<u64>()));
    (any::<String>(), text(), of(any::<String>()), ids, ends, outcome, fields).prop_map(
        |(probe, function, module_version, (goid, parent_goid, depth, nested_in), ends, outcome, fields)| {
            let named = |(name, value, dynamic_type, total)| Field { name, value, dynamic_type, total };
            GoCall {
                probe,
                function: String::from_utf8_lossy(function.as_bytes()).into_owned(),
                module_version,
                goid,
                parent_goid,
                start_ktime_ns: ends.0,
                end_ktime_ns: ends.1,
                outcome,
                depth,
                fields: fields.into_iter().map(named).collect(),
                nested_in,
                request: parent_goid.map(request),
            }
        },
    )
}

/// A request that has, or has not, what the number's lowest bits say.
fn request(number: u64) -> RequestContext {
    let id = |bit: u64| (number & bit != 0).then(|| format!("{number:x}"));
    let sources = RequestSource::NAMES.map(|row| row.0);
    RequestContext {
        request_id: id(1).map(Into::into),
        trace_id: id(2),
        span_id: id(4),
        source: *sources.iter().cycle().nth(usize::try_from(number % 3).unwrap()).unwrap(),
    }
}

fn authz() -> impl Strategy<Value = Authz> {
    let texts = (of(text()), of(text()), of(text()), of(text()), of(text()));
    (go_call(), texts, of(any::<bool>()), of(any::<String>()), any::<String>()).prop_map(
        |(call, (subject, object, action, policy, error), decision, id, library)| Authz {
            call,
            library,
            request_id: object.clone(),
            subject_id: subject.clone(),
            subject_type: subject,
            object,
            action,
            policy_version: policy.clone(),
            policy_id: policy,
            decision,
            error,
            context_hash: id.clone(),
            trace_id: id.clone(),
            span_id: id.clone(),
            trace_source: id.clone(),
            subject_fingerprint: id,
        },
    )
}

fn go_panic() -> impl Strategy<Value = GoPanic> {
    let frame = (any::<u64>(), of(any::<String>()), of(text()), of(any::<u32>())).prop_map(
        |(address, function, file, line)| GoFrame { inlined: line.is_some(), address, function, file, line },
    );
    let flags = any::<[bool; 2]>();
    (of(any::<u64>()), of(any::<String>()), of(text()), flags, vec(frame, 0..6), any::<u64>()).prop_map(
        |(goid, value_type, message, [recovered, fatal], stack, calls_unwound)| GoPanic {
            goid,
            value_type,
            traceback: message.clone(),
            message,
            recovered,
            fatal,
            stack,
            calls_unwound,
            parent_goid: goid,
            goroutines: goid,
            heap_alloc_bytes: goid,
            request: goid.map(request),
            traceback_lost_bytes: calls_unwound,
        },
    )
}

fn payload() -> impl Strategy<Value = Payload> {
    let counters = (vec(any::<u64>(), 0..4), vec((any::<String>(), any::<u64>()), 0..3), any::<u64>())
        .prop_map(|(column, named, number)| Counters {
            seen: column.clone(),
            stored: column.clone(),
            lost: named.clone(),
            filtered: column,
            undecodable: number,
            not_run: number,
            oddities: named,
        });
    prop_oneof![
        go_call().prop_map(|call| Payload::GoCall(Box::new(call))),
        authz().prop_map(|authz| Payload::Authz(Box::new(authz))),
        go_panic().prop_map(|panic| Payload::GoPanic(Box::new(panic))),
        (of(any::<u64>()), any::<u64>())
            .prop_map(|(goid, calls_unwound)| Payload::GoExit(GoExit { goid, calls_unwound })),
        (any::<u32>(), any::<i32>(), any::<bool>())
            .prop_map(|(signal, code, handled)| Payload::GoSignal(GoSignal { signal, code, handled })),
        exec().prop_map(|exec| Payload::Exec(Box::new(exec))),
        (any::<[u32; 2]>(), of(any::<u64>()), of(any::<u32>()), any::<bool>()).prop_map(
            |(ids, start, ns, thread)| {
                let [child_tgid, child_tid] = ids;
                let child_start_ktime_ns = start;
                Payload::Fork(Fork {
                    child_tgid,
                    child_tid,
                    child_start_ktime_ns,
                    thread,
                    child_ns_tid: ns,
                    child_pid_ns: ns,
                })
            }
        ),
        (of(any::<u32>()), of(any::<u32>()), of(any::<u64>()), any::<bool>()).prop_map(
            |(code, signal, lifetime_ns, core_dumped)| Payload::Exit(Exit {
                code,
                signal,
                core_dumped,
                lifetime_ns
            })
        ),
        (
            prop_oneof![0u64..90, any::<u64>()],
            any::<[u64; 4]>(),
            any::<i64>(),
            of(any::<u64>()),
            of((text(), text()))
        )
            .prop_map(|(option, args, ret, kept, renamed)| {
                Payload::Prctl(Prctl { option, args, ret, old: kept, new: kept, renamed })
            }),
        (any::<[u64; 3]>(), any::<i32>(), any::<i64>(), of(text()), of(any::<String>())).prop_map(
            |([request, addr, data], pid, ret, name, said)| {
                let target = name.map(|name| Target { comm: Some(name), tgid: Some(1), ..Target::default() });
                let (denied_by, denied_detail) = (said.clone(), said);
                Payload::Ptrace(Box::new(Ptrace {
                    request,
                    pid,
                    addr,
                    data,
                    ret,
                    target,
                    denied_by,
                    denied_detail,
                }))
            }
        ),
        (of(any::<u32>()), any::<String>(), any::<u64>(), of(any::<(u64, u64)>()), of(any::<String>()))
            .prop_map(|(cpu, cause, count, range, program)| {
                Payload::Control(Box::new(Control::Loss(Loss { cpu, cause, count, range, program })))
            }),
        (counters, any::<String>(), vec(text(), 0..3)).prop_map(|(counters, reason, command)| {
            Payload::Control(Box::new(if command.is_empty() {
                Control::Stop(Stop { reason, counters })
            } else {
                Control::Start(Start { agent: reason, command, ..Start::default() })
            }))
        }),
    ]
}

/// Any event.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let piece = (any::<u32>(), any::<[u64; 3]>()).prop_map(|(cpu, [first, records, lost_before])| Piece {
        cpu,
        first,
        records,
        lost_before,
    });
    let source = (piece, vec(any::<[u64; 3]>(), 0..3), of(any::<(u64, u64)>())).prop_map(
        |(Piece { cpu, first, records, lost_before }, more, repeats)| {
            let repeats = repeats.map(|(count, last)| Repeats { count, last: Ktime(last) });
            let further =
                |[first, records, lost_before]: [u64; 3]| Piece { cpu: cpu ^ 1, first, records, lost_before };
            let more = more.into_iter().map(further).collect();
            Source { cpu, first, records, lost_before, repeats, more }
        },
    );
    let missing = (any::<String>(), any::<String>()).prop_map(|(field, reason)| Missing::new(field, reason));
    let sealed = (any::<String>(), any::<u64>(), vec(any::<u32>(), 0..4), vec(any::<u8>(), 0..40))
        .prop_map(|(key, number, places, bytes)| Sealed { key, number, places, bytes });
    let sealed = of(vec(sealed, 0..3));
    (any::<u64>(), of(source), of(process()), payload(), vec(missing, 0..3), sealed).prop_map(
        |(ktime, source, process, payload, missing, sealed)| Event {
            ktime: Ktime(ktime),
            source,
            process,
            payload,
            missing,
            sealed,
        },
    )
}
