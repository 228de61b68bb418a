//! `goaudit demo`: an embedded capture of ring records through the real pipeline, no root needed.
//!
//! Decode, correlate, seal, follow the log, verify: the code is that of `record`, `replay` and `verify`; only the
//! ring is a file. The log is made in a directory of its own and removed again, unless it is asked for.

use std::path::{Path, PathBuf};

use anyhow::Context;
use goaudit_ebpf::units::Ktime;
use goaudit_ebpf::wire::CpuState;

use super::Exit;
use super::capture::View;
use super::output::{Format, note};
use super::replay::{Show, show};
use crate::audit::{ContentKeys, Now, Writer, WriterConfig};
use crate::correlate::host::{HostInfo, HostProcess};
use crate::correlate::{self, Correlator};
use crate::event::control::{Genesis, Start, Stop};
use crate::event::{Control, Event, Text};
use crate::filter::Filter;
use crate::tap::{self, Head, Item};

/// A recording of `tests/demo.sh` made with `record --tap`; see docs/demo.md.
static CAPTURE: &[u8] = include_bytes!("../../demo/capture.tap");

/// Play an embedded real capture through the real pipeline.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    view: View,

    /// Keep the log that the demo makes in this directory, to try `verify` and `replay` on it.
    #[arg(short = 'w', long = "write", value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    if let Some(directory) = &args.directory {
        return play(args, directory);
    }
    let directory = tempfile::tempdir().context("cannot make a directory for the demo's log")?;
    play(args, directory.path())
}

fn play(args: &Args, directory: &Path) -> anyhow::Result<Exit> {
    note("a capture made on a real host, through the real pipeline; nothing of this host is looked at");
    seal(directory).with_context(|| format!("cannot make the demo's log in {}", directory.display()))?;
    show(Show {
        directory: directory.to_owned(),
        from: 0,
        format: Format::or_default(args.view.output),
        color: args.view.color.enabled(),
        utc: args.view.utc,
        filter: Filter::default(),
        content: ContentKeys::default(),
        follow: None,
    })?;
    let (report, exit) = super::verify::check(directory)?;
    note(super::verify::text(&report).trim_end());
    Ok(exit)
}

/// Records to events to a sealed log.
fn seal(directory: &Path) -> anyhow::Result<()> {
    let mut items = tap::read(CAPTURE);
    let Some(Ok(Item::Head(head))) = items.next() else { anyhow::bail!("the embedded capture has no head") };
    let clock = Clock { offset_ns: head.clock_offset_ns };
    let origin = format!("goaudit/{}/demo", head.host.name);
    let config = WriterConfig::new(&origin, [0; 16], head.boot_id);
    let (mut writer, opened) = Writer::open(directory, config, clock.at(head.boottime_ns))?;
    let mut events = opening(&head, &opened.origin, opened.vkey);
    let mut correlator = Correlator::new(correlate::Config::default(), DemoHost);
    let mut end = Ktime(head.boottime_ns);
    let mut bytes = Vec::new();
    for item in items {
        match item.context("the embedded capture is broken")? {
            Item::Head(_) => {}
            Item::Record(record) => correlator.push(&record, &mut events),
            Item::Books(books) => {
                let kernel: Vec<CpuState> = books.iter().map(CpuState::from).collect();
                correlator.finish(end, &kernel, &mut events);
                let stop = Stop { reason: "end of the capture".to_owned(), counters: correlator.counters() };
                events.push(Event::control(end, Control::Stop(stop)));
            }
        }
        for event in events.drain(..) {
            end = end.max(event.ktime);
            bytes.clear();
            event.encode(&mut bytes);
            writer.append(&bytes, event.ktime.0, event.is_urgent(), clock.at(event.ktime.0))?;
        }
    }
    writer.close(clock.at(end.0))?;
    Ok(())
}

fn opening(head: &Head, origin: &str, verification_key: String) -> Vec<Event> {
    let agent = env!("CARGO_PKG_VERSION").to_owned();
    let genesis = Genesis {
        origin: origin.to_owned(),
        verification_key,
        agent: agent.clone(),
        host: head.host.clone(),
    };
    let start = Start {
        host: head.host.clone(),
        agent,
        clean: true,
        command: vec![Text::from("goaudit"), Text::from("demo")],
        ..Start::default()
    };
    [Control::Genesis(genesis), Control::Start(start)]
        .map(|control| Event::control(Ktime(head.boottime_ns), control))
        .into()
}

/// The capture's own time.
struct Clock {
    offset_ns: i64,
}

impl Clock {
    fn at(&self, boottime_ns: u64) -> Now {
        Now { boottime_ns, realtime_ns: boottime_ns.saturating_add_signed(self.offset_ns) }
    }
}

/// What is known of the capture's host without its records.
struct DemoHost;

impl HostInfo for DemoHost {
    fn process(&mut self, _: u32) -> Option<HostProcess> {
        None
    }

    fn cgroup(&mut self, _: u64) -> Option<Text> {
        None
    }

    fn user(&mut self, uid: u32) -> Option<Text> {
        (uid == 0).then(|| Text::from("root"))
    }
}
