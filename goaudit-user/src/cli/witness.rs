//! `goaudit witness`: cosigns checkpoints of logs, so that none of them can be cut or replaced unseen.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

use super::Exit;
use super::output::note;
use crate::audit::cosignature::WitnessSigner;
use crate::audit::witness::{MAX_REQUEST, Witness};
use crate::http::{Reply, Server};

/// Cosign checkpoints of logs that only ever grow (C2SP tlog-witness).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  goaudit witness --state /var/lib/goaudit/witness --name example.org/w1 --log app1.vkey --log app2.vkey\n  goaudit anchor DIR --witness http://127.0.0.1:7380+VKEY     on the log's side\n\nRun it on another machine than the logs, under another operator. It remembers the last checkpoint of each log and\ncosigns only what extends it, so that a log that was cut, rolled back or forked gets no cosignature any more. Any\nC2SP log can use it. It speaks plain HTTP on loopback; put a proxy with TLS before it, or a tunnel, for others.\nIt prints the key that verifiers put into their policy.\n\nExit codes: 0 ended by a signal, 1 cannot listen or read its state, 2 usage."
)]
pub(super) struct Args {
    /// Directory of the witness's key and of what it has seen; made if it is not there.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,

    /// Name of the witness in its cosignatures, for a new one, such as `example.org/w1`.
    #[arg(long)]
    name: Option<String>,

    /// Verification key of a log to follow, or a file that holds it. May be repeated.
    #[arg(long, value_name = "VKEY|FILE", required = true)]
    log: Vec<String>,

    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7380")]
    listen: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let logs = args.log.iter().map(|log| super::verify::log_key(log)).collect::<Result<Vec<_>, _>>()?;
    let signer = key(&args.state, args.name.as_deref())?;
    let count = logs.len();
    let witness = Witness::open(&args.state, signer, logs).context("cannot be a witness")?;
    let vkey = witness.key().text();
    let server = Server::bind(&args.listen, MAX_REQUEST).context("cannot be a witness")?;
    let address = server.address().context("cannot be a witness")?;
    // The first line is for programs: where it is, with its key, as `anchor --witness` takes it.
    super::output::result(format!("http://{address}+{vkey}\n").as_bytes())?;
    note(&format!("witness of {count} logs on http://{address}; Ctrl-C ends"));
    let witness = Mutex::new(witness);
    server.run(move |method, path, body| answer(&witness, method, path, body))?;
    Ok(Exit::Ok)
}

fn answer(witness: &Mutex<Witness>, method: &str, path: &str, body: &[u8]) -> Reply {
    match (method, path) {
        ("POST", "/add-checkpoint") => {}
        (_, "/add-checkpoint") => return Reply::status(405),
        _ => return Reply::status(404),
    }
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    // One at a time: what is compared is still so when it is stored. After a panic nothing is cosigned any more.
    let Ok(mut witness) = witness.lock() else { return Reply::status(500) };
    match witness.add_checkpoint(body, time) {
        Ok(answer) => {
            Reply { status: answer.status, content_type: answer.content_type, body: answer.body.into_bytes() }
        }
        Err(error) => {
            note(&format!("no cosignature: {error}"));
            Reply::status(500)
        }
    }
}

/// The witness's key, made if there is none and a name is given.
fn key(state: &Path, name: Option<&str>) -> anyhow::Result<WitnessSigner> {
    let path = state.join("witness.key");
    if !path.try_exists().with_context(|| format!("cannot look at {}", path.display()))? {
        let name = name.ok_or_else(|| {
            Exit::Usage
                .because(format!("no key in {} yet: give --name, such as example.org/w1", state.display()))
        })?;
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|error| anyhow::anyhow!("cannot get random bytes: {error}"))?;
        let signer = WitnessSigner::from_seed(name, &seed)
            .map_err(|error| Exit::Usage.because(format!("--name {name}: {error}")))?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state)
            .with_context(|| format!("cannot make {}", state.display()))?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        std::io::Write::write_all(&mut file, format!("{}\n", signer.text().as_str()).as_bytes())
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot write {}", path.display()))?;
        return Ok(signer);
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    fs::File::open(&path)
        .and_then(|file| file.take(4096).read_to_string(&mut text))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let signer = WitnessSigner::parse(text.trim_end_matches('\n'))
        .with_context(|| format!("cannot use the key {}", path.display()))?;
    if let Some(name) = name.filter(|name| *name != signer.public().name()) {
        return Err(Exit::Usage.because(format!(
            "--name {name}: the witness in {} is called {}; another one needs another --state",
            state.display(),
            signer.public().name()
        )));
    }
    Ok(signer)
}
