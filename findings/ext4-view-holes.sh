#!/usr/bin/env bash
# ext4-view 1.0.0 (crate) and mke2fs 1.47.0 (Debian 12): files in the block maps of ext2 and ext3.
#
# Guessed: a reader of ext4 that takes a file system without extents reads the zeros of a file's hole there.
# Seen: with extents it does, and in a block map where the hole is small. Where it is so large that a block of block numbers is
#   left out as well, the file system is called corrupt: the number 0 in the place of that block, which says that there is none,
#   is taken for a block. e2fsck finds nothing wrong with it, and debugfs reads it.
# So: it is no judge of file systems with block maps; what our reader makes of these is compared with debugfs.
. "$(dirname "$0")/packages.bash"
debian bookworm e2fsprogs=1.47.0-2+b2
crate view ext4-view@=1.0.0 << 'END'
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let files = ext4_view::Ext4::load(Box::new(std::fs::read(&arguments[1]).unwrap())).unwrap();
    match files.read(arguments[2].as_str()) {
        Ok(bytes) => println!("{} bytes, {} not zero", bytes.len(), bytes.iter().filter(|byte| **byte != 0).count()),
        Err(error) => println!("error: {error}"),
    }
}
END
mkdir "$work/tree"
{ printf a; head -c 99998 /dev/zero; printf b; } > "$work/tree/small"
{ printf b; head -c 99999 /dev/zero; } > "$work/tree/large"
printf 'no hole' > "$work/tree/full"
for features in extents ^extents,^64bit; do
    image=$work/$features
    truncate -s 20M "$image"
    mke2fs -q -t ext4 -O "$features" -d "$work/tree" "$image" > "$work/log"
    saw "e2fsck finds nothing, $features" e2fsck -fn "$image"
    saw "a file without a hole is read, $features" says '^7 bytes, 7 not zero$' "$work/view" "$image" /full
    for hole in small large; do
        debugfs -R "dump /$hole $work/dumped" "$image" > "$work/log" 2>&1
        saw "debugfs reads a $hole hole, $features" cmp "$work/dumped" "$work/tree/$hole"
    done
    saw "a small hole is read, $features" says '^100000 bytes, 2 not zero$' "$work/view" "$image" /small
done
saw "a large hole is read by extents" says '^100000 bytes, 1 not zero$' "$work/view" "$work/extents" /large
saw "it is corruption in a block map" says '^error: corrupt' "$work/view" "$work/^extents,^64bit" /large
