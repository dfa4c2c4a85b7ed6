//! What else of a machine's options the guest sees, and machines that meet in a network.

use std::fs;
use std::path::Path;

use testkit::scripted::Scripted;
use testkit::{text, tool};

#[test]
fn processors_memory_arguments_and_a_tpm_reach_the_guest() {
    let mut machine = Scripted::new(
        env!("CARGO_BIN_EXE_nix-imagegen"),
        r#"
        name = "seen"
        cores = 3
        directBoot.initrd = "initrd"
        diskImage = false
        tpm.enable = true
        qemu.virtioKeyboard = true
        qemu.consoles = ["tty1", "ttyS0,9600"]
        qemu.networkingOptions = ["-net none"]
        qemu.options = ['-smbios "type=1,serial=of ${WHOSE:-nobody},, here"']
        "#,
    );
    machine.in_initrd = "echo \"INITRD $(cat /of-our-own)\"";
    let home = &machine.home;
    // Linux unpacks one archive after another.
    let guest = &home.guest;
    let usual = fs::read_link(guest.physical(&format!("{}/initrd", guest.toplevel))).unwrap();
    let usual = guest.physical(text(&usual));
    fs::write(home.path("of-our-own"), "another").unwrap();
    let archive = "cat \"$1\" > initrd && echo of-our-own | cpio --quiet -o -H newc | gzip >> initrd";
    tool(&["sh", "-c", &format!("cd \"$2\" && {archive}"), "sh", text(&usual), text(home.directory.path())]);
    let script = r#"
        echo "CORES $(nproc)"
        while read -r name kib unit; do [ $name = MemTotal: ] && echo "MEMORY $kib"; done < /proc/meminfo
        echo "SERIAL $(cat /sys/class/dmi/id/product_serial)"
        echo "FAMILY $(cat /sys/class/dmi/id/product_family)"
        echo "SKU $(cat /sys/class/dmi/id/product_sku)"
        echo "COMMAND-LINE $(cat /proc/cmdline)"
        echo "TPM $(cat /sys/class/tpm/tpm0/tpm_version_major) $(ls /sys/class/tpm/tpm0/pcr-sha256 | wc -l)"
        echo "KEYBOARD $(grep -h . /sys/bus/virtio/devices/*/device | grep -c 0x0012)"
        echo "CARDS $(ls /sys/class/net | tr '\n' ' ')"
    "#;
    // It takes no comma in the path of its socket.
    let state = tempfile::tempdir().unwrap();
    let mut run = home.run(&[]);
    run.env("NIX_SWTPM_DIR", state.path().join("tpm"));
    run.env("WHOSE", "the options").env("QEMU_KERNEL_PARAMS", "of.environment=1 quiet");
    run.env("QEMU_OPTS", "-smbios type=1,family=variable");
    let said = machine.boot_by(&mut run, script);
    said.has("INITRD another");
    said.has("CORES 3");
    let memory: u32 = said.after("MEMORY").parse().unwrap();
    assert!((400_000..512 * 1024).contains(&memory), "{memory}");
    said.has("SERIAL of the options, here");
    said.has("FAMILY variable");
    let line = said.after("COMMAND-LINE");
    assert!(line.trim_end().ends_with(" console=tty1 console=ttyS0,9600 of.environment=1 quiet"), "{line}");
    said.has("TPM 2 24");
    said.has("KEYBOARD 1");
    said.has("CARDS lo ");
    // The TPM's state stays for the next boot.
    assert!(fs::metadata(state.path().join("tpm/tpm2-00.permall")).unwrap().len() > 0);
}

/// What a machine does to reach others by the card of the guest's half, which it knows by its MAC address.
fn card(machine: &Scripted) -> (String, String) {
    let card = &machine.guest_half()["interfaces"][0];
    let [name, mac, address] = ["name", "mac", "address"].map(|key| card[key].as_str().unwrap());
    let script = format!(
        r#"
        for card in /sys/class/net/*; do
            [ "$(cat $card/address)" = {mac} ] || continue
            echo "CARD ${{card##*/}}"
            [ ${{card##*/}} = {name} ] || ip link set ${{card##*/}} name {name}
        done
        ip address add {address}/24 dev {name}
        ip link set {name} up
        "#
    );
    (address.to_owned(), script)
}

/// Makes a file that a machine waits for.
fn say(directory: &Path, what: &str) {
    fs::write(directory.join(what), "").unwrap();
}

#[test]
fn two_machines_of_one_network_reach_each_other() {
    let cards = ["vlans = [77]", "interfaces.lan = { vlan = 77, assignIP = true }"];
    let [server, client] = [1, 2].map(|node| {
        let card = cards[node - 1];
        Scripted::new(
            env!("CARGO_BIN_EXE_nix-imagegen"),
            &format!("diskImage = false\nnodeNumber = {node}\nname = \"node{node}\"\n{card}"),
        )
    });
    let shared = tempfile::tempdir().unwrap();
    let (address, server_script) = card(&server);
    let (_, client_script) = card(&client);
    let wait = |what| format!("for _ in $(seq 120); do [ -e /tmp/shared/{what} ] && break; sleep 1; done");

    let script = format!(
        "{server_script}\nmkdir /www; echo of the server > /www/file; httpd -p 80 -h /www; touch /tmp/shared/serving\n{}",
        wait("asked")
    );
    let mut run = server.home.run(&[]);
    let mut serving = server.start_by(run.env("SHARED_DIR", text(shared.path())), &script);
    let script = format!(
        "{client_script}\n{}\necho \"ANSWER $(printf 'GET /file HTTP/1.0\\r\\n\\r\\n' | nc -w 9 {address} 80 | tail -n 1)\"",
        wait("serving")
    );
    let mut run = client.home.run(&[]);
    let said = client.boot_by(run.env("SHARED_DIR", text(shared.path())), &script);
    server.home.wait(&mut serving, || shared.path().join("serving").exists());
    say(shared.path(), "asked");
    let said_by_server = server.until_off(serving);
    said.has("ANSWER of the server");
    // The first is the user network's.
    said.has("CARD eth1");
    said_by_server.has("CARD eth1");
}
