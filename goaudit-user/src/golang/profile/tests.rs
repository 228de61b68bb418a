//! From TOML to events, over a memory of our own.
#![expect(clippy::unwrap_used, reason = "a test says so when its own data is wrong")]

use std::sync::Arc;

use goaudit_ebpf::hook::go::{FIELDS_OF_A_SITE, KEPT, Op};
use proptest::prelude::*;

use super::machine::Machine;
use super::*;
use crate::event::go::{Field, Value};
use crate::event::{Authz, GoCall, Missing, Text};
use crate::golang::Arch;
use crate::golang::type_name::{Kind as TypeKind, TypeName};

mod casbin;
mod credential;
mod refusal;

const STRING: u64 = 0x10;
const INT: u64 = 0x20;
const CONTEXT: u64 = 0x30;
const ERROR: u64 = 0x40;
const OTHER_ERROR: u64 = 0x50;
const RECORD: u64 = 0x60;
const USER: u64 = 0x70;
const REFUSED: u64 = 0x80;

fn types(address: u64) -> Option<TypeName> {
    let (name, kind, direct) = match address {
        STRING => ("main.Role", "string", false),
        INT => ("int", "int", false),
        CONTEXT => ("casbin.EnforceContext", "", false),
        REFUSED => ("main.Refused", "string", false),
        ERROR => ("*errors.errorString", "", true),
        OTHER_ERROR => ("*fs.PathError", "", true),
        RECORD => ("authorizer.AttributesRecord", "", false),
        USER => ("*user.DefaultInfo", "", true),
        _ => return None,
    };
    Some(TypeName { name: name.to_owned(), kind: TypeKind::named(kind), direct, package: None })
}

fn builtin(id: &str, version: &str) -> Arc<Declared> {
    let fits = |probe: &&Arc<Declared>| probe.id == id && probe.versions.allow(version) == Some(true);
    Profile::builtin().unwrap().probes.iter().find(fits).unwrap().clone()
}

fn one(text: &str) -> Arc<Declared> {
    Profile::parse("test.toml", text).unwrap().probes.first().unwrap().clone()
}

fn refused(text: &str) -> String {
    Profile::parse("test.toml", text).unwrap_err().to_string()
}

fn told(text: Option<&Text>) -> Option<&str> {
    text.map(|text| text.as_str().unwrap())
}

fn reasons(missing: &[Missing]) -> Vec<(&str, &str)> {
    missing.iter().map(|missing| (&*missing.field, &*missing.reason)).collect()
}

fn reason<'a>(missing: &'a [Missing], field: &str) -> &'a str {
    &missing.iter().find(|missing| missing.field == field).unwrap().reason
}

#[test]
fn every_builtin_profile_compiles_for_both_architectures() {
    let all = Profile::builtin().unwrap();
    let ids: Vec<_> = all.probes.iter().map(|probe| &*probe.id).collect();
    for id in [
        "casbin.enforce",
        "cedar.authorize",
        "etcd.is_admin_permitted",
        "etcd.is_op_permitted",
        "k8s.rbac",
        "k8s.union",
        "ladon.is_allowed",
    ] {
        assert!(ids.contains(&id), "{id}");
    }
    for probe in &all.probes {
        for arch in [Arch::Amd64, Arch::Arm64] {
            let compiled = probe.compile(arch, None).unwrap();
            assert!(compiled.entry.len() <= FIELDS_OF_A_SITE && compiled.returned.len() <= FIELDS_OF_A_SITE);
            assert_eq!(compiled.returned.is_empty(), probe.kind == Kind::Request, "{}: decision", probe.id);
        }
        for outer in &probe.nested_under {
            assert!(ids.contains(&&**outer), "{}: there is no probe {outer}", probe.id);
        }
    }
}

