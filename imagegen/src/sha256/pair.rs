//! The compression function for two messages at once, with the processor's instructions for SHA-256 where it has them.

use multiversion::multiversion;

use super::{BLOCK, State};

/// Whether [`compress`] takes less time than one message after the other.
#[multiversion(targets("x86_64+sse2+ssse3+sse4.1+sha"))]
pub fn is_faster() -> bool {
    multiversion::target::match_target! {
        "x86_64+sse2+ssse3+sse4.1+sha" => true,
        _ => false,
    }
}

/// Hashes as many blocks of one message as of another one.
#[multiversion(targets("x86_64+sse2+ssse3+sse4.1+sha"))]
pub fn compress(states: [&mut State; 2], blocks: [&[[u8; BLOCK]]; 2]) {
    multiversion::target::match_target! {
        "x86_64+sse2+ssse3+sse4.1+sha" => x86_64::compress(states, blocks),
        _ => one_after_the_other(states, blocks),
    }
}

fn one_after_the_other(states: [&mut State; 2], blocks: [&[[u8; BLOCK]]; 2]) {
    for (state, blocks) in states.into_iter().zip(blocks) {
        sha2::block_api::compress256(state, blocks);
    }
}

/// Intel's SHA extensions (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, `SHA256RNDS2`,
/// `SHA256MSG1` and `SHA256MSG2`).
#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_set_epi64x, _mm_sha256msg1_epu32,
        _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
    };

    use zerocopy::transmute;

    use super::super::{BLOCK, State};

    /// FIPS 180-4, section 4.2.2; four rounds in each line.
    static CONSTANTS: [[u32; 4]; 16] = [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ];

    #[target_feature(enable = "sse2,ssse3,sse4.1,sha")]
    pub fn compress(states: [&mut State; 2], blocks: [&[[u8; BLOCK]]; 2]) {
        let constants: [__m128i; 16] = transmute!(CONSTANTS);
        let [state_a, state_b] = states;
        let (mut a, mut b) = (Working::from_state(*state_a), Working::from_state(*state_b));
        for (block_a, block_b) in blocks[0].iter().zip(blocks[1]) {
            let before = (a, b);
            let (mut words_a, mut words_b) = (Schedule::new(block_a), Schedule::new(block_b));
            for &four in &constants[..12] {
                a.four_rounds(words_a.next(), four);
                b.four_rounds(words_b.next(), four);
            }
            for (i, &four) in constants[12..].iter().enumerate() {
                a.four_rounds(words_a.0[i], four);
                b.four_rounds(words_b.0[i], four);
            }
            a.add(before.0);
            b.add(before.1);
        }
        *state_a = a.into_state();
        *state_b = b.into_state();
    }

    /// The working variables `a` to `h`, as `SHA256RNDS2` wants them: the names begin with the highest word.
    #[derive(Clone, Copy)]
    struct Working {
        abef: __m128i,
        cdgh: __m128i,
    }

    impl Working {
        #[inline]
        #[target_feature(enable = "sse2,ssse3,sse4.1,sha")]
        fn from_state(state: State) -> Self {
            let [dcba, hgfe]: [__m128i; 2] = transmute!(state);
            let cdab = _mm_shuffle_epi32(dcba, 0b10_11_00_01);
            let efgh = _mm_shuffle_epi32(hgfe, 0b00_01_10_11);
            Self { abef: _mm_alignr_epi8(cdab, efgh, 8), cdgh: _mm_blend_epi16(efgh, cdab, 0b1111_0000) }
        }

        #[inline]
        #[target_feature(enable = "sse2,ssse3,sse4.1,sha")]
        fn into_state(self) -> State {
            let feba = _mm_shuffle_epi32(self.abef, 0b00_01_10_11);
            let dchg = _mm_shuffle_epi32(self.cdgh, 0b10_11_00_01);
            transmute!([_mm_blend_epi16(feba, dchg, 0b1111_0000), _mm_alignr_epi8(dchg, feba, 8)])
        }

        /// Four rounds with four words of the message and as many constants. Two rounds make new `a`, `b`, `e` and `f`,
        /// and what these were are `c`, `d`, `g` and `h` then: the variables change places.
        #[inline]
        #[target_feature(enable = "sse2,ssse3,sse4.1,sha")]
        fn four_rounds(&mut self, words: __m128i, constants: __m128i) {
            let sum = _mm_add_epi32(words, constants);
            self.cdgh = _mm_sha256rnds2_epu32(self.cdgh, self.abef, sum);
            let upper_half = _mm_shuffle_epi32(sum, 0b00_00_11_10);
            self.abef = _mm_sha256rnds2_epu32(self.abef, self.cdgh, upper_half);
        }

        #[inline]
        #[target_feature(enable = "sse2,ssse3,sse4.1,sha")]
        fn add(&mut self, before: Self) {
            self.abef = _mm_add_epi32(self.abef, before.abef);
            self.cdgh = _mm_add_epi32(self.cdgh, before.cdgh);
        }
    }

    /// The next 16 words of the message schedule (section 6.2.2, step 1), four in each.
    struct Schedule([__m128i; 4]);

    impl Schedule {
        #[inline]
        #[target_feature(enable = "sse2,ssse3,sse4.1,sha")]
        fn new(block: &[u8; BLOCK]) -> Self {
            let from_big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
            let words: [__m128i; 4] = transmute!(*block);
            let [a, b, c, d] = words;
            Self([
                _mm_shuffle_epi8(a, from_big_endian),
                _mm_shuffle_epi8(b, from_big_endian),
                _mm_shuffle_epi8(c, from_big_endian),
                _mm_shuffle_epi8(d, from_big_endian),
            ])
        }

        /// Takes four words, and puts the four that come 16 words later at the end.
        #[inline]
        #[target_feature(enable = "sse2,ssse3,sse4.1,sha")]
        fn next(&mut self) -> __m128i {
            let [a, b, c, d] = self.0;
            let seven_before = _mm_alignr_epi8(d, c, 4);
            let sum = _mm_add_epi32(_mm_sha256msg1_epu32(a, b), seven_before);
            self.0 = [b, c, d, _mm_sha256msg2_epu32(sum, d)];
            a
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: State = [1, 2, 3, 4, 5, 6, 7, u32::MAX];
    const B: State = [u32::MAX, 0, 1 << 31, 9, 8, 7, 6, 5];

    fn blocks(count: usize, seed: usize) -> Vec<[u8; BLOCK]> {
        let byte = |i, j| u8::try_from((i * 31 + j * j * 7 + seed) % 256).unwrap();
        (0..count).map(|i| std::array::from_fn(|j| byte(i, j))).collect()
    }

    #[test]
    fn whatever_the_processor_has_a_pair_is_two_messages() {
        for count in [0, 1, 2, 17] {
            let (first, second) = (blocks(count, 3), blocks(count, 200));
            let (mut a, mut b) = (A, B);
            compress([&mut a, &mut b], [&first, &second]);
            let (mut c, mut d) = (A, B);
            one_after_the_other([&mut c, &mut d], [&first, &second]);
            assert_eq!((a, b), (c, d));
            assert!(count == 0 || (a != A && b != B));
        }
    }
}
