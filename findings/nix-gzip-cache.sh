#!/usr/bin/env bash
# nix of Nix 2.8.0 (Debian 12) and 2.26.3 (Debian 13): binary caches that are compressed with gzip.
#
# Guessed: like `.nar.xz` and `.nar.zst`, the file is named `.nar.gz`.
# Seen: it is named `.nar`, as one that is not compressed at all; only `Compression: gzip` in the narinfo tells them apart.
# So: what reads a cache goes by `Compression`, never by the name.
. "$(dirname "$0")/packages.bash"
debian bookworm nix-bin=2.8.0-1.1+b1
debian trixie nix-bin=2.26.3+dfsg-1
export NIX_REMOTE= NIX_CONFIG="build-users-group =
substitute = false
experimental-features = nix-command"
mkdir "$work/store"
echo "some contents" > "$work/file"
path=$("$work/bookworm/bin/nix-store" --store "$work/store" --add "$work/file")
for suite in bookworm trixie; do
    for method in none gzip xz; do
        cache=$work/$suite-$method
        "$work/$suite/bin/nix" --store "$work/store" copy --no-check-sigs --to "file://$cache?compression=$method" "$path" 2> "$work/log"
        case $method in none | gzip) suffix=nar magic=0d00 ;; xz) suffix=nar.xz magic=fd37 ;; esac
        [ $method != gzip ] || magic=1f8b
        file=$(echo "$cache"/nar/*)
        saw "Nix of $suite names $method .$suffix" equal "${file##*/????????????????????????????????????????????????????.}" $suffix
        saw "it is $method" equal "$(od -An -tx1 -N2 "$file" | tr -d ' ')" $magic
        saw "the narinfo says so" grep -qx "Compression: $method" "$cache"/*.narinfo
    done
done
