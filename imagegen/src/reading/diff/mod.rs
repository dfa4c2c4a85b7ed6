//! How two images differ, in words, from the outside in: container, partition table, partition, file system field,
//! directory entry, file, variable.

mod container;
mod ext4;
mod fat;
mod variables;

use serde::Serialize;

use crate::container::reader::{Image, ReadError, Source, Window};
use crate::disk::gpt::reader::{Partition, PartitionTable};
use crate::on_disk::{Field, Structure};
use crate::reading::probe::Contents;
use crate::units::{index, length};

/// How much is compared at once.
const PIECE: u64 = 1 << 20;
const ABSENT: &str = "not there";
const READABLE: &str = "readable";

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Difference {
    /// How far in it is: `container`, `disk`, `mbr`, `gpt`, `partition`, `file-system`, `group`, `entry`, `file`,
    /// `efi-variable` or `bytes`.
    pub layer: &'static str,
    /// The partition, path or variable; empty for the whole.
    pub place: String,
    /// What differs there, by its name in the specification where it has one.
    pub what: String,
    /// What the first image has.
    pub left: String,
    /// What the second image has.
    pub right: String,
}

/// Collects differences.
#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "numbers and texts alike, without an ampersand at each call"
    )]
    fn add(
        &mut self,
        layer: &'static str,
        place: &str,
        what: &str,
        left: impl ToString,
        right: impl ToString,
    ) {
        let (left, right) = (left.to_string(), right.to_string());
        if left != right {
            self.0.push(Difference { layer, place: place.to_owned(), what: what.to_owned(), left, right });
        }
    }

    /// An image that cannot be read where the other can is a difference.
    fn unreadable(&mut self, layer: &'static str, place: &str, problem: Unreadable) {
        let readable = || READABLE.to_owned();
        let (left, right) = match problem {
            Unreadable::Left(left) => (left.to_string(), readable()),
            Unreadable::Right(right) => (readable(), right.to_string()),
            Unreadable::Both(errors) => (errors.0.to_string(), errors.1.to_string()),
        };
        self.add(layer, place, "cannot be compared", left, right);
    }

    fn fields(&mut self, layer: &'static str, place: &str, left: &[Field], right: &[Field]) {
        for (left, right) in left.iter().zip(right) {
            self.add(layer, place, left.name, &left.value, &right.value);
        }
    }
}

/// What could not be read of either image.
enum Unreadable {
    Left(ReadError),
    Right(ReadError),
    Both(Box<(ReadError, ReadError)>),
}

impl From<Unreadable> for ReadError {
    fn from(problem: Unreadable) -> Self {
        match problem {
            Unreadable::Left(error) | Unreadable::Right(error) => error,
            Unreadable::Both(errors) => errors.0,
        }
    }
}

/// Two disks, parts of disks or files that are compared.
#[derive(Clone, Copy)]
struct Sides<'s> {
    left: &'s dyn Source,
    right: &'s dyn Source,
}

/// What was read of both images, or why not.
fn both<T>(left: Result<T, ReadError>, right: Result<T, ReadError>) -> Result<(T, T), Unreadable> {
    match (left, right) {
        (Ok(left), Ok(right)) => Ok((left, right)),
        (Err(left), Ok(_)) => Err(Unreadable::Left(left)),
        (Ok(_), Err(right)) => Err(Unreadable::Right(right)),
        (Err(left), Err(right)) => Err(Unreadable::Both(Box::new((left, right)))),
    }
}

/// Finds the differences of two images; with `ignore_container`, only those that a guest sees.
pub fn diff(left: &Image, right: &Image, ignore_container: bool) -> Result<Vec<Difference>, ReadError> {
    let mut found = Differences::default();
    if !ignore_container {
        container::compare(&mut found, left, right)?;
    }
    let before = found.0.len();
    found.add("disk", "", "size in bytes", left.size(), right.size());
    let sides = Sides { left, right };
    if let Some(offset) = first_difference(sides)? {
        contents(&mut found, "", sides);
        if found.0.len() == before {
            let what = format!(
                "first differing byte, at guest offset {offset:#x}, outside of files and known fields"
            );
            found.add("bytes", "", &what, byte(left, offset), byte(right, offset));
        }
    }
    Ok(found.0)
}

/// The first byte in which two disks or files, as far as both go, differ.
fn first_difference(Sides { left, right }: Sides<'_>) -> Result<Option<u64>, Unreadable> {
    let size = left.size().min(right.size());
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut offset = 0;
    loop {
        let (one, other) = both(left.data_from(offset), right.data_from(offset))?;
        // Both have zeros before, though perhaps very many of them.
        offset = one.min(other);
        if offset >= size {
            return Ok(None);
        }
        let count = PIECE.min(size - offset);
        a.resize(index(count), 0);
        b.resize(index(count), 0);
        both(left.read_at(&mut a, offset), right.read_at(&mut b, offset))?;
        // The whole is compared faster than byte by byte.
        if a != b {
            let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
            return Ok(Some(offset + length(same)));
        }
        offset += count;
    }
}

