//! Prints a file out of an image: `read_file IMAGE PATH`.
//!
//! IMAGE is raw or qcow2: an ext4 file system, or a disk with one in a partition.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use imagegen::container::reader::{Backing, Image, Source};
use imagegen::fs::ext4::reader::{FileSystem, Type};
use imagegen::reading::probe::find_ext4;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, path] = arguments.as_slice() else { return Err("usage: read_file IMAGE PATH".into()) };
    // No backing file outside of the image's own directory is opened, whatever the image says.
    let image = Image::open(Path::new(image), None, &Backing::Near(vec![]))?;
    let window = find_ext4(&image, None)?;
    let file_system = FileSystem::open(&window)?;

    let names: Vec<&[u8]> = path.split('/').filter(|name| !name.is_empty()).map(str::as_bytes).collect();
    let inode = file_system.lookup(&names)?.ok_or_else(|| format!("`{path}` is not in the image"))?;
    if inode.kind() != Type::File {
        return Err(format!("`{path}` is not a regular file").into());
    }
    let file = file_system.file(&inode)?;
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < file.size() {
        let count = buffer.len().min(usize::try_from(file.size() - offset)?);
        file.read_at(&mut buffer[..count], offset)?;
        io::stdout().write_all(&buffer[..count])?;
        offset += u64::try_from(count)?;
    }
    Ok(())
}
