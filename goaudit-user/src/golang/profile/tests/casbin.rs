//! Decisions of casbin: requests of several kinds, errors, calls that do not return.

use super::*;

/// A call of casbin's enforce: requests are type and data words.
struct Casbin {
    compiled: Compiled,
    machine: Machine,
    entry: Vec<u8>,
}

impl Casbin {
    fn enter(arch: Arch, request: impl FnOnce(&mut Machine) -> Vec<u64>, explained: bool) -> Self {
        let compiled = builtin("casbin.enforce", "v2.77.2").compile(arch, None).unwrap();
        let mut machine = Machine::default();
        let request = request(&mut machine);
        let rvals = machine.words(&request);
        let explains = if explained { machine.words(&[0, 0, 0]) } else { 0 };
        let enforcer = machine.words(&[0]);
        let count = request.len() as u64 / 2;
        machine.registers[..7].copy_from_slice(&[enforcer, 0, 0, explains, rvals, count, count]);
        let entry = machine.cells(&compiled.entry);
        Self { compiled, machine, entry }
    }

    fn leave(mut self, registers: [u64; 3]) -> (Authz, Vec<Missing>) {
        self.machine.registers[..3].copy_from_slice(&registers);
        let returned = self.machine.cells(&self.compiled.returned);
        let reading = self.compiled.read(Some(&self.entry), Some(&returned), &types);
        self.compiled.authz(GoCall::default(), reading, None, &[])
    }
}

fn strings(machine: &mut Machine, texts: &[&str]) -> Vec<u64> {
    let mut words = Vec::new();
    for text in texts {
        let header = machine.text(text);
        words.extend([STRING, machine.words(&header)]);
    }
    words
}

#[test]
fn casbin_allows() {
    for arch in [Arch::Amd64, Arch::Arm64] {
        let mut call = Casbin::enter(arch, |machine| strings(machine, &["alice", "/data/1", "read"]), true);
        // The library fills the caller's slice while it decides.
        let explains = call.machine.registers[3];
        let rule = ["p", "alice", "/data"].map(|text| call.machine.text(text)).concat();
        let rule = call.machine.words(&rule);
        call.machine.put_at(explains, [rule, 3, 3].map(u64::to_le_bytes).as_flattened());
        // The upper bits of a truth value's register are not defined.
        let (authz, missing) = call.leave([0xdead_0001, 0, 0]);
        assert_eq!(told(authz.subject_id.as_ref()), Some("alice"));
        assert_eq!(told(authz.object.as_ref()), Some("/data/1"));
        assert_eq!(told(authz.action.as_ref()), Some("read"));
        assert_eq!(told(authz.policy_id.as_ref()), Some("p, alice, /data"));
        assert_eq!((authz.decision, authz.error.as_ref()), (Some(true), None));
        assert_eq!(authz.library, "casbin");
        assert_eq!(authz.subject_fingerprint, Some(Subject::Plain(b"alice").fingerprint()));
        assert_eq!(authz.context_hash, Some(context_hash(None, Some(b"/data/1"), Some(b"read"), &[])));
        let unsaid = "the profile does not say where it is";
        let unserved = "no request was seen that this goroutine works for";
        let absent = [
            ("authz.authz_subject_type", unsaid),
            ("authz.authz_policy_version", unsaid),
            ("authz.authz_request_id", unserved),
            ("authz.trace_id", unserved),
            ("authz.span_id", unserved),
            ("authz.trace_source", unserved),
        ];
        let mut reasons = reasons(&missing);
        reasons.sort_unstable();
        let mut expected = absent.to_vec();
        expected.sort_unstable();
        assert_eq!(reasons, expected);
    }
}

