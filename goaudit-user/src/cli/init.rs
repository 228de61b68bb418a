//! `goaudit init`: makes a log and its keys, and shows the key that is to be carried off this host.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{IsTerminal, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Exit;
use super::output::{note, result};
use crate::audit::hmac::HmacKey;
use crate::audit::personal::Personal;
use crate::audit::{Opened, Writer, WriterConfig, has_log, sm2};
use crate::host::{clock, identity};
use crate::personal::Class;

/// Make a new log with its keys, and print its verification key.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sudo goaudit init                          the default log; copy the key to another host\n  sudo goaudit init /var/lib/goaudit/audit | ssh auditor 'cat >> goaudit.keys'\n  goaudit verify DIR --log-key goaudit.keys\n\nStandard output gets the key, and on a terminal its fingerprint (SHA-256 of the key's text) and a QR code. Whoever\nchecks the log later needs that key from outside of this host: who replaced the log replaced the key beside it, too.\n\nExit codes: 0 ok, 1 there is a log already, or it cannot be made, 2 usage."
)]
pub(super) struct Args {
    /// Directory of the log.
    #[arg(default_value = "/var/lib/goaudit/audit")]
    directory: PathBuf,

    /// What the log is called [default: goaudit/HOST/audit]. Its name in checkpoints is that and a hash of its first key.
    #[arg(long)]
    origin: Option<String>,

    /// Days for which events must be kept: pinned in the log's first record [default: for ever].
    #[arg(long, value_name = "DAYS")]
    keep: Option<u32>,

    /// Encrypt the events to this age recipient (`age1...`), or to those in this file, a line each; may be repeated. Nobody
    /// else can read them, also not root of this host once a segment has ended; verifying needs no key. Name at least two:
    /// when all their identities are lost the events are lost.
    #[arg(long, value_name = "RECIPIENT|FILE")]
    encrypt_to: Vec<String>,

    /// Encrypt personal fields for good, each of these classes with a key of its own for each day, so that they can be
    /// destroyed and the log stays proven: subject, object, arguments, user, messages.
    #[arg(long, value_name = "CLASS", value_delimiter = ',', value_parser = class)]
    personal: Vec<Class>,

    /// Who can read personal fields: as --encrypt-to [default: those].
    #[arg(long, value_name = "RECIPIENT|FILE", requires = "personal")]
    personal_to: Vec<String>,

    /// Destroy the keys of personal fields so many days after their day, as `goaudit shred` does [default: never].
    #[arg(long, value_name = "DAYS", requires = "personal")]
    shred_after: Option<u32>,

    /// Give the log an HMAC chain, and write its first key to this new file: who has it can check each event's
    /// signature, HMAC-SHA256(signature before | event), with `verify --hmac-key`. Carry it off this host and remove it
    /// here: it is written only once.
    #[arg(long, value_name = "FILE")]
    hmac: Option<PathBuf>,

    /// Sign checkpoints with an SM2 key, too (goaudit built with the feature `gm`).
    #[arg(long)]
    sm2: bool,

    /// Show fingerprint and QR code also if standard output is no terminal.
    #[arg(long)]
    qr: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let directory = &args.directory;
    if has_log(directory)? {
        return Err(Exit::Error.because(format!(
            "cannot make a log in {}: there is one already; `goaudit record -w` continues it, and its key is in \
             keys/log.vkey",
            directory.display()
        )));
    }
    let origin = args.origin.clone().unwrap_or_else(super::recording::origin);
    let mut config = WriterConfig::new(origin, identity::host_id(), identity::boot_id());
    config.retention = Duration::from_secs(u64::from(args.keep.unwrap_or(0)) * 86_400);
    config.encrypt_to = super::content::recipients(&args.encrypt_to)?;
    config.personal = personal(args)?;
    if args.sm2 && !sm2::BUILT {
        return Err(
            Exit::Usage.because("--sm2: this goaudit is built without the feature gm, and does not know SM2")
        );
    }
    config.sm2 = args.sm2;
    config.hmac = args.hmac.as_deref().map(new_hmac_key).transpose()?;
    let made = Writer::open(directory, config, clock::now())
        .and_then(|(writer, opened)| writer.close(clock::now()).map(|()| opened))
        .with_context(|| format!("cannot make a log in {}", directory.display()));
    if let (Err(_), Some(path)) = (&made, &args.hmac) {
        // The key of nothing; the error above is the one to tell.
        let _ = fs::remove_file(path);
    }
    let opened = made?;
    let mut text = format!("{}\n", opened.vkey);
    if args.qr || std::io::stdout().is_terminal() {
        writeln!(text, "fingerprint {}\n{}", fingerprint(&opened.vkey), qr(&opened.vkey)?)?;
    }
    result(text.as_bytes())?;
    tell_recipients(&opened);
    note(&format!("made the log in {}: keep that key somewhere else than on this host", directory.display()));
    if let Some(key) = &opened.sm2_key {
        note(&format!("SM2 verification key {key} (also in keys/sm2.vkey)"));
    }
    if let Some(path) = &args.hmac {
        note(&format!(
            "the key of the HMAC chain is in {}: carry it off this host and remove it here; it cannot be had again",
            path.display()
        ));
    }
    Ok(Exit::Ok)
}

