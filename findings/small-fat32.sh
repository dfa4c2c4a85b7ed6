#!/usr/bin/env bash
# FAT32 of less than 65,525 clusters: mkfs.fat of dosfstools 4.2-1 and mtools 4.0.32 (Debian 12), mtools 4.0.48 (Debian 13),
# fatfs 0.3.6 (crate).
#
# Guessed: what `mkfs.fat -F 32` makes with no more than a warning is FAT32 for all, since its boot sector says so (no
#   16-bit FAT size), whatever the specification has to say of numbers of clusters.
# Seen: of 64,496 clusters (32 MiB) mtools 4.0.32 reads nothing ("Error reading FAT") and fatfs refuses; mtools 4.0.48, fsck.fat
#   and of course Linux read it. With 33 MiB, 66,500 clusters, all do.
# So: an EFI system partition of ours is FAT32 only with 65,525 clusters or more, whoever asks for it.
. "$(dirname "$0")/packages.bash"
debian bookworm dosfstools=4.2-1 mtools=4.0.33-1+really4.0.32-1
debian trixie mtools=4.0.48-1
crate open fatfs@=0.3.6 << 'END'
fn main() {
    let disk = std::fs::OpenOptions::new().read(true).write(true).open(std::env::args().nth(1).unwrap()).unwrap();
    match fatfs::FileSystem::new(disk, fatfs::FsOptions::new()) {
        Ok(files) => println!("{:?}", files.fat_type()),
        Err(error) => println!("error: {error}"),
    }
}
END
for size in 32 34; do
    truncate -s ${size}M "$work/$size"
    mkfs.fat -F 32 -s 1 "$work/$size" > "$work/$size.said" 2>&1
done
saw "mkfs.fat warns of 32 MiB" says 'less then suggested minimum' cat "$work/32.said"
saw "mkfs.fat makes it all the same" says '64496 clusters' fsck.fat -n "$work/32"
saw "mtools 4.0.32 cannot read it" says 'Error reading FAT' "$work/bookworm/bin/mdir" -i "$work/32"
saw "mtools 4.0.48 can" "$work/trixie/bin/mdir" -i "$work/32"
saw "fatfs refuses it" says '^error: Invalid BPB' "$work/open" "$work/32"
saw "mtools 4.0.32 reads 34 MiB" "$work/bookworm/bin/mdir" -i "$work/34"
saw "fatfs reads 34 MiB" says '^Fat32' "$work/open" "$work/34"
