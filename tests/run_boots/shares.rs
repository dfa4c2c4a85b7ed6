//! Shared directories, the store and the root disk.

use std::fs;

use testkit::guest::Guest;
use testkit::scripted::{Scripted, words};
use testkit::{names_in, text, tool};

/// What a guest tells of its mounts.
const MOUNTS: &str = r#"
while read -r device point kind options rest; do echo "MOUNT $point $kind $device $options"; done < /proc/mounts
"#;

#[test]
fn a_direct_boot_has_the_store_of_this_machine_and_its_shares() {
    let registration = Guest::scripted().registration;
    let machine = Scripted::new(
        env!("CARGO_BIN_EXE_nix-imagegen"),
        &format!(
            r#"
        registration = "{}"
        msize = 65536
        useHostCerts = true
        sharedDirectories.own = {{ source = '"a, b"', target = "/mnt/with space" }}
        sharedDirectories.a-deeper-one = {{ source = 'deep', target = "/mnt/with space/deep/er", securityModel = "mapped-file" }}
        fileSystems."/srv" = {{ fsType = "tmpfs", options = ["size=1m", "mode=0700"] }}
        fileSystems."/tmp/shared" = {{ device = "/dev/nothing" }}
        "#,
            text(&registration)
        ),
    );
    let home = &machine.home;
    for directory in ["a, b", "deep", "shared"] {
        fs::create_dir(home.path(directory)).unwrap();
    }
    fs::write(home.path("shared/from host"), "of the host").unwrap();
    fs::write(home.path("certificates"), "a certificate").unwrap();
    let script = format!(
        r#"{MOUNTS}
        echo "COMMAND-LINE $(cat /proc/cmdline)"
        echo "REGISTRATION $(sha256sum < /tmp/xchg/registration)"
        echo "FROM-HOST $(cat '/tmp/shared/from host')"
        echo "CERTIFICATES $(cat /etc/ssl/certs/ca-certificates.crt)"
        echo "of the guest" > '/tmp/shared/from guest'
        echo "into another" > '/mnt/with space/file'
        echo "into a third" > '/mnt/with space/deep/er/file'
        chown 1234 '/mnt/with space/deep/er/file'
        echo "STORE $(ls -A /nix/store | sort | sha256sum)"
        touch /nix/store/written && [ -e /nix/.rw-store/store/written ] && echo STORE-IS-WRITABLE
        "#
    );
    let mut run = home.run(&[]);
    run.env("SHARED_DIR", "shared").env("NIX_SSL_CERT_FILE", "certificates");
    let said = machine.boot_by(&mut run, &script);

    said.has("FROM-HOST of the host");
    said.has("CERTIFICATES a certificate");
    for (file, contents) in [
        ("shared/from guest", "of the guest\n"),
        ("a, b/file", "into another\n"),
        ("deep/file", "into a third\n"),
    ] {
        assert_eq!(fs::read_to_string(home.path(file)).unwrap(), contents);
    }
    let owners = fs::read_to_string(home.path("deep/.virtfs_metadata/file")).unwrap();
    assert!(owners.lines().any(|line| line == "virtfs.uid=1234"), "{owners}");
    let own = said.after("MOUNT /srv");
    assert!(own.starts_with("tmpfs tmpfs ") && own.contains("size=1024k,mode=700"), "{own}");
    // The store of this machine, under a layer in memory.
    let store = home.guest.root.join("nix/store");
    let names = tool(&["sh", "-c", "ls -A \"$1\" | LC_ALL=C sort | sha256sum", "sh", text(&store)]);
    said.has(&format!("STORE {}", names.trim_end()));
    said.has("STORE-IS-WRITABLE");
    assert!(!names_in(&store).contains(&"written".to_owned()));
    assert!(said.after("MOUNT /nix/.rw-store").starts_with("tmpfs "));
    assert!(said.after("MOUNT /nix/store").starts_with("overlay "));
    assert!(said.after("MOUNT /").starts_with("ext4 /dev/vda "));
    let store = said.after("MOUNT /nix/.ro-store");
    // Linux tells the mode of the cache by name, and from 6.4 on by its bits.
    let loose = [",loose,", ",cache=0xf,"].iter().any(|option| store.contains(option));
    assert!(store.starts_with("9p nix-store ") && loose, "{store}");
    for point in ["/nix/.ro-store", "/tmp/xchg", "/tmp/shared", "/mnt/with\\040space"] {
        let mount = said.after(&format!("MOUNT {point}"));
        assert!(mount.starts_with("9p ") && mount.contains(",msize=65536,"), "{mount}");
    }
    // What the guest's half says of the kernel's parameters, and what the first of them leads to.
    let parameters: Vec<_> = said.after("COMMAND-LINE").split(' ').collect();
    for parameter in words(&machine.guest_half()["kernelParams"]) {
        assert!(parameters.contains(&parameter), "no {parameter} in {parameters:?}");
    }
    let registration = tool(&["sh", "-c", "sha256sum < \"$1\"", "sh", text(&registration)]);
    said.has(&format!("REGISTRATION {}", registration.trim_end()));
}

#[test]
fn the_root_disk_keeps_its_files_and_those_in_the_store_over_two_boots() {
    let machine =
        Scripted::new(env!("CARGO_BIN_EXE_nix-imagegen"), "diskSize = 48\nwritableStoreUseTmpfs = false");
    let script = format!(
        r#"{MOUNTS}
        echo "DISK $(cat /sys/class/block/vda/size)"
        echo "EARLIER $(cat /var/kept) $(cat /nix/store/kept)"
        mkdir -p /var
        echo here > /var/kept
        echo there > /nix/store/kept
        "#
    );
    let first = machine.boot(&script);
    first.has("DISK 98304");
    first.has("EARLIER  ");
    let second = machine.boot(&script);
    second.has("EARLIER here there");
    assert!(second.after("MOUNT /nix/store").starts_with("overlay "));
    assert!(!second.0.contains("MOUNT /nix/.rw-store"), "{}", second.0);
    tool(&["qemu-img", "check", "-q", text(&machine.home.path("nixos.qcow2"))]);

    // Another disk, and none of this is on it.
    let other = machine.home.path("other.qcow2");
    let said = machine.boot_by(machine.home.run(&[]).env("NIX_DISK_IMAGE", &other), &script);
    said.has("EARLIER  ");
    assert!(other.is_file());
}
