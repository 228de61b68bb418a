//! How long correlation and the views take for one record: `cargo run --release --example correlate_speed`.
//!
//! Budget: under 150 ns for a repeated prctl, since a storm makes 2 to 3 million of them a second.
#![expect(clippy::print_stdout, reason = "printing figures is its purpose")]

use std::hint::black_box;
use std::time::Instant;

use goaudit_ebpf::hook::exec::{Exec, flags};
use goaudit_ebpf::hook::prctl::Prctl;
use goaudit_ebpf::units::{Ktime, Tgid, Tid};
use goaudit_ebpf::wire::{Header, Section, Text};
use goaudit_user::correlate::host::NoHost;
use goaudit_user::correlate::{Config, Correlator};
use goaudit_user::decode::Record;
use goaudit_user::event::Event;
use goaudit_user::view::compact::{self, Style};
use goaudit_user::view::{Origin, json};

const ROUNDS: u64 = 2_000_000;

fn head(seq: u64) -> Header {
    Header { seq, ktime: Ktime(seq * 400), tgid: Tgid(7), tid: Tid(7), auid: u32::MAX, ..Header::default() }
}

fn prctl(seq: u64, option: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    Record::Prctl(Prctl { header: head(seq), args: [option, 0, 0, 0, 0], ret: 1 }, None).encode(&mut bytes);
    bytes
}

fn exec(first: u64, out: &mut Vec<Vec<u8>>) {
    let texts: [(Section, &[u8]); 4] = [
        (Section::Filename, b"/usr/bin/ls\0"),
        (Section::Exe, b"ls\0bin\0usr\0"),
        (Section::Cwd, b"alice\0home\0"),
        (Section::ArgsEnv, b"ls\0-l\0/tmp\0PATH=/usr/bin\0HOME=/home/alice\0LANG=C\0"),
    ];
    for (seq, (section, value)) in (first..).zip(texts) {
        let mut bytes = Vec::new();
        Record::Text(Text { header: head(seq), link: first, ..Text::default() }, section, value)
            .encode(&mut bytes);
        out.push(bytes);
    }
    let mut exec = Exec {
        header: head(first + 4),
        link: first,
        argc: 3,
        arg_bytes: 11,
        env_bytes: 38,
        ..Exec::default()
    };
    exec.header.flags = flags::EXECVEAT;
    exec.texts = 4;
    let mut bytes = Vec::new();
    Record::Exec(exec).encode(&mut bytes);
    out.push(bytes);
}

fn tell(what: &str, count: u64, since: Instant) {
    println!("{what:<44} {:>8.1} ns", since.elapsed().as_secs_f64() * 1e9 / count as f64);
}

/// Sets number and time as the kernel would.
fn renumber(bytes: &mut [u8], seq: u64) {
    if let Some(place) = bytes.get_mut(8..24) {
        let (number, time) = place.split_at_mut(8);
        number.copy_from_slice(&seq.to_ne_bytes());
        time.copy_from_slice(&(seq * 400).to_ne_bytes());
    }
}

fn main() {
    let mut out: Vec<Event> = Vec::new();
    let mut correlator = Correlator::new(Config::default(), NoHost);
    let mut same = prctl(1, 3);
    let since = Instant::now();
    for seq in 1..=ROUNDS {
        renumber(&mut same, seq);
        correlator.push(black_box(&same), &mut out);
    }
    tell("a repeated prctl, told once in 100 ms", ROUNDS, since);

    let rounds = ROUNDS / 10;
    let (mut one, mut other) = (prctl(1, 3), prctl(1, 7));
    let since = Instant::now();
    for seq in 0..rounds {
        let bytes = if seq % 2 == 0 { &mut one } else { &mut other };
        renumber(bytes, ROUNDS + 1 + seq);
        correlator.push(black_box(bytes), &mut out);
        if out.len() >= 1024 {
            out.clear();
        }
    }
    tell("a prctl that differs from the one before", rounds, since);

    let mut execs = Vec::new();
    let rounds = ROUNDS / 100;
    for number in 0..rounds {
        exec(number * 5 + 1, &mut execs);
    }
    let mut correlator = Correlator::new(Config::default(), NoHost);
    out.clear();
    let since = Instant::now();
    for record in &execs {
        correlator.push(black_box(record), &mut out);
    }
    tell("an exec of five records", rounds, since);

    let origin = Origin { boot_id: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", host: "h", ..Origin::default() };
    let mut bytes = Vec::with_capacity(64 << 20);
    let mut pass = |what: &str, write: &dyn Fn(&mut Vec<u8>, &Event)| {
        bytes.clear();
        let since = Instant::now();
        for event in &out {
            write(&mut bytes, event);
        }
        tell(what, out.len() as u64, since);
        println!("{:>44} {:>8} bytes", "", bytes.len() / out.len().max(1));
    };
    pass("storing that exec (CBOR)", &|bytes, event| event.encode(bytes));
    pass("that exec as JSON", &|bytes, event| json::write(bytes, event, &origin));
    pass("that exec as a line", &|bytes, event| compact::write(bytes, event, &origin, Style::default()));
}
