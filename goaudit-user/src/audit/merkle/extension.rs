//! Consistency proofs from one pass over all leaf hashes, without holding them all.
//!
//! The proof that a tree extends its own beginning is a list of roots of subtrees that do not overlap (RFC 6962 section
//! 2.1.2). Each is hashed as its leaves come by.

use super::Frontier;
use crate::audit::format::Hash;

/// Collects the proof that a tree extends the tree over its first leaves.
#[derive(Debug)]
pub struct Extension {
    old: u64,
    new: u64,
    /// Subtrees of the proof: first leaf, leaf after the last one, place in the proof. Ascending.
    parts: Vec<(u64, u64, usize)>,
    hashes: Vec<Option<Hash>>,
    /// Which part the next leaf belongs to, or comes before.
    part: usize,
    piece: Frontier,
    whole: Frontier,
    old_root: Option<Hash>,
}

impl Extension {
    /// Of the tree of `old` leaves to the tree of `new` leaves; none unless `0 < old <= new`.
    pub fn new(old: u64, new: u64) -> Option<Self> {
        if old == 0 || old > new {
            return None;
        }
        let mut parts = Vec::new();
        let (mut start, mut end, mut known) = (0, new, true);
        while old != end {
            let middle = start + (1 << (end - start - 1).ilog2());
            if old <= middle {
                parts.push((middle, end));
                end = middle;
            } else {
                parts.push((start, middle));
                start = middle;
                known = false;
            }
        }
        if !known {
            parts.push((start, end));
        }
        // The proof is told from the leaves up.
        let hashes = vec![None; parts.len()];
        let mut parts: Vec<_> =
            parts.into_iter().rev().enumerate().map(|(place, (start, end))| (start, end, place)).collect();
        parts.sort_unstable();
        Some(Self {
            old,
            new,
            parts,
            hashes,
            part: 0,
            piece: Frontier::default(),
            whole: Frontier::default(),
            old_root: None,
        })
    }

    /// Takes the next leaf; those after the new tree's last one are ignored.
    pub fn push(&mut self, leaf: Hash) {
        let next = self.whole.size();
        if next >= self.new {
            return;
        }
        self.whole.push(leaf);
        if next + 1 == self.old {
            self.old_root = Some(self.whole.root());
        }
        let Some(&(start, end, place)) = self.parts.get(self.part) else { return };
        if next < start {
            return;
        }
        self.piece.push(leaf);
        if next + 1 == end {
            let root = std::mem::take(&mut self.piece).root();
            if let Some(slot) = self.hashes.get_mut(place) {
                *slot = Some(root);
            }
            self.part += 1;
        }
    }

    /// Roots of the old and the new tree, and the proof. None if leaves are missing.
    pub fn finish(&self) -> Option<(Hash, Hash, Vec<Hash>)> {
        if self.whole.size() != self.new {
            return None;
        }
        Some((self.old_root?, self.whole.root(), self.hashes.iter().copied().collect::<Option<_>>()?))
    }
}
