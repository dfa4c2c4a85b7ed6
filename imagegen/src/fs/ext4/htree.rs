//! Indexed directories: leaves of entries in the order of their hashes, and one or two levels of index above them,
//! all built in one pass (the kernel's documentation of ext4, "Hash Tree Directories").

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U32;

use super::checksum::Checksum;
use super::directory_block::{Entry, USABLE, block};
use super::disk::{EntryHeader, HASH_HALF_MD4, IndexCount, IndexEntry, IndexRootInfo, IndexTail};
use super::{BLOCK, Ext4Error};
use crate::error_kind::InternalError;
use crate::guid::Guid;
use crate::units::{fit, index};

/// Index entries in the root block, behind its two dots, its own header and before its checksum.
const ROOT_ENTRIES: usize = 507;
/// Index entries in a block of the second level.
const NODE_ENTRIES: usize = 510;
/// The lowest bit of a leaf's hash: names with the same hash stand in the leaf before, too.
const CONTINUED: u32 = 1;

/// A leaf's hash, and the entries in it.
type Leaf<'e, 't> = (u32, &'e [(u32, Entry<'t>)]);

/// The blocks: root, second level if there is one, leaves. `dots` are the directory itself and its parent.
pub fn encode(
    dots: [Entry<'_>; 2],
    entries: &[Entry<'_>],
    hash_seed: Guid,
    seed: Checksum,
) -> Result<Vec<u8>, Ext4Error> {
    let sorted = sorted_by_hash(entries, hash_seed);
    let leaves = leaves(&sorted);
    let nodes = second_level(leaves.len())?;

    let entry = |(hash, block): (u32, u32)| IndexEntry { hash: hash.into(), block: block.into() };
    let first_leaf = 1 + fit::<u32, _>(nodes)?;
    let to_leaves: Vec<_> = leaves.iter().map(|(hash, _)| *hash).zip(first_leaf..).map(entry).collect();
    let groups = to_leaves.chunks(NODE_ENTRIES);
    let to_nodes: Vec<_> = groups.clone().map(|group| group[0].hash.get()).zip(1..).map(entry).collect();

    let mut out = Vec::with_capacity((1 + nodes + leaves.len()) * index(BLOCK));
    if nodes == 0 {
        out.extend(root_block(dots, 0, &to_leaves, seed)?);
    } else {
        out.extend(root_block(dots, 1, &to_nodes, seed)?);
        for group in groups {
            out.extend(node_block(group, seed)?);
        }
    }
    for (_, entries) in &leaves {
        out.extend(block(entries.iter().map(|(_, entry)| *entry), seed)?);
    }
    Ok(out)
}

/// The number of second-level blocks for so many leaves; none where the root can name them all.
fn second_level(leaves: usize) -> Result<usize, Ext4Error> {
    if leaves <= ROOT_ENTRIES {
        return Ok(0);
    }
    let nodes = leaves.div_ceil(NODE_ENTRIES);
    if nodes > ROOT_ENTRIES { Err(Ext4Error::DirectoryTooLarge) } else { Ok(nodes) }
}

fn sorted_by_hash<'t>(entries: &[Entry<'t>], hash_seed: Guid) -> Vec<(u32, Entry<'t>)> {
    let seed: [U32; 4] = zerocopy::transmute!(hash_seed.bytes());
    let seed = seed.map(U32::get);
    let mut sorted: Vec<_> = entries.iter().map(|entry| (hash(entry.name, seed), *entry)).collect();
    // Equal hashes stay in the order of their names.
    sorted.sort_by_key(|(hash, _)| *hash);
    sorted
}

/// Fills one leaf after the other.
fn leaves<'e, 't>(sorted: &'e [(u32, Entry<'t>)]) -> Vec<Leaf<'e, 't>> {
    let mut leaves = Vec::new();
    let mut start = 0;
    while start < sorted.len() {
        let mut used = 0;
        let fitting = sorted[start..].iter().take_while(|(_, entry)| {
            used += entry.length();
            used <= USABLE
        });
        let end = start + fitting.count();
        let hash = sorted[start].0;
        let continued = start > 0 && sorted[start - 1].0 == hash;
        leaves.push((if continued { hash | CONTINUED } else { hash }, &sorted[start..end]));
        start = end;
    }
    leaves
}

