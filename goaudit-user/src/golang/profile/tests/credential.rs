//! Fingerprints of tokens and certificates, spans of contexts, and fields of embedded structs.
#![expect(clippy::indexing_slicing, reason = "a test says so when its own data is wrong")]

use super::*;
use crate::event::go::{RequestContext, RequestSource};

const MAP: u64 = 0x100;
const CLAIMS: u64 = 0x110;
const RECORDING: u64 = 0x120;
const DROPPED: u64 = 0x130;
const REMOTE: u64 = 0x140;
const OWN: u64 = 0x150;
const KEY: u64 = 0x160;

fn types(address: u64) -> Option<TypeName> {
    const SDK: &str = "go.opentelemetry.io/otel/sdk/trace";
    const API: &str = "go.opentelemetry.io/otel/trace";
    let (name, kind, package) = match address {
        MAP => ("jwt.MapClaims", "", ""),
        CLAIMS => ("*main.claims", "", "main"),
        RECORDING => ("*trace.recordingSpan", "", SDK),
        DROPPED => ("trace.nonRecordingSpan", "", SDK),
        REMOTE => ("trace.nonRecordingSpan", "", API),
        OWN => ("*main.span", "", "main"),
        _ => return super::types(address),
    };
    let package = (!package.is_empty()).then(|| package.to_owned());
    Some(TypeName { name: name.to_owned(), kind: TypeKind::named(kind), direct: kind.is_empty(), package })
}

const AUTHZ: &str = r#"
[[probe]]
id = "test.authz"
kind = "authz"
module = "example.org/m"
function = "F"
allow = "ok"
subject = "name"
"#;

/// Claims are a map, or a struct that embeds them.
const IDENTITIES: &str = r#"
signature = "func(claims any, cert *x509.Certificate, name string) (ok bool)"
fingerprint = [
    { sub = 'claims.(jwt.MapClaims)["sub"].(string)', jti = 'claims.(jwt.MapClaims)["jti"].(string)' },
    { sub = "claims.(*main.claims).Subject", jti = "claims.(*main.claims).ID" },
    { certificate = "cert.RawSubject", key_id = "cert.SubjectKeyId" },
    { plain = "name" },
]
[probe.types]
"jwt.MapClaims" = "map[string]any"
Registered = "struct { Issuer, Subject, ID string }"
"main.claims" = "struct { Tenant string; *Registered }"
"#;

/// The fingerprint, or the reason why there is none.
fn fingerprint(text: &str, fill: impl FnOnce(&mut Machine) -> Vec<u64>) -> Result<String, String> {
    let compiled = one(text).compile(Arch::Amd64, None).unwrap();
    let mut machine = Machine::default();
    let registers = fill(&mut machine);
    machine.registers[..registers.len()].copy_from_slice(&registers);
    let entry = machine.cells(&compiled.entry);
    let reading = compiled.read(Some(&entry), None, &types);
    let (authz, missing) = compiled.authz(GoCall::default(), reading, None, &[]);
    authz.subject_fingerprint.ok_or_else(|| reason(&missing, "authz.subject_fingerprint").to_owned())
}

