//! What the kernel side counted of each probe, for the recording's last counters.

use std::collections::BTreeMap;

use goaudit_ebpf::hook::go::Health;

/// Counts by a probe's id, over all programs that had it.
#[derive(Debug, Default)]
pub(super) struct Healths(BTreeMap<String, Health>);

impl Healths {
    pub(super) fn add(&mut self, id: &str, counted: Health) {
        let sum = self.0.entry(id.to_owned()).or_default();
        let Health { entries, returns, restarts, implausible, faults, out_of_scope } = counted;
        for (sum, more) in [
            (&mut sum.entries, entries),
            (&mut sum.returns, returns),
            (&mut sum.restarts, restarts),
            (&mut sum.implausible, implausible),
            (&mut sum.faults, faults),
            (&mut sum.out_of_scope, out_of_scope),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    /// By name, as in `probe_entries:casbin.enforce`. What was not counted once is left out.
    pub(super) fn named(&self) -> Vec<(String, u64)> {
        let of_probe = |(id, health): (&String, &Health)| {
            let Health { entries, returns, restarts, implausible, faults, out_of_scope } = *health;
            [
                ("entries", entries),
                ("returns", returns),
                ("restarts", restarts),
                ("implausible", implausible),
                ("faults", faults),
                ("out_of_scope", out_of_scope),
            ]
            .map(|(what, count)| (format!("probe_{what}:{id}"), count))
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
        healths.add("casbin.enforce", counted);
        healths.add("casbin.enforce", Health { faults: 1, ..counted });
        healths.add("opa.eval", Health::default());
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
