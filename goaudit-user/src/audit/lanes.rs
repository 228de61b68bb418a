//! SHA-256 of two messages side by side.
//!
//! Each round of a hash waits for the round before. Two hashes that have nothing to do with each other fill each other's
//! pauses: one takes a third less time. Only the order of the work is ours: the compression function is that of `sha2`,
//! the padding that of FIPS 180-4, section 5.1.1. Pure.

use std::slice::from_ref;

use sha2::block_api::compress256;

use super::format::Hash;

/// The hash of the blocks so far.
#[derive(Debug, Clone, Copy)]
struct State([u32; 8]);

impl Default for State {
    /// Before the first block (FIPS 180-4, section 5.3.3).
    fn default() -> Self {
        Self([
            0x6a09_e667,
            0xbb67_ae85,
            0x3c6e_f372,
            0xa54f_f53a,
            0x510e_527f,
            0x9b05_688c,
            0x1f83_d9ab,
            0x5be0_cd19,
        ])
    }
}

const BLOCK: usize = 64;

/// A message with its padding; keeps its buffer.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Becomes the message of these parts, one after another.
    pub(super) fn set(&mut self, parts: [&[u8]; 3]) {
        self.0.clear();
        for part in parts {
            self.0.extend_from_slice(part);
        }
        self.pad(self.0.len() as u64);
    }

    /// Becomes what is left of a message of `len` bytes behind its whole blocks, with the padding.
    fn set_end(&mut self, rest: &[u8], len: u64) {
        self.0.clear();
        self.0.extend_from_slice(rest);
        self.pad(len);
    }

    /// Adds the padding of a message of `len` bytes.
    fn pad(&mut self, len: u64) {
        /// Of the message's length in bits, which is the end of the padding.
        const LENGTH: usize = 8;
        let end = (self.0.len() + 1 + LENGTH).next_multiple_of(BLOCK);
        self.0.push(0x80);
        self.0.resize(end - LENGTH, 0);
        self.0.extend_from_slice(&(len * 8).to_be_bytes());
    }

    fn blocks(&self) -> &[[u8; BLOCK]] {
        self.0.as_chunks().0
    }
}

/// The hash of a message.
pub(super) fn digest(message: &Message) -> Hash {
    let mut state = State::default();
    compress256(&mut state.0, message.blocks());
    bytes(state)
}

/// The hashes of two messages.
pub(super) fn digests(a: &Message, b: &Message) -> [Hash; 2] {
    let [mut of_a, mut of_b] = [State::default(); 2];
    side_by_side([&mut of_a, &mut of_b], a.blocks(), b.blocks());
    [bytes(of_a), bytes(of_b)]
}

/// A long message that comes in parts, and beside it the hashes of others.
#[derive(Debug, Default)]
pub(super) struct Stream {
    state: State,
    /// Bytes taken in.
    len: u64,
    /// Those behind the last whole block.
    rest: Vec<u8>,
    /// A message's last blocks.
    end: Message,
}

impl Stream {
    /// Takes a part in.
    pub(super) fn update(&mut self, part: &[u8]) {
        let (blocks, rest) = self.begin(part).as_chunks();
        compress256(&mut self.state.0, blocks);
        self.rest.extend_from_slice(rest);
    }

    /// Takes a part in and hashes another message meanwhile.
    pub(super) fn update_beside(&mut self, part: &[u8], other: &[u8]) -> Hash {
        let (blocks, rest) = self.begin(part).as_chunks();
        let (of_other, rest_of_other) = other.as_chunks();
        let mut hash = State::default();
        side_by_side([&mut self.state, &mut hash], blocks, of_other);
        self.end.set_end(rest_of_other, other.len() as u64);
        compress256(&mut hash.0, self.end.blocks());
        self.rest.extend_from_slice(rest);
        bytes(hash)
    }

    /// The hash of all parts. The next part begins another message.
    pub(super) fn finish(&mut self) -> Hash {
        let Self { mut state, len, rest, mut end } = std::mem::take(self);
        end.set_end(&rest, len);
        compress256(&mut state.0, end.blocks());
        bytes(state)
    }

    /// Completes a block that was begun, if `part` is long enough; what is left of `part`.
    fn begin<'a>(&mut self, part: &'a [u8]) -> &'a [u8] {
        self.len += part.len() as u64;
        if self.rest.is_empty() {
            return part;
        }
        let (first, behind) = part.split_at(part.len().min(BLOCK - self.rest.len()));
        self.rest.extend_from_slice(first);
        if let [block] = self.rest.as_chunks().0 {
            compress256(&mut self.state.0, from_ref(block));
            self.rest.clear();
        }
        behind
    }
}

