//! What the kernel side counted of each probe, for the recording's last counters.

use std::collections::BTreeMap;

use goaudit_ebpf::hook::go::Health;

/// Something that is counted: as it is called in the log, and where it is.
type Count = (&'static str, fn(&Health) -> u64);

const COUNTS: [Count; 6] = [
    ("entries", |health| health.entries),
    ("returns", |health| health.returns),
    ("restarts", |health| health.restarts),
    ("implausible", |health| health.implausible),
    ("faults", |health| health.faults),
    ("out_of_scope", |health| health.out_of_scope),
];

/// Counts by a probe's id, over all programs that had it, in the order of [`COUNTS`].
#[derive(Debug, Default)]
pub(super) struct Healths(BTreeMap<String, [u64; COUNTS.len()]>);

impl Healths {
    pub(super) fn add(&mut self, id: &str, counted: &Health) {
        let sums = self.0.entry(id.to_owned()).or_default();
        for (sum, (_, of)) in sums.iter_mut().zip(COUNTS) {
            *sum = sum.saturating_add(of(counted));
        }
    }

    /// By name, as in `probe_entries:casbin.enforce`. What was not counted once is left out.
    pub(super) fn named(&self) -> Vec<(String, u64)> {
        let of_probe = |(id, sums): (&String, &[u64; COUNTS.len()])| {
            let names = COUNTS.map(|(what, _)| format!("probe_{what}:{id}"));
            names.into_iter().zip(*sums)
        };
        self.0.iter().flat_map(of_probe).filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_with_one_probe_are_summed_up() {
        let mut healths = Healths::default();
        let counted = Health { entries: 3, returns: 2, ..Health::default() };
        healths.add("casbin.enforce", &counted);
        healths.add("casbin.enforce", &Health { faults: 1, ..counted });
        healths.add("opa.eval", &Health::default());
        let named = healths.named();
        let named: Vec<_> = named.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!(
            named,
            [
                ("probe_entries:casbin.enforce", 6),
                ("probe_returns:casbin.enforce", 4),
                ("probe_faults:casbin.enforce", 1)
            ]
        );
    }
}
