//! Boot disks and firmware.

use std::fs;

use assert_cmd::assert::OutputAssertExt;

use testkit::guest::Guest;
use testkit::home::Home;
use testkit::scripted::Scripted;
use testkit::{imagegen, names_in, text, tool};

/// What the guest finds of its boot disk.
const BOOT: &str = r#"
while read -r device point kind options rest; do echo "MOUNT $point $kind $device $options"; done < /proc/mounts
echo "BOOT $(ls -A /boot | sort | tr '\n' ' ')"
echo "COMMAND-LINE $(cat /proc/cmdline)"
"#;

#[test]
fn efi_variables_keep_a_change_over_two_boots() {
    let machine = Scripted::new(
        env!("CARGO_BIN_EXE_nix-imagegen"),
        r#"
        useBootLoader = true
        useEFIBoot = true
        diskImage = false
        bootDisk = "disk"
        efi.keepVariables = true
        efi.variables = "/usr/share/OVMF/OVMF_VARS_4M.fd"
        "#,
    );
    // As the module's derivation has it, with an entry in the variables.
    let home = &machine.home;
    fs::create_dir(home.path("disk")).unwrap();
    imagegen!()
        .args(["boot-disk", "--store-root", text(&home.guest.root), "--toplevel", &home.guest.toplevel])
        .args(["--loader", "systemd-boot", "--timeout", "0", "-o", text(&home.path("disk/disk.img"))])
        .args(["--efi-vars-template", "/usr/share/OVMF/OVMF_VARS_4M.fd", "--boot-disk-entry"])
        .args(["--efi-vars", text(&home.path("disk/efi-vars.fd"))])
        .assert()
        .success();
    let before = fs::read(home.path("disk/efi-vars.fd")).unwrap();

    let script = format!(
        r#"{BOOT}
        mount -t efivarfs efivarfs /sys/firmware/efi/efivars
        cd /sys/firmware/efi/efivars
        echo "ENTRY $(tr -cd 'A-Za-z ' < Boot0000-8be4df61-93ca-11d2-aa0d-00e098032b8c)"
        kept=Kept-01234567-89ab-cdef-0123-456789abcdef
        if [ -e $kept ]; then echo "EARLIER $(tail -c +5 $kept)"; else printf '\7\0\0\0until now' > $kept; fi
        "#
    );
    let first = machine.boot(&script);
    assert!(!first.0.contains("EARLIER"), "{}", first.0);
    assert!(first.after("ENTRY").contains("Linux Boot Manager"), "{}", first.0);
    assert!(first.after("MOUNT /boot").starts_with("vfat /dev/vda2 "), "{}", first.0);
    first.has("BOOT EFI loader ");
    machine.boot(&script).has("EARLIER until now");

    // The machine's own copy was written, and other programs see it.
    assert!(fs::read(home.path("disk/efi-vars.fd")).unwrap() == before);
    let variables = home.path("nixos-efi-vars.fd");
    let listed = tool(&["virt-fw-vars", "-i", text(&variables), "--print"]);
    assert!(listed.lines().any(|line| line.starts_with("Kept ")), "{listed}");
}

#[test]
fn a_bios_boots_grub_and_the_store_from_images_made_just_in_time() {
    let registration = Guest::scripted().registration;
    let machine = Scripted::new(
        env!("CARGO_BIN_EXE_nix-imagegen"),
        &format!(
            r#"
        registration = "{}"
        useNixStoreImage = true
        useBootLoader = true
        useBIOSBoot = true
        diskSize = 32
        bios = "bios"
        "#,
            text(&registration)
        ),
    );
    let home = &machine.home;
    fs::create_dir(home.path("bios")).unwrap();
    fs::copy("/usr/share/seabios/bios-256k.bin", home.path("bios/bios.bin")).unwrap();
    let said = machine.boot(&format!("{BOOT}[ -e /sys/firmware/efi ] || echo BY-BIOS"));
    said.has("BY-BIOS");
    said.has("BOOT grub kernels ");
    assert!(said.after("MOUNT /").starts_with("ext4 /dev/vda "), "{}", said.0);
    assert!(said.after("MOUNT /nix/.ro-store").starts_with("ext4 /dev/vdb ro"), "{}", said.0);
    assert!(said.after("MOUNT /boot").starts_with("vfat /dev/vdc2 "), "{}", said.0);
    assert!(said.after("COMMAND-LINE").contains(&format!("init={}/init", home.guest.toplevel)));
    // A store image and a boot disk, each with its seal and its lock.
    assert_eq!(names_in(&home.path("cache/nix-imagegen")).len(), 6);
}

#[test]
fn an_arm_machine_boots_directly() {
    let guest = Guest::at("target/guest-aarch64");
    let registration = guest.registration.clone();
    let options = format!(
        "registration = \"{}\"\nuseNixStoreImage = true\ndiskImage = false\ncores = 2",
        text(&registration)
    );
    let home = Home::new(env!("CARGO_BIN_EXE_nix-imagegen"), guest, &options);
    let (said, _) = home.boot(&[]);
    home.guest.check(&said);
    let kernel = said.lines().find_map(|line| line.strip_prefix("GUEST-KERNEL "));
    assert!(kernel.is_some_and(|version| version.ends_with("-arm64")), "{said}");

    // A loader needs firmware that starts it.
    let guest = Guest::at("target/guest-aarch64");
    let error = Home::new(env!("CARGO_BIN_EXE_nix-imagegen"), guest, "useBootLoader = true").error(&[]);
    assert!(
        error.contains("useBootLoader: an aarch64 machine has no BIOS that starts a loader; set useEFIBoot"),
        "{error}"
    );
}
