//! `goaudit export hmac`: the signatures that the log itself keeps only one of a batch.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::audit::hmac::HmacSchedule;
use crate::audit::{self, BatchInfo, Verdict, VerifyOptions};
use crate::cli::Exit;
use crate::cli::output::note;

/// Each event's signature in the log's HMAC chain, as JSON lines.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "One line an event:\n  {\"seq\":17,\"generation\":0,\"step\":3,\"event\":\"BASE64\",\"signature\":\"64 HEX DIGITS\"}\nsignature = HMAC-SHA256(key, signature before | event), beginning with 32 zero bytes; the event is what is stored, and\nthe key is derived from the first one by generation and step (docs/audit-format.md, section 22), so that other tools can\ncompute every line. The log is verified on the same pass.\n\nExit codes: 0 ok, 1 unreadable, 2 usage, 3 the log is damaged or was changed, 4 no signatures: another key, or no HMAC chain."
)]
pub(super) struct Args {
    /// Directory of the log.
    directory: PathBuf,

    /// The first key of the chain, as `init --hmac` wrote it.
    #[arg(long, value_name = "FILE")]
    hmac_key: PathBuf,

    /// The log's verification key, or a file that holds it [default: the one beside the log].
    #[arg(long, value_name = "VKEY|FILE")]
    log_key: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let key = crate::cli::verify::hmac_key(&args.hmac_key)?;
    let mut schedule = HmacSchedule::new(&key);
    let log_key = args.log_key.as_deref().map(crate::cli::verify::log_key).transpose()?;
    let options = VerifyOptions { log_key, hmac_key: Some(key), ..VerifyOptions::default() };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    // What could not be written ends the output.
    let mut failed = None;
    let mut batch: Vec<Vec<u8>> = Vec::new();
    let mut visit = |info: &BatchInfo, index: usize, event: &[u8]| {
        let (Some(place), None) = (&info.hmac, &failed) else { return };
        if index == 0 {
            batch.clear();
        }
        batch.push(event.to_vec());
        if batch.len() as u64 != u64::from(info.events) {
            return;
        }
        let signatures = schedule.signatures(place, batch.iter().map(Vec::as_slice));
        for ((seq, event), signature) in (info.first_seq..).zip(&batch).zip(signatures) {
            let line = writeln!(
                out,
                "{{\"seq\":{seq},\"generation\":{},\"step\":{},\"event\":\"{}\",\"signature\":\"{}\"}}",
                place.generation,
                place.step,
                BASE64.encode(event),
                audit::hex(&signature)
            );
            if let Err(error) = line {
                failed = Some(error);
                return;
            }
        }
    };
    let report = audit::verify(std::slice::from_ref(&args.directory), &options, Some(&mut visit))
        .with_context(|| format!("cannot export {}", args.directory.display()))?;
    match failed.or_else(|| out.flush().err()) {
        Some(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Exit::Ok),
        Some(error) => return Err(error).context("cannot write the signatures"),
        None => {}
    }
    if let Some(check) = report.checks.iter().find(|check| check.name == "hmac_chain" && !check.ok) {
        note(&check.detail);
    }
    match report.verdict {
        Verdict::Damaged | Verdict::Tampered => {
            if let Some(bad) = &report.first_bad {
                note(&format!("the log is damaged or was changed: {}", bad.what));
            }
            Ok(Exit::Tampered)
        }
        Verdict::Ok | Verdict::Incomplete => {
            let proven = report.checks.iter().any(|check| check.name == "hmac_chain" && check.ok);
            Ok(if proven { Exit::Ok } else { Exit::Incomplete })
        }
    }
}
