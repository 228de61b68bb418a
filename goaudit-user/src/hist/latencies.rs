//! The latencies of one group: an HDR histogram, and exactly what it cannot tell exactly.

use std::borrow::Cow;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Significant decimal digits of a quantile.
const DIGITS: u8 = 3;
/// A quantile is at most this much above the exact value, relative to it.
pub const RELATIVE_ERROR: f64 = 0.001;
/// Longest latency that is told apart from longer ones: an hour.
pub const MAX_NS: u64 = 3_600_000_000_000;
/// A group with no more values than this keeps them as they are: a histogram needs about 100 KB.
const FEW: usize = 512;

/// Latencies in nanoseconds.
#[derive(Debug, Clone)]
pub struct Latencies {
    few: Vec<u64>,
    many: Option<Histogram<u64>>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
    clamped: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { few: Vec::new(), many: None, count: 0, sum: 0, min: u64::MAX, max: 0, clamped: 0 }
    }
}

/// The usual figures. None of them are there without a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Shortest, exact.
    pub min_ns: Option<u64>,
    /// Half of the calls took no longer.
    pub p50_ns: Option<u64>,
    /// 90 % took no longer.
    pub p90_ns: Option<u64>,
    /// 99 % took no longer.
    pub p99_ns: Option<u64>,
    /// 99.9 % took no longer.
    pub p999_ns: Option<u64>,
    /// Longest, exact.
    pub max_ns: Option<u64>,
    /// Mean, exact, rounded down.
    pub mean_ns: Option<u64>,
}

impl Figures {
    /// Without what the probe itself adds.
    #[must_use]
    pub fn less(self, cost_ns: u64) -> Self {
        let less = |figure: Option<u64>| figure.map(|ns| ns.saturating_sub(cost_ns));
        let Self { min_ns, p50_ns, p90_ns, p99_ns, p999_ns, max_ns, mean_ns } = self;
        Self {
            min_ns: less(min_ns),
            p50_ns: less(p50_ns),
            p90_ns: less(p90_ns),
            p99_ns: less(p99_ns),
            p999_ns: less(p999_ns),
            max_ns: less(max_ns),
            mean_ns: less(mean_ns),
        }
    }
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, ns: u64) {
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(u128::from(ns));
        self.min = self.min.min(ns);
        self.max = self.max.max(ns);
        self.clamped = self.clamped.saturating_add(u64::from(ns > MAX_NS));
        let ns = ns.min(MAX_NS);
        if let Some(many) = &mut self.many {
            put(many, ns, 1);
            return;
        }
        self.few.push(ns);
        if self.few.len() > FEW {
            self.many = Some(histogram(&std::mem::take(&mut self.few)));
        }
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.clamped = self.clamped.saturating_add(other.clamped);
        self.few.extend(&other.few);
        if other.many.is_none() && self.many.is_none() && self.few.len() <= FEW {
            return;
        }
        let few = std::mem::take(&mut self.few);
        let many = self.many.get_or_insert_with(|| histogram(&[]));
        for ns in few {
            put(many, ns, 1);
        }
        for bucket in other.many.iter().flat_map(Histogram::iter_recorded) {
            put(many, bucket.value_iterated_to(), bucket.count_at_value());
        }
    }

    /// The same, each shorter by `cost_ns`. What was rounded up to the end of a bucket is rounded up once more.
    #[must_use]
    pub fn less(&self, cost_ns: u64) -> Self {
        let shorter = |ns: u64| ns.saturating_sub(cost_ns);
        let many = self.many.as_ref().map(|many| {
            let mut less = histogram(&[]);
            for bucket in many.iter_recorded() {
                put(&mut less, shorter(bucket.value_iterated_to()), bucket.count_at_value());
            }
            less
        });
        Self {
            few: self.few.iter().map(|ns| shorter(*ns)).collect(),
            many,
            count: self.count,
            sum: self.sum.saturating_sub(u128::from(cost_ns) * u128::from(self.count)),
            // Without values it says so, and stays.
            min: if self.count == 0 { self.min } else { shorter(self.min) },
            max: shorter(self.max),
            clamped: self.clamped,
        }
    }

    /// How many.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many were longer than [`MAX_NS`]: in the histogram they count as that.
    pub const fn clamped(&self) -> u64 {
        self.clamped
    }

    /// The histogram.
    pub fn histogram(&self) -> Cow<'_, Histogram<u64>> {
        self.many.as_ref().map_or_else(|| Cow::Owned(histogram(&self.few)), Cow::Borrowed)
    }

    /// The usual figures.
    pub fn figures(&self) -> Figures {
        if self.count == 0 {
            return Figures::default();
        }
        let histogram = self.histogram();
        let at = |quantile| Some(self.within(histogram.value_at_quantile(quantile)));
        Figures {
            min_ns: Some(self.min),
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            max_ns: Some(self.max),
            mean_ns: u64::try_from(self.sum / u128::from(self.count)).ok(),
        }
    }

    /// The end of a bucket is no figure if no value was that large.
    fn within(&self, ns: u64) -> u64 {
        ns.clamp(self.min, self.max)
    }

    /// Values between which a quantile lies with 99 % confidence if the calls are independent of each other,
    /// whatever their distribution (order statistics), the histogram's own error included. None if there are too
    /// few calls to say.
    pub fn bounds(&self, quantile: f64) -> Option<(u64, u64)> {
        /// Two-sided 99 % of the normal distribution.
        const Z: f64 = 2.576;
        let count = self.count as f64;
        let spread = Z * (count * quantile * (1.0 - quantile)).sqrt();
        let (low, high) = (count * quantile - spread, count * quantile + spread + 1.0);
        if low < 1.0 || high > count {
            return None;
        }
        let histogram = self.histogram();
        let (mut below, mut from, mut to) = (0.0, None, None);
        for bucket in histogram.iter_recorded() {
            below += bucket.count_at_value() as f64;
            if from.is_none() && below >= low.floor() {
                from = Some(histogram.lowest_equivalent(bucket.value_iterated_to()));
            }
            if to.is_none() && below >= high.ceil() {
                to = Some(histogram.highest_equivalent(bucket.value_iterated_to()));
            }
        }
        from.zip(to).map(|(from, to)| (self.within(from), self.within(to)))
    }
}

