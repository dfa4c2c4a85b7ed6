#!/usr/bin/env bash
# Writes a boot disk to OUT by the machine that make-machine.sh made in DIR, under emulation: what a builder without
# the `kvm` feature has.
set -euo pipefail
if [ $# != 2 ]; then
    echo "usage: $0 DIR OUT" >&2
    exit 2
fi
qemu-img create -q -f qcow2 "$2" 60M
qemu-system-x86_64 -accel tcg -m 512 -display none -monitor none -nodefaults -no-reboot -serial "file:$2.log" \
    -kernel "$1/kernel" -initrd "$1/initrd" -append "console=ttyS0 quiet panic=-1" \
    -drive "if=virtio,format=qcow2,file=$2"
if ! grep -q BOOT-DISK-WRITTEN "$2.log"; then
    echo "the machine wrote no boot disk: $(tail -n 3 "$2.log" | tr -d '\r')" >&2
    exit 1
fi
