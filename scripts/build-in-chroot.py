#!/usr/bin/env python3
"""Builds a derivation of the guest's store without Nix's sandbox, for machines where root may not have namespaces
of its own, such as most containers: `nix-build` cannot build for a store in another place there.

usage: build-in-chroot.py ROOT DERIVATION

Runs the builder with the store's root as its root directory, registers the output as valid and prints its path. Needs
root; the builder must need nothing outside of the store.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path


def output_of(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, **options).stdout


def show_derivation(root, derivation):
    command = ["nix", "--extra-experimental-features", "nix-command", "--store", root, "show-derivation", derivation]
    return json.loads(output_of(*command))[derivation]


def run_builder(root, description):
    """As Nix does it: the environment is the derivation's, and what is in passAsFile comes as files."""
    build = Path(root, "build")
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir()
    environment = {"NIX_BUILD_TOP": "/build", "HOME": "/homeless-shelter", **description["env"]}
    for name in environment.pop("passAsFile", "").split():
        (build / f".attr-{name}").write_text(environment.pop(name))
        environment[f"{name}Path"] = f"/build/.attr-{name}"
    command = ["chroot", root, description["builder"], *description["args"]]
    subprocess.run(command, check=True, env={**environment}, executable=shutil.which("chroot"))
    shutil.rmtree(build)


def contents(path):
    """The bytes in which Nix would look for references."""
    for place, directories, files in os.walk(path):
        for name in directories + files:
            entry = Path(place, name)
            if entry.is_symlink():
                yield os.fsencode(os.readlink(entry))
            elif entry.is_file():
                yield entry.read_bytes()


def canonicalise(path):
    for place, directories, files in os.walk(path, topdown=False):
        for entry in [Path(place, name) for name in directories + files] + [Path(place)]:
            if not entry.is_symlink():
                entry.chmod(0o555 if entry.is_dir() or entry.stat().st_mode & stat.S_IXUSR else 0o444)
            os.utime(entry, (1, 1), follow_symlinks=False)


def register(root, derivation, description, output):
    physical = root + output
    candidates = [*description["inputSrcs"], output]
    found = {path for text in contents(physical) for path in candidates if path[11:43].encode() in text}
    digest = output_of("nix-hash", "--type", "sha256", physical).decode().strip()
    size = len(output_of("nix-store", "--dump", physical))
    record = "\n".join([output, digest, str(size), derivation, str(len(found)), *sorted(found)]) + "\n"
    output_of("nix-store", "--store", root, "--load-db", input=record.encode())


def main():
    root, derivation = sys.argv[1:]
    description = show_derivation(root, derivation)
    output = description["outputs"]["out"]["path"]
    run_builder(root, description)
    canonicalise(root + output)
    register(root, derivation, description, output)
    print(output)


main()
