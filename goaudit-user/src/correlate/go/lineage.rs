//! Which request a goroutine works for: the one that it serves, or one that a goroutine serves that started it.
//!
//! Go tells a goroutine's parent (`g.parentGoid`, since 1.21), not when it was started. So what is found when a goroutine
//! is first seen holds for all its life, and only while that request is under way: a worker that outlives the request in
//! which it was started is not taken for part of the next one.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::event::go::RequestContext;

/// Goroutines between one and the one that serves its request, itself included.
const HOPS: u8 = 3;
/// Goroutines of a process that are remembered; beyond it all are forgotten.
const KNOWN_MAX: usize = 65_536;

/// The goroutines of a process that serve no request themselves.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    /// The process serves requests.
    serves: bool,
    known: HashMap<u64, Ancestor>,
}

/// For whom a goroutine works. The request lives as long as the call that serves it.
#[derive(Debug, Clone, Default)]
struct Ancestor {
    request: Weak<RequestContext>,
    hops: u8,
}

impl Lineage {
    /// A request began.
    pub(super) const fn served(&mut self) {
        self.serves = true;
    }

    /// The request that a goroutine works for without serving it. `serving` tells which one a goroutine serves.
    pub(super) fn request_of<'a>(
        &mut self,
        goid: u64,
        parent: Option<u64>,
        serving: impl Fn(u64) -> Option<&'a Arc<RequestContext>>,
    ) -> Option<Arc<RequestContext>> {
        if !self.serves {
            return None;
        }
        if let Some(known) = self.known.get(&goid) {
            return known.request.upgrade();
        }
        let of_parent = |parent| {
            if let Some(request) = serving(parent) {
                return Some(Ancestor { request: Arc::downgrade(request), hops: 1 });
            }
            let known = self.known.get(&parent).filter(|known| known.hops < HOPS)?;
            Some(Ancestor { request: Weak::clone(&known.request), hops: known.hops + 1 })
        };
        let ancestor = parent.and_then(of_parent).unwrap_or_default();
        let request = ancestor.request.upgrade();
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(goid, ancestor);
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: &str) -> Arc<RequestContext> {
        Arc::new(RequestContext { request_id: Some(id.into()), ..RequestContext::default() })
    }

    #[test]
    fn requests_are_inherited_while_they_are_served() {
        let mut lineage = Lineage::default();
        let first = request("first");
        let serving = |goid| (goid == 10).then_some(&first);
        assert!(lineage.request_of(11, Some(10), serving).is_none(), "nothing is served yet");
        lineage.served();
        // Child, grandchild and its child; a fourth is too far away.
        for goid in 11..14 {
            assert_eq!(lineage.request_of(goid, Some(goid - 1), serving).as_ref(), Some(&first), "{goid}");
        }
        assert!(lineage.request_of(14, Some(13), serving).is_none());
        // Of the one between nothing is known.
        assert!(lineage.request_of(20, Some(19), serving).is_none());
        assert!(lineage.request_of(21, None, serving).is_none());
    }

    #[test]
    fn what_outlives_its_request_is_not_part_of_the_next() {
        let mut lineage = Lineage::default();
        lineage.served();
        let first = request("first");
        assert!(lineage.request_of(11, Some(10), |_| Some(&first)).is_some());
        drop(first);
        let second = request("second");
        assert!(lineage.request_of(11, Some(10), |_| Some(&second)).is_none());
        assert!(lineage.request_of(12, Some(11), |_| None).is_none(), "nor what it starts");
        assert!(lineage.request_of(13, Some(10), |_| Some(&second)).is_some());
        // One that was there before any request works for none.
        assert!(lineage.request_of(5, Some(1), |_| None).is_none());
        assert!(lineage.request_of(5, Some(1), |_| Some(&second)).is_none());
    }

    #[test]
    fn the_number_of_goroutines_is_bounded() {
        let mut lineage = Lineage::default();
        lineage.served();
        for goid in 0..=KNOWN_MAX as u64 {
            let _ = lineage.request_of(goid, None, |_| None);
        }
        assert_eq!(lineage.known.len(), 1);
    }
}
