//! `goaudit export`: a log in the forms of other tools.

mod hmac;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Exit;
use super::output::note;
use crate::audit::tiles::{TileFile, Tiles};
use crate::audit::{ProveError, keys, leaves};

/// Write a log in a form that other tools read.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    form: Form,
}

/// Forms; each is one subcommand.
#[derive(Debug, clap::Subcommand)]
enum Form {
    /// The sealed tree as a C2SP tlog-tiles directory, which any static web server serves.
    Tiles(TilesArgs),
    /// Each event's signature in the log's HMAC chain, as JSON lines.
    Hmac(hmac::Args),
}

/// The sealed tree as a C2SP tlog-tiles directory, which any static web server serves.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The entries are the batch headers (256 bytes), not the events: mirrors and monitors of tlog-tiles logs can follow\nthe log and check any checkpoint without learning what happened.\n\nExit codes: 0 ok, 1 no log that can be read or written, 2 usage, 3 the log is damaged or was changed."
)]
struct TilesArgs {
    /// Directory of the log.
    directory: PathBuf,

    /// Directory to write: new or empty.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    /// The log's verification key, or a file that holds it [default: the one beside the log].
    #[arg(long, value_name = "VKEY|FILE")]
    log_key: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.form {
        Form::Tiles(args) => tiles(args),
        Form::Hmac(args) => hmac::run(args),
    }
}

fn tiles(args: &TilesArgs) -> anyhow::Result<Exit> {
    let context = || format!("cannot export {}", args.directory.display());
    let key = match &args.log_key {
        Some(given) => super::verify::log_key(given)?,
        None => keys::load_public(&args.directory).with_context(context)?,
    };
    let out = &args.output;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    if fs::read_dir(out).with_context(|| format!("cannot list {}", out.display()))?.next().is_some() {
        return Err(Exit::Usage.because(format!("{} is not empty: name a new directory", out.display())));
    }
    let (checkpoint, text) = leaves::last_checkpoint(&args.directory, &key).with_context(context)?;
    let mut tiles = Tiles::default();
    // What could not be written ends the walk.
    let mut failed = None;
    let mut files = 0_u64;
    let walked = leaves::each_leaf(&args.directory, &checkpoint, |leaf| {
        let Some(header) = leaf.header else {
            return Err(ProveError::Gap(format!("batch {} is damaged", leaf.number)));
        };
        let done = tiles.push(header, leaf.hash).map_err(|error| ProveError::Gap(error.to_string()))?;
        for file in done {
            files += 1;
            if let Err(error) = write(out, &file) {
                failed.get_or_insert(error);
                return Err(ProveError::Gap("the output cannot be written".to_owned()));
            }
        }
        Ok(())
    });
    if let Some(error) = failed {
        return Err(error);
    }
    walked.with_context(context)?;
    for file in tiles.finish() {
        files += 1;
        write(out, &file)?;
    }
    // Last: a directory with a checkpoint has all its tiles.
    write(out, &TileFile { path: "checkpoint".to_owned(), bytes: text.into_bytes() })?;
    note(&format!("{}: {files} files of tiles and entries, {} batches", out.display(), checkpoint.size));
    Ok(Exit::Ok)
}

fn write(out: &Path, file: &TileFile) -> anyhow::Result<()> {
    let path = out.join(&file.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    fs::write(&path, &file.bytes).with_context(|| format!("cannot write {}", path.display()))
}
