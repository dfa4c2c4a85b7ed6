//! One cluster, compressed (QEMU's docs/interop/qcow2, "Compressed Clusters Descriptor" and "compression type").

use std::io;
use std::sync::{Mutex, PoisonError};

use flate2::{Compress, FlushCompress, Status};

use super::CLUSTER;
use crate::container::{Compression, is_zero};
use crate::units::{index, length};

/// QEMU asks for a window of 2^12 bytes when it inflates. It reads larger ones too, as long as a cluster is inflated by one
/// call of its zlib (findings/qcow2-deflate-window.sh), but that is no promise.
const WINDOW_BITS: u8 = 12;
/// The default of zlib, and of qemu-img.
const ZLIB_LEVEL: u32 = 6;
/// The default of zstd, and of qemu-img.
const ZSTD_LEVEL: i32 = 3;

/// What became of a cluster.
#[derive(Debug, PartialEq, Eq)]
pub enum Packed {
    /// It is all zeros and needs no place.
    Zero,
    /// It got shorter.
    Compressed(Vec<u8>),
    /// It did not, and stays as it is.
    Raw(Vec<u8>),
}

/// Compresses clusters. The result depends on the cluster alone, whichever thread does it and whatever it did before.
pub struct Codec {
    compression: Compression,
    /// State of the compressors that are not at work; making one takes longer than a small cluster.
    idle: Mutex<Vec<State>>,
}

enum State {
    Zlib(Box<Compress>),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Codec {
    pub fn new(compression: Compression) -> Self {
        Self { compression, idle: Mutex::default() }
    }

    /// Compresses a whole cluster.
    pub fn pack(&self, cluster: &[u8]) -> io::Result<Packed> {
        if is_zero(cluster) {
            return Ok(Packed::Zero);
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut state = match idle {
            Some(state) => state,
            None => State::new(self.compression)?,
        };
        let packed = state.compress(cluster)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(state);
        Ok(packed.map_or_else(|| Packed::Raw(cluster.to_vec()), Packed::Compressed))
    }
}

impl State {
    fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Zlib => Self::Zlib(Box::new(Compress::new_with_window_bits(
                flate2::Compression::new(ZLIB_LEVEL),
                false,
                WINDOW_BITS,
            ))),
            Compression::Zstd => Self::Zstd(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        })
    }

    /// The compressed bytes, if there are fewer of them.
    fn compress(&mut self, cluster: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut out = vec![0; index(CLUSTER) - 1];
        let size = match self {
            Self::Zlib(compress) => {
                compress.reset();
                let status =
                    compress.compress(cluster, &mut out, FlushCompress::Finish).map_err(io::Error::other)?;
                (status == Status::StreamEnd).then(|| index(compress.total_out()))
            }
            // The one way to fail with a buffer of this size is that it is too small.
            Self::Zstd(compressor) => compressor.compress_to_buffer(cluster, out.as_mut_slice()).ok(),
        };
        Ok(size.filter(|&size| length(size) < CLUSTER).map(|size| {
            out.truncate(size);
            out
        }))
    }
}
