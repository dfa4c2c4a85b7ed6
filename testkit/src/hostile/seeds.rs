//! The inputs to begin with, made by our own writers, so that no binary file is kept.

use imagegen::firmware::efi_vars::{
    Attributes, Authentication, DevicePath, GLOBAL_VARIABLE, HardDrive, LoadOption, Variable, VariableStore,
    export_json, from_template,
};
use imagegen::fixed;
use imagegen::units::Lba;

use super::invariants::{KERNEL, TOPLEVEL};
use super::{files, images};

/// The seeds of a target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "registration" => registrations(),
        "references_graph" => references_graphs(),
        "toplevel" => bootspecs(),
        "toplevel_links" => links(),
        "variable_store" => variable_stores(),
        "variables_json" => vec![variables_json()],
        "partition_table" | "fat" | "ext4" | "qcow2" | "qcow2_packed" | "database" => images::seeds(),
        "inspect" | "diff" => files::seeds_with_choice(&images::seeds()),
        other => panic!("no seeds for {other}"),
    }
}

fn registrations() -> Vec<Vec<u8>> {
    let hex = "ab".repeat(32);
    let texts = [
        String::new(),
        format!("{TOPLEVEL}\n{hex}\n1234\n\n1\n{TOPLEVEL}\n"),
        format!("{TOPLEVEL}\nsha256:{hex}\n1\n{KERNEL}.drv\n2\n{TOPLEVEL}\n{KERNEL}\n{KERNEL}\n\n0\n\n0\n"),
        format!("{KERNEL}\nsha256-q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n18446744073709551615\n\n0\n"),
        format!("{KERNEL}\n{}\n120\n\n0\n", "0".repeat(52)),
    ];
    texts.map(String::into_bytes).into()
}

fn references_graphs() -> Vec<Vec<u8>> {
    let texts = [
        format!("{TOPLEVEL}\n\n1\n{KERNEL}\n{KERNEL}\n{KERNEL}.drv\n0\n"),
        format!(
            r#"{{"graph":[{{"path":"{KERNEL}","narHash":"sha256:{}","narSize":120,"references":["{KERNEL}"]}}]}}"#,
            "0".repeat(52)
        ),
        format!(
            r#"{{"{KERNEL}":{{"narHash":"sha256-{}=","narSize":9,"references":[],"deriver":null}}}}"#,
            "A".repeat(43)
        ),
    ];
    texts.map(String::into_bytes).into()
}

fn bootspecs() -> Vec<Vec<u8>> {
    let boot = serde_json::json!({
        "system": "x86_64-linux",
        "label": "NixOS 25.11 (Linux 6.12.1)",
        "kernel": format!("{KERNEL}/bzImage"),
        "kernelParams": ["console=ttyS0", "quiet"],
        "initrd": format!("{TOPLEVEL}/../22222222222222222222222222222222-linux/bzImage"),
        "init": format!("{TOPLEVEL}/init"),
        "toplevel": TOPLEVEL,
    });
    let plain = serde_json::json!({"org.nixos.bootspec.v1": boot, "org.nixos.specialisation.v1": {}});
    let full = serde_json::json!({
        "org.nixos.bootspec.v1": boot,
        "org.nixos.specialisation.v1": {"other": plain},
        "org.nixos.systemd-boot": {"sortKey": "nixos", "devicetree": format!("{KERNEL}/bzImage")},
    });
    vec![plain.to_string().into_bytes(), full.to_string().into_bytes(), b"{}".to_vec()]
}

fn links() -> Vec<Vec<u8>> {
    let texts = [
        format!(">{KERNEL}/bzImage\n>{KERNEL}/bzImage\nquiet\n25.11\nx86_64-linux\n\n"),
        ">/outside\n>../../../outside\nquiet\n25.11\nx86_64-linux\n>init\n".to_owned(),
        format!(">initrd\n>kernel\nquiet\n25.11\n>/etc/passwd\n>{TOPLEVEL}/../../store\n"),
    ];
    texts.map(String::into_bytes).into()
}

fn variable_stores() -> Vec<Vec<u8>> {
    let empty = empty_variable_store();
    let mut filled = VariableStore::parse(&empty).unwrap();
    for (name, data) in [("Timeout", vec![5, 0]), ("Lang", b"eng".to_vec()), ("Big", vec![0xff; 900])] {
        filled.set(variable(name, data)).unwrap();
    }
    // A change leaves the old record behind.
    filled.set(variable("Timeout", vec![6, 0])).unwrap();
    let with_entry = from_template(&empty, Some(&boot_entry())).unwrap();
    vec![filled.to_bytes().unwrap(), with_entry, empty]
}

fn variables_json() -> Vec<u8> {
    let entry = variable("Boot0000", boot_entry().encode().unwrap());
    export_json(&[variable("Timeout", vec![5, 0]), entry]).unwrap().into_bytes()
}

fn boot_entry() -> LoadOption {
    let esp = HardDrive::gpt(2, Lba(2048), 120_799, fixed::ESP_GUID);
    let path = DevicePath::file_on(esp, "\\EFI\\systemd\\systemd-bootx64.efi").unwrap();
    LoadOption::active("Linux Boot Manager", path).unwrap()
}

fn variable(name: &str, data: Vec<u8>) -> Variable {
    Variable {
        name: name.parse().unwrap(),
        vendor: GLOBAL_VARIABLE,
        attributes: Attributes::NV_BS_RT,
        data,
        authentication: Authentication::default(),
    }
}

/// A firmware volume of four small blocks with a store of authenticated variables (Platform Initialization 1.7,
/// volume 3, section 3.2.1).
fn empty_variable_store() -> Vec<u8> {
    let mut image = vec![0; 16];
    image.extend(0x8d2b_f1ff_9676_8b4c_a985_2747_075b_4f50_u128.to_be_bytes());
    image.extend(0x4000_u64.to_le_bytes());
    image.extend(b"_FVH");
    image.extend(0x0004_feff_u32.to_le_bytes());
    image.extend([72, 0, 0, 0, 0, 0, 0, 2]);
    for number in [4_u32, 0x1000, 0, 0] {
        image.extend(number.to_le_bytes());
    }
    let sum =
        image.chunks(2).fold(0_u16, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])));
    image[50..52].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    image.extend(0x782c_f3aa_7b94_9a43_a180_2e14_4ec3_7792_u128.to_be_bytes());
    image.extend((0x4000_u32 - 72).to_le_bytes());
    image.extend([0x5a, 0xfe, 0, 0, 0, 0, 0, 0]);
    image.resize(0x4000, 0xff);
    image
}
