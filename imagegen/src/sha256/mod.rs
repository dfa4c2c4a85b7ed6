//! SHA-256 (FIPS 180-4) of messages that come in pieces, of one or of two at once on one core.
//!
//! Each round of the hash waits for the one before it: one message leaves a core's unit for SHA-256 idle for a third of the
//! time. Two messages whose rounds alternate fill it.

mod pair;

use sha2::block_api::compress256;

use crate::units::length;

/// The bytes of a block (section 5.2.1).
const BLOCK: usize = 64;
/// The bytes of the number of bits at the end of a message (section 5.1.1).
const COUNT: usize = 8;
/// Eight words (section 5.3.3).
type State = [u32; 8];

const INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// A message that is being hashed.
#[derive(Debug, Clone)]
pub struct Sha256 {
    state: State,
    /// Begins with the bytes that are not hashed yet.
    partial: [u8; BLOCK],
    /// How many they are; a whole block may wait for a block of the other message.
    filled: usize,
    /// The bytes of the message so far.
    length: u64,
}

impl Default for Sha256 {
    fn default() -> Self {
        Self { state: INITIAL, partial: [0; BLOCK], filled: 0, length: 0 }
    }
}

impl Sha256 {
    /// Takes the next bytes of the message.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while self.has_blocks(&mut rest) {
            let blocks = blocks(&self.partial, self.filled, rest);
            compress256(&mut self.state, blocks);
            self.consume(blocks.len(), &mut rest);
        }
    }

    /// Takes the next bytes of two messages until there are none left of one of them. Gives how many it took of each.
    pub fn update_pair(messages: [&mut Self; 2], bytes: [&[u8]; 2]) -> [usize; 2] {
        let [a, b] = messages;
        let [mut rest_a, mut rest_b] = bytes;
        while a.has_blocks(&mut rest_a) && b.has_blocks(&mut rest_b) {
            let blocks_a = blocks(&a.partial, a.filled, rest_a);
            let blocks_b = blocks(&b.partial, b.filled, rest_b);
            let count = blocks_a.len().min(blocks_b.len());
            pair::compress([&mut a.state, &mut b.state], [&blocks_a[..count], &blocks_b[..count]]);
            a.consume(count, &mut rest_a);
            b.consume(count, &mut rest_b);
        }
        [bytes[0].len() - rest_a.len(), bytes[1].len() - rest_b.len()]
    }

    /// Whether two messages at once take less time than one after the other.
    pub fn pairs_are_faster() -> bool {
        pair::is_faster()
    }

    /// The digest of all bytes so far.
    pub fn finish(mut self) -> [u8; 32] {
        let bits = self.length * 8;
        let zeros = (2 * BLOCK - 1 - COUNT - self.filled) % BLOCK;
        let mut end = [0; 2 * BLOCK];
        end[0] = 0x80;
        end[1 + zeros..][..COUNT].copy_from_slice(&bits.to_be_bytes());
        self.update(&end[..1 + zeros + COUNT]);
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        digest
    }

    /// Fills the partial block if there is one, and says whether there are whole blocks.
    fn has_blocks(&mut self, rest: &mut &[u8]) -> bool {
        if self.filled == 0 && rest.len() >= BLOCK {
            return true;
        }
        let taken = rest.len().min(BLOCK - self.filled);
        let (first, behind) = rest.split_at(taken);
        self.partial[self.filled..][..taken].copy_from_slice(first);
        self.filled += taken;
        self.length += length(taken);
        *rest = behind;
        self.filled == BLOCK
    }

    /// Takes note that `count` blocks are hashed.
    fn consume(&mut self, count: usize, rest: &mut &[u8]) {
        if self.filled == BLOCK {
            self.filled = 0;
        } else {
            let bytes = count * BLOCK;
            self.length += length(bytes);
            *rest = &rest[bytes..];
        }
    }
}