#[test]
fn versions_that_do_not_fit_are_told() {
    let built_in = Profile::builtin().unwrap().probes.len();
    let text = "[[probe]]\nid = \"own.f\"\nkind = \"call\"\nmodule = \"example.org/own\"\n\
                versions = \">=2\"\nfunction = \"F\"\nsignature = \"func()\"\n";
    let all = Profile::of_run(&[("own.toml".to_owned(), text.as_bytes().to_vec())]).unwrap();
    assert_eq!((all.own, all.probes.len()), (1, built_in + 1));
    let program = |modules: &[(&str, &str)]| {
        let module = |(path, version): &(&str, &str)| Module {
            path: (*path).to_owned(),
            version: (*version).to_owned(),
            sum: None,
            replace: None,
        };
        BuildInfo { modules: modules.iter().map(module).collect(), ..BuildInfo::default() }
    };
    let passed = |modules: &[(&str, &str)]| {
        let build = program(modules);
        let passed = all.passed_over(Some(&build), &all.choose(Some(&build)));
        passed.into_iter().map(|passed| (passed.declared.id.clone(), passed.reason())).collect::<Vec<_>>()
    };
    let own = passed(&[("example.org/own", "v1.4.0")]);
    assert_eq!(own.len(), 1);
    let told = own.iter().all(|(id, reason)| {
        id == "own.f" && reason.contains("is for example.org/own >=2 and the program has v1.4.0")
    });
    assert!(told, "{own:?}");
    assert!(passed(&[("example.org/own", "v2.0.0")]).is_empty());
    // Of a library one is enough, and none where another of its probes fits.
    let cedar = passed(&[("github.com/cedar-policy/cedar-go", "v0.1.0")]);
    assert_eq!(cedar.len(), 1, "{cedar:?}");
    assert!(passed(&[("k8s.io/apiserver", "v0.32.0"), ("k8s.io/kubernetes", "v1.32.0")]).is_empty());
    let expected = |version| {
        let chosen = all.choose(Some(&program(&[("example.org/own", version)])));
        chosen.iter().filter(|chosen| chosen.is_expected()).count()
    };
    assert_eq!((expected("v2.0.0"), expected("v1.0.0")), (1, 0));
}

#[test]
fn versions_choose() {
    let all = Profile::builtin().unwrap();
    let module = |path: &str, version: &str| Module {
        path: path.to_owned(),
        version: version.to_owned(),
        sum: None,
        replace: None,
    };
    let of = |modules: Vec<Module>, id: &str| {
        let build = BuildInfo { modules, ..BuildInfo::default() };
        let chosen = all.choose(Some(&build)).into_iter().filter(|chosen| chosen.declared.id == id);
        chosen.map(|chosen| (chosen.declared.package.clone(), chosen.assumed)).collect::<Vec<_>>()
    };
    let opa = "github.com/open-policy-agent/opa";
    assert_eq!(of(vec![module(opa, "v1.4.2")], "opa.eval"), [(format!("{opa}/v1/rego"), false)]);
    assert_eq!(of(vec![module(opa, "v0.70.0")], "opa.eval"), [(format!("{opa}/rego"), false)]);
    // Not known: both, of which a program has one.
    assert_eq!(of(vec![module(opa, "(devel)")], "opa.eval").len(), 2);
    let casbin = "github.com/casbin/casbin";
    assert_eq!(of(vec![module(&format!("{casbin}/v3"), "v3.10.0")], "casbin.cached_enforce").len(), 2);
    let mut replaced = module("k8s.io/apiserver", "v0.0.0");
    replaced.replace = Some(Box::new(module("k8s.io/apiserver", "v0.37.2")));
    let build = BuildInfo { modules: vec![replaced], ..BuildInfo::default() };
    let union =
        all.choose(Some(&build)).into_iter().find(|chosen| chosen.declared.id == "k8s.union").unwrap();
    assert_eq!(union.version.as_deref(), Some("v0.37.2"));
    assert!(union.declared.types.contains_key("Union"));
    assert!(builtin("casbin.enforce", "v2.0.0").is_quiet_under("casbin.cached_enforce"));
    assert!(union.declared.is_quiet_under("k8s.union"));
    assert!(
        union
            .declared
            .wanted()
            .matches(b"k8s.io/apiserver/pkg/authorization/union.unionAuthzHandler.Authorize")
    );
}