fn histogram(values: &[u64]) -> Histogram<u64> {
    let mut histogram = match Histogram::new(DIGITS) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("{DIGITS} digits are between 0 and 5: {error}"),
    };
    for ns in values {
        put(&mut histogram, *ns, 1);
    }
    histogram
}

/// Records a value of the range; the histogram grows with it (as `saturating_record` does not let it).
fn put(histogram: &mut Histogram<u64>, ns: u64, count: u64) {
    if let Err(error) = histogram.record_n(ns, count) {
        unreachable!("an hour in nanoseconds has far fewer buckets than memory has words: {error}");
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a test fails by panicking; latencies of a test are positive and small"
    )]
    use super::*;

    /// Numbers that look random, always the same ones.
    struct Numbers(u64);

    impl Numbers {
        /// Between 0 and 1, neither included.
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + f64::EPSILON / 4.0
        }

        /// Log-normal, as latencies are: half are below `median_ns`.
        fn latency(&mut self, median_ns: f64, sigma: f64) -> u64 {
            let normal = (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos();
            (median_ns * (sigma * normal).exp()) as u64
        }
    }

    fn exact(sorted: &[u64], quantile: f64) -> u64 {
        let rank = (sorted.len() as f64 * quantile).ceil() as usize;
        sorted[rank.max(1) - 1]
    }

    #[test]
    fn quantiles_of_a_million_are_within_the_stated_error() {
        for (median, sigma) in [(900.0, 0.4), (25_000.0, 1.0), (3_000_000.0, 2.0)] {
            let mut numbers = Numbers(7);
            let mut latencies = Latencies::default();
            let mut values: Vec<u64> = (0..1_000_000).map(|_| numbers.latency(median, sigma)).collect();
            for ns in &values {
                latencies.record(*ns);
            }
            values.sort_unstable();
            let figures = latencies.figures();
            for (quantile, told) in [
                (0.5, figures.p50_ns),
                (0.9, figures.p90_ns),
                (0.99, figures.p99_ns),
                (0.999, figures.p999_ns),
            ] {
                let (exact, told) = (exact(&values, quantile), told.unwrap());
                assert!(told >= exact, "p{quantile}: {told} is below {exact}");
                let error = (told - exact) as f64 / exact as f64;
                assert!(error <= RELATIVE_ERROR, "p{quantile}: {told} for {exact}: {error}");
            }
            let sum: u64 = values.iter().sum();
            assert_eq!(figures.min_ns, values.first().copied());
            assert_eq!(figures.max_ns, values.last().copied());
            assert_eq!(figures.mean_ns, Some(sum / 1_000_000));
            for quantile in [0.5, 0.99] {
                let (low, high) = latencies.bounds(quantile).unwrap();
                let exact = exact(&values, quantile);
                assert!(low <= exact && exact <= high && high - low < exact / 20, "{low} {exact} {high}");
            }
        }
    }

    #[test]
    fn few_values_are_told_like_many() {
        let mut numbers = Numbers(3);
        for count in [1, 2, 10, FEW, FEW + 1, 2_000] {
            let mut latencies = Latencies::default();
            let mut values: Vec<u64> = (0..count).map(|_| numbers.latency(5_000.0, 1.5)).collect();
            for ns in &values {
                latencies.record(*ns);
            }
            values.sort_unstable();
            let told = latencies.figures().p90_ns.unwrap() as f64;
            let exact = exact(&values, 0.9) as f64;
            assert!(
                (exact..=exact * (1.0 + RELATIVE_ERROR)).contains(&told),
                "{told} for {exact} of {count}"
            );
        }
    }

    #[test]
    fn parts_together_tell_what_the_whole_tells() {
        let mut numbers = Numbers(5);
        // Few and few, few and many, many and few, many and many, and none.
        for (a, b) in [(3, 4), (FEW, 1), (10, 2_000), (2_000, 10), (2_000, 3_000), (0, 5), (5, 0), (0, 0)] {
            let mut parts = [Latencies::default(), Latencies::default()];
            let mut whole = Latencies::default();
            for at in 0..a + b {
                let ns = numbers.latency(9_000.0, 1.0);
                parts[usize::from(at >= a)].record(ns);
                whole.record(ns);
            }
            let [mut left, right] = parts;
            left.add(&right);
            assert_eq!(left.figures(), whole.figures(), "{a} and {b}");
            assert_eq!(left.histogram(), whole.histogram(), "{a} and {b}");
            assert_eq!(left.count(), whole.count());
        }
    }

    #[test]
    fn shorter_ones_are_within_twice_the_stated_error() {
        let mut numbers = Numbers(9);
        for count in [0, 100, 5_000] {
            let mut latencies = Latencies::default();
            let mut shorter: Vec<u64> = Vec::new();
            for _ in 0..count {
                let ns = numbers.latency(3_000.0, 0.5);
                latencies.record(ns);
                shorter.push(ns.saturating_sub(700));
            }
            shorter.sort_unstable();
            let figures = latencies.less(700).figures();
            assert_eq!(figures.min_ns, shorter.first().copied());
            assert_eq!(figures.max_ns, shorter.last().copied());
            let Some(told) = figures.p90_ns else { continue };
            let exact = exact(&shorter, 0.9);
            let most = 2.0 * RELATIVE_ERROR * (exact + 700) as f64;
            assert!(told >= exact && (told - exact) as f64 <= most, "{told} for {exact} of {count}");
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.figures(), Figures::default());
        assert_eq!(latencies.bounds(0.5), None);
        for ns in [0, 1, MAX_NS, MAX_NS + 1, u64::MAX] {
            latencies.record(ns);
        }
        assert_eq!((latencies.count(), latencies.clamped()), (5, 2));
        let figures = latencies.figures();
        assert_eq!((figures.min_ns, figures.max_ns), (Some(0), Some(u64::MAX)));
        assert_eq!(latencies.bounds(0.5), None, "five calls say little");
        assert_eq!(figures.less(10).min_ns, Some(0));
        assert_eq!(figures.less(10).max_ns, Some(u64::MAX - 10));
    }

    #[test]
    fn bounds_hold_about_as_often_as_stated() {
        let mut numbers = Numbers(11);
        let held = (0..400)
            .filter(|_| {
                let mut latencies = Latencies::default();
                (0..500).for_each(|_| latencies.record(numbers.latency(20_000.0, 1.0)));
                let (low, high) = latencies.bounds(0.5).unwrap();
                (low..=high).contains(&20_000)
            })
            .count();
        assert!(held >= 388, "the median was within its 99 % bounds {held} times of 400");
    }
}
