#!/usr/bin/env bash
# OVMF 2022.11 with QEMU 7.2 and systemd-boot 252 (Debian 12), entries written by virt-firmware 26.10 (PyPI).
#
# Guessed: a boot entry's HD() node has to fit the partition in all that it names: number, first sector, size and GUID.
# Seen: number and GUID have to fit, first sector and size need not: an entry for another place on the disk boots, one with
#   another number does not.
# So: a boot entry outlives a partition that is moved or grown, but not one that is given another number, as between the tables
#   `efi` and `hybrid`; ours are written for the table that the disk itself has.
. "$(dirname "$0")/packages.bash"
debian bookworm qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 ovmf=2022.11-6+deb12u2 systemd-boot-efi=252.39-1~deb12u2 \
    dosfstools=4.2-1 mtools=4.0.33-1+really4.0.32-1 gdisk=1.0.9-2.1
pypi virt-firmware==26.10
ovmf=$work/bookworm/tree/usr/share/OVMF
guid=6B2A2E2C-6E7E-4A55-9C0E-3C9C1C7A8F11
truncate -s 40M "$work/fat"
mkfs.fat -F 16 "$work/fat" > "$work/log"
# Where no firmware looks by itself.
mmd -i "$work/fat" ::/elsewhere
mcopy -i "$work/fat" "$work/bookworm/tree/usr/lib/systemd/boot/efi/systemd-bootx64.efi" ::/elsewhere/x.efi
truncate -s 50M "$work/disk"
sgdisk --new=1:2048:+40M --typecode=1:ef00 --partition-guid=1:$guid "$work/disk" > "$work/log"
dd if="$work/fat" of="$work/disk" bs=1M seek=1 conv=notrunc status=none
# EFI_LOAD_OPTION and its device path: UEFI specification 2.10, sections 3.1.3 and 10.3.
cat > "$work/entry.py" << 'END'
import json, struct, sys, uuid
number, start, size = map(int, sys.argv[1:4])
disk = struct.pack("<BBHIQQ", 4, 1, 42, number, start, size) + uuid.UUID(sys.argv[4]).bytes_le + b"\x02\x02"
name = "\\elsewhere\\x.efi\0".encode("utf-16le")
path = disk + struct.pack("<BBH", 4, 4, 4 + len(name)) + name + b"\x7f\xff\x04\x00"
entry = struct.pack("<IH", 1, len(path)) + "entry\0".encode("utf-16le") + path
variable = lambda name, data: {"name": name, "guid": "8be4df61-93ca-11d2-aa0d-00e098032b8c", "attr": 7, "data": data}
print(json.dumps({"version": 2, "variables": [variable("Boot0000", entry.hex()), variable("BootOrder", "0000")]}))
END
entry_gives() { # PATTERN NUMBER START SIZE
    python3 "$work/entry.py" "${@:2}" $guid > "$work/entry.json"
    virt-fw-vars --input "$ovmf/OVMF_VARS_4M.fd" --set-json "$work/entry.json" --output "$work/variables" > "$work/log" 2>&1
    until_said "$1" qemu-system-x86_64 -nodefaults -drive "if=pflash,format=raw,unit=0,readonly=on,file=$ovmf/OVMF_CODE_4M.fd" \
        -drive "if=pflash,format=raw,unit=1,file=$work/variables" -drive "if=virtio,format=raw,file=$work/disk"
}
saw "an entry that fits boots" entry_gives 'BdsDxe: starting Boot0000' 1 2048 81920
saw "one with another first sector and size boots" entry_gives 'BdsDxe: starting Boot0000' 1 4096 5
saw "one with another number does not" entry_gives 'BdsDxe: failed to load Boot0000' 7 2048 81920
