//! Changes of a log as data: each names a file and what becomes of it, so that they can be made in any language.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

/// Files of a log's directory by their names in it.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The files that a verifier looks at. A writer takes a log without its `place` for one that is where it was.
pub(crate) fn read(dir: &Path) -> Files {
    let mut files = Files::new();
    for folder in ["", "keys", "anchors"] {
        let Ok(entries) = std::fs::read_dir(dir.join(folder)) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let name = Path::new(folder).join(entry.file_name()).display().to_string();
            if entry.file_type().unwrap().is_file() && name != "lock" && name != "place" {
                files.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

/// Writes files; secret keys only for their owner, as a writer demands.
pub(crate) fn write(files: &Files, dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    for (name, bytes) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let mode = if Path::new(name).extension().is_some_and(|end| end == "key") { 0o600 } else { 0o644 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// What makes `new` out of `old`.
pub(crate) fn between(old: &Files, new: &Files) -> Value {
    let mut changes = Vec::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        changes.push(json!({ "file": name, "remove": true }));
    }
    for (name, bytes) in new {
        let before = old.get(name).map(Vec::as_slice).unwrap_or_default();
        if old.get(name) == Some(bytes) {
            continue;
        }
        let shorter = before.len().min(bytes.len());
        let front = before.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        let back = before.iter().rev().zip(bytes.iter().rev()).take_while(|(a, b)| a == b).count();
        let back = back.min(shorter - front);
        changes.push(json!({
            "file": name,
            "at": front,
            "delete": before.len() - front - back,
            "insert": BASE64.encode(&bytes[front..bytes.len() - back]),
        }));
    }
    Value::Array(changes)
}

/// Copies the log `from` to `to` and makes these changes.
pub(crate) fn apply(from: &Path, changes: &Value, to: &Path) {
    let mut files = read(from);
    for change in changes.as_array().unwrap() {
        let name = change["file"].as_str().unwrap().to_owned();
        if change["remove"] == true {
            files.remove(&name).unwrap();
            continue;
        }
        let at = change["at"].as_u64().unwrap() as usize;
        let end = at + change["delete"].as_u64().unwrap() as usize;
        let insert = BASE64.decode(change["insert"].as_str().unwrap()).unwrap();
        files.entry(name).or_default().splice(at..end, insert);
    }
    write(&files, to);
}
