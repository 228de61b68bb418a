//! Results for people and for programs: medians with their spread, and ratios to the first contestant.

use serde_json::{Map, Value, json};

use super::turns::{Measured, Turns};

/// Prints medians of all figures, their range, and their ratio to the first contestant's.
pub(super) fn print(measured: &Measured) {
    let Some(first) = measured.contestants.first() else { return };
    println!(
        "{:<10} {:<26} {:>14} {:>28} {:>10}",
        "who",
        "figure",
        "median",
        "range",
        first.name.to_owned() + " = 1"
    );
    for contestant in &measured.contestants {
        if let Some(why) = &contestant.missing {
            println!("{:<10} left out: {why}", contestant.name);
        }
        for figure in contestant.figures() {
            let Some(median) = contestant.median(figure) else { continue };
            let ratio =
                ratio(contestant, first, figure).map_or_else(String::new, |ratio| format!("{ratio:.3}x"));
            let (low, high) = range(contestant, figure);
            let range = format!("{low:.3} .. {high:.3}");
            println!("{:<10} {figure:<26} {median:>14.3} {range:>28} {ratio:>10}", contestant.name);
        }
    }
}

/// The same as JSON, with every single turn.
pub(super) fn json(measured: &Measured) -> Value {
    let contestants = measured.contestants.iter().map(|contestant| {
        let mut figures = Map::new();
        for figure in contestant.figures() {
            let turns: Vec<Option<f64>> =
                contestant.rounds.iter().map(|turn| turn.get(figure).copied()).collect();
            let ratio = measured.contestants.first().and_then(|first| ratio(contestant, first, figure));
            figures.insert(
                figure.to_owned(),
                json!({"median": contestant.median(figure), "ratio_to_first": ratio, "turns": turns}),
            );
        }
        json!({"name": contestant.name, "missing": contestant.missing, "figures": figures})
    });
    contestants.collect()
}

fn range(contestant: &Turns, figure: &str) -> (f64, f64) {
    let values = contestant.rounds.iter().filter_map(|turn| turn.get(figure).copied());
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

fn ratio(contestant: &Turns, first: &Turns, figure: &str) -> Option<f64> {
    let base = first.median(figure).filter(|base| *base > 0.0)?;
    contestant.median(figure).map(|median| median / base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_the_first_contestant() {
        let turns =
            |name, value| Turns { name, rounds: vec![[("ns_per_call", value)].into()], missing: None };
        let measured = Measured { contestants: vec![turns("bare", 100.0), turns("goaudit", 250.0)] };
        let told = json(&measured);
        assert_eq!(told.pointer("/1/figures/ns_per_call/ratio_to_first"), Some(&serde_json::json!(2.5)));
    }

    #[test]
    fn the_range_holds_every_turn() {
        let rounds = vec![[("x", 2.0)].into(), [("x", 9.0)].into(), [("x", 3.0)].into()];
        assert_eq!(range(&Turns { name: "a", rounds, missing: None }, "x"), (2.0, 9.0));
    }
}