/// The hashes of the inner nodes over two pairs of subtrees (RFC 6962, section 2.1).
pub(super) fn nodes([a, b, c, d]: &[Hash; 4]) -> [Hash; 2] {
    let [mut left, mut right] = [State::default(); 2];
    in_turns([&mut left, &mut right], &node_blocks(a, b), &node_blocks(c, d));
    [bytes(left), bytes(right)]
}

/// Takes in all blocks of both, in turns as far as both have some.
fn side_by_side([of_a, of_b]: [&mut State; 2], a: &[[u8; BLOCK]], b: &[[u8; BLOCK]]) {
    let common = a.len().min(b.len());
    let ((a, behind_a), (b, behind_b)) = (a.split_at(common), b.split_at(common));
    in_turns([of_a, of_b], a, b);
    compress256(&mut of_a.0, behind_a);
    compress256(&mut of_b.0, behind_b);
}

/// Takes in as many blocks of one as of the other.
fn in_turns([of_a, of_b]: [&mut State; 2], a: &[[u8; BLOCK]], b: &[[u8; BLOCK]]) {
    for (a, b) in a.iter().zip(b) {
        compress256(&mut of_a.0, from_ref(a));
        compress256(&mut of_b.0, from_ref(b));
    }
}

/// 0x01, both hashes, and the padding.
fn node_blocks(left: &Hash, right: &Hash) -> [[u8; BLOCK]; 2] {
    /// 65 bytes in bits.
    const BITS: [u8; 2] = 520_u16.to_be_bytes();
    let mut blocks = [[0; BLOCK]; 2];
    let [[tag, first @ ..], [next, mark, .., high, low]] = &mut blocks;
    let [begin @ .., last] = right;
    let (of_left, of_right) = first.split_at_mut(left.len());
    of_left.copy_from_slice(left);
    of_right.copy_from_slice(begin);
    (*tag, *next, *mark, [*high, *low]) = (1, *last, 0x80, BITS);
    blocks
}

fn bytes(state: State) -> Hash {
    let mut hash = Hash::default();
    for (to, word) in hash.as_chunks_mut().0.iter_mut().zip(state.0) {
        *to = word.to_be_bytes();
    }
    hash
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn message(parts: [&[u8]; 3]) -> (Message, Hash) {
        let mut message = Message::default();
        // What was in it before must not be seen.
        message.set([&[0xff; 200], &[], &[]]);
        message.set(parts);
        (message, Sha256::digest(parts.concat()).into())
    }

    #[test]
    fn every_length_of_padding() {
        let text = [0xa5; 300];
        let (short, of_short) = message([b"abc", &[], &[]]);
        for len in 0..text.len() {
            let (long, of_long) = message([&[], text.get(..len).unwrap_or_default(), &[]]);
            assert_eq!(digest(&long), of_long, "{len} bytes");
            assert_eq!(digests(&long, &short), [of_long, of_short], "{len} bytes");
            assert_eq!(digests(&short, &long), [of_short, of_long], "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn as_one_after_the_other(a in vec(any::<u8>(), 0..700), b in vec(any::<u8>(), 0..700), salt in any::<[u8; 16]>()) {
            let ((a, of_a), (b, of_b)) = (message([&[0], &salt, &a]), message([&[0], &salt, &b]));
            prop_assert_eq!(digests(&a, &b), [of_a, of_b]);
        }

        #[test]
        fn a_stream_with_others_beside(
            parts in vec((vec(any::<u8>(), 0..300), proptest::option::of(vec(any::<u8>(), 0..300))), 0..12)
        ) {
            let mut stream = Stream::default();
            // The second round begins anew.
            for _ in 0..2 {
                for (part, other) in &parts {
                    match other {
                        None => stream.update(part),
                        Some(other) => {
                            let hash = stream.update_beside(part, other);
                            prop_assert_eq!(hash, Hash::from(Sha256::digest(other)));
                        }
                    }
                }
                let all: Vec<u8> = parts.iter().flat_map(|(part, _)| part.clone()).collect();
                prop_assert_eq!(stream.finish(), Hash::from(Sha256::digest(all)));
            }
        }

        #[test]
        fn nodes_as_one_after_the_other(four in any::<[Hash; 4]>()) {
            let [a, b, c, d] = &four;
            let node = |left: &Hash, right: &Hash| -> Hash {
                Sha256::digest([&[1][..], left, right].concat()).into()
            };
            prop_assert_eq!(nodes(&four), [node(a, b), node(c, d)]);
        }
    }
}
