//! Where members of Go's own structures are, by Go release: goroutines, threads, panics, maps, HTTP requests.
//!
//! Data, not knowledge: `offsets/table.rs` is written from what the compilers themselves say (`cargo xtask go-offsets`),
//! and a test compares it with them again. The offsets are the same on amd64 and arm64. Measured with the last patch of
//! each release; for a release that was not measured, those of the nearest are assumed, and whoever uses them must
//! check that what they read is plausible.

use super::{Format, NEWEST_KNOWN, OLDEST_KNOWN};

/// Whether offsets were measured for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confidence {
    /// Measured with a toolchain of this release.
    Known,
    /// Those of another release, the nearest that was measured.
    Assumed((u32, u32)),
}

/// Makes `RuntimeOffsets` from a table: one line a member, the first offset and those that are different since a
/// minor release.
macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident: $kind:ty = $first:expr, [$($later:expr),*];)*) => {
        /// Byte offsets in Go's structures, of one release. `None`: the release has no such member.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct RuntimeOffsets {
            $($(#[$doc])* pub $name: $kind,)*
        }

        impl RuntimeOffsets {
            /// Of Go 1.`minor`, or of the nearest release before it that the table knows.
            pub(super) fn of_minor(minor: u32) -> Self {
                Self { $($name: super::since(minor, $first, &[$($later),*]),)* }
            }

            /// All members, with the names that they have here.
            pub fn named(&self) -> Vec<(&'static str, Option<u32>)> {
                vec![$((stringify!($name), self.$name.into()),)*]
            }
        }
    };
}
use offsets;

mod table;

pub use table::RuntimeOffsets;

/// The last of the offsets that is not newer than a minor release.
fn since<T: Copy>(minor: u32, first: T, later: &[(u32, T)]) -> T {
    later.iter().take_while(|(since, _)| *since <= minor).last().map_or(first, |(_, offset)| *offset)
}

impl RuntimeOffsets {
    /// Those of a Go release (major, minor, patch), or of the nearest one that was measured. Without a release: of the
    /// newest.
    pub fn of(release: Option<(u32, u32, u32)>) -> (Self, Confidence) {
        let asked = release.map(|(major, minor, _)| (major, minor));
        let nearest = asked.unwrap_or(NEWEST_KNOWN).clamp(OLDEST_KNOWN, NEWEST_KNOWN);
        let confidence =
            if asked == Some(nearest) { Confidence::Known } else { Confidence::Assumed(nearest) };
        (Self::of_minor(nearest.1), confidence)
    }

