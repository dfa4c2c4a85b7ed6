#!/usr/bin/env bash
# Makes a guest's closure in the shape of NixOS out of Debian's packages, in a store of its own below DIR/root:
#   DIR/toplevel             the toplevel's store path
#   DIR/registration         the registration of its closure
#   DIR/second-toplevel      a later generation, without the payload and with a specialisation `special`
#   DIR/second-registration  the registration of the closure of both
# For a PC if no KIND is given; `aarch64` makes one for an ARM machine, whose only generation is without payload and
# without GRUB. `scripted` makes one for a PC, of one generation without payload, that does what the scripts say which
# QEMU hands to it (guest/scripted-initrd-init); its kernel has modules that the others' lacks, and starts more slowly.
# GUEST_DEBIAN is another place of a PC's packages than target/debian, and GUEST_GRUB another one of GRUB than /usr/lib/grub.
# The same packages give the same closure. Does nothing where it is there already. Run scripts/setup.sh before.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
kind=${2:-x86_64}
architecture=x86_64 kernel_file=bzImage console=ttyS0 debian=${GUEST_DEBIAN:-$here/target/debian}
case $#-$kind in
    1-x86_64 | 2-x86_64) kernel_package=linux-image-cloud-amd64 ;;
    2-scripted) kernel_package=linux-image-amd64 ;;
    2-aarch64)
        architecture=aarch64 kernel_file=Image console=ttyAMA0 debian=$here/target/debian-aarch64
        kernel_package=linux-image-cloud-arm64
        ;;
    *)
        echo "usage: $0 DIR [x86_64|aarch64|scripted]" >&2
        exit 2
        ;;
esac
mkdir -p "$1"
directory=$(cd "$1" && pwd)
host_busybox=$here/target/debian/busybox-static/bin/busybox
export LC_ALL=C TZ=UTC
# Nothing of the machine's own Nix is read or asked.
export NIX_REMOTE= NIX_PATH= NIX_CONFIG="build-users-group =
substitute = false
experimental-features ="
umask 022

# Two runs at once wait for each other; the second finds the work done.
exec 9> "$directory/lock"
flock 9

grub_directory=${GUEST_GRUB:-/usr/lib/grub}/i386-pc
grub_font=/usr/share/grub/unicode.pf2
grub=grub-$(grub-mkimage --version | sed -E 's/.* ([0-9.]+).*/\1/')

stamp=$(cat "$0" "$here"/scripts/{build-in-chroot.py,module-files.sh} "$here"/guest/* "$debian"/*.done "$grub_directory"/*.{img,mod,lst} | sha256sum)
if [ "$(cat "$directory/stamp" 2> /dev/null)" = "$stamp" ]; then
    exit 0
fi
chmod -R u+w "$directory/root" 2> /dev/null || true
rm -rf "$directory/root" "$directory/parts"
parts=$directory/parts
mkdir -p "$parts"

nix_store() { nix-store --store "$directory/root" "$@"; }
add() { nix_store --add "$parts/$1"; }

kernel_image=$(echo "$debian/$kernel_package"/boot/vmlinuz-*)
kernel_version=${kernel_image##*/vmlinuz-}

make_kernel() {
    mkdir "$parts/linux-$kernel_version"
    cp "$kernel_image" "$parts/linux-$kernel_version/$kernel_file"
}

