//! RFC 6962 Merkle trees over SHA-256: roots, the compact range that grows one leaf at a time, and proofs.
//!
//! Leaves are hashed with a 0x00 prefix and inner nodes with 0x01 (RFC 6962 section 2.1), so that neither can be
//! taken for the other. Proof algorithms are those of RFC 9162 sections 2.1.3 and 2.1.4, which give the same
//! proofs as RFC 6962. Pure: hashes in, hashes out.

mod extension;
mod paths;

use sha2::{Digest as _, Sha256};

use super::format::{Hash, MAX_FRONTIER};
use super::lanes;
pub use extension::Extension;
pub use paths::Paths;

/// Root of a tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Hash of a leaf over `data`.
pub fn leaf_hash(data: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(data);
    hasher.finalize().into()
}

/// Hash of the inner node over two subtrees.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([1]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// Root of the tree over `leaves`, which are consumed as working space.
///
/// Pairing level by level, the odd one out moving up as it is, gives the tree of RFC 6962's recursive rule.
pub fn root_in_place(leaves: &mut Vec<Hash>) -> Hash {
    while leaves.len() > 1 {
        let mut kept = 0;
        let mut next = 0;
        while let Some(four) = leaves.get(next..).and_then(|rest| rest.first_chunk()) {
            let parents = lanes::nodes(four);
            if let Some(slots) = leaves.get_mut(kept..).and_then(|rest| rest.first_chunk_mut()) {
                *slots = parents;
            }
            kept += 2;
            next += 4;
        }
        // At most three are left.
        while let Some(left) = leaves.get(next).copied() {
            let parent = leaves.get(next + 1).map_or(left, |right| node_hash(&left, right));
            if let Some(slot) = leaves.get_mut(kept) {
                *slot = parent;
            }
            kept += 1;
            next += 2;
        }
        leaves.truncate(kept);
    }
    leaves.first().copied().unwrap_or_else(empty_root)
}

/// Root of the tree over `leaves`.
pub fn root(leaves: &[Hash]) -> Hash {
    root_in_place(&mut leaves.to_vec())
}

/// A growing tree, known only by the roots of its perfect subtrees, largest first (a "compact range" from 0).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// The tree of `size` leaves with these subtree roots; none if their number does not fit the size.
    pub fn from_parts(size: u64, roots: Vec<Hash>) -> Option<Self> {
        (roots.len() == size.count_ones() as usize && roots.len() <= MAX_FRONTIER)
            .then_some(Self { size, roots })
    }

    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the perfect subtrees, largest first.
    pub fn roots(&self) -> &[Hash] {
        &self.roots
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        // Each trailing one bit of the size is a perfect subtree that the new leaf completes to twice its size.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.roots.push(node);
        self.size += 1;
    }

    /// Adds the leaves up to `size` by the roots of their subtrees, as [`subtree_roots`] gives them; whether they fit.
    pub fn extend(&mut self, size: u64, roots: &[Hash]) -> bool {
        let mut roots = roots.iter();
        while self.size < size {
            let level = level(self.size, size);
            let Some(root) = roots.next() else { return false };
            self.push_subtree(level, *root);
        }
        self.size == size && roots.next().is_none()
    }

    /// Adds 2^level leaves by the root over them; the size must be a multiple of that.
    fn push_subtree(&mut self, level: u32, root: Hash) {
        let mut node = root;
        for _ in 0..(self.size >> level).trailing_ones() {
            if let Some(left) = self.roots.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.roots.push(node);
        self.size += 1 << level;
    }

    /// Root of the whole tree.
    pub fn root(&self) -> Hash {
        let mut from_right = self.roots.iter().rev();
        let Some(mut root) = from_right.next().copied() else {
            return empty_root();
        };
        for left in from_right {
            root = node_hash(left, &root);
        }
        root
    }
}

/// Of the leaves from `from` to `to`, the level of the largest subtree that begins with the first of them.
fn level(from: u64, to: u64) -> u32 {
    (to - from).ilog2().min(from.trailing_zeros())
}

/// Roots of the largest subtrees over `leaves`, the first of which is leaf number `first`.
pub fn subtree_roots(first: u64, leaves: &[Hash]) -> Vec<Hash> {
    let (mut rest, mut from) = (leaves, first);
    let mut roots = Vec::new();
    while !rest.is_empty() {
        let len = 1_usize << level(from, from + rest.len() as u64);
        let (subtree, after) = rest.split_at(len.min(rest.len()));
        roots.push(root(subtree));
        from += subtree.len() as u64;
        rest = after;
    }
    roots
}

/// The path that proves that leaf `index` is in the tree over `leaves`; none if it is not there.
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    let mut proof = Vec::new();
    let (mut tree, mut index) = (leaves, index);
    if index >= tree.len() {
        return None;
    }
    while tree.len() > 1 {
        let (left, right) = tree.split_at_checked(split(tree.len()))?;
        if index < left.len() {
            proof.push(root(right));
            tree = left;
        } else {
            proof.push(root(left));
            index -= left.len();
            tree = right;
        }
    }
    proof.reverse();
    Some(proof)
}

/// Whether `proof` shows that `leaf` is number `index` of the tree of `size` leaves with this root.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for step in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(step, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// The proof that the tree over `leaves` extends the tree over its first `old` leaves; none unless
/// `0 < old <= leaves.len()`.
pub fn consistency_proof(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
    if old == 0 || old > leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    let (mut tree, mut old, mut known) = (leaves, old, true);
    while old != tree.len() {
        let (left, right) = tree.split_at_checked(split(tree.len()))?;
        if old <= left.len() {
            proof.push(root(right));
            tree = left;
        } else {
            proof.push(root(left));
            old -= left.len();
            tree = right;
            known = false;
        }
    }
    if !known {
        proof.push(root(tree));
    }
    proof.reverse();
    Some(proof)
}

/// Whether `proof` shows that the tree (`new_size`, `new_root`) extends the tree (`old_size`, `old_root`).
/// An old size of 0 proves nothing and is refused.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> bool {
    if old_size == 0 || old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    let mut steps = proof.iter();
    let first = if old_size.is_power_of_two() { Some(old_root) } else { steps.next() };
    let Some(first) = first else {
        return false;
    };
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for step in steps {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(step, &old_hash);
            new_hash = node_hash(step, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// The largest power of two below `len` (`len` is at least 2): where RFC 6962 splits a tree.
fn split(len: usize) -> usize {
    len.next_power_of_two() / 2
}
