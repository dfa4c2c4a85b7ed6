#!/usr/bin/env bash
# dissect.volume 3.18 (PyPI) and sgdisk 1.0.9 (Debian 12).
#
# Guessed: two readers of the same GPT agree on the size of a partition.
# Seen: dissect.volume makes every GPT partition one sector too short, since the last LBA of an entry belongs to the partition;
#   partitions of an MBR have their right size. On a hybrid disk it lists both, so that one partition comes twice, with two sizes.
# So: it is no judge of our partition tables; sgdisk, sfdisk and the crate gpt are.
. "$(dirname "$0")/packages.bash"
debian bookworm gdisk=1.0.9-2.1
pypi dissect.volume==3.18
truncate -s 60M "$work/disk"
sgdisk --set-alignment=1 --new=1:34:2047 --typecode=1:ef02 --new=2:2048:0 --typecode=2:ef00 --hybrid 2 "$work/disk" > "$work/log"
cat > "$work/list.py" << 'END'
import sys
from dissect.volume.disk import Disk
print(*(f"{p.number}:{p.offset // 512}+{p.size // 512}" for p in Disk(open(sys.argv[1], "rb")).partitions))
END
saw "sgdisk: partition 1 has 2,014 sectors" says '^Partition size: 2014 sectors' sgdisk --info=1 "$work/disk"
saw "sgdisk: partition 2 has 120,799 sectors" says '^Partition size: 120799 sectors' sgdisk --info=2 "$work/disk"
saw "dissect: 2,013 and 120,798, and the MBR's 120,799" equal "$(python "$work/list.py" "$work/disk")" \
    "1:34+2013 2:2048+120798 2:2048+120799"
