#!/usr/bin/env bash
# Whether `bootctl` of Debian's newest suite lists every entry of a raw boot disk, as systemd in a guest would:
#   scripts/bootctl-lists.sh DISK
# Prints the entries that it lists; the exit status is 1 if there are others.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
[ $# = 1 ] || {
    echo "usage: $0 DISK" >&2
    exit 2
}
"$here/scripts/sid.sh" unpack systemd-boot-tools
esp=$(mktemp -d)
trap 'rm -rf "$esp"' EXIT
mcopy -s -n -Q -i "$1@@1M" '::*' "$esp/"
# It says of every version that it is none, and that there is no EFI here.
listed=$(SYSTEMD_RELAX_ESP_CHECKS=1 "$here/scripts/sid.sh" run bootctl --esp-path="$esp" --no-pager list 2> /dev/null |
    sed -n 's/^ *id: //p' | sort)
there=$(cd "$esp/loader/entries" && printf '%s\n' *.conf | sort)
echo "$listed"
if [ "$listed" != "$there" ]; then
    diff <(echo "$there") <(echo "$listed") >&2 || exit 1
fi
