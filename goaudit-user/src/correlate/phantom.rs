//! Phantom exec: the arguments at the call's entry are not the arguments that the new program got.
//!
//! Monitors that read arguments at the system call's entry can be shown one thing while the kernel copies
//! another: a second thread changes the memory in between. Both views are here, so the swap shows.
//! For scripts (and binfmt_misc) the kernel itself rewrites the front: it drops argv[0] and puts interpreter,
//! its optional argument and the script's path there, once for each level. Since 5.18 an empty argv becomes
//! `[""]`.

/// One view of the arguments.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The arguments that are there.
    pub args: &'a [&'a [u8]],
    /// Whether these are all; if not, the last one may be cut.
    pub complete: bool,
}

/// Whether the arguments changed between entry and commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They are the same.
    Same,
    /// They differ.
    Changed,
    /// No difference shows in the part that both views have.
    Unknown,
}

/// Compares the views. `rewritten`: the kernel ran an interpreter in place of the file.
pub fn compare(entry: View<'_>, committed: View<'_>, rewritten: bool) -> Verdict {
    if entry.complete && entry.args.is_empty() && !rewritten {
        return match committed.args {
            [] | [b""] if committed.complete => Verdict::Same,
            [] => Verdict::Unknown,
            _ => Verdict::Changed,
        };
    }
    if !rewritten {
        return aligned(entry, committed);
    }
    let kept = View { args: entry.args.get(1..).unwrap_or_default(), complete: entry.complete };
    if entry.complete && committed.complete {
        // Interpreter and script path at least, then exactly the rest of the caller's arguments.
        let Some(front) = committed.args.len().checked_sub(kept.args.len()) else { return Verdict::Changed };
        let tail = committed.args.get(front..).unwrap_or_default();
        return if front >= 2 && tail == kept.args { Verdict::Same } else { Verdict::Changed };
    }
    // With a view cut short the front's length is not known: changed only if no length fits.
    let fits = (2..=committed.args.len()).any(|front| {
        let tail =
            View { args: committed.args.get(front..).unwrap_or_default(), complete: committed.complete };
        aligned(kept, tail) != Verdict::Changed
    });
    if fits || !committed.complete { Verdict::Unknown } else { Verdict::Changed }
}

/// Compares argument by argument from the front.
fn aligned(a: View<'_>, b: View<'_>) -> Verdict {
    if a.complete && b.complete {
        return if a.args == b.args { Verdict::Same } else { Verdict::Changed };
    }
    let both = a.args.len().min(b.args.len());
    for (at, (left, right)) in a.args.iter().zip(b.args).enumerate() {
        let last_of = |view: View<'_>| !view.complete && at.saturating_add(1) == view.args.len();
        let same = match (last_of(a), last_of(b)) {
            (false, false) => left == right,
            (true, false) => right.starts_with(left),
            (false, true) => left.starts_with(right),
            (true, true) => left.starts_with(right) || right.starts_with(left),
        };
        if !same {
            return Verdict::Changed;
        }
    }
    // A complete view that is shorter than what the other one already shows.
    if (a.complete && b.args.len() > both) || (b.complete && a.args.len() > both) {
        return Verdict::Changed;
    }
    Verdict::Unknown
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Changed, Same, Unknown};
    use super::*;

    fn run(entry: (&[&[u8]], bool), committed: (&[&[u8]], bool), rewritten: bool) -> Verdict {
        let view = |(args, complete)| View { args, complete };
        compare(view(entry), view(committed), rewritten)
    }

    #[test]
    fn plain_programs() {
        assert_eq!(run((&[b"ls", b"-l"], true), (&[b"ls", b"-l"], true), false), Same);
        assert_eq!(run((&[b"ls", b"-l"], true), (&[b"ls", b"-a"], true), false), Changed);
        assert_eq!(run((&[b"ls"], true), (&[b"ls", b"-a"], true), false), Changed);
        assert_eq!(run((&[b"ls", b"-a"], true), (&[b"ls"], true), false), Changed);
    }

    #[test]
    fn an_empty_argv_becomes_one_empty_string() {
        assert_eq!(run((&[], true), (&[b""], true), false), Same);
        assert_eq!(run((&[], true), (&[], true), false), Same, "before 5.18");
        assert_eq!(run((&[], true), (&[b"x"], true), false), Changed);
        assert_eq!(run((&[], false), (&[b"x"], true), false), Unknown);
    }

    #[test]
    fn scripts_lose_argv0_and_get_a_front() {
        let entry: &[&[u8]] = &[b"anything", b"a", b"b"];
        assert_eq!(run((entry, true), (&[b"/bin/sh", b"/x.sh", b"a", b"b"], true), true), Same);
        assert_eq!(run((entry, true), (&[b"/bin/sh", b"-e", b"/x.sh", b"a", b"b"], true), true), Same);
        let nested: &[&[u8]] = &[b"/bin/sh", b"-e", b"/outer", b"-x", b"/x.sh", b"a", b"b"];
        assert_eq!(run((entry, true), (nested, true), true), Same);
        assert_eq!(run((entry, true), (&[b"/bin/sh", b"/x.sh", b"a", b"B"], true), true), Changed);
        assert_eq!(run((entry, true), (&[b"/x.sh", b"a", b"b"], true), true), Changed);
        assert_eq!(run((&[], true), (&[b"/bin/sh", b"/x.sh"], true), true), Same);
    }

    #[test]
    fn a_view_cut_short_proves_only_differences() {
        assert_eq!(run((&[b"a", b"b"], false), (&[b"a", b"bcd", b"e"], true), false), Unknown);
        assert_eq!(run((&[b"a", b"x"], false), (&[b"a", b"bcd", b"e"], true), false), Changed);
        assert_eq!(run((&[b"x", b"b"], false), (&[b"a", b"bcd"], true), false), Changed);
        assert_eq!(run((&[b"a", b"b", b"c"], false), (&[b"a"], true), false), Changed);
        assert_eq!(run((&[b"a"], true), (&[b"a"], false), false), Unknown);
        assert_eq!(
            run((&[b"z", b"a", b"b"], false), (&[b"/bin/sh", b"/s", b"a", b"bc"], true), true),
            Unknown
        );
        assert_eq!(
            run((&[b"z", b"q", b"b"], false), (&[b"/bin/sh", b"/s", b"a", b"bc"], true), true),
            Changed
        );
        assert_eq!(run((&[], false), (&[b"/bin/sh", b"/s", b"a"], true), true), Unknown);
    }
}
