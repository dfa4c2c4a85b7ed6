#!/usr/bin/env bash
# Makes what a throwaway QEMU machine needs to write the boot disk of the guest in GUEST, as DIR/kernel and DIR/initrd:
# sgdisk, mkfs.fat and mtools with their libraries, and the files to put on the disk. nixpkgs' bootDisk works so, but
# for its files, which come over 9p, and its much larger userland: this machine has less to do. Needs scripts/setup.sh.
set -euo pipefail
if [ $# != 2 ]; then
    echo "usage: $0 GUEST DIR" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")/.." && pwd)
guest=$(cd "$1" && pwd)
mkdir -p "$2"
directory=$(cd "$2" && pwd)
debian=$here/target/debian
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C
toplevel=$(cat "$guest/toplevel")
tree=$directory/tree
rm -rf "$tree"
mkdir -p "$tree"/{bin,dev,etc,modules,proc,sys,tmp,files}

cp "$debian/busybox-static/bin/busybox" "$tree/bin/"
for program in sgdisk mkfs.fat mtools; do
    file=$(readlink -f "$(command -v $program)")
    cp "$file" "$tree/bin/$program"
    # Every absolute path that the loader names, itself included.
    for library in $(ldd "$file" | grep -o '/[^ )]*'); do
        mkdir -p "$tree/${library%/*}"
        cp -L "$library" "$tree$library"
    done
done
# The C library's tables for the code page of FAT names, without which mtools does nothing.
for gconv in /usr/lib/*/gconv /usr/lib/gconv /usr/lib64/gconv; do
    [ -e "$gconv/IBM850.so" ] || continue
    mkdir -p "$tree$gconv"
    cp -a "$gconv"/gconv-modules* "$gconv/IBM850.so" "$tree$gconv/"
done
for program in mlabel mmd mcopy; do ln -s mtools "$tree/bin/$program"; done
files=$("$here/scripts/module-files.sh" "$debian/linux-image-cloud-amd64" virtio_pci virtio_blk)
for file in $files; do
    cp "$file" "$tree/modules/"
    basename "$file" .ko >> "$tree/modules/order"
done

# The store's links are absolute and lead into the guest's own store.
in_guest() {
    local path
    path=$(readlink "$guest/root$1" || echo "$1")
    echo "$guest/root$path"
}
cp "$(in_guest "$toplevel/kernel")" "$tree/files/kernel"
cp "$(in_guest "$toplevel/initrd")" "$tree/files/initrd"
cp "$(in_guest "$toplevel/systemd")/lib/systemd/boot/efi/systemd-bootx64.efi" "$tree/files/loader"
printf 'default nixos-generation-1.conf\n' > "$tree/files/loader.conf"
printf 'title NixOS\nlinux /EFI/nixos/kernel.efi\ninitrd /EFI/nixos/initrd.efi\noptions init=%s/init\n' "$toplevel" \
    > "$tree/files/entry"

cat > "$tree/init" << 'END'
#!/bin/busybox sh
export PATH=/bin MTOOLS_SKIP_CHECK=1
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
for module in $(busybox cat /modules/order); do busybox insmod "/modules/$module.ko"; done
write() {
    sgdisk --set-alignment=1 --new=1:34:2047 --change-name=1:BIOSBootPartition --typecode=1:ef02 \
        --set-alignment=512 --largest-new=2 --change-name=2:EFISystem --typecode=2:ef00 \
        --attributes=1:set:1 --attributes=2:set:2 --disk-guid=97FD5997-D90B-4AA3-8D16-C1723AEA73C1 \
        --partition-guid=1:1C06F03B-704E-4657-B9CD-681A087A2FDC \
        --partition-guid=2:970C694F-AFD0-4B99-B750-CDB7A329AB6F --hybrid 2 --recompute-chs /dev/vda &&
        mkfs.fat -F16 /dev/vda2 && mlabel -i /dev/vda2 ::boot &&
        mmd -i /dev/vda2 ::EFI ::EFI/BOOT ::EFI/systemd ::EFI/nixos ::loader ::loader/entries &&
        mcopy -i /dev/vda2 /files/loader ::EFI/BOOT/BOOTX64.EFI &&
        mcopy -i /dev/vda2 /files/loader ::EFI/systemd/systemd-bootx64.efi &&
        mcopy -i /dev/vda2 /files/kernel ::EFI/nixos/kernel.efi &&
        mcopy -i /dev/vda2 /files/initrd ::EFI/nixos/initrd.efi &&
        mcopy -i /dev/vda2 /files/loader.conf ::loader/loader.conf &&
        mcopy -i /dev/vda2 /files/entry ::loader/entries/nixos-generation-1.conf
}
write && busybox sync && echo BOOT-DISK-WRITTEN
busybox poweroff -f
END
chmod 755 "$tree/init"
# Not compressed: unpacking would take the emulated processor longer than QEMU takes to load it.
(cd "$tree" && find . -print0 | sort -z | cpio --quiet --null --create --format=newc --owner=0:0) > "$directory/initrd"
cp "$debian"/linux-image-cloud-amd64/boot/vmlinuz-* "$directory/kernel"
rm -rf "$tree"
