//! Histograms as an HdrHistogram interval log: one interval a group, from the first call to the last, its tag
//! being the group's key. The usual tools read it (HistogramLogProcessor with `-tag TAG`, HistogramLogAnalyzer, the
//! libraries of many languages). Values are nanoseconds; the text column `Interval_Max` is in milliseconds, as
//! usual.

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};
use thiserror::Error;

use super::{By, Group, Histograms};

/// Why a log could not be written. Reads after "failed to ".
#[derive(Debug, Error)]
pub enum ExportError {
    /// The file.
    #[error("write the interval log: {0}")]
    Io(#[from] std::io::Error),
    /// The histogram's compressed form.
    #[error("encode a histogram: {0}")]
    Encode(String),
}

/// Writes the groups that have latencies; returns how many.
pub fn interval_log(histograms: &Histograms, out: &mut impl Write) -> Result<usize, ExportError> {
    let by = &histograms.config().by;
    let (from, to) = histograms.span().unwrap_or_default();
    let since_1970 = |ns: i64| Duration::from_nanos(u64::try_from(ns).unwrap_or(0));
    let (start, length) = (since_1970(from), since_1970(to.saturating_sub(from)));
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    // What the Java writer puts first, word for word: some readers look for it.
    builder.add_comment("[Histogram log format version 1.3]");
    builder.add_comment(&format!(
        "[Latencies of Go calls in nanoseconds, recorded by goaudit; {} latencies of more than an hour count as an \
         hour]",
        histograms.clamped()
    ));
    builder.with_max_value_divisor(1e6);
    let mut log = builder.begin_log_with(out, &mut serializer)?;
    let mut written = 0_usize;
    for group in histograms.all().into_iter().filter(|group| group.latencies.count() > 0) {
        let tag = tag(by, group);
        let latencies = group.latencies.raw();
        let histogram = latencies.histogram();
        log.write_histogram(histogram.as_ref(), start, length, Tag::new(&tag)).map_err(
            |error| match error {
                IntervalLogWriterError::IoError(error) => ExportError::Io(error),
                IntervalLogWriterError::SerializeError(error) => ExportError::Encode(error.to_string()),
            },
        )?;
        written = written.saturating_add(1);
    }
    Ok(written)
}

/// `probe=casbin.enforce;decision=allow`. What a tag or a terminal cannot have is written as `%41`.
fn tag(by: &[By], group: &Group) -> String {
    if group.key.is_empty() {
        return "(other)".to_owned();
    }
    let mut text = String::new();
    for (at, (by, part)) in by.iter().zip(&group.key).enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{}=", if at == 0 { "" } else { ";" }, by.name());
        for byte in part.bytes() {
            if byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'%' | b'"') {
                text.push(char::from(byte));
            } else {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}
