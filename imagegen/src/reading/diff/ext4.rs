//! Two ext4 file systems.

use std::collections::HashSet;

use super::{ABSENT, Differences, Sides, Unreadable, both, files};
use crate::fs::ext4::reader::{Blocks, Entry, FileSystem, Inode, ROOT, Type};
use crate::on_disk::Structure;
use crate::text::shown;

pub fn compare(found: &mut Differences, place: &str, sides: Sides<'_>) -> Result<(), Unreadable> {
    let (a, b) = both(FileSystem::open(sides.left), FileSystem::open(sides.right))?;
    found.fields("file-system", place, &a.superblock().fields(), &b.superblock().fields());
    for (number, (one, other)) in a.groups().iter().zip(b.groups()).enumerate() {
        let place = format!("{place} group {number}");
        found.fields("group", place.trim_start(), &one.fields(), &other.fields());
    }
    let mut walk = Walk { found, a, b, seen: (HashSet::new(), HashSet::new()) };
    let mut todo = vec![(String::new(), ROOT, ROOT)];
    while let Some((path, one, other)) = todo.pop() {
        match walk.step(&path, one, other) {
            Ok(below) => todo.extend(below),
            // The others may be compared all the same.
            Err(problem) => walk.found.unreadable("entry", shown_path(&path), problem),
        }
    }
    Ok(())
}

/// Two trees that are gone through together.
struct Walk<'w, 's> {
    found: &'w mut Differences,
    a: FileSystem<'s>,
    b: FileSystem<'s>,
    /// The directories of each that were met.
    seen: (HashSet<u32>, HashSet<u32>),
}

impl Walk<'_, '_> {
    /// Compares two inodes that have the same path, and gives those below them.
    fn step(&mut self, path: &str, one: u32, other: u32) -> Result<Vec<(String, u32, u32)>, Unreadable> {
        let (a, b) = (&self.a, &self.b);
        let (one, other) = both(a.inode(one), b.inode(other))?;
        inodes(self.found, shown_path(path), &one, &other);
        if one.kind() != other.kind() {
            return Ok(Vec::new());
        }
        match one.kind() {
            // Both are remembered, and a directory that was met in either is not gone through again.
            Type::Directory if self.seen.0.insert(one.number) & self.seen.1.insert(other.number) => {
                let (one, other) = both(a.entries(&one), b.entries(&other))?;
                return Ok(entries(self.found, path, one, other));
            }
            Type::Symlink => {
                let targets = both(a.link_target(&one), b.link_target(&other))?;
                self.found.add("entry", shown_path(path), "target", shown(&targets.0), shown(&targets.1));
            }
            Type::File => {
                let path = shown_path(path);
                let (left, right) = both(a.blocks(&one), b.blocks(&other))?;
                if left.runs != right.runs {
                    let first = |blocks: &Blocks| blocks.runs.first().map_or(0, |run| run.physical);
                    self.found.add("file", path, "first block", first(&left), first(&right));
                }
                let (left, right) = (a.file_in(&one, &left), b.file_in(&other, &right));
                files(self.found, path, Sides { left: &left, right: &right })?;
            }
            Type::Directory | Type::Special => {}
        }
        Ok(Vec::new())
    }
}

fn shown_path(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// Names that only one has are differences; the others are compared later, the first on top of the stack.
fn entries(found: &mut Differences, path: &str, a: Vec<Entry>, b: Vec<Entry>) -> Vec<(String, u32, u32)> {
    let mut pairs = Vec::new();
    let mut b = b.into_iter().peekable();
    let full = |entry: &Entry| format!("{path}/{}", shown(&entry.name));
    for one in a {
        while let Some(other) = b.next_if(|other| other.name < one.name) {
            found.add("entry", &full(&other), "entry", ABSENT, "there");
        }
        match b.next_if(|other| other.name == one.name) {
            Some(other) => pairs.push((full(&one), one.inode, other.inode)),
            None => found.add("entry", &full(&one), "entry", "there", ABSENT),
        }
    }
    for other in b {
        found.add("entry", &full(&other), "entry", ABSENT, "there");
    }
    pairs.reverse();
    pairs
}

fn inodes(found: &mut Differences, path: &str, a: &Inode, b: &Inode) {
    found.add("entry", path, "inode number", a.number, b.number);
    // The block area is told by the contents, the checksum by all the rest.
    let told_otherwise = ["i_block", "l_i_checksum_lo", "i_checksum_hi"];
    for (one, other) in a.raw.fields().iter().zip(b.raw.fields()) {
        if !told_otherwise.contains(&one.name) {
            found.add("entry", path, one.name, &one.value, &other.value);
        }
    }
}