#[test]
fn kubernetes_record_by_value_and_by_pointer() {
    let compiled = builtin("k8s.rbac", "v1.36.0").compile(Arch::Amd64, None).unwrap();
    let mut machine = Machine::default();
    let name = machine.text("system:serviceaccount:ci:builder");
    let uid = machine.text("u-1");
    let user = machine.words(&[name, uid].concat());
    let user_table = machine.words(&[0, USER]);
    let mut record = vec![user_table, user];
    for text in ["get", "archive", "", "v1", "pods", "log", "web-1"] {
        record.extend(machine.text(text));
    }
    record.extend([1, 0, 0]);
    let record = machine.words(&record);
    // An interface holds a struct and a pointer to it in the same way.
    let table = machine.words(&[0, RECORD]);
    machine.registers[..5].copy_from_slice(&[0, 0, 0, table, record]);
    let entry = machine.cells(&compiled.entry);
    let why = machine.text("RBAC: allowed by RoleBinding");
    machine.registers[..5].copy_from_slice(&[2, why[0], why[1], 0, 0]);
    let mut read = |decision: u64| {
        machine.registers[0] = decision;
        let returned = machine.cells(&compiled.returned);
        let reading = compiled.read(Some(&entry), Some(&returned), &types);
        compiled.authz(GoCall::default(), reading, None, &[])
    };
    let (authz, missing) = read(2);
    assert_eq!(told(authz.subject_id.as_ref()), Some("system:serviceaccount:ci:builder"));
    let account = Subject::ServiceAccount { namespace: b"ci", name: b"builder" };
    assert_eq!(authz.subject_fingerprint, Some(account.fingerprint()));
    assert_eq!(told(authz.object.as_ref()), Some("archive/pods/web-1/log"));
    assert_eq!(told(authz.policy_id.as_ref()), Some("RBAC: allowed by RoleBinding"));
    assert_eq!(authz.decision, None);
    assert_eq!(reason(&missing, "authz.authz_decision"), "the authorizer has no opinion");
    let field = |name: &str| authz.call.fields.iter().find(|field| field.name == name).unwrap().value.clone();
    assert_eq!((field("uid"), field("api_group")), (Value::Text("u-1".into()), Value::Text("".into())));
    assert_eq!((read(0).0.decision, read(1).0.decision), (Some(false), Some(true)));
    let (authz, missing) = read(9);
    assert_eq!(authz.decision, None);
    assert_eq!(reason(&missing, "authz.authz_decision"), "allow_values of the profile has no 9");
}

#[test]
fn an_interface_in_an_interface_may_be_nil() {
    let probe = one(&format!(
        r#"{CALL}
signature = "func(e error) (ok bool)"
types = {{ "fs.PathError" = "struct {{ Op, Path string; Err error }}" }}
[probe.fields]
inner = "e.(*fs.PathError).Err"
same = "e.(*fs.PathError).Err == nil"
text = "e.(*fs.PathError).Err.(*errors.errorString)"
"#
    ));
    let compiled = probe.compile(Arch::Amd64, None).unwrap();
    let read = |outer: u64, inner: [u64; 2]| {
        let mut machine = Machine::default();
        let [outer, inner_table] = [outer, inner[0]].map(|of| machine.words(&[0, of]));
        let text = machine.text("gone");
        let text = machine.words(&text);
        let tables = [if inner[0] == 0 { 0 } else { inner_table }, if inner[1] == 0 { 0 } else { text }];
        let error = machine.words(&[[0, 0, 0, 0], [tables[0], tables[1], 0, 0]].concat());
        machine.registers[..2].copy_from_slice(&[outer, error]);
        let entry = machine.cells(&compiled.entry);
        let reading = compiled.read(Some(&entry), None, &types);
        let (call, missing) = Compiled::call(GoCall::default(), reading);
        (call.fields.into_iter().map(|field| field.value).collect::<Vec<_>>(), missing)
    };
    let (values, missing) = read(OTHER_ERROR, [0, 0]);
    assert_eq!(values, [Value::Nil, Value::Bool(true), Value::Missing]);
    assert_eq!(reasons(&missing), [("go_call.fields.text", "a pointer on the way is nil")]);
    let (values, _) = read(OTHER_ERROR, [ERROR, 1]);
    assert_eq!(values, [Value::Text("gone".into()), Value::Bool(false), Value::Opaque]);
}

