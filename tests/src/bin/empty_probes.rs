//! What benchmarks compare with: `empty_probes link|events FILE OFFSET...` hangs a program that does nothing at places of
//! a file, and takes them away when its input ends.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result, bail};
use goaudit_user::kernel::{EmptyProbes, Hanging};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [hanging, file, offsets @ ..] = arguments.as_slice() else {
        bail!("usage: empty_probes link|events FILE OFFSET...")
    };
    let hanging = match hanging.as_str() {
        "link" => Hanging::Link,
        "events" => Hanging::Events,
        other => bail!("not a way of hanging probes: {other} (link, events)"),
    };
    let offsets: Vec<u64> = offsets
        .iter()
        .map(|offset| offset.parse().context("an offset is no number"))
        .collect::<Result<_>>()?;
    let file = File::open(file).with_context(|| format!("failed to open {file}"))?;
    let probes = EmptyProbes::attach(&file, &offsets, hanging).context("failed to attach")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(probes);
    Ok(())
}
