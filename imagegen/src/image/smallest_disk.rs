//! The smallest size of a disk that boots: that with which its EFI system partition holds the files.

use crate::disk::layout::{Content, Layout, LayoutError};
use crate::fs::fat::{self, Contents, Fat};
use crate::units::ByteCount;

/// Sizes are proposed in these steps.
const STEP: u64 = 1 << 20;
/// The largest sizes that are proposed: FAT16 ends at 4 GiB, FAT32 at 2 TiB.
const LARGEST: [u64; 2] = [4 << 30, 2 << 40];

/// The first number of whole MiB from `least` on with which the layout has an EFI system partition that holds the
/// contents.
pub(super) fn smallest(
    least: u64,
    contents: &Contents,
    fat: Option<Fat>,
    layout: impl Fn(ByteCount) -> Result<Layout, LayoutError>,
) -> Option<ByteCount> {
    let [of_fat16, of_fat32] = LARGEST;
    let largest = if fat == Some(Fat::Fat16) { of_fat16 } else { of_fat32 };
    let holds = |size: &ByteCount| {
        let part = layout(*size).ok().and_then(|layout| layout.part(Content::Fat));
        part.is_some_and(|part| fat::fits(part, contents, fat))
    };
    (least.max(contents.file_bytes() / STEP)..=largest / STEP)
        .map(|steps| ByteCount(steps * STEP))
        .find(holds)
}
