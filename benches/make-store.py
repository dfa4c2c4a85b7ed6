#!/usr/bin/env python3
"""Makes a store of many small paths, for measuring what each path costs: make-store.py PATHS DIRECTORY

Each path is a file and refers to the one before it and to up to six others; the last one's closure is all of them.
DIRECTORY gets nix/store, `registration` (what `nix-store --load-db` reads) and `last`, the last path. The same each time.
"""

import hashlib
import os
import random
import sys

ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"


def string(data):
    """A string of a NAR."""
    return len(data).to_bytes(8, "little") + data + bytes(-len(data) % 8)


def nar(contents):
    """The NAR of a file."""
    words = [b"nix-archive-1", b"(", b"type", b"regular", b"contents", contents, b")"]
    return b"".join(map(string, words))


def main(count, directory):
    numbers = random.Random(7)
    store = os.path.join(directory, "nix/store")
    os.makedirs(store)
    digests = ["".join(numbers.choices(ALPHABET, k=32)) for _ in range(count)]
    names = [f"{digest}-package-{i}" for i, digest in enumerate(digests)]
    with open(os.path.join(directory, "registration"), "w") as registration:
        for i, name in enumerate(names):
            contents = f"contents of {i}\n".encode()
            with open(os.path.join(store, name), "wb") as file:
                file.write(contents)
            packed = nar(contents)
            references = {i - 1, *(numbers.randrange(i) for _ in range(min(i, 6)))} if i else set()
            lines = [name, *sorted(names[reference] for reference in references)]
            paths = [f"/nix/store/{line}" for line in lines]
            record = [paths[0], hashlib.sha256(packed).hexdigest(), len(packed), "", len(references), *paths[1:]]
            registration.write("".join(f"{line}\n" for line in record))
    with open(os.path.join(directory, "last"), "w") as last:
        last.write(f"/nix/store/{names[-1]}\n")


main(int(sys.argv[1]), sys.argv[2])