# A busybox with its applets. They are the same in each architecture, and one for this machine can be asked for them.
make_busybox() {
    local name=$1 binary=$2
    mkdir -p "$parts/$name/bin"
    cp "$binary" "$parts/$name/bin/busybox"
    for applet in $("$host_busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$parts/$name/bin/$applet"
    done
}

make_systemd() {
    mkdir -p "$parts/systemd/lib/systemd/boot/efi"
    cp "$debian"/systemd-boot-efi/usr/lib/systemd/boot/efi/systemd-boot*.efi "$parts/systemd/lib/systemd/boot/efi/"
}

# As nixpkgs installs it, with the font that its module takes for menus in graphics.
make_grub() {
    mkdir -p "$parts/$grub"/{lib/grub/i386-pc,share/grub}
    cp "$grub_directory"/*.{img,mod,lst} "$parts/$grub/lib/grub/i386-pc/"
    cp "$grub_font" "$parts/$grub/share/grub/"
}

all_modules=$debian/$kernel_package/lib/modules/$kernel_version

module_files() { "$here/scripts/module-files.sh" "$debian/$kernel_package" "$@"; }

copy_modules() {
    local tree=$1 files file
    mkdir "$tree/modules"
    files=$(module_files virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk overlay)
    for file in $files; do
        cp "$file" "$tree/modules/"
        basename "$file" .ko >> "$tree/modules/order"
    done
}

# What a scripted guest can load by name, with all that it needs.
scripted_modules="qemu_fw_cfg virtio_pci virtio_mmio virtio_blk virtio_scsi virtio_net virtio_balloon virtio_console
virtio-rng 9p 9pnet_virtio overlay sym53c8xx sd_mod ext4 vfat nls_cp437 nls_ascii efivarfs"

copy_modules_with_needs() {
    local tree=$1 files file
    # No module says that ext4 needs it, and kernels of today need it no more.
    if [ -e "$all_modules/kernel/crypto/crc32c_generic.ko" ]; then scripted_modules+=" crc32c_generic"; fi
    files=$(module_files $scripted_modules)
    for file in $files; do
        install -D -m 644 "$file" "$tree/lib/modules/$kernel_version/${file#"$all_modules/"}"
    done
    cp "$all_modules/modules.builtin" "$tree/lib/modules/$kernel_version/"
    "$host_busybox" depmod -b "$tree" "$kernel_version"
}

make_initrd() {
    local tree=$parts/initrd-tree
    mkdir -p "$tree"/{bin,dev,proc,sys,system}
    cp "$debian/busybox-static/bin/busybox" "$tree/bin/busybox"
    if [ "$kind" = scripted ]; then
        cp "$here/guest/scripted-initrd-init" "$tree/init"
        copy_modules_with_needs "$tree"
    else
        cp "$here/guest/initrd-init" "$tree/init"
        copy_modules "$tree"
    fi
    chmod 755 "$tree/init"
    find "$tree" -exec touch -h -d @1 {} +
    mkdir "$parts/initrd-linux-$kernel_version"
    (cd "$tree" && find . -print0 | sort -z | cpio --quiet --null --create --format=newc --owner=0:0 --reproducible) |
        gzip -n > "$parts/initrd-linux-$kernel_version/initrd"
}

# Everything that writers of images get wrong.
make_payload() {
    local payload=$parts/payload deep i
    mkdir -p "$payload/many" "$payload/empty-directory"
    for ((i = 0; i < 3000; i++)); do echo "$i" > "$payload/many/file-$i"; done
    deep=$payload/deep
    for ((i = 0; i < 60; i++)); do deep+=/level-$i; done
    mkdir -p "$deep"
    echo bottom > "$deep/bottom"
    ln -s ../many/file-1 "$payload/empty-directory/short"
    for length in 59 60 255 4000; do
        ln -s "$(printf 'some/where/%.0s' {1..400} | head -c $length)" "$payload/link-$length"
    done
    : > "$payload/empty"
    printf '#!/bin/sh\necho hello\n' > "$payload/executable"
    chmod +x "$payload/executable"
    echo non-ascii > "$payload/grüße-🦀"
    echo space > "$payload/a name with spaces"
    head -c 5M /dev/zero > "$payload/zeros"
    ln "$payload/many/file-7" "$payload/hard-link"
    # 20 MB that do not compress, the same every time (xorshift).
    perl -e '
        my $x = 2463534242;
        for (1 .. 5000) {
            my @words;
            for (1 .. 1000) {
                $x ^= ($x << 13) & 0xffffffff; $x ^= $x >> 17; $x ^= ($x << 5) & 0xffffffff;
                push @words, $x;
            }
            print pack("V*", @words);
        }' > "$payload/noise"
}

make_kernel
make_busybox busybox "$debian/busybox-static/bin/busybox"
make_systemd
make_initrd

if [ "$kind" = scripted ]; then init=scripted-init; else init=init; fi
arguments=(
    --argstr system "$architecture-linux"
    --argstr console "$console"
    --argstr kernelFile "$kernel_file"
    --argstr kernel "$(add "linux-$kernel_version")"
    --argstr initrd "$(add "initrd-linux-$kernel_version")"
    --argstr busybox "$(add busybox)"
    --argstr systemd "$(add systemd)"
    --argstr init "$here/guest/$init"
    --argstr kernelVersion "$kernel_version"
)
make_toplevel() {
    local expression=("$here/guest/toplevel.nix" "${arguments[@]}" "$@") derivation
    if unshare --user --mount true 2> /dev/null; then
        nix-build --store "$directory/root" --no-out-link --quiet "${expression[@]}"
    else
        derivation=$(nix-instantiate --store "$directory/root" "${expression[@]}" 2> /dev/null)
        "$here/scripts/build-in-chroot.py" "$directory/root" "$derivation"
    fi
}
# Of the closures of all arguments.
register() {
    local closure
    mapfile -t closure < <(nix_store --query --requisites "$@" | sort)
    nix_store --dump-db "${closure[@]}"
}

if [ "$architecture" = x86_64 ]; then
    make_grub
    arguments+=(--argstr grub "$(add "$grub")")
fi
if [ "$kind" = x86_64 ]; then
    make_payload
    toplevel=$(make_toplevel --argstr payload "$(add payload)")
    second=$(make_toplevel --argstr name second --argstr parameters guest.generation=second --argstr specialisation special)
    register "$toplevel" "$second" > "$directory/second-registration"
    echo "$second" > "$directory/second-toplevel"
elif [ "$kind" = scripted ]; then
    toplevel=$(make_toplevel --argstr name scripted)
else
    # What builds it runs on this machine.
    make_busybox builder "$host_busybox"
    toplevel=$(make_toplevel --argstr builder "$(add builder)")
fi
register "$toplevel" > "$directory/registration"
echo "$toplevel" > "$directory/toplevel"
rm -rf "$parts"
echo "$stamp" > "$directory/stamp"
