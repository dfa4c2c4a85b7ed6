#!/usr/bin/env bash
# U-Boot 2025.01 for QEMU's ARM machine, with QEMU 10.0 (Debian 13).
#
# Guessed: U-Boot's standard boot looks through all partitions of a disk for `/boot/extlinux/extlinux.conf`, and a bootable flag
#   only says where to begin.
# Seen: where a partition has the flag, no other one is looked at; where none has it, only the first is. An extlinux.conf on
#   partition 2 is found if partition 2 has the flag, and in no other case.
# So: on a disk in the shape of an SD card, partition 2, with the system, has the flag.
. "$(dirname "$0")/packages.bash"
debian trixie qemu-system-arm=1:10.0.13+ds-0+deb13u1 u-boot-qemu=2025.01-3+deb13u1 e2fsprogs=1.47.2-3+b12 \
    dosfstools=4.2-1.2 fdisk=2.41.5-0+deb13u1
mkdir -p "$work/tree/boot/extlinux"
printf 'DEFAULT one\nLABEL one\n  LINUX ../Image\n' > "$work/tree/boot/extlinux/extlinux.conf"
truncate -s 20M "$work/ext4" "$work/fat"
mke2fs -q -t ext4 -d "$work/tree" "$work/ext4"
mkfs.fat -F 16 "$work/fat" > "$work/log"
flag_gives() { # PARTITION PATTERN
    local one= two=
    case $1 in 1) one=,bootable ;; 2) two=,bootable ;; esac
    rm -f "$work/disk"
    truncate -s 64M "$work/disk"
    sfdisk --quiet "$work/disk" <<< "label: dos
start=2048, size=40960, type=c$one
start=43008, size=40960, type=83$two"
    dd if="$work/fat" of="$work/disk" bs=512 seek=2048 conv=notrunc status=none
    dd if="$work/ext4" of="$work/disk" bs=512 seek=43008 conv=notrunc status=none
    until_said "$2" qemu-system-aarch64 -machine virt -cpu cortex-a57 -bios "$work/trixie/tree/usr/lib/u-boot/qemu_arm64/u-boot.bin" \
        -drive "if=none,id=disk,format=raw,file=$work/disk" -device virtio-blk-pci,drive=disk
}
found='extlinux +ready .*/boot/extlinux/extlinux.conf'
nothing_found() { flag_gives "$1" 'No more bootdevs' && fails grep -E "$found" "$work/console"; }
saw "with the flag on partition 2 its extlinux.conf is found" flag_gives 2 "$found"
saw "with the flag on partition 1 nothing is found" nothing_found 1
saw "without a flag nothing is found" nothing_found none
