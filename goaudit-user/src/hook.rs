//! Hooks, user side: one file each with what is seen, what that needs of the kernel, and how its record
//! becomes the payload of an event. Pure; attaching is the business of `kernel`.

use goaudit_ebpf::wire::Kind;

pub mod exec;
pub mod exit;
pub mod fork;
pub mod go;
pub mod prctl;
pub mod ptrace;

/// A hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// Its name: a word for `--only`, and the `kind` of its events unless it has several.
    pub name: &'static str,
    /// Its records.
    pub kinds: &'static [Kind],
    /// What it sees.
    pub sees: &'static str,
    /// What it needs of the kernel, and what is lost without.
    pub needs: &'static str,
}

/// Every hook.
pub const HOOKS: &[Hook] = &[exec::HOOK, fork::HOOK, exit::HOOK, prctl::HOOK, ptrace::HOOK, go::HOOK];

/// A NUL-padded name as text.
pub(crate) fn padded(name: &[u8]) -> crate::event::Text {
    name.split(|byte| *byte == 0).next().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_belongs_to_exactly_one_hook() {
        for kind in Kind::ALL {
            let owners = HOOKS.iter().filter(|hook| hook.kinds.contains(&kind)).count();
            assert_eq!(owners, 1, "{kind:?}");
        }
    }
}
