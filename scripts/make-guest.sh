#!/usr/bin/env bash
# Makes a guest's closure in the shape of NixOS out of Debian's packages, in a store of its own below DIR/root:
#   DIR/toplevel             the toplevel's store path
#   DIR/registration         the registration of its closure
#   DIR/second-toplevel      a later generation, without the payload and with a specialisation `special`
#   DIR/second-registration  the registration of the closure of both
# The same packages give the same closure. Does nothing where it is there already. Run scripts/setup.sh before.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
if [ $# != 1 ]; then
    echo "usage: $0 DIR" >&2
    exit 2
fi
mkdir -p "$1"
directory=$(cd "$1" && pwd)
debian=$here/target/debian
export LC_ALL=C TZ=UTC
# Nothing of the machine's own Nix is read or asked.
export NIX_REMOTE= NIX_PATH= NIX_CONFIG="build-users-group =
substitute = false
experimental-features ="
umask 022

# Two runs at once wait for each other; the second finds the work done.
exec 9> "$directory/lock"
flock 9

grub_directory=/usr/lib/grub/i386-pc
grub_font=/usr/share/grub/unicode.pf2

stamp=$(cat "$0" "$here"/guest/* "$debian"/*.done "$grub_directory"/*.{img,mod,lst} | sha256sum)
if [ "$(cat "$directory/stamp" 2> /dev/null)" = "$stamp" ]; then
    exit 0
fi
chmod -R u+w "$directory/root" 2> /dev/null || true
rm -rf "$directory/root" "$directory/parts"
parts=$directory/parts
mkdir -p "$parts"

nix_store() { nix-store --store "$directory/root" "$@"; }
add() { nix_store --add "$parts/$1"; }

kernel_image=$(echo "$debian"/linux-image-cloud-amd64/boot/vmlinuz-*)
kernel_version=${kernel_image##*/vmlinuz-}

make_kernel() {
    mkdir "$parts/linux-$kernel_version"
    cp "$kernel_image" "$parts/linux-$kernel_version/bzImage"
}

make_busybox() {
    mkdir -p "$parts/busybox/bin"
    cp "$debian/busybox-static/bin/busybox" "$parts/busybox/bin/busybox"
    for applet in $("$parts/busybox/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$parts/busybox/bin/$applet"
    done
}

make_systemd() {
    mkdir -p "$parts/systemd/lib/systemd/boot/efi"
    cp "$debian"/systemd-boot-efi/usr/lib/systemd/boot/efi/systemd-boot*.efi "$parts/systemd/lib/systemd/boot/efi/"
}

# As nixpkgs installs it, with the font that its module takes for menus in graphics.
make_grub() {
    mkdir -p "$parts/grub-2.06"/{lib/grub/i386-pc,share/grub}
    cp "$grub_directory"/*.{img,mod,lst} "$parts/grub-2.06/lib/grub/i386-pc/"
    cp "$grub_font" "$parts/grub-2.06/share/grub/"
}

# Each module after those that it needs.
modules="virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk overlay"

make_initrd() {
    local tree=$parts/initrd-tree module
    mkdir -p "$tree"/{bin,dev,modules,proc,sys,system}
    cp "$debian/busybox-static/bin/busybox" "$tree/bin/busybox"
    cp "$here/guest/initrd-init" "$tree/init"
    chmod 755 "$tree/init"
    for module in $modules; do
        find "$debian/linux-image-cloud-amd64/lib/modules" -name "$module.ko" -exec cp {} "$tree/modules/" \;
        echo "$module" >> "$tree/modules/order"
    done
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
make_busybox
make_systemd
make_grub
make_initrd
make_payload

arguments=(
    --argstr kernel "$(add "linux-$kernel_version")"
    --argstr initrd "$(add "initrd-linux-$kernel_version")"
    --argstr busybox "$(add busybox)"
    --argstr systemd "$(add systemd)"
    --argstr grub "$(add grub-2.06)"
    --argstr init "$here/guest/init"
    --argstr kernelVersion "$kernel_version"
)
payload=$(add payload)
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

toplevel=$(make_toplevel --argstr payload "$payload")
second=$(make_toplevel --argstr name second --argstr parameters guest.generation=second --argstr specialisation special)
register "$toplevel" > "$directory/registration"
register "$toplevel" "$second" > "$directory/second-registration"
echo "$toplevel" > "$directory/toplevel"
echo "$second" > "$directory/second-toplevel"
rm -rf "$parts"
echo "$stamp" > "$directory/stamp"
