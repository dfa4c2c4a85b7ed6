#!/usr/bin/env bash
# Makes a closure of at least 2.2 GB and 52,000 files out of what this machine has, in a store of its own:
#   DIR/root          the store is DIR/root/nix/store
#   DIR/registration  as Nix itself prints it
# Two kinds: `system` (shared libraries, programs, headers, manual pages) and `development` (a compiler, its
# documentation in many small pages, sources of crates). Does nothing where the tree is there already.
set -euo pipefail
if [ $# != 2 ]; then
    echo "usage: $0 DIR system|development" >&2
    exit 2
fi
enough_bytes=2200000000
enough_files=52000
export LC_ALL=C NIX_REMOTE= NIX_PATH= NIX_CONFIG="build-users-group =
substitute = false
experimental-features ="
shopt -s nullglob
case $2 in
    system)
        candidates=(/usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/include /usr/share/man /usr/share/doc
            /usr/bin /usr/share/locale /usr/lib/gcc /usr/lib/llvm-* /usr/lib/python3* /usr/share/icons
            /usr/lib/postgresql /usr/share/perl /usr/share/vim /usr/lib/jvm /usr/lib/node_modules /usr/lib/*) ;;
    development)
        candidates=("$HOME"/.rustup/toolchains/*/share "$HOME"/.cargo/registry/src "$HOME"/.rustup/toolchains/*/lib
            "$HOME"/.cargo/registry/index /usr/lib/node_modules /usr/local/* /usr/lib/*/*) ;;
    *)
        echo "make-tree: \`$2\` is neither system nor development" >&2
        exit 2 ;;
esac
if ! command -v nix-store > /dev/null; then
    echo "make-tree: there is no nix-store; scripts/setup.sh installs it" >&2
    exit 1
fi

mkdir -p "$1"
directory=$(cd "$1" && pwd)
if [ -e "$directory/registration" ]; then
    exit 0
fi
remove() {
    chmod -R u+w "$1" 2> /dev/null || true
    rm -rf "$1"
}
remove "$directory/root"
trap 'remove "$directory/copy"' EXIT
nix_store() { nix-store --store "$directory/root" "$@"; }
say() { echo "make-tree: $*" >&2; }

bytes=0
files=0
paths=()
enough() { [ "$bytes" -ge $enough_bytes ] && [ "$files" -ge $enough_files ]; }
# Adds a directory under a name of its own. What the store takes for the same is not counted again.
add() {
    local path
    path=$(nix_store --add "$1") || { say "leaving out $1"; return 0; }
    [[ " ${paths[*]} " != *" $path "* ]] || return 0
    paths+=("$path")
    bytes=$((bytes + $(nix_store --query --size "$path")))
    files=$((files + $(find "$directory/root$path" -type f | wc -l)))
    say "$path from $1: $((bytes / 1000000)) MB, $files files so far"
}

# A toolchain's second, almost equal copy would make the closure easier than a real one.
declare -A seen
for candidate in "${candidates[@]}"; do
    ! enough || break
    [ -d "$candidate" ] || continue
    case $candidate in */.rustup/*) kind=${candidate##*/} ;; *) kind=$candidate ;; esac
    [ -z "${seen[$kind]:-}" ] || [ "${seen[$kind]}" -lt 1 ] || continue
    seen[$kind]=1
    add "$candidate"
done
# A bare machine has less: the same again, with other contents, as an update of the same packages would be.
originals=("${paths[@]}")
for ((round = 1; round <= 40; round++)); do
    ! enough || break
    for path in "${originals[@]}"; do
        ! enough || break
        remove "$directory/copy"
        mkdir "$directory/copy"
        cp -a "$directory/root$path" "$directory/copy/again-$round-${path##*/*-}"
        chmod -R u+w "$directory/copy"
        find "$directory/copy" -type f -print0 |
            ROUND=$round xargs -0 perl -e 'for (@ARGV) { open my $f, ">>", $_ or die; print $f "round $ENV{ROUND}\n" }'
        add "$directory"/copy/*
    done
done
if ! enough; then
    say "found only $((bytes / 1000000)) MB in $files files"
    exit 1
fi
nix_store --dump-db "${paths[@]}" > "$directory/registration.new"
mv "$directory/registration.new" "$directory/registration"
say "$directory: ${#paths[@]} store paths"
