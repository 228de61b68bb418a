//! Which places of a table are free.

use std::collections::BTreeMap;

/// Runs of free places: first place and length. Never two side by side.
#[derive(Debug)]
pub(super) struct Places(BTreeMap<u32, u32>);

impl Places {
    /// A table of `len` places, all of them free.
    pub(super) fn new(len: u32) -> Self {
        Self(BTreeMap::from([(0, len)]))
    }

    /// Takes the first run of `len` places; `None` when no run is that long.
    pub(super) fn take(&mut self, len: u32) -> Option<u32> {
        if len == 0 {
            return Some(0);
        }
        let (first, free) =
            self.0.iter().map(|(first, free)| (*first, *free)).find(|(_, free)| *free >= len)?;
        self.0.remove(&first);
        if free > len {
            self.0.insert(first.saturating_add(len), free - len);
        }
        Some(first)
    }

    /// Gives back what was taken.
    pub(super) fn give_back(&mut self, first: u32, len: u32) {
        if len == 0 {
            return;
        }
        let (mut first, mut len) = (first, len);
        if let Some(behind) = self.0.remove(&first.saturating_add(len)) {
            len = len.saturating_add(behind);
        }
        let before = self.0.range(..first).next_back().map(|(first, free)| (*first, *free));
        if let Some((start, free)) = before.filter(|(start, free)| start.saturating_add(*free) == first) {
            (first, len) = (start, len.saturating_add(free));
        }
        self.0.insert(first, len);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_table_is_full_until_something_is_given_back() {
        let mut places = Places::new(10);
        assert_eq!([places.take(4), places.take(4), places.take(4)], [Some(0), Some(4), None]);
        assert_eq!((places.take(2), places.take(1), places.take(0)), (Some(8), None, Some(0)));
        places.give_back(4, 4);
        places.give_back(0, 4);
        assert_eq!(places.take(8), Some(0));
        assert_eq!(places.take(1), None);
    }

    proptest! {
        #[test]
        fn nothing_is_given_out_twice_and_all_comes_back(
            steps in proptest::collection::vec((any::<bool>(), 0..20_u32, any::<prop::sample::Index>()), 0..200)
        ) {
            const LEN: u32 = 64;
            let mut places = Places::new(LEN);
            let mut taken: Vec<(u32, u32)> = Vec::new();
            for (take, len, which) in steps {
                if take {
                    if let Some(first) = places.take(len) {
                        prop_assert!(first + len <= LEN);
                        let apart = |(start, other): &(u32, u32)| first + len <= *start || start + other <= first;
                        prop_assert!(len == 0 || taken.iter().all(apart), "{first} {len} {taken:?}");
                        if len > 0 {
                            taken.push((first, len));
                        }
                    }
                } else if !taken.is_empty() {
                    let (first, len) = taken.swap_remove(which.index(taken.len()));
                    places.give_back(first, len);
                }
            }
            for (first, len) in taken {
                places.give_back(first, len);
            }
            prop_assert_eq!(places.take(LEN), Some(0));
        }
    }
}