/// Claims as a map: names, and types and values.
fn claims(machine: &mut Machine, claims: &[(&'static str, u64, &str)]) -> [u64; 2] {
    let values = claims.iter().map(|(name, of, value)| {
        let text = machine.text(value);
        let text = machine.words(&text);
        (*name, machine.words(&[*of, text]))
    });
    let values = values.collect();
    let map = machine.words(&[claims.len() as u64]);
    machine.maps.insert(map, values);
    [MAP, map]
}

#[test]
fn the_first_identity_that_is_there_is_the_fingerprint() {
    let text = format!("{AUTHZ}{IDENTITIES}");
    let name = |machine: &mut Machine, who: [u64; 2], cert: u64| {
        let name = machine.text("nobody");
        [&who[..], &[cert], &name].concat()
    };
    let jwt =
        |sub: &str, jti: &str| Ok(Subject::Jwt { sub: sub.as_bytes(), jti: jti.as_bytes() }.fingerprint());
    let of_map = |all: &[(&'static str, u64, &str)]| {
        fingerprint(&text, |machine| {
            let who = claims(machine, all);
            name(machine, who, 0)
        })
    };
    assert_eq!(of_map(&[("sub", STRING, "alice"), ("jti", STRING, "42")]), jwt("alice", "42"));
    assert_eq!(of_map(&[("sub", STRING, "alice")]), jwt("alice", ""));
    assert_eq!(
        of_map(&[("sub", STRING, "alice"), ("jti", INT, "")]),
        Err("the interface holds int, not string".into())
    );
    assert_eq!(of_map(&[("jti", STRING, "42")]), Ok(Subject::of(b"nobody").fingerprint()));
    assert_eq!(of_map(&[("sub", STRING, "")]), Ok(Subject::of(b"nobody").fingerprint()));
    let long = "s".repeat(513);
    assert_eq!(of_map(&[("sub", STRING, &long)]), Err(identity::CUT.to_owned()));
    assert_eq!(of_map(&[("sub", STRING, &long[1..])]), jwt(&long[1..], ""));
    let embedded = fingerprint(&text, |machine| {
        let [issuer, sub, id] = ["https://issuer", "bob", "7f0c"].map(|text| machine.text(text));
        let registered = machine.words(&[issuer, sub, id].concat());
        let own = machine.words(&[0, 0, registered]);
        name(machine, [CLAIMS, own], 0)
    });
    assert_eq!(embedded, jwt("bob", "7f0c"));
    let certificate = |subject: &[u8], key_id: &[u8]| {
        fingerprint(&text, |machine| {
            let mut words = vec![0; 160];
            words[9..12].copy_from_slice(&[machine.put(subject), subject.len() as u64, 0]);
            let offset = 8 * key_id_word();
            words[offset / 8..offset / 8 + 3].copy_from_slice(&[machine.put(key_id), key_id.len() as u64, 0]);
            let cert = machine.words(&words);
            name(machine, [0, 0], cert)
        })
    };
    let alice = [0x30, 0x10, 0x31, 0x0e, 0x30, 0x0c, 6, 3, 0x55, 4, 3, 0x0c, 5, b'a', b'l', b'i', b'c', b'e'];
    let x509 = |key_id: &[u8]| Ok(Subject::X509 { subject: b"CN=alice", key_id }.fingerprint());
    assert_eq!(certificate(&alice, &[0x0a, 0xff]), x509(b"0aff"));
    assert_eq!(certificate(&alice, &[]), x509(b""));
    assert_eq!(
        certificate(&alice[1..], &[]),
        Err("the certificate's subject is no DER-encoded name".to_owned())
    );
}

/// Where `x509.Certificate` has its subject key identifier, in words.
fn key_id_word() -> usize {
    use crate::golang::abi::{Declarations, GoType};
    let GoType::Struct(fields) = GoType::parse("x509.Certificate", &Declarations::new()).unwrap() else {
        unreachable!("it is a struct");
    };
    let field = fields.iter().find(|field| field.name == "SubjectKeyId").unwrap();
    usize::try_from(field.offset).unwrap() / 8
}

#[test]
fn a_service_account_by_its_parts_and_identities_that_are_not_there() {
    let account = |rest: &str, name: &str| {
        let text = format!("{AUTHZ}signature = \"func(ns, name string) (ok bool)\"\nfingerprint = {rest}\n");
        fingerprint(&text, |machine| [machine.text("ci"), machine.text(name)].concat())
    };
    let parts = "{ namespace = \"ns\", name = \"name\" }";
    let expected = Subject::ServiceAccount { namespace: b"ci", name: b"builder" }.fingerprint();
    assert_eq!(account(parts, "builder"), Ok(expected));
    let none = "[{ sub = \"name\" }, { certificate = \"name\" }]";
    assert_eq!(account(none, ""), Err("it is empty; it is empty".to_owned()));
    // Without identities it is the subject's, if all of that is known.
    let plain = format!("{AUTHZ}signature = \"func(name string) (ok bool)\"\n");
    let of = |len: usize| fingerprint(&plain, |machine| machine.text(&"x".repeat(len)).to_vec());
    assert_eq!(of(256), Ok(Subject::Plain(&[b'x'; 256]).fingerprint()));
    assert_eq!(of(257), Err(identity::CUT.to_owned()));
}

#[test]
fn identities_that_are_none_are_refused() {
    let with = |rest: &str| refused(&format!("{AUTHZ}signature = \"func(name string) (ok bool)\"\n{rest}\n"));
    for rest in ["1", "\"name\"", "[]", "{}", "[\"name\"]", "{ jti = \"name\" }", "{ namespace = \"name\" }"]
    {
        let told = with(&format!("fingerprint = {rest}"));
        assert!(told.contains("fingerprint must be { sub = PATH, jti = PATH }"), "{told}");
        assert!(told.starts_with("test.toml:10:"), "{told}");
    }
    let both = with("fingerprint = { sub = \"name\", plain = \"name\" }");
    assert!(both.contains("fingerprint must be"), "{both}");
    let slip = with("fingerprint = { sub = \"name\", jtii = \"name\" }");
    assert!(slip.starts_with("test.toml:10:31: unknown key jtii; did you mean jti?"), "{slip}");
    let path = with("fingerprint = [{ plain = \"name\" }, { sub = \"nam\" }]");
    assert!(path.starts_with("test.toml:10:45: the signature has no parameter or result nam"), "{path}");
    let call = refused(&format!("{CALL}signature = \"func(a string)\"\nfingerprint = {{ sub = \"a\" }}\n"));
    assert!(call.contains("in a probe of kind authz"), "{call}");
}

const SPAN: &str = r#"
signature = "func(ctx context.Context, name string) (ok bool)"
context = "ctx"
"#;

/// A decision and what is missing, in a context with a span of a type, whose words these are.
fn in_span(version: Option<&str>, of: u64, words: &[u64], call: GoCall) -> (Authz, Vec<Missing>) {
    let mut compiled = one(&format!("{AUTHZ}{SPAN}")).compile(Arch::Amd64, None).unwrap();
    compiled.find_types(|_| Some(KEY));
    let module = |path: &str| Module {
        path: path.to_owned(),
        version: version.unwrap_or_default().to_owned(),
        sum: None,
        replace: None,
    };
    let modules = ["go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/trace"].map(module).to_vec();
    let build = BuildInfo { modules, ..BuildInfo::default() };
    compiled.find_spans(version.map(|_| &build));
    let mut machine = Machine::default();
    let name = machine.text("alice");
    let context = machine.words(&[0]);
    if of != 0 {
        let span = machine.words(words);
        machine.contexts.insert(context, [(KEY, [of, span])].into());
    }
    machine.registers[..4].copy_from_slice(&[1, context, name[0], name[1]]);
    let entry = machine.cells(&compiled.entry);
    let reading = compiled.read(Some(&entry), None, &types);
    compiled.authz(call, reading, None, &[])
}

/// Words of a span whose ids are at this word.
fn span_at(word: usize, total: usize) -> Vec<u64> {
    let mut words = vec![0x0101_0101_0101_0101; total];
    words[word..word + 3].copy_from_slice(&[
        0x0807_0605_0403_0201,
        0x100f_0e0d_0c0b_0a09,
        0x1817_1615_1413_1211,
    ]);
    words
}

const TRACE_ID: &str = "0102030405060708090a0b0c0d0e0f10";
const SPAN_ID: &str = "1112131415161718";

#[test]
fn spans_are_found_by_type_and_version() {
    let rows = [
        (None, RECORDING, 24, 40),
        (Some("v1.45.0"), RECORDING, 24, 40),
        (Some("v1.20.0"), RECORDING, 24, 40),
        (Some("v1.19.0"), RECORDING, 22, 40),
        (Some("v1.4.1"), RECORDING, 22, 40),
        (Some("v1.45.0"), DROPPED, 3, 11),
        (Some("v1.19.0"), DROPPED, 1, 9),
        (Some("v1.45.0"), REMOTE, 2, 10),
        (Some("v1.19.0"), REMOTE, 0, 8),
    ];
    for (version, of, word, total) in rows {
        let (authz, missing) = in_span(version, of, &span_at(word, total), GoCall::default());
        let what = format!("{version:?} {of:#x}");
        assert_eq!(authz.trace_id.as_deref(), Some(TRACE_ID), "{what} {missing:?}");
        assert_eq!(authz.span_id.as_deref(), Some(SPAN_ID), "{what}");
        assert_eq!(authz.trace_source.as_deref(), Some("otel"), "{what}");
        assert_eq!(
            reason(&missing, "authz.authz_request_id"),
            "no request was seen that this goroutine works for"
        );
    }
}

#[test]
fn a_span_without_ids_says_so() {
    let why = |version: Option<&str>, of: u64, words: &[u64]| {
        let (authz, missing) = in_span(version, of, words, GoCall::default());
        assert_eq!((authz.trace_id, authz.span_id, authz.trace_source), (None, None, None));
        reason(&missing, "authz.trace_id").to_owned()
    };
    assert!(why(None, 0, &[]).ends_with("; the call's context has no OpenTelemetry span"));
    assert!(why(None, REMOTE, &[0; 10]).ends_with("; the context's span has no ids"));
    assert!(
        why(None, OWN, &span_at(2, 10))
            .ends_with("the context's span is a *main.span, whose ids are not read")
    );
    assert!(why(None, 0x999, &span_at(2, 10)).contains("not in the program's file (at 0x999)"));
    let early = why(Some("v1.3.0"), RECORDING, &span_at(24, 40));
    assert!(
        early.ends_with("where a *trace.recordingSpan of this version has its ids is not known"),
        "{early}"
    );
    // The span is not all there.
    assert!(
        why(None, RECORDING, &span_at(2, 10)).ends_with("the memory of the context's span was not there")
    );
}

#[test]
fn a_span_comes_before_the_request_that_is_served() {
    let served = RequestContext {
        request_id: Some("r-1".into()),
        trace_id: Some("f".repeat(32)),
        span_id: Some("f".repeat(16)),
        source: RequestSource::Request,
    };
    let call = || GoCall { request: Some(served.clone()), ..GoCall::default() };
    let (authz, _) = in_span(None, REMOTE, &span_at(2, 10), call());
    assert_eq!(told(authz.request_id.as_ref()), Some("r-1"));
    assert_eq!((authz.trace_id.as_deref(), authz.trace_source.as_deref()), (Some(TRACE_ID), Some("otel")));
    let (authz, _) = in_span(None, 0, &[], call());
    assert_eq!((authz.trace_id, authz.trace_source.as_deref()), (served.trace_id.clone(), Some("request")));
}

#[test]
fn where_contexts_hide_spans_none_found_says_so() {
    let none = |version: &str| {
        let build = BuildInfo { go_version: version.to_owned(), ..BuildInfo::default() };
        super::span::Layout::of(Some(&build)).none
    };
    for version in ["go1.20", "go1.20.14", "go1.20.3 X:nocoverageredesign"] {
        assert!(none(version).contains("behind a context with a deadline"), "{version}");
    }
    for version in ["go1.19.13", "go1.21.13", "go1.200", "go1.2", "devel go1.28-abc"] {
        assert!(none(version).ends_with("has no OpenTelemetry span"), "{version}");
    }
}

#[test]
fn contexts_that_are_none_are_refused() {
    let with = |signature: &str, context: &str| {
        refused(&format!("{AUTHZ}signature = \"{signature}\"\ncontext = {context}\n"))
    };
    let plain = with("func(name string) (ok bool)", "\"name\"");
    assert!(plain.starts_with("test.toml:10:16: this is not a context.Context"), "{plain}");
    for context in ["1", "\"len(name)\"", "\"!ok\"", "\"return name\""] {
        assert!(with("func(name string) (ok bool)", context).contains("context must be a path"), "{context}");
    }
    let returned = with("func(name string) (ctx context.Context, ok bool)", "\"ctx\"");
    assert!(returned.contains("at the entry only"), "{returned}");
    let request = "[[probe]]\nid = \"a.b\"\nkind = \"request\"\nmodule = \"m\"\nfunction = \"F\"\nsignature = \"func(c context.Context)\"\nrequest_id = \"c\"\ncontext = \"c\"\n";
    assert!(refused(request).contains("in a probe of kind authz or call"));
}

#[test]
fn fields_of_embedded_structs_are_promoted() {
    let types = r#"
Base = "struct { ID int32; Name string }"
"other.Deep" = "struct { *Base; Depth int }"
Middle = "struct { pad int; other.Deep }"
Outer = "struct { Middle; Box[int]; Name2 string }"
"Box[int]" = "struct { Boxed int }"
Left = "struct { Same int }"
Right = "struct { Same int }"
Torn = "struct { Left; Right }"
Own = "struct { Left; Right; Same int }"
Loop = "struct { *Loop; own int }"
"#;
    let probe = |field: &str| {
        format!(
            "{CALL}signature = \"func(o *Outer, t *Torn, w *Own, l *Loop)\"\n[probe.types]{types}[probe.fields]\nx = \"{field}\"\n"
        )
    };
    let value = |field: &str| {
        let compiled = one(&probe(field)).compile(Arch::Amd64, None).unwrap();
        let mut machine = Machine::default();
        let text = machine.text("base");
        let base = machine.words(&[7, text[0], text[1]]);
        let outer = machine.words(&[1, base, 2, 3, 0, 0]);
        let own = machine.words(&[4, 5, 6]);
        machine.registers[..4].copy_from_slice(&[outer, own, own, own]);
        let entry = machine.cells(&compiled.entry);
        let reading = compiled.read(Some(&entry), None, &super::types);
        Compiled::call(GoCall::default(), reading).0.fields[0].value.clone()
    };
    assert_eq!(value("o.Name"), Value::Text("base".into()));
    assert_eq!(value("o.Middle.Deep.Base.Name"), Value::Text("base".into()));
    assert_eq!(value("o.ID"), Value::Int(7));
    assert_eq!(
        (value("o.pad"), value("o.Depth"), value("o.Boxed")),
        (Value::Int(1), Value::Int(2), Value::Int(3))
    );
    assert_eq!(
        (value("w.Same"), value("t.Left.Same"), value("t.Right.Same")),
        (Value::Int(6), Value::Int(4), Value::Int(5))
    );
    let torn = refused(&probe("t.Same"));
    assert!(torn.contains("Same is ambiguous: Left and Right have it, equally deep; write which"), "{torn}");
    assert!(refused(&probe("o.Nam")).contains("there is no field Nam"));
    // A struct that embeds itself.
    assert!(refused(&probe("l.other")).contains("there is no field other"));
}
