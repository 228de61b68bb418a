//! The log as a C2SP tlog-tiles directory: static files that any mirror, witness or checker of such logs reads.
//!
//! Entries are the 256-byte batch headers; their events stay where they are. Pure: hands out names and bytes.

use super::format::{BATCH_HEADER_LEN, Hash};
use super::merkle::root_in_place;

/// Hashes in a full tile, and entries in a full bundle.
const TILE_WIDTH: usize = 256;

/// A file of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileFile {
    /// Path below the directory, with slashes.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Makes tiles and entry bundles of leaves that come one after another.
#[derive(Debug, Default)]
pub struct Tiles {
    entries: Vec<u8>,
    count: u64,
    levels: Vec<Level>,
}

/// The tile of a level that grows.
#[derive(Debug, Default)]
struct Level {
    hashes: Vec<Hash>,
    /// Full tiles before it.
    full: u64,
}

/// Why an entry cannot be in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("put an entry of {0} bytes into a bundle: its length has two bytes there")]
pub struct EntryTooLong(usize);

impl Tiles {
    /// Takes the next entry and its leaf; hands out the files that it completes.
    pub fn push(&mut self, entry: &[u8], leaf: Hash) -> Result<Vec<TileFile>, EntryTooLong> {
        let len = u16::try_from(entry.len()).map_err(|_| EntryTooLong(entry.len()))?;
        self.entries.extend_from_slice(&len.to_be_bytes());
        self.entries.extend_from_slice(entry);
        self.count += 1;
        let mut done = Vec::new();
        if self.count.is_multiple_of(TILE_WIDTH as u64) {
            let bytes = std::mem::take(&mut self.entries);
            done.push(TileFile { path: path("entries", self.count / TILE_WIDTH as u64 - 1, 0), bytes });
        }
        let mut hash = Some(leaf);
        for level in 0.. {
            let Some(next) = hash.take() else { break };
            if self.levels.len() == level {
                self.levels.push(Level::default());
            }
            let Some(tile) = self.levels.get_mut(level) else { break };
            tile.hashes.push(next);
            if tile.hashes.len() == TILE_WIDTH {
                let bytes = tile.hashes.as_flattened().to_vec();
                done.push(TileFile { path: path(&level.to_string(), tile.full, 0), bytes });
                tile.full += 1;
                hash = Some(root_in_place(&mut tile.hashes));
                tile.hashes.clear();
            }
        }
        Ok(done)
    }

    /// The partial files at the right edge of the tree.
    pub fn finish(self) -> Vec<TileFile> {
        let mut done = Vec::new();
        let width = self.count % TILE_WIDTH as u64;
        if width > 0 {
            done.push(TileFile {
                path: path("entries", self.count / TILE_WIDTH as u64, width),
                bytes: self.entries,
            });
        }
        for (number, level) in self.levels.iter().enumerate().filter(|(_, level)| !level.hashes.is_empty()) {
            let bytes = level.hashes.as_flattened().to_vec();
            done.push(TileFile {
                path: path(&number.to_string(), level.full, level.hashes.len() as u64),
                bytes,
            });
        }
        done
    }
}

/// An entry of ours always fits.
const _: () = assert!(BATCH_HEADER_LEN <= u16::MAX as usize);

/// Path of a tile: `tile/LEVEL/x001/x234/067`, with `.p/WIDTH` if it is partial.
fn path(level: &str, number: u64, width: u64) -> String {
    let mut groups = vec![format!("{:03}", number % 1000)];
    let mut rest = number / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    groups.reverse();
    let partial = if width > 0 { format!(".p/{width}") } else { String::new() };
    format!("tile/{level}/{}{partial}", groups.join("/"))
}
