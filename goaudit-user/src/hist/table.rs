//! Histograms as a table for people.

use std::fmt::Write;

use super::key::Part;
use super::latencies::{Figures, Latencies, MAX_NS, RELATIVE_ERROR};
use super::{Config, Cost, Group, Histograms};
use crate::event::go::Outcome;
use crate::view::text::escape;

/// Cells of a bar.
const BAR: usize = 24;
/// Widest column of a key.
const KEY_WIDTH: usize = 48;
/// Heights of a bar's cells.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The table, and what is to be known about it.
pub fn text(histograms: &Histograms) -> String {
    let mut out = String::new();
    let config = histograms.config();
    let groups = histograms.all();
    if histograms.calls() > 0 {
        let scale = Scale::of(&groups);
        align(&mut out, &rows(histograms, &groups, scale), config.by.len());
        if let Some(scale) = scale {
            let (from, to) = scale.ends();
            line(&mut out, format_args!("bars: {} to {}, logarithmic", human(from), human(to)));
        }
    }
    notes(&mut out, histograms, &groups);
    out
}

fn line(out: &mut String, told: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{told}");
}

fn rows(histograms: &Histograms, groups: &[&Group], scale: Option<Scale>) -> Vec<Vec<String>> {
    let config = histograms.config();
    let mut head: Vec<String> = config.by.iter().map(|by| by.name().to_owned()).collect();
    let figures = ["count", "min", "p50", "p90", "p99", "p99.9", "max", "mean", "deny %", ""];
    head.extend(figures.map(str::to_owned));
    let mut rows = vec![head];
    for group in groups {
        let latencies = group.latencies.raw();
        let mut row = key_cells(config, &group.key);
        row.push(group.latencies.count().to_string());
        row.extend(cells(latencies.figures()));
        row.push(group.deny_ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{:.1}", ratio * 100.0)));
        row.push(scale.map_or_else(String::new, |scale| scale.bar(&latencies)));
        rows.push(row);
        if let Some((figures, cost)) = histograms.corrected(group).zip(cost_text(histograms.cost(group))) {
            let mut corrected = vec![String::new(); config.by.len().saturating_sub(1)];
            corrected.push(format!("  less {cost} of the probe"));
            corrected.push(String::new());
            corrected.extend(cells(figures));
            rows.push(corrected);
        }
    }
    rows
}

/// What probes add, if it is known: one figure, or from the least to the most where calls differ.
pub(super) fn cost_text(cost: Cost) -> Option<String> {
    let Cost::Known { least, most } = cost else { return None };
    let (least, most) = (human(least), human(most));
    Some(if least == most { least } else { format!("{least} to {most}") })
}

/// The cells of a group's key.
pub(super) fn key_cells(config: &Config, key: &[Part]) -> Vec<String> {
    if key.is_empty() {
        let mut cells = vec![String::new(); config.by.len()];
        if let Some(first) = cells.first_mut() {
            "(other)".clone_into(first);
        }
        return cells;
    }
    key.iter().map(cell).collect()
}

/// A part of a key, safe for a terminal and not too wide: of a long one its end is what tells it apart.
fn cell(part: &Part) -> String {
    let mut text = String::new();
    escape(&mut text, &part.bytes());
    let chars = text.chars().count();
    if chars > KEY_WIDTH {
        let end: String = text.chars().skip(chars.saturating_sub(KEY_WIDTH - 3)).collect();
        text = format!("...{end}");
    }
    text
}

fn cells(figures: Figures) -> [String; 7] {
    let Figures { min_ns, p50_ns, p90_ns, p99_ns, p999_ns, max_ns, mean_ns } = figures;
    [min_ns, p50_ns, p90_ns, p99_ns, p999_ns, max_ns, mean_ns]
        .map(|figure| figure.map_or_else(|| "-".to_owned(), human))
}

/// Columns under each other: those of the key to the left, figures to the right, the bar as it is.
pub(super) fn align(out: &mut String, rows: &[Vec<String>], left: usize) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut text = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let told = if column < left || column == columns.saturating_sub(1) {
                write!(text, "{cell:<width$}  ")
            } else {
                write!(text, "{cell:>width$}  ")
            };
            // Writing to a String cannot fail.
            let _ = told;
        }
        line(out, format_args!("{}", text.trim_end()));
    }
}

/// A span of time with three significant digits, such as `12.3µs`.
pub fn human(ns: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
    for (unit, name) in UNITS {
        if ns >= unit {
            let value = ns as f64 / unit as f64;
            // 9.995 would be written 10.00, 999.5 as 1000: a digit more than asked for does no harm.
            let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
            return format!("{value:.digits$}{name}");
        }
    }
    format!("{ns}ns")
}

/// The range of all bars: powers of a common factor.
#[derive(Debug, Clone, Copy)]
struct Scale {
    from: f64,
    to: f64,
}

