#!/usr/bin/env bash
# qemu-img of QEMU 7.2 and sgdisk 1.0.9 (Debian 12).
#
# Guessed: a disk converted to VHD (`-O vpc`) has the size that it had; a GPT stays right.
# Seen: it grows to a size that cylinders, heads and sectors can express, 60 MiB by 32,768 bytes; the GPT's backup is then not
#   at the end, and sgdisk finds a problem. With `-o force_size=on` the size stays.
# So: what writes VHDs of ours keeps the size and says so in the geometry that readers pass over.
. "$(dirname "$0")/packages.bash"
debian bookworm qemu-utils=1:7.2+dfsg-7+deb12u18+b3 gdisk=1.0.9-2.1
truncate -s 60M "$work/disk"
sgdisk --new=1:2048:0 "$work/disk" > "$work/log"
saw "sgdisk finds no problem" says '^No problems found' sgdisk --verify "$work/disk"
there_and_back() { # OPTION…
    qemu-img convert -O vpc "$@" "$work/disk" "$work/vhd"
    qemu-img convert -f vpc -O raw "$work/vhd" "$work/back"
    stat -c %s "$work/back"
}
saw "60 MiB have become 62,947,328 bytes" equal "$(there_and_back)" 62947328
saw "the GPT has a problem" says '^Identified 1 problems' sgdisk --verify "$work/back"
saw "it is the place of the backup" says "doesn't reside" sgdisk --verify "$work/back"
saw "force_size keeps 60 MiB" equal "$(there_and_back -o force_size=on)" 62914560
saw "and the GPT" says '^No problems found' sgdisk --verify "$work/back"
