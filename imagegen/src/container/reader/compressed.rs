//! Compressed clusters (QEMU's docs/interop/qcow2, "Compressed Clusters Descriptor").

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Layer, ReadError};
use crate::container::qcow2::disk::{COMPRESSION_TYPE_ZSTD, CompressedData, Header};
use crate::units::{index, length};

/// How many bytes of decompressed clusters are kept: metadata is read in small pieces.
const KEPT: usize = 8 << 20;

/// Decompresses clusters, and keeps the last of them.
#[derive(Debug)]
pub struct Decompressor {
    cluster_size: usize,
    zstd: bool,
    kept: Mutex<VecDeque<(CompressedData, Arc<[u8]>)>>,
}

impl Decompressor {
    pub fn new(header: &Header) -> Self {
        Self {
            cluster_size: 1 << header.cluster_bits.get(),
            zstd: header.compression_type == COMPRESSION_TYPE_ZSTD,
            kept: Mutex::default(),
        }
    }

    /// Fills the buffer with bytes of one compressed cluster, which the guest's `offset` lies in.
    pub fn read(
        &self,
        layer: &Layer,
        buffer: &mut [u8],
        offset: u64,
        cluster: CompressedData,
    ) -> Result<(), ReadError> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lock().iter().find(|(key, _)| *key == cluster).map(|(_, bytes)| Arc::clone(bytes));
        let bytes = if let Some(bytes) = kept {
            bytes
        } else {
            let bytes: Arc<[u8]> = self.decompress(layer, offset, cluster)?.into();
            let mut kept = lock();
            if (kept.len() + 1) * bytes.len() > KEPT {
                kept.pop_front();
            }
            kept.push_back((cluster, Arc::clone(&bytes)));
            bytes
        };
        let start = index(offset % length(self.cluster_size));
        buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
        Ok(())
    }

    fn decompress(&self, layer: &Layer, guest: u64, cluster: CompressedData) -> Result<Vec<u8>, ReadError> {
        let size = self.cluster_size;
        // The descriptor holds at most a cluster and a few sectors.
        let there = layer.file_length().saturating_sub(cluster.start).min(cluster.length);
        let mut packed = vec![0; index(there)];
        layer.read_file(&mut packed, cluster.start)?;
        let unpacked = if self.zstd { unpack_zstd(&packed, size) } else { unpack_deflate(&packed, size) };
        unpacked.filter(|bytes| bytes.len() == size).ok_or_else(|| {
            let form = if self.zstd { "zstd" } else { "zlib" };
            let problem = format!(
                "the {there} bytes at {:#x} of the file do not unpack to a cluster ({form})",
                cluster.start
            );
            layer.damaged(guest, problem)
        })
    }
}

/// Raw deflate data, as QEMU writes it under the name of zlib; no more than `size` bytes of it.
fn unpack_deflate(packed: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(size);
    flate2::read::DeflateDecoder::new(packed).take(length(size)).read_to_end(&mut out).ok()?;
    Some(out)
}

/// Zstd frames that fill the cluster exactly; there is mostly one. What follows them in their last sector is another
/// cluster's. A frame that claims a large window takes no memory for it, since it is unpacked in one piece.
fn unpack_zstd(mut packed: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut decompressor = zstd::bulk::Decompressor::new().ok()?;
    let mut out = vec![0; size];
    let mut filled = 0;
    while filled < size {
        let end = zstd::zstd_safe::find_frame_compressed_size(packed).ok()?;
        let (frame, rest) = packed.split_at_checked(end)?;
        filled += decompressor.decompress_to_buffer(frame, &mut out[filled..]).ok()?;
        packed = rest;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Does not say how long its contents are, as streams do.
    fn frame_of_unknown_size(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Ours keep to a window of 2^12 bytes; other writers need not, and QEMU 7.2 and 10.0 read what they write
    /// (findings/qcow2-deflate-window.sh).
    #[test]
    fn deflate_may_reach_back_for_all_of_its_window() {
        let mut state = 2_463_534_242_u32;
        let block = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[3]
        });
        let cluster = block.take(8192).collect::<Vec<_>>().repeat(8);
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&cluster).unwrap();
        let packed = encoder.finish().unwrap();
        assert!(packed.len() < 16_384, "no match is farther away than 2^12 bytes");
        assert_eq!(unpack_deflate(&packed, cluster.len()), Some(cluster));
    }

    #[test]
    fn zstd_frames_fill_a_cluster_or_are_refused() {
        let cluster: Vec<u8> = (0..16_384_u32).flat_map(|i| (i * i % 977).to_le_bytes()).collect();
        let size = cluster.len();
        let known = zstd::bulk::compress(&cluster, 3).unwrap();
        let unknown = frame_of_unknown_size(&cluster);
        let (front, back) = cluster.split_at(size / 3);
        let skipped = [0x50, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 7, 7].to_vec();
        for frames in [
            known.clone(),
            unknown.clone(),
            [frame_of_unknown_size(front), zstd::bulk::compress(back, 3).unwrap()].concat(),
            [skipped.clone(), known.clone()].concat(),
        ] {
            assert_eq!(unpack_zstd(&frames, size).as_ref(), Some(&cluster));
            // The rest of the last sector, and a frame of the next cluster.
            for rest in [vec![0; 511], vec![0xFF; 300], known.clone()] {
                assert_eq!(unpack_zstd(&[frames.clone(), rest].concat(), size).as_ref(), Some(&cluster));
            }
            assert_eq!(unpack_zstd(&frames[..frames.len() - 1], size), None);
        }
        let mut damaged = unknown.clone();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert_eq!(unpack_zstd(&damaged, size), None, "the checksum");
        assert_eq!(unpack_zstd(&known, size - 1), None, "too long");
        assert_eq!(unpack_zstd(&unknown, size - 1), None, "too long");
        assert_eq!(unpack_zstd(&known, size + 1), None, "too short");
        assert_eq!(unpack_zstd(&skipped.repeat(1000), size), None, "empty");
        assert_eq!(unpack_zstd(&[], size), None);
        // Its header claims 2 GiB and a window of that size.
        let large = [0x28, 0xB5, 0x2F, 0xFD, 0x80, 0xA8, 0, 0, 0, 0x80, 3, 0, 0, 0];
        assert_eq!(unpack_zstd(&large, size), None, "a claim");
    }
}