fn root_block(
    [dot, dot_dot]: [Entry<'_>; 2],
    indirect_levels: u8,
    entries: &[IndexEntry],
    seed: Checksum,
) -> Result<Vec<u8>, InternalError> {
    let mut out = Vec::with_capacity(index(BLOCK));
    dot.append(dot.length(), &mut out)?;
    // To somebody who knows no index, the parent's entry reaches to the end of the block.
    dot_dot.append(index(BLOCK) - out.len(), &mut out)?;
    let info = IndexRootInfo {
        reserved_zero: U32::ZERO,
        hash_version: HASH_HALF_MD4,
        info_length: fit(size_of::<IndexRootInfo>())?,
        indirect_levels,
        unused_flags: 0,
    };
    out.extend_from_slice(info.as_bytes());
    finish_index(out, entries, ROOT_ENTRIES, seed)
}

fn node_block(entries: &[IndexEntry], seed: Checksum) -> Result<Vec<u8>, InternalError> {
    // To somebody who knows no index, the block is empty.
    let rec_len = fit::<u16, _>(BLOCK)?.into();
    let empty = EntryHeader { inode: U32::ZERO, rec_len, name_len: 0, file_type: 0 };
    finish_index(empty.as_bytes().to_vec(), entries, NODE_ENTRIES, seed)
}

/// Appends the entries and the checksum, which covers only those in use.
fn finish_index(
    mut out: Vec<u8>,
    entries: &[IndexEntry],
    limit: usize,
    seed: Checksum,
) -> Result<Vec<u8>, InternalError> {
    let start = out.len();
    let count =
        IndexCount { limit: fit::<u16, _>(limit)?.into(), count: fit::<u16, _>(entries.len())?.into() };
    out.extend_from_slice(entries.as_bytes());
    out[start..][..size_of::<IndexCount>()].copy_from_slice(count.as_bytes());
    // The checksum field itself counts as zeros.
    let mut tail = IndexTail { dt_reserved: U32::ZERO, dt_checksum: U32::ZERO };
    tail.dt_checksum = seed.and(&out).and(tail.as_bytes()).get().into();
    out.resize(index(BLOCK) - size_of::<IndexTail>(), 0);
    out.extend_from_slice(tail.as_bytes());
    Ok(out)
}

/// The half-MD4 hash of a name, its bytes taken as unsigned; the lowest bit is always zero.
fn hash(name: &[u8], seed: [u32; 4]) -> u32 {
    /// This value would stand for the end of a directory.
    const END: u32 = 0xFFFF_FFFE;
    let mut state = if seed == [0; 4] { [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476] } else { seed };
    let mut rest = name;
    while !rest.is_empty() {
        half_md4(&mut state, words_of(rest));
        rest = rest.get(32..).unwrap_or_default();
    }
    let hash = state[1] & !1;
    if hash == END { END - 2 } else { hash }
}

/// Eight words of a name, most significant byte first; what lies behind its end is filled with its length.
fn words_of(name: &[u8]) -> [u32; 8] {
    // The low byte of the length, in every place.
    let [length, ..] = name.len().to_le_bytes();
    let pad = u32::from_ne_bytes([length; 4]);
    let mut words = [pad; 8];
    for (word, bytes) in words.iter_mut().zip(name.chunks(4)) {
        *word = bytes.iter().fold(pad, |n, &byte| n << 8 | u32::from(byte));
    }
    words
}

/// A round of MD4 (RFC 1320) with half the input words and half the steps.
fn half_md4(state: &mut [u32; 4], input: [u32; 8]) {
    type Mix = fn(u32, u32, u32) -> u32;
    let rounds: [(Mix, u32, [usize; 8], [u32; 4]); 3] = [
        (|x, y, z| z ^ (x & (y ^ z)), 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (|x, y, z| (x & y).wrapping_add((x ^ y) & z), 0x5A82_7999, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]),
        (|x, y, z| x ^ y ^ z, 0x6ED9_EBA1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, constant, order, shifts) in rounds {
        for (step, word) in order.into_iter().enumerate() {
            let sum = a.wrapping_add(mix(b, c, d)).wrapping_add(input[word]).wrapping_add(constant);
            (a, b, c, d) = (d, sum.rotate_left(shifts[step % 4]), b, c);
        }
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn hashes_are_those_of_debugfs() {
        let seed = "6e697873-746f-4e72-a5c1-6d6167650002";
        let long = "x".repeat(255);
        for name in [
            "a",
            "abcd",
            "hello-2.12",
            "0123456789abcdef0123456789abcdef",
            "more than thirty-two bytes long, it is",
            &long,
        ] {
            let output = Command::new("debugfs")
                .args(["-R", &format!("dx_hash -h half_md4 -s {seed} \"{name}\"")])
                .output()
                .expect("debugfs is installed");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let entry = Entry { name: name.as_bytes(), inode: 0, file_type: 0 };
            let ours = format!("0x{:08x}", sorted_by_hash(&[entry], seed.parse().unwrap())[0].0);
            assert!(text.contains(&ours), "{name}: {ours}, {text}");
        }
    }
}
