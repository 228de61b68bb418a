//! Profiles: which functions of which Go libraries decide, and what of their arguments and results says what.
//!
//! A profile is text (TOML, docs/profiles.md), built in ([`BUILTIN`]) or the user's own. Parsing checks all of it:
//! keys, signatures, and every path against the signature, for both architectures. [`Declared::compile`] writes the
//! steps that the kernel takes; [`Compiled::read`] turns what came back into named values, and
//! [`Compiled::authz`] into a decision. Pure: no I/O, no process is touched.

mod adhoc;
mod allow;
mod builtin;
mod compiled;
mod decision;
mod digest;
mod distinguished_name;
mod document;
mod embedded;
mod function_name;
mod identity;
mod nearest;
mod path;
mod problem;
mod reading;
mod span;
mod traceparent;
mod version;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use adhoc::{Adhoc, AdhocError};
pub use builtin::BUILTIN;
pub use compiled::{CompileError, Compiled};
pub use digest::{Subject, context_hash};
pub use function_name::FunctionError;
pub use identity::{Identity, IdentityKind};
pub use path::{Expression, Part, Path, SyntaxError, Test};
pub use problem::{Problem, ProfileError};
pub use reading::Reading;
pub use version::{VersionError, Versions};
pub use walk::WalkError;

use super::abi::{Declarations, Signature, declare};
use super::build_info::{BuildInfo, Module};
use super::name::Wanted;
use document::File;

#[cfg(test)]
mod machine;
#[cfg(test)]
mod tests;

/// What the calls of a function become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Decisions: `authz` events.
    Authz,
    /// Calls with their values: `go_call` events.
    Call,
    /// Requests that a service serves: what is told while one is under way, of its goroutine and those that it starts,
    /// has the request's ids.
    Request,
}

impl Kind {
    /// Every kind by its name in profiles.
    pub const NAMES: [(Self, &'static str); 3] =
        [(Self::Authz, "authz"), (Self::Call, "call"), (Self::Request, "request")];
}

/// The values that make a call a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Golden {
    /// Who asked.
    Subject,
    /// What kind of subject.
    SubjectType,
    /// What was asked for.
    Object,
    /// What was to be done with it.
    Action,
    /// Allowed or not.
    Allow,
    /// What the library reported as an error.
    Error,
    /// The policy, or rule, that decided.
    PolicyId,
    /// Version of the policy.
    PolicyVersion,
    /// Request id of the service.
    RequestId,
    /// Trace and span, as a W3C `traceparent`.
    Traceparent,
}

impl Golden {
    /// Each with its key in profiles and its path in the JSON view.
    pub const ALL: [(Self, &'static str, &'static str); 10] = [
        (Self::Subject, "subject", "authz.authz_subject_id"),
        (Self::SubjectType, "subject_type", "authz.authz_subject_type"),
        (Self::Object, "object", "authz.authz_object"),
        (Self::Action, "action", "authz.authz_action"),
        (Self::Allow, "allow", "authz.authz_decision"),
        (Self::Error, "error", "authz.authz_error"),
        (Self::PolicyId, "policy_id", "authz.policy_id"),
        (Self::PolicyVersion, "policy_version", "authz.authz_policy_version"),
        (Self::RequestId, "request_id", "authz.authz_request_id"),
        (Self::Traceparent, "traceparent", "authz.trace_id"),
    ];

