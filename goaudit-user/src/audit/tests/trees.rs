//! Trees and proofs against RFC 6962's published roots and against an implementation that nobody here wrote.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;

use crate::audit::format::Hash;
use crate::audit::merkle::{
    Frontier, Paths, consistency_proof, empty_root, inclusion_proof, leaf_hash, node_hash, root,
    verify_consistency, verify_inclusion,
};
use crate::audit::recover::hex;

/// The inputs of the Certificate Transparency reference tests, with the root over the first n of them.
const PUBLISHED: [(&[u8], &str); 8] = [
    (b"", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    (b"\x00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    (b"\x10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    (b"\x20\x21", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    (b"\x30\x31", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
    (b"\x40\x41\x42\x43", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
    (b"\x50\x51\x52\x53\x54\x55\x56\x57", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
    (
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ),
];

fn leaves(n: usize) -> Vec<Hash> {
    (0..n).map(|i| leaf_hash(&i.to_le_bytes())).collect()
}

fn oracle(n: usize) -> MemoryBackedTree<Sha256, Vec<u8>> {
    let mut tree = MemoryBackedTree::new();
    for i in 0..n {
        tree.push(i.to_le_bytes().to_vec());
    }
    tree
}

#[test]
fn published_roots() {
    assert_eq!(hex(&empty_root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    let (mut hashes, mut frontier) = (Vec::new(), Frontier::default());
    assert_eq!(frontier.root(), empty_root());
    for (input, expected) in PUBLISHED {
        hashes.push(leaf_hash(input));
        frontier.push(leaf_hash(input));
        assert_eq!(hex(&root(&hashes)), expected);
        assert_eq!(hex(&frontier.root()), expected);
        let parts = Frontier::from_parts(frontier.size(), frontier.roots().to_vec());
        assert_eq!(parts.as_ref(), Some(&frontier));
    }
    assert_eq!(Frontier::from_parts(3, vec![[0; 32]]), None);
}

#[test]
fn roots_and_proofs_are_those_of_another_implementation() {
    for n in 1..66 {
        let (hashes, tree) = (leaves(n), oracle(n));
        let head = root(&hashes);
        assert_eq!(head[..], tree.root().as_bytes()[..]);
        for index in 0..n {
            let proof = inclusion_proof(&hashes, index).unwrap();
            assert_eq!(proof.as_flattened(), tree.prove_inclusion(index).as_bytes(), "{index} in {n}");
            assert!(verify_inclusion(&hashes[index], index as u64, n as u64, &proof, &head));
        }
        assert_eq!(inclusion_proof(&hashes, n), None);
        for old in 1..=n {
            let proof = consistency_proof(&hashes, old).unwrap();
            assert_eq!(proof.as_flattened(), tree.prove_consistency(n - old).as_bytes(), "{old} in {n}");
            assert!(verify_consistency(old as u64, &root(&hashes[..old]), n as u64, &head, &proof));
        }
        assert_eq!(consistency_proof(&hashes, 0), None);
        assert_eq!(consistency_proof(&hashes, n + 1), None);
    }
}

#[test]
fn several_proofs_come_from_one_pass() {
    for n in 1..40_usize {
        let hashes = leaves(n);
        // Every subset of places of a small tree; of larger ones, each place with its neighbour and the last one.
        let sets: Vec<Vec<u64>> = if n <= 8 {
            (0..1_u32 << n)
                .map(|set| (0..n as u64).filter(|index| set & (1 << index) != 0).collect())
                .collect()
        } else {
            (0..n as u64).map(|index| vec![index + 1, index, n as u64 - 1, index]).collect()
        };
        for set in sets {
            let mut paths = Paths::new(n as u64, &set);
            assert_eq!(paths.finish(), None, "no leaves yet");
            for leaf in &hashes {
                paths.push(*leaf);
            }
            paths.push([9; 32]);
            let (found, proofs) = paths.finish().unwrap();
            assert_eq!(found, root(&hashes), "{set:?} of {n}");
            assert!(
                paths.wanted().is_sorted()
                    && set.iter().all(|index| *index >= n as u64 || paths.wanted().contains(index))
            );
            assert_eq!(proofs.len(), paths.wanted().len());
            for (index, proof) in paths.wanted().iter().zip(proofs) {
                assert_eq!(Some(proof), inclusion_proof(&hashes, *index as usize), "{index} of {n}");
            }
        }
    }
    assert_eq!(Paths::new(0, &[0]).finish(), None);
}

proptest! {
    #[test]
    fn a_changed_proof_proves_nothing(n in 2_usize..200, index in 0_usize..200, at in any::<usize>(), how in 0..5) {
        let index = index % n;
        let hashes = leaves(n);
        let head = root(&hashes);
        let mut proof = inclusion_proof(&hashes, index).unwrap();
        let (mut leaf, mut position, mut size) = (hashes[index], index as u64, n as u64);
        match how {
            0 => { let at = at % proof.len(); proof[at][0] ^= 1; }
            1 => { proof.remove(at % proof.len()); }
            2 => proof.insert(at % (proof.len() + 1), [7; 32]),
            3 => leaf[31] ^= 1,
            _ => position = (position + 1 + at as u64 % (size - 1)) % size,
        }
        prop_assert!(!verify_inclusion(&leaf, position, size, &proof, &head));
        size = position;
        prop_assert!(!verify_inclusion(&leaf, position, size, &proof, &head));
    }

    #[test]
    fn a_changed_history_is_not_consistent(n in 2_usize..200, old in 1_usize..200, at in any::<usize>(), how in 0..4) {
        let old = 1 + old % (n - 1);
        let hashes = leaves(n);
        let (mut before, mut after) = (root(&hashes[..old]), root(&hashes));
        let mut proof = consistency_proof(&hashes, old).unwrap();
        match how {
            0 => { let at = at % proof.len(); proof[at][0] ^= 1; }
            1 => { proof.pop(); }
            2 => before[0] ^= 1,
            _ => after[0] ^= 1,
        }
        prop_assert!(!verify_consistency(old as u64, &before, n as u64, &after, &proof));
        prop_assert!(!verify_consistency(0, &empty_root(), n as u64, &after, &[]));
    }

    #[test]
    fn a_frontier_goes_on_from_anywhere(n in 0_usize..300, cut in 0_usize..300) {
        let hashes = leaves(n);
        let cut = cut.min(n);
        let mut first = Frontier::default();
        hashes[..cut].iter().for_each(|leaf| first.push(*leaf));
        let mut second = Frontier::from_parts(first.size(), first.roots().to_vec()).unwrap();
        hashes[cut..].iter().for_each(|leaf| second.push(*leaf));
        prop_assert_eq!(second.root(), root(&hashes));
    }
}

#[test]
fn nodes_and_leaves_cannot_be_taken_for_each_other() {
    let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
    assert_ne!(node_hash(&a, &b), leaf_hash(&[a, b].concat()));
}