/// Adds the first byte in which two files differ.
fn files(found: &mut Differences, path: &str, sides: Sides<'_>) -> Result<(), Unreadable> {
    if let Some(at) = first_difference(sides)? {
        let guest = sides.left.guest_offset(at).map_or("a hole".to_owned(), |at| format!("{:#x}", at.0));
        let what = format!("first differing byte, at {at:#x} (guest offset {guest})");
        found.add("file", path, &what, byte(sides.left, at), byte(sides.right, at));
    }
    Ok(())
}

/// Compares what two disks or partitions hold. What cannot be read is a difference of its own if the other can.
fn contents(found: &mut Differences, place: &str, sides: Sides<'_>) {
    if let Err(problem) = try_contents(found, place, sides) {
        found.unreadable("file-system", place, problem);
    }
}

fn try_contents(found: &mut Differences, place: &str, sides: Sides<'_>) -> Result<(), Unreadable> {
    let (a, b) = both(Contents::detect(sides.left), Contents::detect(sides.right))?;
    match (&a, &b) {
        // A table within a partition belongs to a guest's disk.
        (Contents::Partitions(a), Contents::Partitions(b)) if place.is_empty() => tables(found, a, b, sides),
        (Contents::Ext4, Contents::Ext4) => ext4::compare(found, place, sides)?,
        (Contents::Fat, Contents::Fat) => fat::compare(found, place, sides)?,
        (Contents::EfiVariables, Contents::EfiVariables) => variables::compare(found, sides)?,
        _ => found.add("file-system", place, "kind", name(&a), name(&b)),
    }
    Ok(())
}

fn name(contents: &Contents) -> &'static str {
    match contents {
        Contents::Partitions(_) => "partition table",
        Contents::Ext4 => "ext4",
        Contents::Fat => "FAT",
        Contents::EfiVariables => "EFI variables",
        Contents::Named(name) => name,
        Contents::Zeros => "zeros",
        Contents::Unknown => "unknown",
    }
}

fn tables(found: &mut Differences, a: &PartitionTable, b: &PartitionTable, sides: Sides<'_>) {
    found.fields("mbr", "", &a.mbr.fields(), &b.mbr.fields());
    let scheme = |table: &PartitionTable| if table.gpt.is_some() { "GPT" } else { "MBR" };
    found.add("gpt", "", "partition table", scheme(a), scheme(b));
    if let (Some(a), Some(b)) = (&a.gpt, &b.gpt) {
        found.fields("gpt", "", &a.header.fields(), &b.header.fields());
    }
    found.add("gpt", "", "problems", a.problems.join("; "), b.problems.join("; "));
    for partition in &a.partitions {
        let place = format!("partition {}", partition.number);
        match b.partitions.iter().find(|other| other.number == partition.number) {
            Some(other) => partitions(found, &place, (partition, other), sides),
            None => found.add("partition", &place, "partition", &partition.name, ABSENT),
        }
    }
    for partition in &b.partitions {
        if !a.partitions.iter().any(|other| other.number == partition.number) {
            let place = format!("partition {}", partition.number);
            found.add("partition", &place, "partition", ABSENT, &partition.name);
        }
    }
}

fn partitions(found: &mut Differences, place: &str, (a, b): (&Partition, &Partition), disks: Sides<'_>) {
    found.fields("partition", place, &a.fields, &b.fields);
    let before = found.0.len();
    let mut compare = || {
        let a = Window::new(disks.left, a.start_bytes, a.bytes);
        let (a, b) = both(a, Window::new(disks.right, b.start_bytes, b.bytes))?;
        let sides = Sides { left: &a, right: &b };
        let Some(offset) = first_difference(sides)? else { return Ok(()) };
        contents(found, place, sides);
        if found.0.len() == before {
            let what =
                format!("first differing byte, at its byte {offset:#x}, outside of files and known fields");
            found.add("bytes", place, &what, byte(&a, offset), byte(&b, offset));
        }
        Ok(())
    };
    if let Err(problem) = compare() {
        found.unreadable("partition", place, problem);
    }
}

fn byte(source: &dyn Source, offset: u64) -> String {
    let hex = |byte: Vec<u8>| data_encoding::HEXLOWER.encode(&byte);
    source.bytes(offset, 1).map_or_else(|error| error.to_string(), hex)
}