#[test]
fn a_string_is_what_a_value_is_and_not_what_an_error_says() {
    let probe = one(&format!(
        r#"{CALL}
signature = "func(e error, v any) (ok bool)"
[probe.fields]
error = "e"
raw = "e.(string)"
value = "v"
said = "v.(error)"
"#
    ));
    let compiled = probe.compile(Arch::Amd64, None).unwrap();
    let mut machine = Machine::default();
    let table = machine.words(&[0, REFUSED]);
    let text = machine.text("quota");
    let text = machine.words(&text);
    machine.registers[..4].copy_from_slice(&[table, text, REFUSED, text]);
    let entry = machine.cells(&compiled.entry);
    let (call, missing) = Compiled::call(GoCall::default(), compiled.read(Some(&entry), None, &types));
    let told: Vec<_> = call.fields.iter().map(|field| (&*field.name, field.value.clone())).collect();
    let quota = Value::Text("quota".into());
    let expected =
        [("error", Value::Opaque), ("raw", quota.clone()), ("value", quota), ("said", Value::Opaque)];
    assert_eq!((told.as_slice(), missing.len()), (expected.as_slice(), 0));
    let of = call.fields.iter().map(|field| field.dynamic_type.as_deref());
    assert!(of.into_iter().all(|of| of == Some("main.Refused")), "{call:?}");
}

const CALL: &str = r#"
[[probe]]
id = "test.call"
kind = "call"
module = "example.org/m"
function = "F"
"#;

#[test]
fn values_of_every_shape() {
    let probe = one(&format!(
        r#"{CALL}
signature = "func(n int8, u uint16, ok bool, p *T, b []byte, big [2]Pair, e any, m map[string]int) (r *int32, err error)"
[probe.types]
T = "struct {{ next *T; one Wrap; list []*T; err error }}"
Wrap = "struct {{ p *uint32 }}"
Pair = "struct {{ a uint32; b string }}"
[probe.fields]
n = "n"
u = "u"
not = "!ok"
deep = "p.next.next.one.p"
value = "*p.one.p"
bytes = "b"
count = "len(b)"
pair = "big[1].b"
held = "e.(Wrap).p"
after = "return *p.one.p"
result = "*r"
none = "err == nil"
"#
    ));
    let compiled = probe.compile(Arch::Amd64, None).unwrap();
    assert!(compiled.keeps);
    let mut machine = Machine::default();
    machine.stack_pointer = 0x7000_0000;
    let number = machine.put(&7_u32.to_le_bytes());
    let third = machine.words(&[0, 0, 0, 0, 0, 0, 0]);
    let second = machine.words(&[third, 0, 0, 0, 0, 0, 0]);
    let first = machine.words(&[second, number, 0, 0, 0, 0, 0]);
    let bytes = machine.put(b"\xff\x00");
    let text = machine.text("pair");
    machine.put_at(0x7000_0008, [1, 0, 0, 2, text[0], text[1]].map(u64::to_le_bytes).as_flattened());
    // A struct that is one pointer is in the interface itself. Its type is not known here.
    machine.registers[..9].copy_from_slice(&[0xff80, 0x1_ffff, 0x100, first, bytes, 2, 2, 0x99, number]);
    let entry = machine.cells(&compiled.entry);
    machine.put_at(number, &8_u32.to_le_bytes());
    let result = machine.put(&(-5_i32).to_le_bytes());
    machine.registers[..3].copy_from_slice(&[result, 0, 0]);
    let returned = machine.cells(&compiled.returned);
    let reading = compiled.read(Some(&entry), Some(&returned), &types);
    let (call, missing) = Compiled::call(GoCall::default(), reading);
    let values: Vec<_> =
        call.fields.iter().map(|Field { name, value, .. }| (&**name, value.clone())).collect();
    let expected = [
        ("n", Value::Int(-128)),
        ("u", Value::Uint(0xffff)),
        ("not", Value::Bool(true)),
        ("deep", Value::Nil),
        ("value", Value::Uint(7)),
        ("bytes", Value::Bytes(b"\xff\x00".to_vec())),
        ("count", Value::Int(2)),
        ("pair", Value::Text("pair".into())),
        ("held", Value::Missing),
        ("after", Value::Uint(8)),
        ("result", Value::Int(-5)),
        ("none", Value::Bool(true)),
    ];
    assert_eq!(values, expected);
    let unknown = "the interface holds a type that is not in the program's file (at 0x99)";
    assert_eq!(reasons(&missing), [("go_call.fields.held", unknown)]);
    let keeps = compiled.entry.iter().flat_map(|field| field.steps).filter(|step| step.op == Op::Keep as u8);
    assert_eq!(keeps.count(), 1);
}

