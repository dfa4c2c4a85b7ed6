#!/usr/bin/env bash
# Fetches packages of Debian's newest suite, sid, and unpacks them below target/sid. Nothing is installed, and the
# machine's own lists of packages stay as they are.
#
#   scripts/sid.sh unpack PACKAGE…    each package with all that it depends on, as one tree, target/sid/tree
#   scripts/sid.sh run PROGRAM …      a program of that tree, by its own loader and libraries
#
# `unpack` does nothing, and asks no server, where a package is there already: `rm -r target/sid` for newer ones. It
# leaves a program for each of the tree's own in target/sid/bin, so that PATH=target/sid/bin:$PATH tries them all.
# The mirror and the keys are those of the machine's own Debian sources.
set -euo pipefail
sid=$(cd "$(dirname "$0")/.." && pwd)/target/sid
tree=$sid/tree
export LC_ALL=C

say() { echo "sid: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

# apt's configuration: a system without a package, whose only source is sid.
configure() {
    local mirror key architecture
    architecture=$(dpkg --print-architecture)
    # A source of Debian's main archive; its security archive and others have no sid.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' \
        'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' | head -n 1)
    [ -n "$mirror" ] || fail "apt's sources name no mirror of Debian (or there are no lists: run apt-get update)"
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$key" ] || fail "there is no $key; install debian-archive-keyring"
    mkdir -p "$sid/apt/lists/partial" "$sid/apt/cache/archives/partial" "$sid/apt/empty"
    : > "$sid/apt/status"
    echo "deb [signed-by=$key] $mirror sid main" > "$sid/apt/sources.list"
    cat > "$sid/apt/apt.conf" << END
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Dir::Etc::SourceList "$sid/apt/sources.list";
Dir::Etc::SourceParts "$sid/apt/empty";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "$sid/apt/empty";
Dir::State::Lists "$sid/apt/lists";
Dir::State::Status "$sid/apt/status";
Dir::State::Extended_States "$sid/apt/extended_states";
Dir::Cache "$sid/apt/cache";
END
    export APT_CONFIG=$sid/apt/apt.conf
    [ -e "$sid/apt/updated" ] && return
    say "fetching the package lists"
    apt-get -qq update < /dev/null
    touch "$sid/apt/updated"
}

unpack() {
    local package missing=() archive
    for package in "$@"; do [ -e "$sid/done/$package" ] || missing+=("$package"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    configure
    mkdir -p "$sid/done" "$tree"
    # Where every package expects to be.
    for directory in bin lib lib64 sbin; do
        mkdir -p "$tree/usr/$directory"
        [ -e "$tree/$directory" ] || ln -s "usr/$directory" "$tree/$directory"
    done
    say "fetching ${missing[*]}"
    rm -f "$sid"/apt/cache/archives/*.deb
    apt-get -qq -y --download-only install "${missing[@]}" < /dev/null > /dev/null ||
        fail "they cannot be had; where sid has newer ones, rm -r target/sid"
    for archive in "$sid"/apt/cache/archives/*.deb; do
        package=$(dpkg-deb -f "$archive" Package)
        [ -e "$sid/done/$package" ] && continue
        # As a stream, since dpkg-deb would put directories in the place of the links above.
        dpkg-deb --fsys-tarfile "$archive" | tar -x -C "$tree" --keep-directory-symlink --no-same-owner
        dpkg-deb -f "$archive" Version > "$sid/done/$package"
    done
    rm -f "$sid"/apt/cache/archives/*.deb
    for package in "${missing[@]}"; do
        [ -e "$sid/done/$package" ] || fail "sid has $package by another name only"
        say "$package $(cat "$sid/done/$package")"
    done
    wrap
}

# A program in target/sid/bin for each that needs the tree's libraries.
wrap() {
    local file name
    rm -rf "$sid/bin"
    mkdir -p "$sid/bin"
    for file in "$tree"/usr/{sbin,bin}/*; do
        [ -f "$file" ] && [ "$(head -c 4 "$file" | tr -d '\0')" = $'\x7fELF' ] || continue
        name=${file##*/}
        printf '#!/bin/sh\nexec "%s" run %s "$@"\n' "$sid/../../scripts/sid.sh" "$name" > "$sid/bin/$name"
        chmod 755 "$sid/bin/$name"
    done
}

run() {
    local name=$1 file loader libraries arguments=()
    shift
    file=$tree/usr/bin/$name
    [ -e "$file" ] || file=$tree/usr/sbin/$name
    [ -e "$file" ] || fail "there is no program $name; unpack its package"
    loader=$(echo "$tree"/usr/lib/*/ld-linux-*.so.*)
    libraries=${loader%/*}
    case $name in
        # It looks for its own files beside the loader, and where they would be installed.
        qemu-system-*)
            export QEMU_MODULE_DIR=$libraries/qemu
            for directory in qemu seabios; do arguments+=(-L "$tree/usr/share/$directory"); done
            arguments+=(-L "$tree/usr/lib/ipxe/qemu")
            ;;
        nix*) export NIX_CONF_DIR=$tree/etc/nix NIX_DATA_DIR=$tree/usr/share ;;
    esac
    exec "$loader" --library-path "$libraries:$libraries/systemd:$libraries/swtpm" --argv0 "$name" "$file" "${arguments[@]}" "$@"
}

case ${1-} in
    unpack | run) ;;
    *) set -- ;;
esac
if [ $# -lt 2 ]; then
    sed -n '5,6s/^# *//p' "$0" >&2
    exit 2
fi
"$@"
