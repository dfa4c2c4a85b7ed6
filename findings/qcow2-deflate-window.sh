#!/usr/bin/env bash
# qemu-img of QEMU 7.2 (Debian 12) and 10.0 (Debian 13): clusters that are compressed with zlib.
#
# Guessed (docs/adr/0045-zlib-rs-and-zstd-compress-clusters.md): QEMU asks zlib for a window of 2^12 bytes, so a cluster whose
#   matches reach farther back cannot be read.
# Seen: it is read. A cluster is inflated by one call, and zlib takes what was put out in that call for the window, however far
#   back; the size that was asked for matters between calls only.
# So: `--compress zlib` keeps to 2^12, as QEMU's own clusters do, but our reader takes other writers' clusters with all of
#   deflate's window (imagegen/src/container/reader/compressed.rs has the test).
. "$(dirname "$0")/packages.bash"
debian bookworm qemu-utils=1:7.2+dfsg-7+deb12u18+b3
debian trixie qemu-utils=1:10.0.13+ds-0+deb13u1
cat > "$work/make.py" << 'END'
import random, struct, sys, zlib
CLUSTER = 65536
directory = sys.argv[1]
block = random.Random(1).randbytes(8192)
contents = block * 8
open(f"{directory}/contents", "wb").write(contents)
for window in (12, 15):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -window)
    packed = deflate.compress(contents) + deflate.flush()
    sectors = -(-len(packed) // 512)
    clusters = 5 + -(-len(packed) // CLUSTER)
    # Header, table and block of reference counts, L1 and L2 table, then the data (qcow2's specification, version 2).
    parts = [
        struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, CLUSTER, 0, 1, 3 * CLUSTER, CLUSTER, 1, 0, 0),
        struct.pack(">Q", 2 * CLUSTER),
        struct.pack(f">{clusters}H", *[1] * clusters),
        struct.pack(">Q", 1 << 63 | 4 * CLUSTER),
        struct.pack(">Q", 1 << 62 | (sectors - 1) << 54 | 5 * CLUSTER),
        packed,
    ]
    size = lambda part: -(-len(part) // CLUSTER) * CLUSTER
    open(f"{directory}/window-{window}", "wb").write(b"".join(part.ljust(size(part), b"\0") for part in parts))
    print(window, len(packed))
END
python3 "$work/make.py" "$work" > "$work/sizes"
saw "only a window of 2^15 reaches the matches" equal "$(awk '{ print $1, ($2 > 65536 ? "grown" : "packed") }' "$work/sizes" | tr '\n' ' ')" "12 grown 15 packed "
for suite in bookworm trixie; do
    for window in 12 15; do
        saw "QEMU of $suite finds no error, window 2^$window" "$work/$suite/bin/qemu-img" check "$work/window-$window"
        "$work/$suite/bin/qemu-img" convert -O raw "$work/window-$window" "$work/raw"
        saw "QEMU of $suite reads what was compressed, window 2^$window" cmp "$work/raw" "$work/contents"
    done
done
