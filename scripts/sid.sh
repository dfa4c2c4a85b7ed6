#!/usr/bin/env bash
# Packages of Debian's newest suite, unpacked below target/sid: `scripts/sid.sh unpack PACKAGE…` and `scripts/sid.sh run
# PROGRAM …`; see scripts/debian-suite.sh. For newer ones than those that are there, `rm -r target/sid`.
set -euo pipefail
here=$(dirname "$0")
exec "$here/debian-suite.sh" sid "$here/../target/sid" "$@"
