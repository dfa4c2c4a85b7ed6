//! The files of two images.

use super::{ABSENT, Differences};
use crate::container::reader::{Image, Layer, ReadError};
use crate::on_disk::Structure;
use crate::text::shown;
use crate::units::{index, length};

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
    found.fields("container", place, &one.header.fields(), &other.header.fields());
    let backing = |name: Option<&[u8]>| name.map_or_else(|| ABSENT.to_owned(), shown);
    let (one_name, other_name) = (backing(one.backing_name()), backing(other.backing_name()));
    found.add("container", place, "backing file", one_name, other_name);
    let (one, other) = (a.allocation()?, b.allocation()?);
    if let Some(i) = (0..one.len().max(other.len())).find(|&i| one.get(i) != other.get(i)) {
        let text = |extent: Option<&crate::container::reader::Extent>| {
            extent.map_or_else(
                || ABSENT.to_owned(),
                |extent| format!("{:#x}..{:#x} {}", extent.guest.start, extent.guest.end, extent.state),
            )
        };
        found.add("container", place, "allocation", text(one.get(i)), text(other.get(i)));
    }
    found.add("container", place, "file length", a.file_length(), b.file_length());
    if found.0.len() == before
        && let Some(offset) = first_difference(a, b)?
    {
        let what = format!("first differing byte of the file, at {offset:#x}");
        let byte = |layer: &Layer| {
            let mut byte = [0];
            layer.read_file(&mut byte, offset).map(|()| format!("{:02x}", byte[0]))
        };
        found.add("container", place, &what, byte(a)?, byte(b)?);
    }
    Ok(())
}

fn first_difference(a: &Layer, b: &Layer) -> Result<Option<u64>, ReadError> {
    let (mut one, mut other) = (vec![0; index(super::PIECE)], vec![0; index(super::PIECE)]);
    let mut offset = 0;
    loop {
        offset = a.file_data_from(offset)?.min(b.file_data_from(offset)?);
        if offset >= a.file_length().min(b.file_length()) {
            break;
        }
        // What lies beyond the end of a file reads as zeros.
        a.read_file(&mut one, offset)?;
        b.read_file(&mut other, offset)?;
        if let Some(i) = super::differing(&one, &other) {
            return Ok(Some(offset + i));
        }
        offset += length(one.len());
    }
    Ok(None)
}
