#!/usr/bin/env bash
# mkfs.erofs of erofs-utils 1.5 (Debian 12) and 1.8.6 (Debian 13).
#
# Guessed: a file's holes cost next to nothing in an EROFS image, since the format can express them (chunks without a block).
# Seen: they are stored as blocks of zeros, 64 MiB for a file that has no data at all, and these blocks are really written: the image
#   is not sparse either. Only with `--chunksize` are there holes.
# So: files without data, as in root disks' swap files or databases, have to be looked for by the writer.
. "$(dirname "$0")/packages.bash"
debian bookworm erofs-utils=1.5-1
debian trixie erofs-utils=1.8.6-1
mkdir "$work/tree"
truncate -s 64M "$work/tree/hole"
for suite in bookworm trixie; do
    "$work/$suite/bin/mkfs.erofs" -T1 "$work/$suite-plain" "$work/tree" > "$work/log" 2>&1
    "$work/$suite/bin/mkfs.erofs" -T1 --chunksize=4096 "$work/$suite-chunks" "$work/tree" > "$work/log" 2>&1
    saw "the image of $suite is larger than the hole" test "$(stat -c %s "$work/$suite-plain")" -gt $((64 << 20))
    saw "it occupies as much" test "$(($(stat -c %b "$work/$suite-plain") * 512))" -gt $((64 << 20))
    saw "with chunks it is small" test "$(stat -c %s "$work/$suite-chunks")" -lt $((1 << 20))
done
