#!/usr/bin/env bash
# OVMF 2022.11 with QEMU 7.2 and systemd-boot 252 (Debian 12).
#
# Guessed: the firmware looks for `\EFI\BOOT\BOOTX64.EFI` in EFI system partitions, as their type says.
# Seen: in any FAT: it also starts it from a GPT partition of the type "Linux file system".
# So: a boot by OVMF does not show that a partition has the right type; tests read the type itself.
. "$(dirname "$0")/packages.bash"
debian bookworm qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 ovmf=2022.11-6+deb12u2 systemd-boot-efi=252.39-1~deb12u2 \
    dosfstools=4.2-1 mtools=4.0.33-1+really4.0.32-1 gdisk=1.0.9-2.1
ovmf=$work/bookworm/tree/usr/share/OVMF
truncate -s 40M "$work/fat"
mkfs.fat -F 16 "$work/fat" > "$work/log"
mmd -i "$work/fat" ::/EFI ::/EFI/BOOT
mcopy -i "$work/fat" "$work/bookworm/tree/usr/lib/systemd/boot/efi/systemd-bootx64.efi" ::/EFI/BOOT/BOOTX64.EFI
truncate -s 50M "$work/disk"
sgdisk --new=1:2048:+40M --typecode=1:8300 "$work/disk" > "$work/log"
dd if="$work/fat" of="$work/disk" bs=1M seek=1 conv=notrunc status=none
cp "$ovmf/OVMF_VARS_4M.fd" "$work/variables"
saw "the partition is no EFI system partition" says '0FC63DAF-8483-4772-8E79-3D69D8477DE4' sgdisk --info=1 "$work/disk"
saw "systemd-boot starts from it" until_said 'Reboot Into Firmware Interface' \
    qemu-system-x86_64 -nodefaults -drive "if=pflash,format=raw,unit=0,readonly=on,file=$ovmf/OVMF_CODE_4M.fd" \
    -drive "if=pflash,format=raw,unit=1,file=$work/variables" -drive "if=virtio,format=raw,file=$work/disk"
