//! The content keys that a running writer holds, for whoever shows its log meanwhile.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::ContentKey;

/// Keys by segment. Without a follower only the key of the segment that is written; with one also those of the segments
/// that it has not come to yet.
#[derive(Clone, Default)]
pub struct HeldKeys(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    keys: VecDeque<(u64, Arc<ContentKey>)>,
    follower: Weak<()>,
}

impl HeldKeys {
    /// Takes in the key of a segment that is about to be made.
    pub(in crate::audit) fn put(&self, segment: u64, key: &Arc<ContentKey>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.follower.strong_count() == 0 {
            held.keys.clear();
        }
        held.keys.retain(|(number, _)| *number < segment);
        held.keys.push_back((segment, Arc::clone(key)));
    }

    /// The key of a segment; those of earlier segments are forgotten.
    pub(super) fn take(&self, segment: u64) -> Option<Arc<ContentKey>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.keys.retain(|(number, _)| *number >= segment);
        held.keys.iter().find(|(number, _)| *number == segment).map(|(_, key)| Arc::clone(key))
    }

    /// Begins to follow, until what this returns is dropped.
    pub(super) fn follow(&self) -> Arc<()> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let follower = held.follower.upgrade().unwrap_or_default();
        held.follower = Arc::downgrade(&follower);
        follower
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Arc<ContentKey> {
        Arc::new(ContentKey::new(&mut [7; 32]))
    }

    #[test]
    fn old_keys_are_forgotten_as_soon_as_nobody_needs_them() {
        let keys = HeldKeys::default();
        let (first, second, third) = (key(), key(), key());
        keys.put(0, &first);
        keys.put(1, &second);
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 2));
        let follower = keys.follow();
        keys.put(2, &third);
        assert!(keys.take(1).is_some());
        assert!(keys.take(2).is_some() && keys.take(1).is_none());
        assert_eq!(Arc::strong_count(&second), 1);
        // A segment that could not be made is made again, with another key.
        let again = key();
        keys.put(2, &again);
        assert_eq!(Arc::strong_count(&third), 1);
        assert!(keys.take(2).is_some_and(|found| Arc::ptr_eq(&found, &again)));
        drop(follower);
        keys.put(3, &key());
        assert_eq!(Arc::strong_count(&again), 1);
    }
}
