//! Tiles against another implementation of their names and bytes, and consistency proofs of one pass against the others.

use tlog_tiles::Tile;

use crate::audit::format::Hash;
use crate::audit::merkle::{Extension, consistency_proof, leaf_hash, root};
use crate::audit::tiles::Tiles;

fn leaves(n: u32) -> Vec<Hash> {
    (0..n).map(|i| leaf_hash(&i.to_le_bytes())).collect()
}

#[test]
fn consistency_proofs_come_from_one_pass() {
    for new in 1..70_usize {
        let leaves = leaves(new as u32);
        for old in 1..=new {
            let mut extension = Extension::new(old as u64, new as u64).unwrap();
            assert_eq!(extension.finish(), None, "no leaves yet");
            for leaf in &leaves {
                extension.push(*leaf);
            }
            extension.push([9; 32]);
            let (before, after, proof) = extension.finish().unwrap();
            assert_eq!((before, after), (root(&leaves[..old]), root(&leaves)), "{old} to {new}");
            assert_eq!(Some(proof), consistency_proof(&leaves, old), "{old} to {new}");
        }
        assert!(Extension::new(0, new as u64).is_none());
        assert!(Extension::new(new as u64 + 1, new as u64).is_none());
    }
}

#[test]
fn tiles_have_the_names_and_hashes_of_another_implementation() {
    for size in [1_u32, 255, 256, 257, 1000, 65_536, 66_000] {
        let leaves = leaves(size);
        let mut tiles = Tiles::default();
        let mut files = Vec::new();
        for (number, leaf) in leaves.iter().enumerate() {
            files.extend(tiles.push(&(number as u32).to_le_bytes(), *leaf).unwrap());
        }
        files.extend(tiles.finish());
        let (mut bundled, mut hashed) = (0, 0);
        for file in &files {
            if file.path.starts_with("tile/entries/") {
                assert_eq!(file.bytes.len() % 6, 0);
                bundled += file.bytes.len() / 6;
                continue;
            }
            // Go's checksum database names the height of a tile, too.
            let named = file.path.replacen("tile/", "tile/8/", 1);
            let theirs = Tile::from_path(&named).unwrap();
            assert_eq!(theirs.path(), named);
            let span = 256_usize.pow(u32::from(theirs.level()));
            let first = theirs.level_index() as usize * 256;
            let expected: Vec<Hash> = (first..first + theirs.width() as usize)
                .map(|node| root(&leaves[node * span..(node + 1) * span]))
                .collect();
            assert_eq!(file.bytes, expected.concat(), "{} of {size}", file.path);
            hashed += if theirs.level() == 0 { expected.len() } else { 0 };
        }
        assert_eq!((bundled, hashed), (size as usize, size as usize));
    }
    let mut tiles = Tiles::default();
    assert!(tiles.push(&vec![0; 65_536], [0; 32]).is_err());
}
