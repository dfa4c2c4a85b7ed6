#!/usr/bin/env bash
# OVMF 2022.11 with QEMU 7.2 (Debian 12): the code of the 4 MiB build with the variables of the 2 MiB build.
#
# Guessed: QEMU or the firmware refuses flash chips that do not fit together, or says something.
# Seen: the machine boots as ever, without a word; but no variable is ever written to the file, so boot entries, and all else
#   that a guest sets, are gone at the next start. With the variables of its own build the file changes at once.
# So: `run` compares the sizes of code and variables before it starts a machine.
. "$(dirname "$0")/packages.bash"
debian bookworm qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 ovmf=2022.11-6+deb12u2
ovmf=$work/bookworm/tree/usr/share/OVMF
# Without a disk it ends in its shell, after it has written boot entries.
starts_with() { # VARIABLES
    cp "$1" "$work/variables"
    until_said 'BdsDxe: starting Boot.* "EFI Internal Shell"' \
        qemu-system-x86_64 -nodefaults -drive "if=pflash,format=raw,unit=0,readonly=on,file=$ovmf/OVMF_CODE_4M.fd" \
        -drive "if=pflash,format=raw,unit=1,file=$work/variables"
}
saw "the firmware starts with its own variables" starts_with "$ovmf/OVMF_VARS_4M.fd"
saw "it has changed them" fails cmp "$work/variables" "$ovmf/OVMF_VARS_4M.fd"
saw "it starts with those of the 2 MiB build too" starts_with "$ovmf/OVMF_VARS.fd"
saw "QEMU says nothing" fails grep -v terminating "$work/log"
saw "nothing was written" cmp "$work/variables" "$ovmf/OVMF_VARS.fd"
