//! Cases of a log that a witness cosigned: its anchors lie in the log's directory, where an attacker changes them, too.

use std::path::Path;

use goaudit_user::audit::checkpoint::Checkpoint;
use goaudit_user::audit::cosignature::WitnessSigner;
use goaudit_user::audit::format::FrameKind;
use goaudit_user::audit::note::{Note, VerifyKey};

use super::attacker::apart;
use super::make::Cases;

/// Adds the cases; `policy` goes beside them.
pub(super) fn add(cases: &mut Cases, dir: &Path, key: &VerifyKey) {
    let witness = WitnessSigner::from_seed("goaudit.example/witness", &[9; 32]).unwrap();
    let text = witness.public().text();
    std::fs::write(dir.join("policy"), format!("witness w {text}\nquorum w\n")).unwrap();
    let parts = apart(&cases.base).into_iter().flat_map(|segment| segment.parts);
    let notes: Vec<String> = parts
        .filter(|part| part.kind == FrameKind::Checkpoint)
        .map(|part| String::from_utf8(part.body).unwrap())
        .collect();
    let mut files = cases.base.clone();
    let mut names = Vec::new();
    // An early one, one in the middle, the last.
    for (number, note) in
        [&notes[1], &notes[notes.len() / 2], &notes[notes.len() - 1]].into_iter().enumerate()
    {
        let head = Checkpoint::open(note.as_bytes(), key).unwrap();
        let text = Note::parse(note.as_bytes()).unwrap().text().to_owned();
        let line = witness.cosign(&text, 1_700_000_000 + 60 * number as u64);
        let name = format!("anchors/{:020}-{:08x}.cosigned", head.size, witness.public().id());
        files.insert(name.clone(), format!("{note}{line}").into_bytes());
        names.push(name);
    }
    let arguments = ["--log-key", "log.vkey", "--witness-policy", "policy"];
    cases.add("none", "cosigned", &files, "ok", "w cosigned at").with(&arguments).fresh();
    for (number, which) in ["an-early", "a-middle", "the-newest"].into_iter().enumerate() {
        // Another letter in the epoch's line, so that it is nobody's.
        let mut changed = files.clone();
        let note = changed.get_mut(&names[number]).unwrap();
        let text = String::from_utf8(note.clone()).unwrap();
        let place = text.find("/e/").unwrap() - 1;
        note[place] = if note[place] == b'0' { b'1' } else { b'0' };
        let name = format!("the-epoch-line-of-{which}-anchor-changed");
        cases.add("anchor", &name, &changed, "tampered", "a cosigned checkpoint: ").with(&arguments);
        // And without it.
        let mut changed = files.clone();
        let lines: Vec<&str> = text.split_inclusive('\n').filter(|line| !line.contains("/e/")).collect();
        changed.insert(names[number].clone(), lines.concat().into_bytes());
        let name = format!("the-epoch-line-of-{which}-anchor-taken-away");
        cases.add("anchor", &name, &changed, "tampered", "a cosigned checkpoint: ").with(&arguments);
    }
    let mut cut = files.clone();
    let last = cut.keys().rfind(|name| name.starts_with("seg-")).unwrap().clone();
    cut.remove(&last);
    cut.remove("checkpoint");
    cases
        .add("truncate", "truncate-but-cosigned", &cut, "tampered", "sealed batches are missing at the end")
        .with(&arguments);
}