    /// Whether probes of a kind may have it.
    pub const fn belongs_to(self, kind: Kind) -> bool {
        match kind {
            Kind::Authz => true,
            Kind::Call => false,
            Kind::Request => matches!(self, Self::RequestId | Self::Traceparent),
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It is always this.
    Const(String),
    /// It is read.
    Read(Expression),
    /// Several, put together; parts that are empty, nil or behind a slice's end are left out.
    Join {
        /// The parts, in order.
        parts: Vec<Expression>,
        /// What stands between them.
        with: String,
        /// What is read when nothing was put together.
        or: Option<Expression>,
    },
    /// A number that has a name.
    Named {
        /// The number.
        of: Expression,
        /// Names by the value's text; a value without a name is told as it is.
        names: BTreeMap<String, String>,
    },
    /// One of two, by whether something else is there.
    Choice {
        /// What must be there: read, not nil, and of the type that it asserts.
        when: Expression,
        /// What is read then.
        then: Expression,
        /// What is read otherwise.
        otherwise: Expression,
    },
    /// It cannot be had, and why.
    Missing(String),
}

/// What a value of `allow` means, when it is no truth value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Allowed (true) or denied.
    Decision(bool),
    /// Neither, and why.
    Neither(String),
}

/// A `[[probe]]` of a profile: one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Such as `casbin.enforce`. Several may have one id: for different versions, or functions that do the same.
    pub id: String,
    /// What its calls become.
    pub kind: Kind,
    /// Path of the module, without major version.
    pub module: String,
    /// Import path of its package.
    pub package: String,
    /// The function within the package, as in `(*Enforcer).enforce`.
    pub function: String,
    /// Its signature.
    pub signature: Signature,
    /// Types that the signature and the paths name.
    pub types: Declarations,
    /// Versions of the module that it is valid for.
    pub versions: Versions,
    /// Calls from within itself, on the same goroutine, are not told.
    pub outermost: bool,
    /// Ids of probes within whose calls its own are not told.
    pub nested_under: Vec<String>,
    /// The decision stands though an error is reported.
    pub decision_on_error: bool,
    /// Bytes taken of a string.
    pub max_bytes: u32,
    /// Where the values of a decision come from.
    pub golden: BTreeMap<Golden, Source>,
    /// What values of `allow` mean, by their text; empty: it is a truth value.
    pub allow_values: BTreeMap<String, Meaning>,
    /// Further values by name.
    pub fields: Vec<(String, Source)>,
    /// What the subject's fingerprint is made of: the first that is there. None: of the subject.
    pub identities: Vec<Identity<Source>>,
    /// The `context.Context` whose span says to which trace a call belongs.
    pub context: Option<Expression>,
}

impl Declared {
    /// The library: the id up to its first dot.
    pub fn library(&self) -> &str {
        self.id.split('.').next().unwrap_or(&self.id)
    }

    /// The function as one asks a program for it.
    pub fn wanted(&self) -> Wanted {
        Wanted::new(&format!("{}.{}", self.package, self.function))
    }

    /// Whether a call is not told because it is within a call of the probe `id` on the same goroutine.
    pub fn is_quiet_under(&self, id: &str) -> bool {
        (self.outermost && self.id == id) || self.nested_under.iter().any(|outer| outer == id)
    }

    /// The same for programs of a release of Go, whose standard library has its structs as it has them.
    #[must_use]
    pub fn for_release(self: &Arc<Self>, release: Option<(u32, u32)>) -> Arc<Self> {
        let Some(release) = release else { return Arc::clone(self) };
        let mut own = Self::clone(self);
        declare(&mut own.types, release);
        Arc::new(own)
    }

    /// The same function under the same id, for other versions.
    pub(super) fn is_twin_of(&self, other: &Self) -> bool {
        (&self.id, &self.package, &self.function) == (&other.id, &other.package, &other.function)
    }

    /// Version of its module in a program; of one that was replaced, the replacement's.
    fn version_in(&self, build: &BuildInfo) -> Option<String> {
        let module = self.module_in(build)?;
        Some(module.replace.as_deref().unwrap_or(module).version.clone())
    }

    /// Its module among those that a program was built from, whatever the major version.
    pub fn module_in<'a>(&self, build: &'a BuildInfo) -> Option<&'a Module> {
        build.modules.iter().find(|module| without_major(&module.path) == self.module)
    }
}

/// `example.org/x/v2` is `example.org/x`.
fn without_major(path: &str) -> &str {
    match path.rsplit_once("/v") {
        Some((before, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            before
        }
        _ => path,
    }
}

/// The probes of a profile, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Its probes.
    pub probes: Vec<Arc<Declared>>,
    /// How many of them, from the first on, are the user's own.
    pub own: usize,
}

/// A probe that fits a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The probe.
    pub declared: Arc<Declared>,
    /// Version of its module, when build info has it.
    pub version: Option<String>,
    /// Its versions could not be compared: it was taken because it is the first of its id.
    pub assumed: bool,
    /// It is the user's own.
    pub own: bool,
}

