#!/usr/bin/env bash
# Installs what the demo and the tests need and the machine lacks, and says what it does. Needs root or sudo only
# where something is missing; does nothing, and asks no server, where all is there.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/target
export DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"

# Program and the Debian package that has it.
needed="
    cpio cpio
    debugfs e2fsprogs
    e2fsck e2fsprogs
    fsck.fat dosfstools
    fish fish
    gcc gcc
    grub-mkimage grub-common
    gzip gzip
    mandoc mandoc
    mcopy mtools
    mkfs.btrfs btrfs-progs
    mkfs.xfs xfsprogs
    nc netcat-openbsd
    nix-build nix-bin
    nix-store nix-bin
    qemu-img qemu-utils
    qemu-system-aarch64 qemu-system-arm
    qemu-system-x86_64 qemu-system-x86
    resize2fs e2fsprogs
    sfdisk fdisk
    sgdisk gdisk
    sqlite3 sqlite3
    swtpm swtpm
    xz xz-utils
    zsh zsh
"
# File and the Debian package that has it.
needed_files="
    /usr/share/AAVMF/AAVMF_CODE.fd qemu-efi-aarch64
    /usr/include/stdio.h libc6-dev
    /usr/lib/grub/i386-pc/kernel.img grub-pc-bin
    /usr/share/OVMF/OVMF_CODE.fd ovmf
    /usr/share/OVMF/OVMF_VARS_4M.fd ovmf
"
# Packages that are only unpacked: what a guest is made of, on a PC and on an ARM machine. A kernel's name has a
# version in it.
guest_packages="busybox-static linux-image-cloud-amd64 linux-image-amd64 systemd-boot-efi"
arm_guest_packages="busybox-static linux-image-cloud-arm64 systemd-boot-efi"

say() { echo "setup: $*" >&2; }

missing_packages() {
    while read -r program package; do
        [ -z "$program" ] || command -v "$program" > /dev/null || echo "$package"
    done <<< "$needed"
    while read -r file package; do
        [ -z "$file" ] || [ -e "$file" ] || echo "$package"
    done <<< "$needed_files"
    if ! command -v virt-fw-vars > /dev/null && ! python3 -c 'import venv, ensurepip' 2> /dev/null; then
        echo python3-venv
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

updated=
update_lists() {
    [ -z "$updated" ] || return 0
    say "fetching the package lists"
    as_root apt-get -qq update < /dev/null
    updated=1
}

candidate() { apt-cache policy "$1" | sed -n 's/^  Candidate: //p'; }

install_packages() {
    local packages=("$@") downgrade=()
    update_lists
    # QEMU's packages must be of one version: a newer qemu-utils from elsewhere would be removed, or keep the others
    # from being installed. So all are named in one call, with the version that can be had of all.
    if [[ " ${packages[*]} " == *" qemu-"* ]]; then
        local version
        version=$(candidate qemu-system-x86)
        mapfile -t packages < <(printf '%s\n' "${packages[@]}" | grep -vxE 'qemu-(utils|system-.*)')
        packages+=("qemu-system-x86=$version" "qemu-system-arm=$version" "qemu-utils=$version")
        downgrade=(--allow-downgrades)
    fi
    say "installing ${packages[*]}"
    as_root apt-get -qq install -y --no-install-recommends "${downgrade[@]}" "${packages[@]}" < /dev/null > /dev/null
}

# Debian's virt-firmware is too old; PyPI's goes into a directory of its own.
install_virt_fw_vars() {
    command -v virt-fw-vars > /dev/null && return
    [ ! -x "$cache/python/bin/virt-fw-vars" ] || return 0
    say "installing virt-firmware from PyPI into target/python"
    python3 -m venv "$cache/python"
    "$cache/python/bin/pip" install --quiet --disable-pip-version-check virt-firmware
}

# Whether all packages are unpacked below a directory.
unpacked() {
    local directory=$1 package
    shift
    for package in "$@"; do
        [ -e "$directory/$package.done" ] || return 1
    done
}

# Unpacks packages below a directory. Of which architecture they are is up to apt's configuration.
unpack_packages() {
    local directory=$1 package real
    shift
    mkdir -p "$directory"
    for package in "$@"; do
        [ ! -e "$directory/$package.done" ] || continue
        real=$package
        if [[ $package == linux-image-* ]]; then
            real=$(apt-cache depends "$package" | sed -n 's/^  Depends: \(linux-image-.*\)$/\1/p' | head -n 1)
        fi
        say "fetching and unpacking $real into ${directory#"$PWD/"}"
        rm -rf "${directory:?}/$package"
        (cd "$directory" && apt-get -qq -o APT::Sandbox::User=root download "$real" < /dev/null)
        dpkg-deb -x "$directory/$real"_*.deb "$directory/$package"
        rm "$directory/$real"_*.deb
        echo "$real" > "$directory/$package.done"
    done
}

unpack_guest_packages() {
    unpacked "$cache/debian" $guest_packages && return
    update_lists
    unpack_packages "$cache/debian" $guest_packages
}

# The lists of packages for ARM are kept apart from the machine's own, which go on naming its architectures only.
unpack_arm_guest_packages() {
    local apt=$cache/apt-aarch64
    unpacked "$cache/debian-aarch64" $arm_guest_packages && return
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    : > "$apt/status"
    cat > "$apt/apt.conf" << END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Dir::State::Lists "$apt/lists";
Dir::State::Status "$apt/status";
Dir::Cache "$apt/cache";
END
    say "fetching the package lists for ARM"
    APT_CONFIG=$apt/apt.conf apt-get -qq update < /dev/null
    APT_CONFIG=$apt/apt.conf unpack_packages "$cache/debian-aarch64" $arm_guest_packages
}

mapfile -t missing < <(missing_packages | sort -u)
if ! command -v apt-get > /dev/null; then
    if [ ${#missing[@]} -gt 0 ] || ! unpacked "$cache/debian" $guest_packages ||
        ! unpacked "$cache/debian-aarch64" $arm_guest_packages; then
        say "there is no apt-get here. Please install what these Debian packages hold: ${missing[*]}"
        say "and unpack each of these below target/debian/PACKAGE, then create target/debian/PACKAGE.done: $guest_packages"
        say "and of arm64 below target/debian-aarch64 in the same way: $arm_guest_packages"
        exit 1
    fi
fi
[ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
install_virt_fw_vars
unpack_guest_packages
unpack_arm_guest_packages
