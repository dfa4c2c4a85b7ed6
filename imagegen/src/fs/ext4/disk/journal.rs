//! The first block of a journal (the kernel's documentation of ext4, "Journal (jbd2)"); all numbers are big-endian.

use zerocopy::byteorder::big_endian::U32;

use crate::on_disk::structure;

/// The first number of every journal block that is not data.
pub const JOURNAL_MAGIC: u32 = 0xC03B_3998;
/// The type of the block that is declared here.
pub const BLOCK_TYPE_SUPERBLOCK_V2: u32 = 4;

structure! {
    /// The block that tells where the log begins and what it may hold.
    pub struct JournalSuperblock {
        h_magic: U32 = hex,
        h_blocktype: U32 = decimal,
        h_sequence: U32 = decimal,
        s_blocksize: U32 = decimal,
        /// The journal's length in blocks, this one included.
        s_maxlen: U32 = decimal,
        /// The first block of log.
        s_first: U32 = decimal,
        /// The first number expected in the log.
        s_sequence: U32 = decimal,
        /// Where the log begins; 0 where there is nothing to replay.
        s_start: U32 = decimal,
        s_errno: U32 = decimal,
        s_feature_compat: U32 = hex,
        s_feature_incompat: U32 = hex,
        s_feature_ro_compat: U32 = hex,
        s_uuid: [u8; 16] = uuid,
        s_nr_users: U32 = decimal,
        s_dynsuper: U32 = decimal,
        s_max_transaction: U32 = decimal,
        s_max_trans_data: U32 = decimal,
        s_checksum_type: u8 = decimal,
        s_padding2: [u8; 3] = bytes,
        s_num_fc_blocks: U32 = decimal,
        s_head: U32 = decimal,
        s_padding: [U32; 40] = list,
        s_checksum: U32 = hex,
        s_users: [u8; 768] = bytes,
    }
}

const _: () = assert!(size_of::<JournalSuperblock>() == 1024);