#[test]
fn refusals_name_line_column_and_what_may_have_been_meant() {
    let with = |line: &str| {
        refused(&format!("{CALL}signature = \"func(req *Req, s string, l []X) (ok bool)\"\n{line}\n"))
    };
    let fields = |path: &str| {
        with(&format!(
            "types = {{ Req = \"struct {{ Name string; Age int }}\" }}\n[probe.fields]\nx = \"{path}\""
        ))
    };
    assert_eq!(
        refused("[[probe]]\nid = "),
        "test.toml:2:6: this is not TOML: string values must be quoted, expected literal string"
    );
    assert_eq!(refused("[[prob]]"), "test.toml:1:3: unknown key prob; did you mean probe?");
    assert_eq!(with("obect = 1"), "test.toml:8:1: unknown key obect; did you mean object?");
    assert_eq!(
        with("subject = \"s\""),
        "test.toml:8:1: subject must be in a probe of kind authz, or below fields"
    );
    assert_eq!(with("outermost = 1"), "test.toml:8:13: outermost must be true or false");
    assert_eq!(with("max_bytes = 513"), "test.toml:8:13: max_bytes must be a number from 1 to 512");
    assert!(with("versions = \"2\"").starts_with("test.toml:8:12: \"2\" is no version constraint"));
    assert_eq!(
        refused(&CALL.replace("call\"", "cal\"")),
        "test.toml:4:8: unknown kind cal; did you mean call?"
    );
    assert_eq!(refused(CALL), "test.toml:2:1: this probe has no signature");
    assert_eq!(
        fields("rq.Name"),
        "test.toml:10:6: the signature has no parameter or result rq; did you mean req? (on amd64)"
    );
    assert_eq!(fields("req.Nam"), "test.toml:10:9: there is no field Nam; did you mean Name? (on amd64)");
    assert_eq!(fields("req.Foo"), "test.toml:10:9: there is no field Foo (there are: Name, Age) (on amd64)");
    assert_eq!(
        fields("req[0]"),
        "test.toml:10:9: this is a pointer: write (*NAME) before an index (on amd64)"
    );
    assert_eq!(fields("s.x"), "test.toml:10:7: this is not a struct (on amd64)");
    assert!(fields("return s").starts_with("test.toml:10:13: only what a pointer parameter leads to"));
    assert!(fields("l[0]").contains("the type of the elements is not declared"));
    assert_eq!(fields("req.Name.("), "test.toml:10:16: this is no path: expected a type and )");
    assert!(fields("*req").contains("a struct is no value (there are: Name, Age)"), "{}", fields("*req"));
    let wrong = "signature = \"func(r Requst)\"\ntypes = { Request = \"struct { f flot64 }\" }";
    let types = refused(&format!("{CALL}{wrong}"));
    assert!(types.starts_with("test.toml:8:33: the type flot64"), "{types}");
    assert!(types.ends_with("did you mean float64?"), "{types}");
    let signature =
        refused(&format!("{CALL}signature = \"func(r Requst)\"\ntypes = {{ Request = \"int\" }}"));
    assert!(signature.starts_with("test.toml:7:21: the type Requst"), "{signature}");
    assert!(signature.ends_with("did you mean Request?"), "{signature}");
    let twice = format!("{CALL}signature = \"func()\"\n{CALL}signature = \"func()\"\n");
    assert!(
        refused(&twice).starts_with("test.toml:10:1: a probe before has the id test.call"),
        "{}",
        refused(&twice)
    );
}

