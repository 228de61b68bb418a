//! The fixture `runtime-cases`: a profile of its functions, and how often each ended in which way.

use std::collections::BTreeMap;

use goaudit_user::golang::normalise;
use serde_json::Value;

use crate::go_capture::{count, text};
use crate::go_service::Truth;
use crate::logdir::LogDir;

/// The functions of `runtime-cases`.
pub const PROFILE: &str = r#"
[[probe]]
id = "cases.work"
kind = "call"
module = "goaudit.test/runtime-cases"
package = "main"
function = "work"
signature = "func(n int, s string) (done int, err error)"
[probe.fields]
n = "n"
s = "s"
done = "done"
err = "err"

[[probe]]
id = "cases.guard"
kind = "call"
module = "goaudit.test/runtime-cases"
package = "main"
function = "guard"
signature = "func(n int, s string) (recovered bool)"
[probe.fields]
recovered = "recovered"

[[probe]]
id = "cases.scale"
kind = "call"
module = "goaudit.test/runtime-cases"
package = "main"
function = "point.scale"
signature = "func(p point, by int) point"
[probe.types]
point = "struct { x, y, z, w int }"
[probe.fields]
x = "p.x"
w = "p.w"
by = "by"

[[probe]]
id = "cases.wide"
kind = "call"
module = "goaudit.test/runtime-cases"
package = "main"
function = "wide"
signature = "func(a, b, c, d, e, f, g, h, i int, s string) (sum int, same string)"
[probe.fields]
a = "a"
h = "h"
i = "i"
s = "s"
sum = "sum"
same = "same"

[[probe]]
id = "cases.tiny"
kind = "call"
module = "goaudit.test/runtime-cases"
package = "main"
function = "tiny"
signature = "func(n int) int"

[[probe]]
id = "cases.sum"
kind = "call"
module = "goaudit.test/runtime-cases"
package = "main"
function = "sum"
signature = "func(values []int) (total int)"
[probe.fields]
n = "len(values)"
first = "values[0]"
total = "total"

[[probe]]
id = "cases.put"
kind = "call"
module = "goaudit.test/runtime-cases"
package = "main"
function = "(*box).put"
signature = "func(b *box, n int, value string, twice bool) int"
[probe.fields]
n = "n"
value = "value"

[[probe]]
id = "cases.slot"
kind = "call"
module = "goaudit.test/runtime-cases"
package = "main"
function = "slot.put"
signature = "func(s slot, n int, value int64, twice bool) (sum int)"
[probe.types]
slot = "struct { puts int; held int64 }"
[probe.fields]
held = "s.held"
n = "n"
value = "value"
sum = "sum"
"#;

/// Writes [`PROFILE`] into a folder, and gives its path.
///
/// # Panics
/// When it cannot be written.
#[must_use]
#[expect(clippy::expect_used, reason = "a test without its profile has failed")]
pub fn profile(folder: &LogDir) -> String {
    let path = folder.join("cases.toml");
    std::fs::write(&path, PROFILE).expect("the folder can be written to");
    path.display().to_string()
}

/// Outcomes of calls, in the words of truth and of events alike.
const OUTCOMES: [&str; 4] = ["returned", "panicked", "goexit", "crashed"];

/// Number of calls by function and outcome.
pub type Endings = BTreeMap<(String, String), u64>;

/// As the program says. `tiny` is left out: whether it is inlined is the build's matter.
#[must_use]
pub fn truth(truth: &Truth) -> Endings {
    let mut counts = Endings::new();
    for line in &truth.calls {
        for outcome in OUTCOMES {
            let ended = count(line, &format!("/{outcome}"));
            if ended > 0 && text(line, "/function") != "main.tiny" {
                *counts.entry((text(line, "/function").to_owned(), outcome.to_owned())).or_default() += ended;
            }
        }
    }
    counts
}

/// As events say.
pub fn told<'a>(calls: impl Iterator<Item = &'a Value>) -> Endings {
    let mut counts = Endings::new();
    for call in calls {
        let function = normalise(text(call, "/function").as_bytes());
        if function != "main.tiny" {
            *counts.entry((function, text(call, "/outcome").to_owned())).or_default() += 1;
        }
    }
    counts
}
