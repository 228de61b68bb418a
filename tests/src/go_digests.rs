//! Digests of decisions, computed again from docs/events.md with `sha256sum`: nothing of goaudit's own code is used.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::go_capture::GoRecording;

/// SHA-256 in hexadecimal, as coreutils compute it.
///
/// # Panics
/// When there is no `sha256sum`.
#[must_use]
#[expect(clippy::expect_used, reason = "a test without its oracle has failed")]
pub fn sha256sum(bytes: &[u8]) -> String {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum of coreutils");
    child.stdin.take().expect("a pipe").write_all(bytes).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}

/// A field of an event that digests are made of.
enum Field<'a> {
    Null,
    Text(&'a str),
}

/// A field that is null or a whole UTF-8 text.
fn whole<'a>(authz: &'a Value, key: &str) -> Option<Field<'a>> {
    let value = authz.get(key)?;
    if value.is_null() { Some(Field::Null) } else { value.as_str().map(Field::Text) }
}

/// The canonical form of a subject: a Kubernetes service account, or plain.
fn form(subject: &str) -> Vec<u8> {
    let parts: Vec<&str> = subject.split(':').collect();
    let form = match parts.as_slice() {
        ["system", "serviceaccount", namespace, name] if !namespace.is_empty() && !name.is_empty() => {
            format!("k8s-sa\0{namespace}\0{name}")
        }
        _ => format!("plain\0{}", subject.replace('\\', "\\\\")),
    };
    form.into_bytes()
}

/// Checks fingerprints and context hashes of all decisions whose values are whole. Returns how many different ones.
///
/// # Panics
/// When one is another.
pub fn assert_digests(recording: &GoRecording, labels: &[(&str, &str)], name: &str) -> usize {
    let mut known: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let mut digest = |bytes: Vec<u8>| known.entry(bytes.clone()).or_insert_with(|| sha256sum(&bytes)).clone();
    for event in recording.all("authz") {
        let Some(authz) = event.get("authz") else { continue };
        if let Some(Field::Text(subject)) = whole(authz, "authz_subject_id") {
            let wanted = digest(form(subject));
            let told = authz.get("subject_fingerprint").and_then(Value::as_str);
            assert_eq!(told, wanted.get(..32), "{name}: {event}");
        }
        let keys = ["authz_policy_version", "authz_object", "authz_action"];
        let Some(values) = keys.into_iter().map(|key| whole(authz, key)).collect::<Option<Vec<_>>>() else {
            continue;
        };
        if values.iter().skip(1).all(|value| matches!(value, Field::Null)) {
            continue;
        }
        let mut form = b"goaudit.context/1\0".to_vec();
        let labels = labels.iter().flat_map(|(key, value)| [Field::Text(key), Field::Text(value)]);
        for value in values.into_iter().chain(labels) {
            let (len, text) = match value {
                Field::Null => (u64::MAX, ""),
                Field::Text(text) => (text.len() as u64, text),
            };
            form.extend(len.to_be_bytes());
            form.extend(text.bytes());
        }
        let told = authz.get("authz_context_hash").and_then(Value::as_str);
        assert_eq!(told, Some(&*digest(form)), "{name}: {event}");
    }
    known.len()
}
