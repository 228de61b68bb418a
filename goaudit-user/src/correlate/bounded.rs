//! A map that never grows beyond its bound: least recently used entries go first, roughly.
//!
//! Second-chance order: an entry that was looked up since the hand passed survives one more round. Every
//! operation is amortised O(1); nothing here knows what it stores.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

#[derive(Debug)]
struct Slot<V> {
    value: V,
    /// Ties the slot to its place in the queue; older places of the same key are stale.
    born: u64,
    used: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Bounded<K, V> {
    bound: usize,
    slots: HashMap<K, Slot<V>>,
    queue: VecDeque<(K, u64)>,
    births: u64,
    evicted: u64,
}

impl<K: Hash + Eq + Copy, V> Bounded<K, V> {
    /// At most `bound` entries (at least one).
    pub fn new(bound: usize) -> Self {
        Self { bound: bound.max(1), slots: HashMap::new(), queue: VecDeque::new(), births: 0, evicted: 0 }
    }

    /// The value, marked as used.
    pub fn get(&mut self, key: K) -> Option<&mut V> {
        let slot = self.slots.get_mut(&key)?;
        slot.used = true;
        Some(&mut slot.value)
    }

    /// Puts a value, evicting another one when full.
    pub fn insert(&mut self, key: K, value: V) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.value = value;
            slot.used = true;
            return;
        }
        while self.slots.len() >= self.bound && self.evict() {}
        self.births = self.births.wrapping_add(1);
        self.slots.insert(key, Slot { value, born: self.births, used: false });
        self.queue.push_back((key, self.births));
        // At least half of the places are stale then: the work is paid for by the inserts that made them.
        if self.queue.len() > self.slots.len().saturating_mul(2).max(64) {
            let slots = &self.slots;
            self.queue.retain(|(key, born)| slots.get(key).is_some_and(|slot| slot.born == *born));
        }
    }

    fn evict(&mut self) -> bool {
        while let Some((key, born)) = self.queue.pop_front() {
            match self.slots.get_mut(&key) {
                Some(slot) if slot.born == born => {
                    if slot.used {
                        slot.used = false;
                        self.queue.push_back((key, born));
                    } else {
                        self.slots.remove(&key);
                        self.evicted = self.evicted.saturating_add(1);
                        return true;
                    }
                }
                _stale => {}
            }
        }
        false
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: K) -> Option<V> {
        self.slots.remove(&key).map(|slot| slot.value)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Entries that went because the map was full.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_used_entries_stay() {
        let mut map = Bounded::new(3);
        for key in 0..3 {
            map.insert(key, key);
        }
        assert_eq!(map.get(0), Some(&mut 0));
        map.insert(3, 3);
        assert_eq!(map.len(), 3);
        assert!(map.get(0).is_some(), "it was used");
        assert!(map.get(1).is_none(), "the oldest unused one went");
        assert_eq!(map.evicted(), 1);
    }

    #[test]
    fn keys_that_come_and_go_leave_nothing_behind() {
        let mut map = Bounded::new(4);
        for round in 0..10_000u32 {
            map.insert(round % 7, round);
            map.remove(round % 7);
        }
        assert!(map.is_empty());
        assert!(map.queue.len() <= 64);
        assert_eq!(map.evicted(), 0);
    }
}
