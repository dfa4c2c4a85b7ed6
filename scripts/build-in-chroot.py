#!/usr/bin/env python3
"""Builds a derivation of the guest's store without Nix's sandbox, for machines where root may not have namespaces
of its own, such as most containers: `nix-build` cannot build for a store in another place there.

usage: build-in-chroot.py ROOT DERIVATION

Runs the builder with the store's root as its root directory, registers the output as valid and prints its path. Needs
root; the builder must need nothing outside of the store.
"""

import ast
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Derivation(NamedTuple):
    output: str
    sources: list
    builder: str
    arguments: list
    environment: dict


def output_of(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, **options).stdout


def read_derivation(root, derivation):
    """From its file, whose form stays, unlike that of what Nix prints. Its strings and lists are written as Python's are."""
    text = Path(root + derivation).read_text(encoding="utf-8")
    outputs, _, sources, _, builder, arguments, environment = ast.literal_eval(text.removeprefix("Derive"))
    [(_, output, _, _)] = outputs
    return Derivation(output, sources, builder, arguments, dict(environment))


def run_builder(root, derivation):
    """As Nix does it: the environment is the derivation's, and what is in passAsFile comes as files."""
    build = Path(root, "build")
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir()
    environment = {"NIX_BUILD_TOP": "/build", "HOME": "/homeless-shelter", **derivation.environment}
    for name in environment.pop("passAsFile", "").split():
        (build / f".attr-{name}").write_text(environment.pop(name))
        environment[f"{name}Path"] = f"/build/.attr-{name}"
    command = ["chroot", root, derivation.builder, *derivation.arguments]
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


def register(root, deriver, derivation):
    output = derivation.output
    physical = root + output
    candidates = [*derivation.sources, output]
    found = {path for text in contents(physical) for path in candidates if path[11:43].encode() in text}
    digest = output_of("nix-hash", "--type", "sha256", physical).decode().strip()
    size = len(output_of("nix-store", "--dump", physical))
    record = "\n".join([output, digest, str(size), deriver, str(len(found)), *sorted(found)]) + "\n"
    output_of("nix-store", "--store", root, "--load-db", input=record.encode())


def main():
    root, deriver = sys.argv[1:]
    derivation = read_derivation(root, deriver)
    run_builder(root, derivation)
    canonicalise(root + derivation.output)
    register(root, deriver, derivation)
    print(derivation.output)


main()
