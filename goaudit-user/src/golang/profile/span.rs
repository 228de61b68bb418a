//! The OpenTelemetry span in a `context.Context`: trace id and span id, as the call's own context has them.
//!
//! A context keeps its span under a key of a type of its own (`trace.traceContextKeyType`), so that only what
//! OpenTelemetry put there is found. A span is one of a few types, whose layout depends on the version of the module:
//! the table [`SPANS`] says where each has its `trace.SpanContext`, which begins with both ids.

use super::super::build_info::BuildInfo;
use super::super::type_name::TypeName;
use super::digest::hex;
use super::version::Versions;

/// The type of the key under which a context keeps its span.
pub(super) const KEY: &str = "trace.traceContextKeyType";
/// Bytes of a trace id and of a span id.
pub(super) const IDS: usize = 24;
/// Bytes that are taken of a span's beginning: up to the ids of every small one. No span is smaller than that, but for the
/// one that does nothing.
pub(super) const HEAD: usize = 48;

const TRACE_ID: usize = 16;

/// A type of spans.
struct Kind {
    package: &'static str,
    name: &'static str,
    /// The module whose version decides.
    module: &'static str,
    /// Where the ids are: versions, and bytes from the span's beginning. None of them: not known.
    ids: &'static [(&'static str, u32)],
}

/// The kind whose ids lie behind [`HEAD`]: they are taken by themselves.
const RECORDING: &str = "*trace.recordingSpan";

/// Up to 1.19 without `embedded.Span` in front, which has two words. Up to 1.3 recording spans had other fields.
/// Sources: go.opentelemetry.io/otel, sdk/trace/span.go, trace/{trace,auto}.go, trace/noop/noop.go,
/// internal/global/trace.go; checked with DWARF in the versions that the fixture `identity` pins.
const SPANS: [Kind; 6] = [
    Kind {
        package: "go.opentelemetry.io/otel/sdk/trace",
        name: RECORDING,
        module: "go.opentelemetry.io/otel/sdk",
        ids: &[(">=1.20", 192), (">=1.4, <1.20", 176)],
    },
    Kind {
        package: "go.opentelemetry.io/otel/sdk/trace",
        name: "trace.nonRecordingSpan",
        module: "go.opentelemetry.io/otel/sdk",
        ids: &[(">=1.20", 24), (">=1.0, <1.20", 8)],
    },
    Kind {
        package: "go.opentelemetry.io/otel/trace",
        name: "trace.nonRecordingSpan",
        module: "go.opentelemetry.io/otel/trace",
        ids: &[(">=1.20", 16), (">=1.0, <1.20", 0)],
    },
    Kind {
        package: "go.opentelemetry.io/otel/trace",
        name: "*trace.autoSpan",
        module: "go.opentelemetry.io/otel/trace",
        ids: &[(">=1.0", 16)],
    },
    Kind {
        package: "go.opentelemetry.io/otel/trace/noop",
        name: "noop.Span",
        module: "go.opentelemetry.io/otel/trace",
        ids: &[(">=1.20", 16)],
    },
    Kind {
        package: "go.opentelemetry.io/otel/internal/global",
        name: "global.nonRecordingSpan",
        module: "go.opentelemetry.io/otel",
        ids: &[(">=1.20", 16), (">=1.0, <1.20", 0)],
    },
];

/// Go 1.20 alone has a pointer where other contexts have the one that they are derived from
/// (`context.timerCtx` embeds `*cancelCtx`), and there the search ends.
const HIDES_BEHIND_DEADLINES: (u32, u32) = (1, 20);

/// Where the spans of a program are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// For each of [`SPANS`] where its ids are, in bytes from its beginning, if that is known.
    ids: [Option<u32>; SPANS.len()],
    /// What it means that none is found.
    pub(super) none: &'static str,
}

impl Layout {
    /// For the modules that a program was built from. Where build info has no version (a program in whose workspace the
    /// module lies), as the newest.
    pub(super) fn of(build: Option<&BuildInfo>) -> Self {
        let ids = SPANS.each_ref().map(|kind| {
            let modules = build.map(|build| build.modules.as_slice()).unwrap_or_default();
            let module = modules.iter().find(|module| module.path == kind.module);
            let version = module.map(|module| &module.replace.as_deref().unwrap_or(module).version);
            let fits = |constraint: &str| {
                let allowed = Versions::parse(constraint).ok()?.allow(version?);
                Some(allowed.unwrap_or(true))
            };
            kind.ids
                .iter()
                .find(|(constraint, _)| fits(constraint).unwrap_or(true))
                .map(|(_, offset)| *offset)
        });
        let none = if build.and_then(BuildInfo::release) == Some(HIDES_BEHIND_DEADLINES) {
            "the call's context has no OpenTelemetry span, or one behind a context with a deadline, which Go 1.20 hides"
        } else {
            "the call's context has no OpenTelemetry span"
        };
        Self { ids, none }
    }

    /// Where recording spans have their ids.
    pub(super) fn recording(&self) -> Option<u32> {
        SPANS.iter().zip(self.ids).find(|(kind, _)| kind.name == RECORDING).and_then(|(_, offset)| offset)
    }

    /// The ids of a span of a type, in hexadecimal: out of its first bytes, or those that were taken by themselves; or why
    /// there are none.
    pub(super) fn ids(
        &self,
        of: &TypeName,
        head: Option<&[u8]>,
        recorded: Option<&[u8]>,
    ) -> Result<(String, String), String> {
        let is_kind = |kind: &Kind| kind.name == of.name && of.package.as_deref() == Some(kind.package);
        let Some((kind, offset)) = SPANS.iter().zip(self.ids).find(|(kind, _)| is_kind(kind)) else {
            return Err(format!("the context's span is a {}, whose ids are not read", of.name));
        };
        let Some(offset) = offset else {
            return Err(format!("where a {} of this version has its ids is not known", of.name));
        };
        let bytes = if kind.name == RECORDING {
            recorded
        } else {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            head.and_then(|head| head.get(start..start.checked_add(IDS)?))
        };
        let ids = bytes
            .and_then(|bytes| bytes.split_at_checked(TRACE_ID))
            .filter(|(_, span)| span.len() == IDS - TRACE_ID);
        let (trace, span) = ids.ok_or("the memory of the context's span was not there")?;
        let is_zero = |id: &[u8]| id.iter().all(|byte| *byte == 0);
        if is_zero(trace) || is_zero(span) {
            return Err("the context's span has no ids".to_owned());
        }
        Ok((hex(trace), hex(span)))
    }
}
