//! In which order the sites of a program are attached, and taken away again.

use crate::golang::target::Planned;
use crate::hook::go::Role;
use crate::kernel::go::Site;

/// What a site is to a call, in the order in which sites are attached: no call is seen to begin whose end would be missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// Where frames are taken away without a return, or the program dies.
    Unwinds,
    /// Where a call returns.
    Returns,
    /// Where a call begins.
    Begins,
}

/// Sites of one function that are attached together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) turn: Turn,
    pub(super) site: Site,
    /// Of the function in the kernel's tables.
    pub(super) index: u32,
    /// In the file.
    pub(super) offsets: Vec<u64>,
}

/// What is to be attached of these functions, in order.
pub(super) fn attaching<'a>(planned: impl Iterator<Item = (&'a Planned, u32)>) -> Vec<Step> {
    sorted(
        planned
            .flat_map(|(planned, index)| steps(planned.role, index, planned.entry.offset, &planned.returns)),
    )
}

/// The sites of one function, in no order.
fn steps(role: Role, index: u32, entry: u64, returns: &[u64]) -> Vec<Step> {
    let step = |turn, site, offsets| Step { turn, site, index, offsets };
    match role {
        Role::Call => vec![
            step(Turn::Begins, Site::Enter, vec![entry]),
            step(Turn::Returns, Site::Return, returns.to_vec()),
        ],
        Role::Recovery => vec![step(Turn::Unwinds, Site::Unwind, vec![entry])],
        Role::Panic | Role::Fatal | Role::Throw | Role::Goexit | Role::Write => {
            vec![step(Turn::Unwinds, Site::Enter, vec![entry])]
        }
    }
}

fn sorted(steps: impl Iterator<Item = Step>) -> Vec<Step> {
    let mut steps: Vec<Step> = steps.collect();
    // Stable: functions stay in their order.
    steps.sort_by_key(|step| step.turn);
    steps
}

/// What is attached, in the groups that are taken away one after the other: where calls begin comes first, so that none
/// begins whose end is not seen.
pub(super) fn detaching<T>(attached: Vec<T>, turn: impl Fn(&T) -> Turn) -> [Vec<T>; 2] {
    let (begins, ends): (Vec<T>, Vec<T>) = attached.into_iter().partition(|one| turn(one) == Turn::Begins);
    [begins, ends]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two functions, and what the runtime does, as a plan might have them: in any order.
    fn planned() -> Vec<Step> {
        let functions = [
            (Role::Call, 1, 100, vec![110, 120]),
            (Role::Goexit, 2, 200, vec![]),
            (Role::Call, 3, 300, vec![310]),
            (Role::Recovery, 4, 400, vec![]),
            (Role::Panic, 5, 500, vec![]),
        ];
        sorted(
            functions.iter().flat_map(|(role, index, entry, returns)| steps(*role, *index, *entry, returns)),
        )
    }

    #[test]
    fn what_takes_frames_away_is_attached_first_then_returns_then_entries() {
        let order: Vec<_> = planned().into_iter().map(|step| (step.turn, step.site, step.index)).collect();
        assert_eq!(
            order,
            [
                (Turn::Unwinds, Site::Enter, 2),
                (Turn::Unwinds, Site::Unwind, 4),
                (Turn::Unwinds, Site::Enter, 5),
                (Turn::Returns, Site::Return, 1),
                (Turn::Returns, Site::Return, 3),
                (Turn::Begins, Site::Enter, 1),
                (Turn::Begins, Site::Enter, 3),
            ]
        );
        // Every return of a function is in its step.
        assert!(planned().iter().any(|step| step.offsets == [110, 120]));
    }

    #[test]
    fn entries_are_detached_before_everything_else() {
        let [first, then] = detaching(planned(), |step| step.turn);
        assert_eq!(first.iter().map(|step| step.index).collect::<Vec<_>>(), [1, 3]);
        assert!(first.iter().all(|step| step.turn == Turn::Begins));
        assert!(then.len() == 5 && then.iter().all(|step| step.turn != Turn::Begins));
    }
}
