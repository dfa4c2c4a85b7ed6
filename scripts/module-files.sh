#!/usr/bin/env bash
# Prints the files of kernel modules and of all that these need, each after those that it needs, from a kernel's package as
# scripts/setup.sh unpacks it. What is built into the kernel has no file; which modules those are differs from kernel to
# kernel.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 PACKAGE_DIRECTORY MODULE…" >&2
    exit 2
fi
package=$1
shift
busybox=$(dirname "$0")/../target/debian/busybox-static/bin/busybox
[ "$(echo "$package"/lib/modules/*/kernel)" != "$package/lib/modules/*/kernel" ] ||
    { echo "$0: $package has no modules; has scripts/setup.sh been run?" >&2; exit 1; }
directory=$(echo "$package"/lib/modules/*)
needs=$("$busybox" depmod -n -b "$package" "$(basename "$directory")")
for module in "$@"; do
    if line=$(grep -m 1 "^kernel/.*/$module\.ko:" <<< "$needs"); then
        # The last that is named is needed first.
        tr -s ': ' '\n' <<< "$line" | sed '/^$/d' | tac
    elif ! grep -q "/$module\.ko$" "$directory/modules.builtin"; then
        echo "$0: Linux ${directory##*/} has no module $module" >&2
        exit 1
    fi
done | awk -v directory="$directory" '!seen[$0]++ { print directory "/" $0 }'
