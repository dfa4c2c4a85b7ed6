//! Disks, as the guest sees them.

use std::fs;

use testkit::guest::Guest;
use testkit::scripted::{Said, Scripted};
use testkit::text;

/// Of every disk its name, its size in bytes, and what it begins with.
const DISKS: &str = r#"
for disk in /sys/class/block/[sv]d?; do
    name=${disk##*/}
    echo "DISK $name $(($(cat $disk/size) * 512)) $(head -c 9 /dev/$name | tr -d '\0')"
done
while read -r device point kind options rest; do echo "MOUNT $point $kind $device $options"; done < /proc/mounts
touch /nix/store/written || echo STORE-IS-READ-ONLY
"#;

/// Boots a machine with a store image that is not written to, empty disks, and a drive of its own.
fn boot(options: &str, script: &str) -> Said {
    let own = tempfile::tempdir().unwrap();
    let image = own.path().join("a, b");
    fs::write(&image, [b"beginning".to_vec(), vec![b'x'; 1015]].concat()).unwrap();
    let machine = Scripted::new(
        env!("CARGO_BIN_EXE_nix-imagegen"),
        &format!(
            r#"
        registration = "{}"
        useNixStoreImage = true
        writableStore = false
        diskSize = 40
        emptyDiskImages = [3, 17]
        {options}
        [[qemu.drives]]
        name = "own"
        file = '"{}"'
        driveExtraOpts = {{ format = "raw", readonly = "on" }}
        deviceExtraOpts.serial = "of-its-own"
        "#,
            text(&Guest::scripted().registration),
            text(&image)
        ),
    );
    // A SCSI controller waits 3 s for its bus otherwise, and each disk has one.
    let mut run = machine.home.run(&[]);
    machine.boot_by(run.env("QEMU_KERNEL_PARAMS", "sym53c8xx.settle=0"), &format!("{DISKS}{script}"))
}

/// Checks the disks, whose names begin with the same two letters.
fn check(said: &Said, kind: &str) {
    said.has(&format!("DISK {kind}a {} ", 40 << 20));
    said.has(&format!("DISK {kind}c {} ", 3 << 20));
    said.has(&format!("DISK {kind}d {} ", 17 << 20));
    said.has(&format!("DISK {kind}e 1024 beginning"));
    assert!(said.after("MOUNT /nix/store").starts_with(&format!("ext4 /dev/{kind}b ro")), "{}", said.0);
    said.has("STORE-IS-READ-ONLY");
}

#[test]
fn a_scsi_machine_boots_and_has_all_disks() {
    let said = boot("qemu.diskInterface = \"scsi\"", "");
    check(&said, "sd");
    assert!(said.after("MOUNT /").starts_with("ext4 /dev/sda "), "{}", said.0);
}

#[test]
fn an_ide_machine_has_virtio_disks_and_its_root_where_the_config_says() {
    let said = boot(
        "qemu.diskInterface = \"ide\"\nbootDevice = \"/dev/vdd\"",
        "echo \"SERIAL $(cat /sys/class/block/vde/serial)\"",
    );
    said.has("SERIAL of-its-own");
    assert!(said.after("MOUNT /").starts_with("ext4 /dev/vdd "), "{}", said.0);
}