/// How personal fields are to be encrypted.
fn personal(args: &Args) -> anyhow::Result<Option<Personal>> {
    if args.personal.is_empty() {
        return Ok(None);
    }
    let to = if args.personal_to.is_empty() { &args.encrypt_to } else { &args.personal_to };
    let Some(recipients) = super::content::recipients(to)? else {
        return Err(
            Exit::Usage.because("--personal: say who can read these fields, with --personal-to RECIPIENT")
        );
    };
    let mut classes = args.personal.clone();
    classes.sort();
    classes.dedup();
    Ok(Some(Personal {
        classes: classes.iter().map(|class| class.name().to_owned()).collect(),
        recipients: recipients.names().to_vec(),
        shred_after_days: args.shred_after.unwrap_or(0),
    }))
}

/// A class of personal fields by its name.
pub(super) fn class(name: &str) -> Result<Class, String> {
    Class::of(name).ok_or_else(|| {
        let known: Vec<String> =
            Class::NAMES.iter().map(|(_, name, what)| format!("{name} ({what})")).collect();
        format!("there is no such class; there are {}", known.join(", "))
    })
}

/// Makes the first key of an HMAC chain, in a new file for its owner only.
fn new_hmac_key(path: &Path) -> anyhow::Result<HmacKey> {
    let context = || format!("cannot write the key of the HMAC chain to {}", path.display());
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).context("cannot get random bytes")?;
    let key = HmacKey::from_seed(*seed);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(context)?;
    file.write_all(format!("{}\n", key.text().as_str()).as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(context)?;
    Ok(key)
}

/// Tells the key of a log that is recorded into; loudly if it was made just now.
pub(super) fn tell(opened: &Opened) {
    if opened.new_log {
        note("THIS IS A NEW LOG. Keep its verification key somewhere else than on this host:");
        note(&format!("verification key {}", opened.vkey));
        note(&format!("fingerprint {}", fingerprint(&opened.vkey)));
    } else {
        note(&format!("verification key {}", opened.vkey));
    }
    tell_recipients(opened);
    if let Some(why) = &opened.key_chain_broken {
        note(&format!(
            "THE CHAIN OF EPOCH KEYS IS BROKEN: {why}. `goaudit verify` will always tell. What was sealed before stays \
             proven; if nobody here did this, take it for an attack"
        ));
    }
}

/// Tells who can read what is recorded, if not everybody can.
fn tell_recipients(opened: &Opened) {
    if !opened.encrypted_to.is_empty() {
        note(&format!("events are encrypted to {}", opened.encrypted_to.join(", ")));
    }
    if let Some(Personal { classes, recipients, shred_after_days }) = &opened.personal {
        let until = match shred_after_days {
            0 => "until `goaudit shred` destroys their keys".to_owned(),
            days => format!("and their keys destroyed after {days} days"),
        };
        note(&format!(
            "personal fields ({}) are encrypted to {}, {until}",
            classes.join(", "),
            recipients.join(", ")
        ));
    }
}

/// SHA-256 of the key's text, in groups that can be read aloud.
fn fingerprint(vkey: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(vkey).into();
    hash.chunks(2).map(crate::audit::hex).collect::<Vec<_>>().join(" ")
}

/// The key as a QR code for a terminal.
fn qr(vkey: &str) -> anyhow::Result<String> {
    let code = QrCode::new(vkey).context("cannot draw the key as a QR code")?;
    Ok(code.render::<Dense1x2>().quiet_zone(true).build())
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    #[test]
    fn a_fingerprint_is_the_sha256_of_the_text() {
        // printf abc | sha256sum
        assert!(fingerprint("abc").starts_with("ba78 16bf 8f01 cfea 4141 40de 5dae 2223"));
    }
}