#[test]
fn limits_are_refused_not_exceeded() {
    let deep = "x.next".to_owned() + &".next".repeat(31);
    let probe = |fields: &str| {
        format!(
            "{CALL}signature = \"func(x *T, f float64, a, b, c, d, e *int)\"\ntypes = {{ T = \"struct {{ next *T }}\" }}\n[probe.fields]\n{fields}"
        )
    };
    assert!(refused(&probe(&format!("d = \"{deep}\""))).contains("32 steps at most"));
    assert!(refused(&probe("f = \"f\"")).contains("floating-point"));
    let kept: Vec<_> = "abcde".chars().map(|name| format!("{name} = \"return *{name}\"")).collect();
    assert!(refused(&probe(&kept.join("\n"))).contains(&format!("more than {KEPT} pointer parameters")));
    let names = (0..=FIELDS_OF_A_SITE).map(|n| format!("n{n} = \"x{}\"", ".next".repeat(n % 2 + n / 2 % 2)));
    assert!(
        one(&probe(&names.collect::<Vec<_>>().join("\n"))).fields.len() > FIELDS_OF_A_SITE,
        "equal values are read once"
    );
    let lists = format!(
        "{CALL}signature = \"func(s []int)\"\n[probe.fields]\n{}",
        (0..=FIELDS_OF_A_SITE).map(|n| format!("n{n} = \"s[{n}]\"")).collect::<Vec<_>>().join("\n")
    );
    assert_eq!(
        refused(&lists),
        format!("test.toml:{}:8: more than 12 values are read at the entry (on amd64)", 9 + FIELDS_OF_A_SITE)
    );
}

