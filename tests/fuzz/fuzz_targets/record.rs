//! Ring records of any bytes: decoding does not panic, and neither does making events of what decodes. The input is
//! cut into records by the lengths that it states, as the ring would.
#![no_main]

use goaudit_ebpf::units::Ktime;
use goaudit_user::correlate::host::NoHost;
use goaudit_user::correlate::{Config, Correlator};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut correlator = Correlator::new(Config::default(), NoHost);
    let mut events = Vec::new();
    let mut rest = data;
    while let Some(stated) = rest.first_chunk() {
        let len = (u32::from_ne_bytes(*stated) as usize).clamp(1, rest.len());
        let (record, behind) = rest.split_at(len);
        correlator.push(record, &mut events);
        rest = behind;
    }
    correlator.finish(Ktime(u64::MAX), &[], &mut events);
    let mut stored = Vec::new();
    for event in &events {
        stored.clear();
        event.encode(&mut stored);
    }
});