impl Chosen {
    /// Whether the program was built from its module and somebody asked for just this function: if it is not there, that
    /// is told. Of libraries that goaudit knows most programs have some functions only.
    pub fn is_expected(&self) -> bool {
        self.own && self.version.is_some()
    }
}

/// A probe whose module is in a program, in a version that it is not for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// The probe.
    pub declared: Arc<Declared>,
    /// Version of the module.
    pub version: String,
}

impl PassedOver {
    /// Why it is not probed, and what can be done.
    pub fn reason(&self) -> String {
        let Declared { module, versions, .. } = &*self.declared;
        format!(
            "its profile is for {module} {versions} and the program has {}: if the function is the same there, give a \
             profile with these versions (--profile)",
            self.version
        )
    }
}

impl Profile {
    /// Understands a profile. `file` is the name that errors begin with. Whether the probes under which its own are
    /// nested are there, only [`Self::of_run`] can tell.
    pub fn parse(file: &str, text: &str) -> Result<Self, ProfileError> {
        File::new(file, text).parse().map(|parsed| parsed.profile)
    }

    /// The profiles of a run: the user's own files, by name and content, and behind them the built-in ones. Of an id the
    /// first that fits is taken; a later file comes before an earlier one.
    pub fn of_run(own: &[(String, Vec<u8>)]) -> Result<Self, ProfileError> {
        let mut files = BUILTIN.map(|(name, text)| File::new(name, text)).to_vec();
        for (name, content) in own {
            files.insert(0, File::of_bytes(name, content)?);
        }
        let parsed = files.iter().map(File::parse).collect::<Result<Vec<_>, _>>()?;
        let probes = parsed.iter().flat_map(|parsed| &parsed.profile.probes);
        let ids = probes.clone().map(|probe| &*probe.id).collect();
        for (file, parsed) in files.iter().zip(&parsed) {
            file.check_outer(parsed, &ids)?;
        }
        let of_users = parsed.iter().take(own.len()).map(|parsed| parsed.profile.probes.len()).sum();
        Ok(Self { probes: probes.cloned().collect(), own: of_users })
    }

    /// The built-in profiles, all in one.
    pub fn builtin() -> Result<Self, ProfileError> {
        let mut all = Self::default();
        for (file, text) in BUILTIN {
            all.probes.extend(Self::parse(file, text)?.probes);
        }
        Ok(all)
    }

    /// The probes for a program: of each id and function the first one whose versions allow the program's module, or
    /// whose module's version is not known.
    pub fn choose(&self, build: Option<&BuildInfo>) -> Vec<Chosen> {
        let mut chosen: Vec<Chosen> = Vec::new();
        for (index, declared) in self.probes.iter().enumerate() {
            if chosen.iter().any(|other| other.declared.is_twin_of(declared)) {
                continue;
            }
            let version = build.and_then(|build| declared.version_in(build));
            let allowed = version.as_deref().and_then(|version| declared.versions.allow(version));
            if allowed != Some(false) {
                let assumed = allowed.is_none() && !declared.versions.is_any();
                let own = index < self.own;
                chosen.push(Chosen { declared: Arc::clone(declared), version, assumed, own });
            }
        }
        chosen
    }

    /// The probes that [`Self::choose`], which gave `chosen` for the same program, left out because of the version: the
    /// user's own, and one of a library of which none was chosen.
    pub fn passed_over(&self, build: Option<&BuildInfo>, chosen: &[Chosen]) -> Vec<PassedOver> {
        let Some(build) = build else { return Vec::new() };
        let mut passed: Vec<PassedOver> = Vec::new();
        for (index, declared) in self.probes.iter().enumerate() {
            let Some(version) = declared.version_in(build) else { continue };
            let own = index < self.own;
            let stands_for = |other: &Declared| {
                if own { other.id == declared.id } else { other.library() == declared.library() }
            };
            let mut probed = chosen.iter().filter(|chosen| chosen.version.is_some());
            if declared.versions.allow(&version) == Some(false)
                && !probed.any(|chosen| stands_for(&chosen.declared))
                && !passed.iter().any(|passed| stands_for(&passed.declared))
            {
                passed.push(PassedOver { declared: Arc::clone(declared), version });
            }
        }
        passed
    }
}
