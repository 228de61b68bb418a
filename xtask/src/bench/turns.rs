//! Interleaved measuring: A B C A B C ..., medians, ratios.
//!
//! A machine's speed drifts while a benchmark runs. Contestants take turns, so a drift hits all of them; the
//! median drops single disturbances.

use std::collections::BTreeMap;

use anyhow::Result;

use super::contestant::Contestant;

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

/// Lets the contestants take `count` turns each, after one that is not counted. A contestant that cannot start is
/// left out and told; a turn that fails is an error.
pub(super) fn interleave(
    contestants: &[Contestant],
    count: usize,
    turn: impl Fn(&Contestant) -> Result<Figures>,
) -> Result<Measured> {
    let mut measured: Vec<Turns> = contestants
        .iter()
        .map(|contestant| Turns {
            name: contestant.name(),
            rounds: Vec::new(),
            missing: contestant.missing(),
        })
        .collect();
    for round in 0..=count {
        for (contestant, turns) in contestants.iter().zip(&mut measured) {
            if turns.missing.is_some() {
                continue;
            }
            let figures = turn(contestant)?;
            // The first round warms caches and, for auditd, its queue.
            if round > 0 {
                turns.rounds.push(figures);
            }
        }
        println!("bench: round {round} of {count}");
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
}