    /// The same for a program: without a release the format of its function table says between which it is. Of those the
    /// newest is assumed.
    pub fn of_program(release: Option<(u32, u32)>, format: Format) -> (Self, Confidence) {
        if let Some((major, minor)) = release {
            return Self::of(Some((major, minor, 0)));
        }
        let newest = match format {
            // Older than any that was measured, or the oldest of those.
            Format::Go1_2 | Format::Go1_16 => OLDEST_KNOWN,
            Format::Go1_18 => (1, 19),
            Format::Go1_20 => NEWEST_KNOWN,
        };
        (Self::of_minor(newest.1), Confidence::Assumed(newest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(minor: u32) -> RuntimeOffsets {
        let (offsets, confidence) = RuntimeOffsets::of(Some((1, minor, 4)));
        assert_eq!(confidence, Confidence::Known);
        offsets
    }

    /// Independent of the generator: read with a debugger from other patch levels (1.19.8, 1.21.13, 1.22.10, 1.23.9,
    /// 1.24.11, 1.25.5, 1.26.6, 1.27.3).
    #[test]
    fn agrees_with_what_a_debugger_told() {
        const MINORS: [u32; 8] = [19, 21, 22, 23, 24, 25, 26, 27];
        let expect = |name: &str, member: fn(&RuntimeOffsets) -> Option<u32>, told: [i64; 8]| {
            for (minor, told) in MINORS.into_iter().zip(told) {
                assert_eq!(member(&of(minor)).map_or(-1, i64::from), told, "{name} in Go 1.{minor}");
            }
        };
        expect("stack.lo", |o| Some(o.g_stack_lo), [0; 8]);
        expect("stack.hi", |o| Some(o.g_stack_hi), [8; 8]);
        expect("g._panic", |o| Some(o.g_panic), [32; 8]);
        expect("g.m", |o| Some(o.g_m), [48; 8]);
        expect("atomicstatus", |o| Some(o.g_atomicstatus), [144, 144, 144, 152, 152, 144, 144, 144]);
        expect("goid", |o| Some(o.g_goid), [152, 152, 152, 160, 160, 152, 152, 152]);
        expect("parentGoid", |o| o.g_parent_goid, [-1, 272, 272, 280, 280, 272, 280, 280]);
        expect("gopc", |o| Some(o.g_gopc), [296, 280, 280, 288, 288, 280, 288, 288]);
        expect("startpc", |o| Some(o.g_startpc), [312, 296, 296, 304, 304, 296, 304, 304]);
        expect("labels", |o| Some(o.g_labels), [360, 344, 344, 352, 352, 344, 352, 352]);
        expect("curg", |o| Some(o.m_curg), [192, 192, 192, 192, 192, 184, 184, 184]);
        expect("gsignal", |o| Some(o.m_gsignal), [80, 80, 80, 80, 80, 72, 72, 72]);
        expect("procid", |o| Some(o.m_procid), [72, 72, 72, 72, 72, 64, 64, 64]);
        expect("_panic.arg", |o| Some(o.panic_arg), [8, 8, 8, 8, 8, 8, 0, 0]);
        expect("_panic.link", |o| Some(o.panic_link), [24, 24, 24, 24, 24, 24, 16, 16]);
        expect("_panic.startSP", |o| o.panic_start_sp, [-1, -1, 40, 40, 40, 40, 32, 32]);
        expect("_panic.sp", |o| Some(o.panic_sp), [40, 40, 48, 48, 48, 48, 40, 48]);
        expect("_panic.recovered", |o| Some(o.panic_recovered), [48, 48, 96, 96, 96, 96, 88, 88]);
        expect("_panic.goexit", |o| Some(o.panic_goexit), [50, 50, 97, 97, 97, 98, 90, 90]);
        expect("moduledata.text", |o| Some(o.moduledata_text), [176; 8]);
        expect("moduledata.etext", |o| Some(o.moduledata_etext), [184; 8]);
        expect("types", |o| Some(o.moduledata_types), [280, 296, 296, 296, 296, 296, 296, 296]);
        expect("etypes", |o| Some(o.moduledata_etypes), [288, 304, 304, 304, 304, 304, 304, 312]);
        expect("Request.ctx", |o| Some(o.request_ctx), [232, 232, 232, 248, 248, 248, 248, 248]);
        expect("Request.Header", |o| Some(o.request_header), [56; 8]);
        expect("Request.Host", |o| Some(o.request_host), [128; 8]);
        expect("Request.RemoteAddr", |o| Some(o.request_remote_addr), [176; 8]);
        expect("valueCtx.key", |o| Some(o.value_ctx_key), [16; 8]);
        expect("valueCtx.val", |o| Some(o.value_ctx_val), [32; 8]);
    }

    #[test]
    fn an_unknown_release_is_bounded_by_the_format_of_the_function_table() {
        let unknown = |format| RuntimeOffsets::of_program(None, format);
        assert_eq!(unknown(Format::Go1_2), (of(17), Confidence::Assumed((1, 17))));
        assert_eq!(unknown(Format::Go1_16), (of(17), Confidence::Assumed((1, 17))));
        assert_eq!(unknown(Format::Go1_18), (of(19), Confidence::Assumed((1, 19))));
        assert_eq!(unknown(Format::Go1_20), (of(27), Confidence::Assumed((1, 27))));
        // Maps are of the old kind up to Go 1.23; which kind a program has is told by these offsets.
        assert_eq!(unknown(Format::Go1_18).0.map_used, None);
        assert!(unknown(Format::Go1_20).0.map_used.is_some());
        // What the program says of itself counts.
        let known = RuntimeOffsets::of_program(Some((1, 21)), Format::Go1_20);
        assert_eq!(known, (of(21), Confidence::Known));
    }

    #[test]
    fn the_nearest_release_is_assumed_for_one_that_was_not_measured() {
        assert_eq!(RuntimeOffsets::of(Some((1, 28, 0))), (of(27), Confidence::Assumed((1, 27))));
        assert_eq!(RuntimeOffsets::of(Some((2, 0, 0))), (of(27), Confidence::Assumed((1, 27))));
        assert_eq!(RuntimeOffsets::of(Some((1, 16, 15))), (of(17), Confidence::Assumed((1, 17))));
        assert_eq!(RuntimeOffsets::of(None), (of(27), Confidence::Assumed((1, 27))));
    }
}
