//! Results for people and for programs: medians, and ratios to the first contestant.

use serde_json::{Map, Value, json};

use super::turns::{Measured, Turns};

/// Prints medians of all figures, each with its ratio to the first contestant's.
pub(super) fn print(measured: &Measured) {
    let Some(first) = measured.contestants.first() else { return };
    for contestant in &measured.contestants {
        if let Some(why) = &contestant.missing {
            println!("{:<12} missing: {why}", contestant.name);
            continue;
        }
        for figure in contestant.figures() {
            let Some(median) = contestant.median(figure) else { continue };
            let ratio =
                ratio(contestant, first, figure).map_or_else(String::new, |ratio| format!("{ratio:>9.3}x"));
            println!("{:<12} {figure:<28} {median:>16.3} {ratio}", contestant.name);
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
}
