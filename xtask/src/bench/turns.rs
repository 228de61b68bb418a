//! Interleaved measuring: A B C A B C ..., medians, ratios.
//!
//! A machine's speed drifts while a benchmark runs. Contestants take turns, so a drift hits all of them; the
//! median drops single disturbances.

use std::collections::BTreeMap;

use anyhow::Result;

/// One turn's figures by name; the name says the unit, as in "ns_per_call".
pub(super) type Figures = BTreeMap<&'static str, f64>;

/// All turns of all contestants.
pub(super) struct Measured {
    /// In the order of the benchmark; the first is what the others are compared with.
    pub(super) contestants: Vec<Turns>,
}

/// All turns of one contestant.
pub(super) struct Turns {
    pub(super) name: &'static str,
    pub(super) rounds: Vec<Figures>,
    /// Why it is missing, if it could not take part.
    pub(super) missing: Option<String>,
}

impl Measured {
    /// The median of a contestant's figure.
    pub(super) fn median(&self, contestant: &str, figure: &str) -> Option<f64> {
        self.contestants.iter().find(|turns| turns.name == contestant)?.median(figure)
    }

    /// The figure that this part (0 to 1) of a contestant's turns does not exceed.
    pub(super) fn quantile(&self, contestant: &str, figure: &str, part: f64) -> Option<f64> {
        let turns = self.contestants.iter().find(|turns| turns.name == contestant)?;
        let mut values: Vec<f64> = turns.rounds.iter().filter_map(|turn| turn.get(figure).copied()).collect();
        values.sort_by(f64::total_cmp);
        // How many must not exceed it, at least.
        let count = values.len();
        let rank = (1..=count).find(|rank| *rank as f64 >= part * count as f64)?;
        values.get(rank - 1).copied()
    }

    /// The largest of a contestant's figure: for what must be zero every time.
    pub(super) fn worst(&self, contestant: &str, figure: &str) -> Option<f64> {
        let turns = self.contestants.iter().find(|turns| turns.name == contestant)?;
        turns.rounds.iter().filter_map(|turn| turn.get(figure).copied()).max_by(f64::total_cmp)
    }
}

impl Turns {
    /// The median of a figure over all turns that have it.
    pub(super) fn median(&self, figure: &str) -> Option<f64> {
        median(self.rounds.iter().filter_map(|turn| turn.get(figure).copied()).collect())
    }

    /// Names of all figures, sorted.
    pub(super) fn figures(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.rounds.iter().flat_map(|turn| turn.keys().copied()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Who takes turns.
pub(super) trait Contender: Copy {
    /// As tables and goals name it.
    fn name(self) -> &'static str;
    /// Why it cannot take part here, if so.
    fn missing(self) -> Option<String> {
        None
    }
    /// Whether it is somebody else's: it may fail without the benchmark failing.
    fn is_peer(self) -> bool {
        false
    }
}

/// Lets the contestants take `count` turns each, after `warm_up` ones that are not counted. A peer that cannot
/// start or fails is left out from then on and told; a turn of ours that fails is an error.
pub(super) fn interleave<C: Contender>(
    contestants: &[C],
    warm_up: usize,
    count: usize,
    turn: impl Fn(C) -> Result<Figures>,
) -> Result<Measured> {
    let mut measured: Vec<Turns> = contestants
        .iter()
        .map(|contestant| Turns {
            name: contestant.name(),
            rounds: Vec::new(),
            missing: contestant.missing(),
        })
        .collect();
    for round in 0..warm_up + count {
        for (contestant, turns) in contestants.iter().zip(&mut measured) {
            if turns.missing.is_some() {
                continue;
            }
            match turn(*contestant) {
                // The first rounds warm caches and, for auditd, the kernel's audit.
                Ok(figures) if round >= warm_up => turns.rounds.push(figures),
                Ok(_) => {}
                Err(error) if contestant.is_peer() => {
                    println!("bench: {} is left out: {error:#}", turns.name);
                    turns.missing = Some(format!("{error:#}"));
                }
                Err(error) => return Err(error),
            }
        }
        println!("bench: round {} of {} done", round + 1, warm_up + count);
    }
    Ok(Measured { contestants: measured })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    values.get(values.len() / 2 - 1).map(|lower| f64::midpoint(*lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn a_quantile_is_one_of_the_figures() {
        let rounds = (1..=200).rev().map(|value| [("age", f64::from(value))].into()).collect();
        let measured = Measured { contestants: vec![Turns { name: "x", rounds, missing: None }] };
        assert_eq!(measured.quantile("x", "age", 0.99), Some(198.0));
        assert_eq!(measured.quantile("x", "age", 1.0), Some(200.0));
        assert_eq!(measured.quantile("x", "other", 0.5), None);
    }

    #[test]
    fn the_worst_turn_counts_for_loss() {
        let rounds = vec![[("lost", 0.0)].into(), [("lost", 7.0)].into(), [("lost", 0.0)].into()];
        let measured = Measured { contestants: vec![Turns { name: "x", rounds, missing: None }] };
        assert_eq!(measured.median("x", "lost"), Some(0.0));
        assert_eq!(measured.worst("x", "lost"), Some(7.0));
        assert_eq!(measured.worst("y", "lost"), None);
    }
}
