#!/usr/bin/env bash
# Prints what the guest made in DIR has to say of its store image, worked out from the source files by other tools.
set -euo pipefail
if [ $# != 1 ]; then
    echo "usage: $0 DIR" >&2
    exit 2
fi
export LC_ALL=C
# Every record of the registration begins with its path; references and derivers are paths too.
mapfile -t paths < <(grep '^/nix/store/' "$1/registration" | grep -v '\.drv$' | sort -u | sed 's|^/nix/store/|./|')
cd "$1/root/nix/store"
# Owners and times are what the image must have, not what this store happens to have.
{
    find "${paths[@]}" -type f -printf 'f %m 0 0 1 %s %p\n'
    find "${paths[@]}" -type d -printf 'd %m 0 0 1 %p\n'
    find "${paths[@]}" -type l -printf 'l 0 0 1 %l %p\n'
} | sort | sha256sum | sed 's/^\([0-9a-f]*\).*/GUEST-LISTING \1/'
find "${paths[@]}" -type f -exec sha256sum {} + | sort -k 2 | sha256sum | sed 's/^\([0-9a-f]*\).*/GUEST-CONTENTS \1/'