proptest! {
    #[test]
    fn random_paths_never_panic(path in "(return )?[*!(]{0,2}(req|s|l|e|ok)[a-z\\[\\]0-9.()*]{0,20}") {
        let text = format!(
            "{CALL}signature = \"func(req *Req, s string, l [][]Req, e any) (ok bool)\"\ntypes = {{ Req = \"struct {{ a string; r *Req; e error }}\" }}\n[probe.fields]\nx = '{path}'"
        );
        let _ = Profile::parse("test.toml", &text);
    }

    #[test]
    fn random_text_never_panics(text in "\\PC{0,80}") {
        let _ = Profile::parse("test.toml", &text);
    }

    #[test]
    fn damaged_profiles_never_panic(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), with in "\\PC{0,3}") {
        let (_, text) = which.get(&BUILTIN);
        let places: Vec<_> = text.char_indices().map(|(place, _)| place).collect();
        let place = *at.get(&places);
        let mut damaged = (*text).to_owned();
        damaged.replace_range(place..=place, &with);
        if let Err(error) = Profile::parse("test.toml", &damaged) {
            prop_assert!(error.line <= damaged.lines().count() + 1);
        }
    }

    #[test]
    fn random_cells_never_panic(
        entry in proptest::collection::vec(any::<u8>(), 0..200),
        numbers in proptest::collection::vec((0..14_u16, 0..9_u8, 0..20_u32, any::<u64>(), 0..10_u64), 0..14),
        which in any::<prop::sample::Index>(),
    ) {
        use goaudit_ebpf::hook::go::Cell;
        use zerocopy::IntoBytes;
        let all = Profile::builtin().unwrap();
        let probe = which.get(&all.probes);
        let compiled = probe.compile(Arch::Amd64, None).unwrap();
        let mut cells = Vec::new();
        for (field, status, len, total, kind) in numbers {
            let head = Cell { field, status, len, total, dynamic_type: kind * 0x10, ..Cell::default() };
            cells.extend(head.as_bytes());
            cells.resize((cells.len() + len as usize).next_multiple_of(8), 0xc3);
        }
        for cells in [&cells, &entry] {
            let reading = compiled.read(Some(cells), Some(cells), &types);
            let (authz, missing) = compiled.authz(GoCall::default(), reading, None, &[]);
            // What is null has a reason; what is there has none.
            for (value, path) in [
                (authz.subject_id.is_none(), "authz.authz_subject_id"),
                (authz.object.is_none(), "authz.authz_object"),
                (authz.action.is_none(), "authz.authz_action"),
                (authz.decision.is_none(), "authz.authz_decision"),
                (authz.policy_id.is_none(), "authz.policy_id"),
                (authz.subject_fingerprint.is_none(), "authz.subject_fingerprint"),
                (authz.context_hash.is_none(), "authz.authz_context_hash"),
            ] {
                prop_assert_eq!(value, missing.iter().any(|missing| missing.field == path), "{}", path);
            }
        }
    }
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A map of headers.
fn headers(machine: &mut Machine, headers: &[(&'static str, &str)]) -> u64 {
    let values = headers.iter().map(|(name, value)| {
        let text = machine.text(value);
        let list = machine.words(&text);
        (*name, machine.words(&[list, 1, 1]))
    });
    let values = values.collect();
    let map = machine.words(&[headers.len() as u64]);
    machine.maps.insert(map, values);
    map
}

#[test]
fn requests_by_their_headers() {
    let compiled = builtin_of("http.request").compile(Arch::Arm64, None).unwrap();
    let mut machine = Machine::default();
    let map = headers(&mut machine, &[("X-Request-Id", "r-1"), ("Traceparent", TRACE)]);
    let request = machine.words(&[0, 0, 0, 0, 0, 0, 0, map]);
    machine.registers[..4].copy_from_slice(&[0, 0, 0, request]);
    let entry = machine.cells(&compiled.entry);
    let request = Compiled::request(&compiled.read(Some(&entry), None, &types));
    assert_eq!(told(request.request_id.as_ref()), Some("r-1"));
    assert_eq!(request.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(request.span_id.as_deref(), Some("00f067aa0ba902b7"));
    let none = Compiled::request(&compiled.read(None, None, &types));
    assert_eq!((none.request_id, none.trace_id, none.span_id), (None, None, None));
}

#[test]
fn requests_by_their_context() {
    const MD: u64 = 0x80;
    const KEY: u64 = 0x90;
    let mut compiled = builtin_of("grpc.request").compile(Arch::Amd64, None).unwrap();
    let mut asked = Vec::new();
    compiled.find_types(|name| {
        asked.push(name.to_owned());
        Some(KEY)
    });
    assert_eq!(asked, ["*context.valueCtx", "metadata.mdIncomingKey"]);
    let mut machine = Machine::default();
    let map = headers(&mut machine, &[("x-request-id", "r-2")]);
    let context = machine.words(&[0]);
    machine.contexts.insert(context, [(KEY, [MD, map])].into());
    machine.registers[..3].copy_from_slice(&[0, 1, context]);
    let types = |address| {
        let name = TypeName { name: "metadata.MD".to_owned(), kind: None, direct: true, package: None };
        (address == MD).then_some(name)
    };
    let entry = machine.cells(&compiled.entry);
    let request = Compiled::request(&compiled.read(Some(&entry), None, &types));
    assert_eq!((told(request.request_id.as_ref()), request.trace_id), (Some("r-2"), None));
    // A program that has no such type has no such value.
    let mut compiled = builtin_of("grpc.request").compile(Arch::Amd64, None).unwrap();
    compiled.find_types(|_| None);
    let entry = machine.cells(&compiled.entry);
    assert_eq!(Compiled::request(&compiled.read(Some(&entry), None, &types)).request_id, None);
}

fn builtin_of(id: &str) -> Arc<Declared> {
    Profile::builtin().unwrap().probes.iter().find(|probe| probe.id == id).unwrap().clone()
}

#[test]
fn elements_are_found_by_a_text() {
    let probe = one(&format!(
        r#"{CALL}
signature = "func(pairs []*Pair, id [4]byte, sums *Sums)"
types = {{ Pair = "struct {{ key *Name; value int }}", Name = "struct {{ of any }}", Sums = "struct {{ n int; id [3]byte }}" }}
[probe.fields]
second = 'pairs[key.of.(string) == "second"].value'
third = 'pairs[key.of.(string) == "third"].value'
id = "id"
sum = "sums.id"
"#
    ));
    let compiled = probe.compile(Arch::Amd64, None).unwrap();
    let mut machine = Machine::default();
    // A nil key on the way is no reason to stop.
    let mut pairs = vec![machine.words(&[0, 7])];
    for (name, value) in [("first", 1), ("second", 2)] {
        let text = machine.text(name);
        let text = machine.words(&text);
        let key = machine.words(&[STRING, text]);
        pairs.push(machine.words(&[key, value]));
    }
    let list = machine.words(&pairs);
    let sums = machine.words(&[1, 0x63_6261]);
    machine.put_at(0x10_0008, &[1, 2, 3, 4]);
    machine.stack_pointer = 0x10_0000;
    machine.registers[..4].copy_from_slice(&[list, 3, 3, sums]);
    let entry = machine.cells(&compiled.entry);
    let reading = compiled.read(Some(&entry), None, &types);
    let (call, missing) = Compiled::call(GoCall::default(), reading);
    let values: Vec<_> = call.fields.into_iter().map(|field| field.value).collect();
    assert_eq!(
        values,
        [Value::Int(2), Value::Missing, Value::Bytes(vec![1, 2, 3, 4]), Value::Bytes(b"abc".to_vec())]
    );
    assert_eq!(reasons(&missing), [("go_call.fields.third", "there is no such key")]);
}

#[test]
fn searches_that_cannot_be_are_refused() {
    let why = |signature: &str, path: &str| {
        refused(&format!("{CALL}signature = \"{signature}\"\n[probe.fields]\nx = '{path}'\n"))
    };
    assert!(why("func(m map[int]string)", r#"m["a"]"#).contains("only keys that are strings"));
    assert!(why("func(m []string)", r#"m["a"]"#).contains("this is not a map"));
    assert!(why("func(m map[string]int)", "m[1]").contains("write a key"));
    let long = "k".repeat(33);
    assert!(why("func(m map[string]int)", &format!("m[\"{long}\"]")).contains("32 bytes"));
    assert!(
        why("func(m map[string]any)", r#"m["a"].(map[string]any)["b"].(map[string]any)["c"]"#)
            .contains("look for 2 texts")
    );
    assert!(why("func(s string)", r#"s[x == "a"]"#).contains("not a slice"));
    assert!(why("func() (ctx context.Context)", "ctx.Value(a.b)").contains("at the entry only"));
    assert!(why("func(a any)", "a.Value(b.c)").contains("not a context.Context"));
}

#[test]
fn a_request_has_ids_and_nothing_else() {
    let request = |rest: &str| {
        format!(
            "[[probe]]\nid = \"a.b\"\nkind = \"request\"\nmodule = \"m\"\nfunction = \"F\"\nsignature = \"func(a string)\"\n{rest}"
        )
    };
    assert_eq!(one(&request("request_id = \"a\"")).kind, Kind::Request);
    assert!(refused(&request("")).contains("request_id or traceparent"));
    assert!(refused(&request("subject = \"a\"")).contains("a request has request_id and traceparent only"));
}
