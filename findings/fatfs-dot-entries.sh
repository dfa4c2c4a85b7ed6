#!/usr/bin/env bash
# fatfs 0.3.6 (crate) and fsck.fat of dosfstools 4.2-1 (Debian 12).
#
# Guessed: directories that the most used FAT crate makes are in order for fsck.fat; their `.` and `..` are plain 8.3 entries.
# Seen: each of the two has a long-name entry before it, so that a directory does not begin with `.`. fsck.fat calls that
#   damage, and as repair it would rename and drop entries until `EFI` is gone. (mtools reads the files all the same.)
# So: the FAT of our EFI system partitions is written by code of our own, and fatfs reads it in tests.
. "$(dirname "$0")/packages.bash"
debian bookworm dosfstools=4.2-1 mtools=4.0.33-1+really4.0.32-1
crate directories fatfs@=0.3.6 << 'END'
use std::io::Write;
fn main() {
    let disk = std::fs::OpenOptions::new().read(true).write(true).open(std::env::args().nth(1).unwrap()).unwrap();
    let files = fatfs::FileSystem::new(disk, fatfs::FsOptions::new()).unwrap();
    let root = files.root_dir();
    root.create_dir("EFI").unwrap().create_dir("BOOT").unwrap();
    root.create_file("EFI/BOOT/BOOTX64.EFI").unwrap().write_all(b"program").unwrap();
}
END
truncate -s 60M "$work/disk"
mkfs.fat -F 16 "$work/disk" > "$work/log"
saw "fsck.fat finds nothing in an empty file system" fsck.fat -n "$work/disk"
"$work/directories" "$work/disk"
saw "fsck.fat finds damage in directories by fatfs" fails fsck.fat -n "$work/disk"
saw "it misses the dot entry" says "Expected a valid '\.' entry in this slot" fsck.fat -n "$work/disk"
# The first 32 bytes of the directory's first cluster: 0x0F is the attribute of a long name.
start() { mshowfat -i "$work/disk" ::/EFI | grep -oE '<[0-9]+' | tr -d '<'; }
attribute() {
    local reserved fat roots cluster
    read -r reserved fat roots cluster <<< "$(od -An -tu2 -j14 -N2 "$work/disk") $(od -An -tu2 -j22 -N2 "$work/disk") \
$(od -An -tu2 -j17 -N2 "$work/disk") $(od -An -tu1 -j13 -N1 "$work/disk")"
    od -An -tx1 -N1 -j $(((reserved + 2 * fat + roots / 16 + ($(start) - 2) * cluster) * 512 + 11)) "$work/disk" | tr -d ' '
}
saw "the directory begins with a long name" equal "$(attribute)" 0f
saw "mtools reads the file" equal "$(mtype -i "$work/disk" ::/EFI/BOOT/BOOTX64.EFI)" program
