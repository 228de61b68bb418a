//! The table at the end of a test run.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::workspace::target;

/// Names the file that tests tell their skips into (tests/src/ability.rs).
pub(super) const SKIPS_FILE: &str = "GOAUDIT_SKIPS";

/// How a step, or a part of one, ended.
pub(super) enum Verdict {
    Passed,
    Failed(String),
    /// This machine lacks something.
    Skipped {
        ability: &'static str,
        why: String,
    },
}

/// One line of the table.
pub(super) struct Row {
    name: String,
    verdict: Verdict,
    /// Known only where a step measures its parts.
    took: Option<Duration>,
}

impl Row {
    pub(super) fn new(name: &str, result: Result<()>) -> Self {
        let verdict = match result {
            Ok(()) => Verdict::Passed,
            Err(error) => {
                let told = format!("{error:#}");
                println!("FAILED: {}", first_line(&told));
                Verdict::Failed(told)
            }
        };
        Self { name: name.to_owned(), verdict, took: None }
    }

    pub(super) fn skipped(name: &str, ability: &'static str, why: &str) -> Self {
        println!("SKIPPED {name}: needs {ability}: {why}");
        Self { name: name.to_owned(), verdict: Verdict::Skipped { ability, why: why.to_owned() }, took: None }
    }

    pub(super) fn took(self, took: Duration) -> Self {
        Self { took: Some(took), ..self }
    }
}

/// Everything that a run told.
#[derive(Default)]
pub(super) struct Report {
    rows: Vec<Row>,
    /// Single tests that said what they miss: (where, what).
    skips: Vec<(String, String)>,
}

impl Report {
    /// Adds a step's rows; a single one took as long as the step.
    pub(super) fn add(&mut self, rows: Vec<Row>, took: Duration) {
        let alone = rows.len() == 1;
        self.rows.extend(rows.into_iter().map(|row| {
            let took = row.took.or(alone.then_some(took));
            Row { took, ..row }
        }));
    }

    /// A fresh file for the skips of one step's tests.
    pub(super) fn skips_file(step: &str) -> PathBuf {
        let path = target().join(format!("skips-{step}.txt"));
        // Nothing to remove is the usual case.
        fs::remove_file(&path).ok();
        path
    }

    /// Reads what a step's tests told into that file.
    pub(super) fn read_skips(&mut self, step: &str, path: &PathBuf) {
        let told = fs::read_to_string(path).unwrap_or_default();
        self.add_skips(step, told.lines().map(str::to_owned));
    }

    pub(super) fn add_skips(&mut self, place: &str, skips: impl IntoIterator<Item = String>) {
        self.skips.extend(skips.into_iter().map(|skip| (place.to_owned(), skip)));
    }

    pub(super) fn failed(&self) -> bool {
        self.rows.iter().any(|row| matches!(row.verdict, Verdict::Failed(_)))
    }

    /// What failed, whole, and the table: the last thing printed, since readers often have only an output's end.
    pub(super) fn print(&self) {
        for row in &self.rows {
            if let Verdict::Failed(why) = &row.verdict {
                println!("\n=== what failed: {} ===\n{why}", row.name);
            }
        }
        println!("\n=== summary ===");
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for row in &self.rows {
            let seconds = row.took.map_or_else(String::new, |took| format!("{:.1} s", took.as_secs_f64()));
            let (word, detail) = match &row.verdict {
                Verdict::Passed => {
                    passed += 1;
                    ("ok", String::new())
                }
                Verdict::Failed(why) => {
                    failed += 1;
                    ("FAILED", first_line(why).to_owned())
                }
                Verdict::Skipped { ability, why } => {
                    skipped += 1;
                    ("skipped", format!("needs {ability}: {why}"))
                }
            };
            println!("{:<14} {word:<8} {seconds:>9}  {detail}", row.name);
        }
        if !self.skips.is_empty() {
            println!("\nsingle tests that this machine cannot do:");
            for (place, skip) in &self.skips {
                println!("  {place}: {skip}");
            }
        }
        println!("\n{passed} passed, {failed} failed, {skipped} skipped");
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
