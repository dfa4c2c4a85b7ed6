#!/usr/bin/env bash
# mke2fs 1.47.0 (Debian 12) and 1.47.2 (Debian 13).
#
# Guessed: whether a tree can be written by `mke2fs -d` depends on whether it fits; a symbolic link may be as long as Linux lets
#   it be, 4095 bytes.
# Seen: an image below 512 MiB has blocks of 1 KiB if none are asked for, and a link's target must be shorter than a block. So the
#   same tree, with a link of 1024 bytes, is refused in an image of 511 MiB, and written in one of 512 MiB.
# So: nix-imagegen has blocks of 4 KiB in every image, however small. A peer that is given a tree of a few megabytes
#   should be given the block size too.
. "$(dirname "$0")/packages.bash"
mkdir "$work/tree"
ln -s "$(head -c 1024 /dev/zero | tr '\0' t)" "$work/tree/link"
for suite in bookworm=1.47.0-2+b2 trixie=1.47.2-3+b12; do
    debian "${suite%%=*}" "e2fsprogs=${suite#*=}"
    make() { rm -f "$work/image"; mke2fs -q -F -t ext4 -d "$work/tree" "$@"; }
    saw "refused at 511 MiB" fails make "$work/image" 511M
    saw "with the link's name" says 'symlink ?"link"' make "$work/image" 511M
    saw "written at 512 MiB" make "$work/image" 512M
    saw "written at 511 MiB in blocks of 4 KiB" make -b 4096 "$work/image" 511M
    saw "e2fsck finds nothing" e2fsck -fn "$work/image"
done
