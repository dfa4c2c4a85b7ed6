#!/usr/bin/env bash
# Fetches packages of a suite of Debian that need not be the machine's, and unpacks them below a directory. Nothing is
# installed, and the machine's own lists of packages stay as they are.
#
#   scripts/debian-suite.sh SUITE DIRECTORY unpack PACKAGE[=VERSION]…
#   scripts/debian-suite.sh SUITE DIRECTORY run PROGRAM ARGUMENT…
#
# `unpack` unpacks each package with all that it depends on as one tree, DIRECTORY/tree. It does nothing, and asks no
# server, where a package is there already. `run` starts a program of that tree by its own loader and libraries; there is a
# program in DIRECTORY/bin that does so for each, so that PATH=DIRECTORY/bin:$PATH tries them all. The mirror is that of
# the machine's own sources. The exit status is 3 where a package cannot be had.
set -euo pipefail
export LC_ALL=C

script=$(cd "$(dirname "$0")" && pwd)/${0##*/}
case $#-${3-} in
    [0-3]-*) command= ;;
    *-unpack | *-run) command=$3 ;;
    *) command= ;;
esac
if [ -z "$command" ]; then
    sed -n '5,6s/^# *//p' "$0" >&2
    exit 2
fi
suite=$1
mkdir -p "$2"
directory=$(cd "$2" && pwd)
tree=$directory/tree
shift 3

say() { [ -n "${QUIET-}" ] || echo "$suite: $*" >&2; }
fail() {
    echo "$suite: $*" >&2
    exit 3
}

# apt's configuration: a system without a package, whose only source is the suite.
configure() {
    local mirror key architecture
    architecture=$(dpkg --print-architecture)
    # A source of Debian's main archive; its security archive and others have other suites.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' \
        'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' | head -n 1)
    [ -n "$mirror" ] || fail "apt's sources name no mirror of Debian (or there are no lists: run apt-get update)"
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$key" ] || fail "there is no $key; install debian-archive-keyring"
    mkdir -p "$directory/apt/lists/partial" "$directory/apt/cache/archives/partial" "$directory/apt/empty"
    : > "$directory/apt/status"
    echo "deb [signed-by=$key] $mirror $suite main" > "$directory/apt/sources.list"
    cat > "$directory/apt/apt.conf" << END
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Dir::Etc::SourceList "$directory/apt/sources.list";
Dir::Etc::SourceParts "$directory/apt/empty";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "$directory/apt/empty";
Dir::State::Lists "$directory/apt/lists";
Dir::State::Status "$directory/apt/status";
Dir::State::Extended_States "$directory/apt/extended_states";
Dir::Cache "$directory/apt/cache";
END
    export APT_CONFIG=$directory/apt/apt.conf
    [ -e "$directory/apt/updated" ] && return
    say "fetching the package lists"
    apt-get -qq update < /dev/null
    touch "$directory/apt/updated"
}

unpack() {
    local package missing=() archive link
    for package in "$@"; do [ -e "$directory/done/${package%=*}" ] || missing+=("$package"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    configure
    mkdir -p "$directory/done" "$tree"
    # Where every package expects to be.
    for link in bin lib lib64 sbin; do
        mkdir -p "$tree/usr/$link"
        [ -e "$tree/$link" ] || ln -s "usr/$link" "$tree/$link"
    done
    say "fetching ${missing[*]}"
    rm -f "$directory"/apt/cache/archives/*.deb
    apt-get -qq -y --download-only install "${missing[@]}" < /dev/null > /dev/null ||
        fail "they cannot be had; where $suite has newer ones, rm -r $directory"
    for archive in "$directory"/apt/cache/archives/*.deb; do
        package=$(dpkg-deb -f "$archive" Package)
        [ -e "$directory/done/$package" ] && continue
        # As a stream, since dpkg-deb would put directories in the place of the links above.
        dpkg-deb --fsys-tarfile "$archive" | tar -x -C "$tree" --keep-directory-symlink --no-same-owner
        dpkg-deb -f "$archive" Version > "$directory/done/$package"
    done
    rm -f "$directory"/apt/cache/archives/*.deb
    for package in "${missing[@]%=*}"; do
        [ -e "$directory/done/$package" ] || fail "there is $package by another name only"
        say "$package $(cat "$directory/done/$package")"
    done
    wrap
}

# A program in DIRECTORY/bin for each that needs the tree's libraries.
wrap() {
    local file name
    rm -rf "$directory/bin"
    mkdir -p "$directory/bin"
    for file in "$tree"/usr/{sbin,bin}/*; do
        [ -f "$file" ] && [ "$(head -c 4 "$file" | tr -d '\0')" = $'\x7fELF' ] || continue
        name=${file##*/}
        printf '#!/bin/sh\nexec "%s" %s "%s" run %s "$@"\n' "$script" "$suite" "$directory" "$name" > "$directory/bin/$name"
        chmod 755 "$directory/bin/$name"
    done
}

run() {
    local name=$1 file loader libraries arguments=() data
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
            for data in qemu seabios; do arguments+=(-L "$tree/usr/share/$data"); done
            arguments+=(-L "$tree/usr/lib/ipxe/qemu")
            ;;
        nix*) export NIX_CONF_DIR=$tree/etc/nix NIX_DATA_DIR=$tree/usr/share ;;
    esac
    exec "$loader" --library-path "$libraries:$libraries/systemd:$libraries/swtpm" --argv0 "$name" "$file" "${arguments[@]}" "$@"
}

"$command" "$@"