impl Scale {
    fn of(groups: &[&Group]) -> Option<Self> {
        let figures = || groups.iter().map(|group| group.latencies.raw().figures());
        let from = figures().filter_map(|figures| figures.min_ns).min()?.max(1);
        let to = figures().filter_map(|figures| figures.max_ns).max()?.clamp(1, MAX_NS);
        let (from, to) = ((from.min(MAX_NS) as f64).log2(), (to as f64).log2());
        // A common width of at least one octave, so that a bar of equal values is not all noise.
        Some(Self { from, to: to.max(from + 1.0) })
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an hour of ns fits")]
    fn ends(self) -> (u64, u64) {
        (self.from.exp2().round() as u64, self.to.exp2().round() as u64)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "numbers of cells and of heights, bounded below and above"
    )]
    fn bar(self, latencies: &Latencies) -> String {
        let mut cells = [0_u64; BAR];
        for bucket in latencies.histogram().iter_recorded() {
            let place =
                ((bucket.value_iterated_to().max(1) as f64).log2() - self.from) / (self.to - self.from);
            let at = ((place * BAR as f64).max(0.0) as usize).min(BAR - 1);
            if let Some(cell) = cells.get_mut(at) {
                *cell = cell.saturating_add(bucket.count_at_value());
            }
        }
        let most = cells.iter().copied().max().unwrap_or(0).max(1);
        let top = BLOCKS.len() - 1;
        let block = |count: u64| {
            let height = (count as f64 / most as f64 * top as f64).ceil() as usize;
            BLOCKS.get(height.min(top)).copied().unwrap_or(' ')
        };
        cells.into_iter().map(block).collect::<String>().trim_end().to_owned()
    }
}

/// What the figures rest on, and what they leave out.
fn notes(out: &mut String, histograms: &Histograms, groups: &[&Group]) {
    let (calls, measured) = (histograms.calls(), histograms.measured());
    let mut told = format!("{calls} calls, {measured} with a latency");
    let names = Outcome::NAMES.iter().zip(histograms.unmeasured()).filter(|row| row.1 > 0);
    for (at, (row, count)) in names.enumerate() {
        let _ =
            write!(told, "{} {count} {}", if at == 0 { "; both ends were not seen of" } else { "," }, row.1);
    }
    line(out, format_args!("{told}"));
    let of_panics: u64 = groups
        .iter()
        .flat_map(|group| Outcome::NAMES.iter().zip(group.measured))
        .filter(|(row, _)| row.0 != Outcome::Returned)
        .map(|(_, count)| count)
        .sum();
    if of_panics > 0 {
        line(
            out,
            format_args!(
                "{of_panics} of the latencies are of calls that did not return (--where 'go_call.outcome == ...')"
            ),
        );
    }
    if measured > 0 {
        line(
            out,
            format_args!(
                "quantiles are at most {} % above the exact value; min, max and mean are exact",
                RELATIVE_ERROR * 100.0
            ),
        );
    }
    if groups.iter().any(|group| histograms.cost(group) == Cost::Unknown) {
        line(
            out,
            format_args!(
                "figures are as measured: the log tells no measured cost of the probes, so it is not taken off"
            ),
        );
    }
    if histograms.clamped() > 0 {
        line(out, format_args!("{} latencies of more than an hour count as an hour", histograms.clamped()));
    }
    if let Some(other) = histograms.other() {
        line(
            out,
            format_args!(
                "{} calls beyond the first {} groups are told together as (other); --groups takes more",
                other.calls(),
                histograms.config().groups
            ),
        );
    }
    if let Some(told) = taken_away(histograms) {
        line(out, format_args!("{told}"));
    }
    if histograms.lost() > 0 {
        line(
            out,
            format_args!(
                "{} kernel records were lost while this was recorded: there may have been more calls",
                histograms.lost()
            ),
        );
    }
}

/// That probes were taken away, and why, if any were.
pub(super) fn taken_away(histograms: &Histograms) -> Option<String> {
    /// Reasons that are told.
    const REASONS: usize = 3;
    let count = histograms.removed();
    let told: Vec<String> = histograms
        .removals()
        .take(REASONS)
        .map(|removal| {
            let mut text = String::new();
            escape(&mut text, format!("{}: {}", removal.probe, removal.reason).as_bytes());
            text
        })
        .collect();
    let more = if count > REASONS as u64 { "; ..." } else { "" };
    (count > 0).then(|| {
        format!(
            "{count} times probes were taken away while this was recorded: later calls are missing ({}{more})",
            told.join("; ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn spans_have_three_digits() {
        for (ns, told) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_000, "1.00µs"),
            (12_345, "12.3µs"),
            (123_456, "123µs"),
            (1_500_000, "1.50ms"),
            (3_600_000_000_000, "3600s"),
        ] {
            assert_eq!(human(ns), told);
        }
    }
}
