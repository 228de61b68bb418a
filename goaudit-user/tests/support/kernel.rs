//! A kernel side made of values: numbers records per CPU, loses some, and keeps the counters that a real one
//! keeps. For tests of everything behind the ring.

use goaudit_ebpf::hook::exec::Exec;
use goaudit_ebpf::units::{Ktime, Tgid, Tid};
use goaudit_ebpf::wire::{CpuState, Header, Lost, Section, Text};
use goaudit_user::decode::Record;

/// Who does something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    pub(crate) tgid: u32,
    pub(crate) tid: u32,
    pub(crate) ppid: u32,
    pub(crate) uid: u32,
    pub(crate) comm: &'static str,
    pub(crate) start: u64,
    pub(crate) cgroup: u64,
}

impl Who {
    pub(crate) const fn new(tgid: u32, comm: &'static str) -> Self {
        Self { tgid, tid: tgid, ppid: 1, uid: 1000, comm, start: tgid as u64 * 1_000_000, cgroup: 42 }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    pub(crate) states: Vec<CpuState>,
    pub(crate) now: u64,
    link: u64,
}

impl Kernel {
    pub(crate) fn new(cpus: usize) -> Self {
        Self { states: vec![CpuState::default(); cpus], now: 1_000_000_000, link: 0 }
    }

    /// The next head of a CPU: takes its number.
    pub(crate) fn head(&mut self, cpu: u32, who: Who) -> Header {
        let state = &mut self.states[cpu as usize];
        state.seq += 1;
        self.now += 1_000;
        let mut comm = [0; 16];
        comm[..who.comm.len()].copy_from_slice(who.comm.as_bytes());
        Header {
            seq: state.seq,
            ktime: Ktime(self.now),
            start: Ktime(who.start),
            cgroup: who.cgroup,
            cpu,
            tgid: Tgid(who.tgid),
            tid: Tid(who.tid),
            ppid: Tgid(who.ppid),
            uid: who.uid,
            gid: who.uid,
            euid: who.uid,
            egid: who.uid,
            auid: u32::MAX,
            comm,
            ..Header::default()
        }
    }

    /// Records that were seen and did not make it.
    pub(crate) fn lose(&mut self, cpu: u32, count: u64, cause: Lost) {
        let state = &mut self.states[cpu as usize];
        state.seq += count;
        state.lost[cause as usize] += count;
    }

    /// The bytes of a record.
    pub(crate) fn bytes(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }

    /// An exec with its texts, each value in pieces of `chunk` bytes. `fill` sets what the head does not.
    pub(crate) fn exec(
        &mut self,
        cpu: u32,
        who: Who,
        chunk: usize,
        values: &[(Section, &[u8])],
        fill: impl FnOnce(&mut Exec),
    ) -> Vec<Vec<u8>> {
        self.link += 1;
        let mut records = Vec::new();
        for (section, value) in values {
            let mut offset = 0;
            let pieces: Vec<&[u8]> = if value.is_empty() { vec![b""] } else { value.chunks(chunk).collect() };
            for piece in pieces {
                let header = self.head(cpu, who);
                let total = u32::try_from(value.len()).unwrap();
                let head = Text { header, link: self.link, offset, total, ..Text::default() };
                records.push(Self::bytes(&Record::Text(head, *section, piece)));
                offset += u32::try_from(piece.len()).unwrap();
            }
        }
        let mut exec = Exec {
            header: self.head(cpu, who),
            link: self.link,
            texts: u32::try_from(records.len()).unwrap(),
            session: u32::MAX,
            old_tid: who.tid,
            ..Exec::default()
        };
        fill(&mut exec);
        records.push(Self::bytes(&Record::Exec(exec)));
        records
    }
}