#[test]
fn casbin_reports_an_error() {
    let mut call = Casbin::enter(Arch::Amd64, |machine| strings(machine, &["alice", "/data/1", ""]), false);
    let text = call.machine.text("invalid request");
    let [table, error] = [[0, ERROR].as_slice(), &text].map(|words| call.machine.words(words));
    let (authz, missing) = call.leave([0, table, error]);
    assert_eq!(told(authz.error.as_ref()), Some("invalid request"));
    assert_eq!(told(authz.action.as_ref()), Some(""), "empty is not missing");
    assert_eq!(authz.decision, None);
    assert_eq!(reason(&missing, "authz.authz_decision"), "the library reported an error");
    assert_eq!(reason(&missing, "authz.policy_id"), "a pointer on the way is nil");
    // An error of another type is told by its type: what it begins with is not a text.
    let mut call =
        Casbin::enter(Arch::Amd64, |machine| strings(machine, &["alice", "/data/1", "read"]), false);
    let [table, error] = [[0, OTHER_ERROR], [0xbad, u64::MAX]].map(|words| call.machine.words(&words));
    let (authz, missing) = call.leave([0, table, error]);
    assert_eq!(told(authz.error.as_ref()), Some("*fs.PathError"));
    assert!(missing.iter().all(|missing| missing.field != "authz.authz_error"), "{missing:?}");
    // Where its text cannot be read, its type is told, and that the text is missing.
    let mut call =
        Casbin::enter(Arch::Amd64, |machine| strings(machine, &["alice", "/data/1", "read"]), false);
    let [table, error] = [[0, ERROR], [0xbad, 15]].map(|words| call.machine.words(&words));
    let (authz, missing) = call.leave([0, table, error]);
    assert_eq!(told(authz.error.as_ref()), Some("*errors.errorString"));
    assert_eq!(authz.decision, None);
    let why = "its type is known, its text is not: memory on the way was not there";
    assert!(reason(&missing, "authz.authz_error").starts_with(why), "{missing:?}");
}

#[test]
fn casbin_with_a_context_and_with_other_types() {
    let request = |machine: &mut Machine| {
        let texts = ["r2", "p2", "e", "m"].map(|text| machine.text(text)).concat();
        let mut words = vec![CONTEXT, machine.words(&texts)];
        words.extend(strings(machine, &["alice", "/data/1", "read"]));
        words
    };
    let (authz, _) = Casbin::enter(Arch::Amd64, request, false).leave([0, 0, 0]);
    assert_eq!(told(authz.subject_id.as_ref()), Some("alice"));
    assert_eq!(told(authz.object.as_ref()), Some("/data/1"));
    assert_eq!(told(authz.action.as_ref()), Some("read"));
    assert_eq!(authz.decision, Some(false));
    // What is not a string is never shown as one; what is not there is not there.
    let request = |machine: &mut Machine| {
        let mut words = vec![INT, machine.words(&[7, 9])];
        words.extend(strings(machine, &[&"x".repeat(1000)]));
        words
    };
    let (authz, missing) = Casbin::enter(Arch::Arm64, request, false).leave([1, 0, 0]);
    assert_eq!((authz.subject_id, authz.subject_fingerprint), (None, None));
    assert_eq!(reason(&missing, "authz.authz_subject_id"), "the interface holds int, not string");
    assert_eq!(reason(&missing, "authz.subject_fingerprint"), "the subject is not known");
    assert_eq!(reason(&missing, "authz.authz_action"), "the slice has no such element");
    assert_eq!(authz.object.unwrap().as_bytes().len(), 256, "cut");
    let cut = authz.call.fields.iter().find(|field| field.name == "object").unwrap();
    assert_eq!((cut.total, cut.dynamic_type.as_deref()), (Some(1000), Some("main.Role")));
}

#[test]
fn a_call_that_did_not_return() {
    let call = Casbin::enter(Arch::Amd64, |machine| strings(machine, &["alice", "/data/1", "read"]), false);
    let reading = call.compiled.read(Some(&call.entry), None, &types);
    let (authz, missing) = call.compiled.authz(GoCall::default(), reading, None, &[]);
    assert_eq!(told(authz.subject_id.as_ref()), Some("alice"));
    assert_eq!(authz.decision, None);
    let unseen = "the call did not return, or its return was not seen";
    assert_eq!(reason(&missing, "authz.authz_decision"), unseen);
    assert_eq!(reason(&missing, "authz.authz_error"), unseen);
    let reading = call.compiled.read(None, None, &types);
    let (_, missing) = call.compiled.authz(GoCall::default(), reading, None, &[]);
    assert_eq!(reason(&missing, "authz.authz_subject_id"), "the entry of the call was not seen");
    assert_eq!(reason(&missing, "authz.authz_context_hash"), "neither object nor action is known");
}