/// The whole blocks that come next: the partial one once it is full, or those of `rest`.
fn blocks<'b>(partial: &'b [u8; BLOCK], filled: usize, rest: &'b [u8]) -> &'b [[u8; BLOCK]] {
    if filled == BLOCK { std::slice::from_ref(partial) } else { rest.as_chunks().0 }
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    fn message(length: usize, seed: usize) -> Vec<u8> {
        (0..length).map(|i| u8::try_from((i * i + i / 251 + seed) % 256).unwrap()).collect()
    }

    fn expected(message: &[u8]) -> [u8; 32] {
        sha2::Sha256::digest(message).into()
    }

    const LENGTHS: [&[usize]; 6] =
        [&[1], &[64], &[8, 120, 3], &[63, 65, 64, 1], &[1000], &[55, 9, 0, 4096, 0, 0, 7]];

    /// Pieces of such lengths over and over.
    fn pieces<'m>(mut message: &'m [u8], lengths: &'m [usize]) -> impl Iterator<Item = &'m [u8]> {
        lengths.iter().cycle().map_while(move |&length| {
            let (piece, rest) = message.split_at(length.min(message.len()));
            let is_over = std::mem::replace(&mut message, rest).is_empty();
            (!is_over).then_some(piece)
        })
    }

    /// Section B.1 of FIPS 180-2, which has examples.
    #[test]
    fn the_digest_of_the_standard_s_example() {
        let mut hash = Sha256::default();
        hash.update(b"abc");
        let digest = data_encoding::HEXLOWER.encode(&hash.finish());
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn messages_of_all_lengths_around_blocks_and_in_any_pieces() {
        for size in (0..200).chain([4095, 4096, 10_000]) {
            let message = message(size, 0);
            for lengths in LENGTHS {
                let mut hash = Sha256::default();
                pieces(&message, lengths).for_each(|piece| hash.update(piece));
                assert_eq!(hash.finish(), expected(&message), "{size} bytes in {lengths:?}");
            }
        }
    }

    /// Hashes two messages piece by piece, and the rest of the longer one alone.
    fn two(messages: [&[u8]; 2], lengths: [&[usize]; 2]) -> [[u8; 32]; 2] {
        let (mut a, mut b) = (Sha256::default(), Sha256::default());
        let mut pieces_a = pieces(messages[0], lengths[0]);
        let mut pieces_b = pieces(messages[1], lengths[1]);
        let (mut rest_a, mut rest_b): (&[u8], &[u8]) = (&[], &[]);
        loop {
            if rest_a.is_empty() {
                let Some(piece) = pieces_a.next() else { break };
                rest_a = piece;
            }
            if rest_b.is_empty() {
                let Some(piece) = pieces_b.next() else { break };
                rest_b = piece;
            }
            let [taken_a, taken_b] = Sha256::update_pair([&mut a, &mut b], [rest_a, rest_b]);
            assert!(taken_a == rest_a.len() || taken_b == rest_b.len(), "stopped early");
            (rest_a, rest_b) = (&rest_a[taken_a..], &rest_b[taken_b..]);
        }
        a.update(rest_a);
        b.update(rest_b);
        pieces_a.for_each(|piece| a.update(piece));
        pieces_b.for_each(|piece| b.update(piece));
        [a.finish(), b.finish()]
    }

    #[test]
    fn two_messages_at_once_have_the_digests_of_each() {
        for sizes in [[0, 0], [0, 64], [63, 65], [64, 64], [128, 1], [200, 5000], [9999, 10_000], [4096, 300]]
        {
            let messages = [message(sizes[0], 1), message(sizes[1], 2)];
            for first in LENGTHS {
                for second in LENGTHS {
                    let found = two([&messages[0], &messages[1]], [first, second]);
                    let expected = [expected(&messages[0]), expected(&messages[1])];
                    assert_eq!(found, expected, "{sizes:?} bytes in {first:?} and {second:?}");
                }
            }
        }
    }

    /// A block that was put together while the other message had none must not be forgotten, nor hashed twice.
    #[test]
    fn a_block_may_wait_for_the_other_message() {
        let (mut a, mut b) = (Sha256::default(), Sha256::default());
        a.update(&[7; 10]);
        assert_eq!(Sha256::update_pair([&mut a, &mut b], [&[7; 54], &[8; 3]]), [54, 3]);
        let waits = a.clone();
        assert_eq!(waits.finish(), expected(&[7; 64]));
        a.update(&[7; 100]);
        assert_eq!(a.finish(), expected(&[7; 164]));
        assert_eq!(b.finish(), expected(&[8; 3]));
    }
}
