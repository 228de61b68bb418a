//! Policies about witnesses (C2SP tlog-policy): which witnesses' cosignatures make a checkpoint good.
//!
//! Fails closed: a line that is not understood makes the whole policy bad. Pure.

use std::collections::BTreeSet;

use super::cosignature::WitnessKey;
use super::note::{Note, NoteError, VerifyKey};

/// Longer policies than anyone needs.
const MAX_POLICY: usize = 1 << 20;

/// Why a policy was refused. Reads after "failed to ...: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read line {line} of the policy: {what}")]
pub struct PolicyError {
    /// Number of the line, from 1; one more than the last for what is missing.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// A witness of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWitness {
    /// Its name in the policy.
    pub name: String,
    /// Its key.
    pub key: WitnessKey,
    /// Where it takes checkpoints, if the policy says so.
    pub url: Option<String>,
}

/// Some of these, witnesses or groups, count as one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    least: usize,
    members: Vec<String>,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<VerifyKey>,
    witnesses: Vec<PolicyWitness>,
    /// In the order of the file: each names only what stands before it.
    groups: Vec<Group>,
    quorum: Option<String>,
}

/// Who cosigned a checkpoint, by a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// Whether these are enough.
    pub met: bool,
    /// Names of the witnesses that cosigned, with the time in seconds since 1970.
    pub witnesses: Vec<(String, u64)>,
}

impl Quorum {
    /// The time at which enough witnesses had cosigned, or later: the earliest of the cosignatures. None without any.
    pub fn time(&self) -> Option<u64> {
        self.witnesses.iter().map(|(_, time)| *time).min()
    }
}

impl Policy {
    /// Reads a policy file.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        let whole = |what: &str| PolicyError { line: 1, what: what.to_owned() };
        if bytes.len() > MAX_POLICY {
            return Err(whole("longer than 1 MiB"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| whole("the file is not UTF-8"))?;
        let mut parser = Parser::default();
        let mut count = 0;
        for line in text.split('\n') {
            count += 1;
            parser.line(line).map_err(|what| PolicyError { line: count, what })?;
        }
        let missing = PolicyError { line: count + 1, what: "no `quorum` line".to_owned() };
        let quorum = match parser.quorum.ok_or(missing)? {
            Demanded::Nobody => None,
            Demanded::Of(name) => Some(name),
        };
        Ok(Self { logs: parser.logs, witnesses: parser.witnesses, groups: parser.groups, quorum })
    }

    /// Whether it is about this log: it names no logs, or this one.
    pub fn covers(&self, log: &VerifyKey) -> bool {
        self.logs.is_empty() || self.logs.contains(log)
    }

    /// Its witnesses.
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// Who of its witnesses cosigned the note, and whether that is enough. A line in a witness's name that does not verify
    /// is an error.
    pub fn judge(&self, note: &Note<'_>) -> Result<Quorum, NoteError> {
        let mut witnesses = Vec::new();
        for witness in &self.witnesses {
            if let Some(time) = witness.key.verify(note)? {
                witnesses.push((witness.name.clone(), time));
            }
        }
        let mut there: BTreeSet<&str> = witnesses.iter().map(|(name, _)| name.as_str()).collect();
        for group in &self.groups {
            if group.members.iter().filter(|member| there.contains(member.as_str())).count() >= group.least {
                there.insert(&group.name);
            }
        }
        let met = self.quorum.as_ref().is_none_or(|name| there.contains(name.as_str()));
        Ok(Quorum { met, witnesses })
    }
}

/// Whose cosignatures a policy demands.
enum Demanded {
    Nobody,
    /// This witness or group.
    Of(String),
}

#[derive(Default)]
struct Parser {
    logs: Vec<VerifyKey>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    /// Names of all witnesses and groups so far.
    names: BTreeSet<String>,
    members: BTreeSet<String>,
    quorum: Option<Demanded>,
}

impl Parser {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
            return Err("a control character".to_owned());
        }
        let fields: Vec<&str> = line.split([' ', '\t']).filter(|field| !field.is_empty()).collect();
        match fields.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", key] | ["log", key, _] => self.log(key),
            ["witness", name, key] => self.witness(name, key, None),
            ["witness", name, key, url] => self.witness(name, key, Some(url)),
            ["group", name, least, members @ ..] => self.group(name, least, members),
            ["quorum", name] => self.set_quorum(name),
            [word, ..] => Err(format!("`{word}` with these fields is not known")),
        }
    }

    fn log(&mut self, key: &str) -> Result<(), String> {
        let key = VerifyKey::parse(key).map_err(|error| error.to_string())?;
        if self.logs.contains(&key) {
            return Err("this log is there twice".to_owned());
        }
        self.logs.push(key);
        Ok(())
    }

    fn witness(&mut self, name: &str, key: &str, url: Option<&str>) -> Result<(), String> {
        self.is_new(name)?;
        let key = WitnessKey::parse(key).map_err(|error| error.to_string())?;
        // One key behind two names would count twice.
        if self.witnesses.iter().any(|witness| witness.key.public_bytes() == key.public_bytes()) {
            return Err("this witness's key is there twice".to_owned());
        }
        self.names.insert(name.to_owned());
        self.witnesses.push(PolicyWitness { name: name.to_owned(), key, url: url.map(str::to_owned) });
        Ok(())
    }

    fn group(&mut self, name: &str, least: &str, members: &[&str]) -> Result<(), String> {
        self.is_new(name)?;
        let least = match least {
            "all" => members.len(),
            "any" => 1,
            number if !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse().map_err(|_| format!("`{number}` of them"))?
            }
            other => return Err(format!("`{other}` is neither a number nor `all` nor `any`")),
        };
        if least == 0 || least > members.len() {
            return Err(format!("{least} of {} members", members.len()));
        }
        for member in members {
            self.is_known(member)?;
            if !self.members.insert((*member).to_owned()) {
                return Err(format!("`{member}` is in a group already"));
            }
        }
        self.names.insert(name.to_owned());
        let members = members.iter().map(|member| (*member).to_owned()).collect();
        self.groups.push(Group { name: name.to_owned(), least, members });
        Ok(())
    }

    fn set_quorum(&mut self, name: &str) -> Result<(), String> {
        if self.quorum.is_some() {
            return Err("a second `quorum`".to_owned());
        }
        if name != "none" {
            self.is_known(name)?;
        }
        self.quorum = Some(if name == "none" { Demanded::Nobody } else { Demanded::Of(name.to_owned()) });
        Ok(())
    }

    fn is_known(&self, name: &str) -> Result<(), String> {
        if self.names.contains(name) {
            Ok(())
        } else {
            Err(format!("no witness or group `{name}` stands before this line"))
        }
    }

    fn is_new(&self, name: &str) -> Result<(), String> {
        if name == "none" || self.is_known(name).is_ok() {
            return Err(format!("the name `{name}` is taken"));
        }
        Ok(())
    }
}
