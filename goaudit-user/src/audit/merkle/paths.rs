//! Inclusion proofs of several leaves from one pass over all leaf hashes, without holding them all.
//!
//! The tree is cut into the wanted leaves and the largest subtrees without any of them. Each such piece is hashed as
//! its leaves come by; the proofs fall out when the pieces are folded. Memory is a few hashes for each wanted leaf,
//! however large the log is.

use super::{Frontier, level, node_hash};
use crate::audit::format::Hash;

/// Collects the proofs of some leaves of one tree.
#[derive(Debug)]
pub struct Paths {
    size: u64,
    /// Wanted leaves, ascending.
    wanted: Vec<u64>,
    /// First leaf after each piece, ascending; the last one is the size.
    ends: Vec<u64>,
    /// Roots of the pieces that are complete.
    roots: Vec<Hash>,
    /// The piece that grows.
    piece: Frontier,
    next: u64,
}

impl Paths {
    /// For the leaves `wanted` of the tree of `size` leaves; those that it does not have are left out.
    pub fn new(size: u64, wanted: &[u64]) -> Self {
        let mut wanted: Vec<u64> = wanted.iter().copied().filter(|index| *index < size).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut ends = Vec::new();
        if size > 0 {
            cut(0, size, &wanted, &mut ends);
        }
        Self { size, wanted, ends, roots: Vec::new(), piece: Frontier::default(), next: 0 }
    }

    /// The wanted leaves, ascending, each once.
    pub fn wanted(&self) -> &[u64] {
        &self.wanted
    }

    /// Takes the next leaf; those after the tree's last one are ignored.
    pub fn push(&mut self, leaf: Hash) {
        if self.next >= self.size {
            return;
        }
        self.piece.push(leaf);
        self.next += 1;
        if self.ends.get(self.roots.len()) == Some(&self.next) {
            self.roots.push(std::mem::take(&mut self.piece).root());
        }
    }

    /// Takes the leaves up to `to`, none of which is wanted, by the roots of their subtrees; whether these fit.
    pub fn extend(&mut self, to: u64, roots: &[Hash]) -> bool {
        let mut roots = roots.iter();
        while self.next < to.min(self.size) {
            let level = level(self.next, to);
            let Some(root) = roots.next() else { return false };
            self.piece.push_subtree(level, *root);
            self.next += 1 << level;
            if self.ends.get(self.roots.len()) == Some(&self.next) {
                self.roots.push(std::mem::take(&mut self.piece).root());
            }
        }
        true
    }

    /// Root of the tree, and the proof of each wanted leaf, in the order of [`Self::wanted`]. None if leaves are missing.
    pub fn finish(&self) -> Option<(Hash, Vec<Vec<Hash>>)> {
        if self.size == 0 || self.next != self.size {
            return None;
        }
        let mut proofs = vec![Vec::new(); self.wanted.len()];
        let mut roots = self.roots.iter();
        let root = fold(0, self.size, &self.wanted, &mut proofs, &mut roots)?;
        Some((root, proofs))
    }
}

/// Adds the ends of the pieces of the subtree over leaves `start` to `end`, of which `wanted` are wanted.
fn cut(start: u64, end: u64, wanted: &[u64], ends: &mut Vec<u64>) {
    if wanted.is_empty() || end - start == 1 {
        ends.push(end);
        return;
    }
    let middle = middle(start, end);
    let (left, right) = wanted.split_at(wanted.partition_point(|index| *index < middle));
    cut(start, middle, left, ends);
    cut(middle, end, right, ends);
}

/// Root of that subtree from its pieces; adds to each proof the sibling on its way up.
fn fold<'a>(
    start: u64,
    end: u64,
    wanted: &[u64],
    proofs: &mut [Vec<Hash>],
    roots: &mut impl Iterator<Item = &'a Hash>,
) -> Option<Hash> {
    if wanted.is_empty() || end - start == 1 {
        return roots.next().copied();
    }
    let middle = middle(start, end);
    let left_count = wanted.partition_point(|index| *index < middle);
    let (left_wanted, right_wanted) = wanted.split_at(left_count);
    let (left_proofs, right_proofs) = proofs.split_at_mut(left_count);
    let left = fold(start, middle, left_wanted, left_proofs, roots)?;
    let right = fold(middle, end, right_wanted, right_proofs, roots)?;
    for proof in left_proofs {
        proof.push(right);
    }
    for proof in right_proofs {
        proof.push(left);
    }
    Some(node_hash(&left, &right))
}

/// Where RFC 6962 cuts the tree over leaves `start` to `end`, of which there are at least two: after the largest power
/// of two that leaves something.
fn middle(start: u64, end: u64) -> u64 {
    start + (1 << (end - start - 1).ilog2())
}
