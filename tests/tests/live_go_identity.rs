//! Fingerprints of subjects that tokens and certificates tell, and traces that spans tell: each as the service itself has
//! computed it, for every call.
#![expect(clippy::print_stdout, reason = "a run tells what it compared")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use goaudit_tests::ability::tell_skip;
use goaudit_tests::go_capture::{GoRecording, text};
use goaudit_tests::go_decisions::assert_decisions;
use goaudit_tests::go_fixture::{Build, Toolchain, these_versions};
use goaudit_tests::go_service::{KINDS, Kind};
use goaudit_tests::logdir::LogDir;
use goaudit_tests::needs;
use goaudit_user::golang::abi::{Declarations, GoType, declare};
use serde_json::Value;

/// Go with the old map layout, and the newest.
const VERSIONS: [&str; 2] = ["1.21.13", "1.27.3"];

/// The service's guard. Claims are a map, or a struct of the service's own that embeds the registered ones.
const PROFILE: &str = r#"
[[probe]]
id = "identity.may"
kind = "authz"
module = "goaudit.test/identity"
package = "main"
function = "(*guard).may"
signature = "func(g *guard, ctx context.Context, token *jwt.Token, cert *x509.Certificate, name, object, action string) (ok bool, err error)"
context = "ctx"
subject = "name"
object = "object"
action = "action"
allow = "ok"
error = "err"
fingerprint = [
    { sub = 'token.Claims.(jwt.MapClaims)["sub"].(string)', jti = 'token.Claims.(jwt.MapClaims)["jti"].(string)' },
    { sub = "token.Claims.(*main.claims).Subject", jti = "token.Claims.(*main.claims).ID" },
    { certificate = "cert.RawSubject", key_id = "cert.SubjectKeyId" },
    { plain = "name" },
]

[probe.types]
"jwt.Token" = "struct { Raw string; Method jwt.SigningMethod; Header map[string]any; Claims jwt.Claims }"
"jwt.SigningMethod" = "interface { Alg() string }"
"jwt.Claims" = "interface { GetSubject() (string, error) }"
"jwt.MapClaims" = "map[string]any"
"jwt.RegisteredClaims" = "struct { Issuer, Subject string; Audience []string; ExpiresAt, NotBefore, IssuedAt *byte; ID string }"
"main.claims" = "struct { Tenant string; jwt.RegisteredClaims }"
"#;

/// Lists of the service's have no common divisor: with so many calls everything comes together with everything.
const ARGUMENTS: [&str; 5] = ["-now", "-calls", "406", "-goroutines", "3"];

#[test]
fn subjects_and_spans_are_told_as_the_service_computes_them() {
    const NAME: &str = "subjects_and_spans_are_told_as_the_service_computes_them";
    needs!(Root, Bpf, GoUprobes);
    these_versions(NAME, &VERSIONS, |toolchain| {
        if toolchain.minor() == 20 {
            let why =
                "its contexts with a deadline hide spans, which events say and the service does not know";
            return tell_skip(NAME, &format!("another Go than {}", toolchain.version()), why);
        }
        let fits = |kind: &&Kind| kind.fixture == "identity" && toolchain.minor() >= kind.since;
        for kind in KINDS.iter().filter(fits) {
            record(toolchain, kind.flags, "-ldflags=-s -w");
            if toolchain.version() == "1.27.3" && !kind.flags.is_empty() {
                record(toolchain, kind.flags, "-buildmode=pie");
            }
        }
    });
}

fn record(toolchain: &Toolchain, libraries: &[&str], flavour: &str) {
    let flags = [libraries, &[flavour]].concat();
    let name = format!("go {} {}", toolchain.version(), flags.join(" "));
    let program = toolchain.build(&Build::of("identity").flags(&flags)).unwrap();
    let folder = LogDir::new();
    let profile = folder.join("identity.toml");
    fs::write(&profile, PROFILE).unwrap();
    let options = ["--profile", profile.to_str().unwrap()];
    let recording = GoRecording::of(&options, &program, &ARGUMENTS);
    assert_eq!(recording.status.code(), Some(0), "{name}: {}", recording.told);
    let truth = recording.truth();
    let decisions = assert_decisions(&recording, &truth, &name);
    recording.assert_sound();
    assert_everything_came_up(&truth.calls, &name);
    assert_reasons(&recording, &name);
    println!("{name}: {decisions} decisions with the service's own fingerprints and traces");
}

/// Else nothing would be tested.
fn assert_everything_came_up(calls: &[Value], name: &str) {
    let different = |key: &str| -> usize {
        let pointer = format!("/extra/{key}");
        calls.iter().map(|call| text(call, &pointer)).collect::<BTreeSet<_>>().len()
    };
    // 7 of tokens, 9 of certificates, 13 of names, and none.
    assert_eq!(different("fingerprint"), 7 + 9 + 13 + 1, "{name}");
    assert!(different("span_id") > calls.len() / 2, "{name}");
    let shapes: BTreeSet<&str> = calls.iter().map(|call| text(call, "/shape")).collect();
    assert_eq!(shapes.len(), 14, "{name}: {shapes:?}");
}

/// What has no fingerprint or no trace says why.
fn assert_reasons(recording: &GoRecording, name: &str) {
    let reasons = |field: &str| -> BTreeSet<&str> {
        let missing = recording.all("authz").filter_map(|event| event.get("missing")?.as_array()).flatten();
        missing
            .filter(|missing| text(missing, "/field") == field)
            .map(|missing| text(missing, "/reason"))
            .collect()
    };
    let fingerprints = BTreeSet::from([
        "only the beginning of it was taken, and a fingerprint needs all",
        "the interface holds float64, not string",
    ]);
    assert_eq!(reasons("authz.subject_fingerprint"), fingerprints, "{name}");
    let spans = reasons("authz.trace_id");
    for part in ["has no OpenTelemetry span", "span has no ids", "is a *main.wrapped, whose ids are not read"]
    {
        assert!(spans.iter().any(|reason| reason.contains(part)), "{name}: {spans:?}");
    }
}

/// The release that changed one of them, and the one before.
const LAYOUTS: [&str; 3] = ["1.21.13", "1.26.8", "1.27.3"];

#[test]
fn structs_of_the_standard_library_are_laid_out_as_profiles_have_them() {
    const NAME: &str = "structs_of_the_standard_library_are_laid_out_as_profiles_have_them";
    these_versions(NAME, &LAYOUTS, |toolchain| {
        let kind = KINDS.iter().rfind(|kind| kind.fixture == "identity").unwrap();
        if toolchain.minor() < kind.since {
            let why = "it does not build OpenTelemetry";
            return tell_skip(NAME, &format!("another Go than {}", toolchain.version()), why);
        }
        let mut declared = Declarations::new();
        declare(&mut declared, (1, toolchain.minor()));
        let program = toolchain.build(&kind.build()).unwrap();
        let output = Command::new(program).arg("-layouts").output().unwrap();
        assert!(output.status.success());
        let told = String::from_utf8(output.stdout).unwrap();
        let mut compared = 0;
        for name in ["time.Time", "pkix.Name", "x509.Certificate", "tls.ConnectionState", "http.Request"] {
            let GoType::Struct(fields) = GoType::parse(name, &declared).unwrap() else {
                panic!("{name} is no struct");
            };
            for field in fields.iter() {
                let row = format!("{name}\t{}\t{}", field.name, field.offset);
                assert!(told.lines().any(|line| line == row), "go {}: {row}", toolchain.version());
                compared += 1;
            }
        }
        println!("go {}: {compared} fields lie where they should", toolchain.version());
    });
}
