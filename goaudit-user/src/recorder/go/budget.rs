//! What probes cost the probed, and whether that is too much.

use std::collections::HashMap;
use std::time::Instant;

use goaudit_ebpf::hook::go::Health;

use crate::golang::{Class, Costs};

/// How the kernel executes a site, and how many values are read there.
type Site = (Class, u64);

/// A probe's account.
#[derive(Debug)]
struct Account {
    entry: Site,
    exit: Option<Site>,
    seen: (u64, u64),
    at: Instant,
    spent: bool,
}

/// The accounts of all probes.
#[derive(Debug)]
pub(super) struct Budget {
    costs: Option<Costs>,
    /// Part of one CPU.
    limit: Option<f64>,
    accounts: HashMap<u32, Account>,
}

impl Budget {
    pub(super) fn new(limit: Option<f64>) -> Self {
        Self { costs: None, limit, accounts: HashMap::new() }
    }

    /// What hits cost on this host; until it is known, nothing is too dear.
    pub(super) const fn calibrated(&mut self, costs: Option<Costs>) {
        self.costs = costs;
    }

    /// A probe that is going to be attached.
    pub(super) fn know(&mut self, index: u32, entry: Site, exit: Option<Site>) {
        self.accounts.insert(index, Account { entry, exit, seen: (0, 0), at: Instant::now(), spent: false });
    }

    /// A probe whose index may be another one's from now on.
    pub(super) fn forget(&mut self, index: u32) {
        self.accounts.remove(&index);
    }

    /// Whether a probe was taken away for good.
    pub(super) fn is_spent(&self, index: u32) -> bool {
        self.accounts.get(&index).is_some_and(|account| account.spent)
    }

    /// The part of a CPU that a probe cost since the last look, if that is more than it may.
    pub(super) fn overrun(&mut self, index: u32, health: &Health) -> Option<f64> {
        let limit = self.limit?;
        let costs = self.costs?;
        let account = self.accounts.get_mut(&index)?;
        let of = |(class, values)| costs.of(class, values);
        let (entry, exit) = (of(account.entry), account.exit.map_or(0, of));
        let hits =
            (health.entries.wrapping_add(health.restarts).wrapping_add(health.out_of_scope), health.returns);
        let new = (hits.0.saturating_sub(account.seen.0), hits.1.saturating_sub(account.seen.1));
        let elapsed = account.at.elapsed();
        account.seen = hits;
        account.at = Instant::now();
        let cost = new.0.saturating_mul(entry).saturating_add(new.1.saturating_mul(exit));
        #[expect(clippy::cast_precision_loss, reason = "a part of a CPU, told with one digit")]
        let part = cost as f64 / elapsed.as_nanos().max(1) as f64;
        account.spent = part > limit;
        account.spent.then_some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_more_than_it_may_is_found_once_by_its_new_hits() {
        let costs = Costs { emulated_ns: 1_000_000, stepped_ns: 9_000_000, ..Costs::default() };
        let mut budget = Budget::new(Some(0.5));
        budget.calibrated(Some(costs));
        budget.know(1, (Class::Emulated, 0), Some((Class::Stepped, 0)));
        let health = Health { entries: 1_000_000, returns: 1_000_000, ..Health::default() };
        assert!(budget.overrun(1, &health).is_some_and(|part| part > 0.5));
        assert!(budget.is_spent(1));
        assert!(budget.overrun(1, &health).is_none(), "no new hits, no cost");
        assert!(budget.overrun(2, &health).is_none(), "not known");
    }

    #[test]
    fn what_is_read_counts() {
        let costs = Costs { emulated_ns: 100, stepped_ns: 100, record_ns: 10, value_ns: 50 };
        assert_eq!(costs.of(Class::Emulated, 0), 110);
        assert_eq!(costs.of(Class::Stepped, 3), 260);
        assert_eq!(costs.per_call(Class::Emulated, Class::Stepped), 220);
        // Cheap traps, dear values: only those that are read make it too dear.
        let costs = Costs { value_ns: 1_000_000_000, ..Costs::default() };
        for (values, spent) in [(0, false), (3, true)] {
            let mut budget = Budget::new(Some(0.5));
            budget.calibrated(Some(costs));
            budget.know(1, (Class::Emulated, 0), Some((Class::Stepped, values)));
            let health = Health { entries: 1_000_000, returns: 1_000_000, ..Health::default() };
            assert_eq!(budget.overrun(1, &health).is_some(), spent);
        }
    }

    #[test]
    fn without_a_limit_or_without_costs_nothing_is_taken_away() {
        let health = Health { entries: u64::MAX / 2, returns: u64::MAX / 2, ..Health::default() };
        let costs = Costs { emulated_ns: 1_000, stepped_ns: 9_000, ..Costs::default() };
        for (costs, limit) in [(Some(costs), None), (None, Some(0.01))] {
            let mut budget = Budget::new(limit);
            budget.calibrated(costs);
            budget.know(1, (Class::Emulated, 0), Some((Class::Stepped, 0)));
            assert!(budget.overrun(1, &health).is_none());
            assert!(!budget.is_spent(1));
        }
    }
}
