//! The files of two images.

use super::{ABSENT, Differences, Sides, byte, first_difference};
use crate::container::reader::{Extent, Image, Layer, ReadError, Source};
use crate::on_disk::Structure;
use crate::text::shown;
use crate::units::GuestOffset;

pub fn compare(found: &mut Differences, left: &Image, right: &Image) -> Result<(), ReadError> {
    let (a, b) = (left.layers(), right.layers());
    found.add("container", "", "number of backing files", a.len() - 1, b.len() - 1);
    for (depth, (a, b)) in a.iter().zip(b).enumerate() {
        let place = if depth == 0 { String::new() } else { format!("backing file {depth}") };
        layers(found, &place, a, b)?;
    }
    Ok(())
}

fn layers(found: &mut Differences, place: &str, a: &Layer, b: &Layer) -> Result<(), ReadError> {
    found.add("container", place, "format", a.format().name(), b.format().name());
    let (Some(one), Some(other)) = (a.qcow2(), b.qcow2()) else { return Ok(()) };
    let before = found.0.len();
    found.fields("container", place, &one.header().fields(), &other.header().fields());
    let backing = |name: Option<&[u8]>| name.map_or_else(|| ABSENT.to_owned(), shown);
    let (one_name, other_name) =
        (backing(one.first.backing_name.as_deref()), backing(other.first.backing_name.as_deref()));
    found.add("container", place, "backing file", one_name, other_name);
    let (one, other) = (a.allocation()?, b.allocation()?);
    if let Some(i) = (0..one.len().max(other.len())).find(|&i| one.get(i) != other.get(i)) {
        let text = |extent: Option<&Extent>| {
            extent.map_or_else(
                || ABSENT.to_owned(),
                |extent| format!("{:#x}..{:#x} {}", extent.guest.start, extent.guest.end, extent.state),
            )
        };
        found.add("container", place, "allocation", text(one.get(i)), text(other.get(i)));
    }
    found.add("container", place, "file length", a.file_length(), b.file_length());
    let (a, b) = (FileBytes(a), FileBytes(b));
    if found.0.len() == before
        && let Some(offset) = first_difference(Sides { left: &a, right: &b })?
    {
        let what = format!("first differing byte of the file, at {offset:#x}");
        found.add("container", place, &what, byte(&a, offset), byte(&b, offset));
    }
    Ok(())
}

/// The bytes of a file of an image, as they are.
struct FileBytes<'l>(&'l Layer);

impl Source for FileBytes<'_> {
    fn size(&self) -> u64 {
        self.0.file_length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        self.0.read_file(buffer, offset)
    }

    fn guest_offset(&self, _: u64) -> Option<GuestOffset> {
        None
    }

    fn data_from(&self, offset: u64) -> Result<u64, ReadError> {
        self.0.file_data_from(offset)
    }
}
