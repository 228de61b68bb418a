//! Goals: a figure, its limit, and whether this run kept it. Printed, never a reason to fail.

use serde_json::{Value, json};

use super::turns::Measured;

/// A promise about a benchmark.
pub(super) struct Goal {
    /// What is promised, with its unit.
    pub(super) what: &'static str,
    pub(super) limit: Limit,
    /// The figure, from the medians; none when a contestant that it needs is missing.
    pub(super) figure: fn(&Measured) -> Option<f64>,
}

/// How a figure must stand to its limit.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
}

impl Limit {
    fn is_kept(self, figure: f64) -> bool {
        match self {
            Self::AtMost(limit) => figure <= limit,
            Self::Below(limit) => figure < limit,
            Self::AtLeast(limit) => figure >= limit,
        }
    }

    pub(super) fn shown(self) -> String {
        match self {
            Self::AtMost(limit) => format!("at most {limit}"),
            Self::Below(limit) => format!("below {limit}"),
            Self::AtLeast(limit) => format!("at least {limit}"),
        }
    }
}

impl Goal {
    /// One line for people.
    pub(super) fn line(&self, measured: &Measured) -> String {
        let (verdict, figure) = match (self.figure)(measured) {
            Some(figure) if self.limit.is_kept(figure) => ("kept    ", format!("{figure:.3}")),
            Some(figure) => ("MISSED  ", format!("{figure:.3}")),
            None => ("unknown ", "not measured".to_owned()),
        };
        format!("{verdict} {}: {figure} (goal: {})", self.what, self.limit.shown())
    }

    /// The same for programs.
    pub(super) fn json(&self, measured: &Measured) -> Value {
        let figure = (self.figure)(measured);
        let kept = figure.map(|figure| self.limit.is_kept(figure));
        json!({"goal": self.what, "limit": self.limit.shown(), "figure": figure, "kept": kept})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_in_or_out() {
        assert!(Limit::AtMost(3.0).is_kept(3.0));
        assert!(!Limit::Below(3.0).is_kept(3.0));
        assert!(Limit::AtLeast(3.0).is_kept(3.0) && !Limit::AtLeast(3.0).is_kept(2.9));
        let nobody = Measured { contestants: Vec::new() };
        let goal = Goal { what: "x", limit: Limit::AtMost(1.0), figure: |_| None };
        assert!(goal.line(&nobody).starts_with("unknown"));
        assert_eq!(goal.json(&nobody).get("kept"), Some(&Value::Null));
    }
}
