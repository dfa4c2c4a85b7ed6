#!/usr/bin/env bash
# Installs what the demo or the tests need and the machine lacks, and says what it does: `demo` is for `make demo`,
# `test` (the default) for `make test`. Needs root or sudo only where something is missing; does nothing, and asks no
# server, where all is there. Works on Debian 12, 13 and sid.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/target
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH="$cache/python/bin:$PATH:/usr/sbin:/sbin"

# Program, or file with its whole path, and the Debian package that has it.
demo_needs="
    cpio cpio
    gcc gcc
    grub-mkimage grub-common
    nix-build nix-bin
    nix-store nix-bin
    qemu-system-x86_64 qemu-system-x86
    xz xz-utils
    /usr/include/stdio.h libc6-dev
    /usr/lib/grub/i386-pc/kernel.img grub-pc-bin
    /usr/share/OVMF/OVMF_CODE_4M.fd ovmf
    /usr/share/OVMF/OVMF_VARS_4M.fd ovmf
"
test_needs="
    debugfs e2fsprogs
    e2fsck e2fsprogs
    fsck.fat dosfstools
    fish fish
    jq jq
    mandoc mandoc
    mcopy mtools
    mkfs.btrfs btrfs-progs
    mkfs.xfs xfsprogs
    nc netcat-openbsd
    python3 python3
    /usr/lib/python3/dist-packages/jsonschema/__init__.py python3-jsonschema
    qemu-img qemu-utils
    qemu-system-aarch64 qemu-system-arm
    resize2fs e2fsprogs
    sfdisk fdisk
    sgdisk gdisk
    sqlite3 sqlite3
    swtpm swtpm
    tmux tmux
    zsh zsh
    /usr/share/AAVMF/AAVMF_CODE.fd qemu-efi-aarch64
    /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf fonts-dejavu-core
"
# Packages that are only unpacked: what a guest is made of, on a PC and on an ARM machine. A kernel's name has a
# version in it.
guest_packages="busybox-static linux-image-cloud-amd64 systemd-boot-efi"
test_guest_packages="linux-image-amd64"
arm_guest_packages="busybox-static linux-image-cloud-arm64 systemd-boot-efi"

say() { echo "setup: $*" >&2; }

purpose=${1:-test}
case $#-$purpose in
    0-test | 1-test)
        needed=$demo_needs$test_needs
        guest_packages="$guest_packages $test_guest_packages"
        ;;
    1-demo) needed=$demo_needs arm_guest_packages= ;;
    *)
        echo "usage: $0 [demo|test]" >&2
        exit 2
        ;;
esac

missing_packages() {
    while read -r wanted package; do
        case $wanted in
            "") ;;
            /*) [ -e "$wanted" ] || echo "$package" ;;
            *) command -v "$wanted" > /dev/null || echo "$package" ;;
        esac
    done <<< "$needed"
    # Nix builds the guest where root may have namespaces of its own, and scripts/build-in-chroot.py elsewhere.
    if ! unshare --user --mount true 2> /dev/null && ! command -v python3 > /dev/null; then echo python3; fi
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

is_installed() { dpkg-query --show --showformat '${db:Status-Abbrev}' "$1" 2> /dev/null | grep -q '^ii'; }

install_packages() {
    local packages=("$@") options=() package
    update_lists
    # QEMU's packages must be of one version: a newer qemu-utils from elsewhere would be removed, or keep the others
    # from being installed. So all are named in one call, with the version that can be had of all.
    if [[ " ${packages[*]} " == *" qemu-"* ]]; then
        for package in qemu-system-x86 qemu-system-arm qemu-utils; do
            if [[ " ${packages[*]} " == *" $package "* ]] || is_installed "$package"; then
                mapfile -t packages < <(printf '%s\n' "${packages[@]}" | grep -vx "$package")
                packages+=("$package=$(candidate qemu-system-x86)")
            fi
        done
        options=(--allow-downgrades)
    fi
    say "installing ${packages[*]}"
    as_root apt-get -qq install -y --no-install-recommends "${options[@]}" "${packages[@]}" < /dev/null > /dev/null
}

# Debian's virt-firmware, which needs nothing compiled, or PyPI's in a directory of its own where Debian has none:
# PyPI's needs a module that is no longer Python's from 3.13 on, and of which there is only the source.
install_virt_fw_vars() {
    ! command -v virt-fw-vars > /dev/null || return 0
    update_lists
    if [[ $(candidate python3-virt-firmware) == [0-9]* ]]; then
        install_packages python3-virt-firmware
        return
    fi
    python3 -c 'import venv, ensurepip' 2> /dev/null || install_packages python3-venv
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

# What a package depends on itself of those whose name begins with a word of the pattern.
dependencies() { apt-cache depends "$1" | sed -nE "s/^  Depends: ($2)/\1/p"; }

# The packages that hold what is asked for by a name that stays: a kernel's has a version in it, and sid's consists of
# several.
real_packages() {
    local image
    case $1 in
        linux-image-*)
            image=$(dependencies "$1" 'linux-image-.*' | head -n 1)
            echo "$image"
            dependencies "$image" 'linux-(base|binary|modules)-.*'
            ;;
        *) echo "$1" ;;
    esac
}

# From Debian 13 on, packages have all below usr/, as an installed system has, and sid's kernel is with its modules,
# which are compressed. So that nobody else has to know, every package is laid out as Debian 12's.
lay_out() {
    local tree=$1 name kernel
    for name in bin lib; do
        [ -e "$tree/$name" ] || [ ! -d "$tree/usr/$name" ] || ln -s "usr/$name" "$tree/$name"
    done
    for kernel in "$tree"/usr/lib/modules/*/vmlinuz; do
        [ -e "$kernel" ] || continue
        name=$(basename "$(dirname "$kernel")")
        mkdir -p "$tree/boot"
        [ -e "$tree/boot/vmlinuz-$name" ] || ln -s "../usr/lib/modules/$name/vmlinuz" "$tree/boot/vmlinuz-$name"
    done
    find "$tree" -name '*.ko.xz' -exec xz --decompress {} +
}

# Unpacks packages below a directory. Of which architecture they are is up to apt's configuration.
unpack_packages() {
    local directory=$1 package real
    shift
    mkdir -p "$directory"
    for package in "$@"; do
        [ ! -e "$directory/$package.done" ] || continue
        mapfile -t real < <(real_packages "$package")
        say "fetching and unpacking ${real[*]} into ${directory#"$PWD/"}"
        rm -rf "${directory:?}/$package" "$directory/fetched"
        mkdir "$directory/fetched"
        (cd "$directory/fetched" && apt-get -qq -o APT::Sandbox::User=root download "${real[@]}" < /dev/null)
        for file in "$directory/fetched"/*.deb; do
            dpkg-deb -x "$file" "$directory/$package"
        done
        rm -r "$directory/fetched"
        lay_out "$directory/$package"
        echo "${real[*]}" > "$directory/$package.done"
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
        [ -z "$arm_guest_packages" ] ||
            say "and of arm64 below target/debian-aarch64 in the same way: $arm_guest_packages"
        exit 1
    fi
fi
[ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
[ "$purpose" = demo ] || install_virt_fw_vars
unpack_guest_packages
unpack_arm_guest_packages
