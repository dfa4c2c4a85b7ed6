#!/usr/bin/env bash
# veritysetup of cryptsetup 2.6.1 (Debian 12).
#
# Guessed: a file whose size is no multiple of the block size is refused, or its last block is hashed as if padded with zeros.
# Seen: it is taken without a word, and what is behind its last whole block is in no hash: of 5,000 bytes one block of 4,096 is,
#   and the file may end in anything.
# So: images that get a hash tree are padded to whole blocks first.
. "$(dirname "$0")/packages.bash"
debian bookworm cryptsetup-bin=2:2.6.1-4~deb12u2
head -c 5000 /dev/zero | tr '\0' a > "$work/data"
veritysetup format "$work/data" "$work/hashes" --salt=- > "$work/format" 2>&1
root=$(sed -n 's/^Root hash:[[:space:]]*//p' "$work/format")
saw "5,000 bytes are one block" grep -qE '^Data blocks:[[:space:]]+1$' "$work/format"
saw "nothing is said of the rest" fails grep -qiE 'warn|align|trunc|pad' "$work/format"
saw "the root hash is that of the first 4,096 bytes" equal "$root" "$(head -c 4096 "$work/data" | sha256sum | cut -c 1-64)"
printf b | dd of="$work/data" bs=1 seek=4500 conv=notrunc status=none
saw "another end verifies" veritysetup verify "$work/data" "$work/hashes" "$root"
printf b | dd of="$work/data" bs=1 seek=4000 conv=notrunc status=none
saw "another first block does not" fails veritysetup verify "$work/data" "$work/hashes" "$root"
