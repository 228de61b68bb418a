//! What benchmarks compare with: `empty_probes FILE OFFSET...` hangs a program that does nothing at places of a file,
//! says `attached`, and takes them away when its input ends.

use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Context, Result, bail};
use goaudit_user::kernel::EmptyProbes;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, offsets @ ..] = arguments.as_slice() else { bail!("usage: empty_probes FILE OFFSET...") };
    let offsets: Vec<u64> = offsets
        .iter()
        .map(|offset| offset.parse().context("an offset is no number"))
        .collect::<Result<_>>()?;
    let file = File::open(file).with_context(|| format!("failed to open {file}"))?;
    let probes = EmptyProbes::attach(&file, &offsets).context("failed to attach")?;
    let mut output = std::io::stdout();
    writeln!(output, "attached")?;
    output.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(probes);
    Ok(())
}
