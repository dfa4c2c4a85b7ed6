"""Prints what two results of `nix-imagegen bench` say about the project's aims: STORE_IMAGE.json BOOT_DISK.json."""

import json
import sys


def results(path):
    with open(path) as file:
        return {result["name"]: result for result in json.load(file)["results"]}


def ratio(of, a, b, what, aim):
    """Prints how many times b's median a's is; nothing where one of them did not take part."""
    if a in of and b in of:
        value = of[a]["median_seconds"] / of[b]["median_seconds"]
        spread = sorted(x["seconds"] / y["seconds"] for x, y in zip(of[a]["runs"], of[b]["runs"]))
        print(f"{value:8.2f}  {what} (rounds {spread[0]:.2f}..{spread[-1]:.2f}); aim: {aim}")


store, boot = (results(path) for path in sys.argv[1:3])
ratio(store, "mkfs.ext4+qcow2", "qcow2", "mkfs.ext4 -d and qemu-img convert / qcow2, verified", "at least 8, then 12")
ratio(store, "mkfs.erofs", "qcow2", "mkfs.erofs / qcow2, verified", "at least 2.5")
ratio(store, "qcow2", "cat", "qcow2, verified / cat of all files into one", "at most 1.3")
ratio(store, "qcow2", "mkext4", "qcow2, verified / mkext4's example, raw and not verified", "at most 1.2")
ratio(boot, "machine", "qcow2", "throwaway machine (TCG) / boot disk", "at least 100")
ratio(boot, "sgdisk+mtools", "qcow2", "sgdisk, mkfs.fat and mtools without a machine / boot disk", "none")
ratio(boot, "qcow2+grub", "cat", "boot disk with systemd-boot and GRUB / cat of kernel, initrd and systemd-boot", "at most 3")
peak = max(result["peak_memory_bytes"] for result in store.values() if result["role"] == "ours") / 2**20
print(f"{peak:8.1f}  MiB of memory at most for a store image; aim: under 200")
