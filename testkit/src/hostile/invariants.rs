//! One function for each kind of input from outside: it panics where something does not hold that must hold for any
//! bytes. That nothing panics, overflows, runs for long or takes much memory is an invariant of all of them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use imagegen::boot::toplevel;
use imagegen::firmware::efi_vars::{LoadOption, VariableStore, describe, export_json, import_json};
use imagegen::fs::file_source::FileSource;
use imagegen::nix::store_path::{StorePath, StoreRoot};
use imagegen::nix::{Registration, references_graph};

use super::{files, images};

/// The name of a target, and its invariant.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 14] = [
    ("registration", registration),
    ("references_graph", references_graph),
    ("toplevel", toplevel),
    ("toplevel_links", toplevel_links),
    ("variable_store", variable_store),
    ("variables_json", variables_json),
    ("partition_table", images::partition_table),
    ("fat", images::fat),
    ("ext4", images::ext4),
    ("qcow2", files::qcow2),
    ("qcow2_packed", files::qcow2_packed),
    ("inspect", files::inspect_image),
    ("diff", files::diff_images),
    ("database", files::nix_database),
];

/// A registration that can be read is printed in a form that reads back as the same.
pub fn registration(bytes: &[u8]) {
    let Ok(registration) = Registration::parse(Path::new("registration"), bytes) else { return };
    let printed = registration.to_string();
    let again = Registration::parse(Path::new("printed"), printed.as_bytes());
    let again = again.unwrap_or_else(|error| panic!("{error}\n{printed}"));
    assert_eq!(again.to_string(), printed);
    assert_eq!(again.paths().len(), registration.paths().len());
}

/// A references graph that can be read is a closure: what it prints can be read as a registration.
pub fn references_graph(bytes: &[u8]) {
    let files = [(PathBuf::from("graph"), bytes.to_vec())];
    if let Ok(graph) = references_graph::read(&files) {
        registration(graph.to_string().as_bytes());
        // The same graph twice says nothing new.
        let twice = [files[0].clone(), files[0].clone()];
        let twice = references_graph::read(&twice).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(twice.to_string(), graph.to_string());
    }
}

/// The system that a `boot.json` describes consists of files in the store, and nothing in it has a line break.
pub fn toplevel(bytes: &[u8]) {
    SYSTEM.with(|system| {
        fs::write(system.toplevel.join("boot.json"), bytes).unwrap();
        system.check();
    });
}

/// So does the one that a toplevel without `boot.json` implies by its links and texts. Each line of the input is the
/// contents of one of them, or behind `>` the target of a link.
pub fn toplevel_links(bytes: &[u8]) {
    SYSTEM.with(|system| {
        let _ = fs::remove_file(system.toplevel.join("boot.json"));
        let mut lines = bytes.split(|&b| b == b'\n');
        for name in LINKS {
            let file = system.toplevel.join(name);
            let _ = fs::remove_file(&file);
            match lines.next().unwrap_or_default() {
                // A target that the system does not take makes no link.
                [b'>', target @ ..] => drop(symlink(OsStr::from_bytes(target), &file)),
                text => fs::write(&file, text).unwrap(),
            }
        }
        system.check();
    });
}

/// The parts of a toplevel, in the order of the lines.
const LINKS: [&str; 6] = ["kernel", "initrd", "kernel-params", "nixos-version", "system", "init"];

/// The store path of the system that a target describes.
pub const TOPLEVEL: &str = "/nix/store/11111111111111111111111111111111-nixos-system";
/// The store path of its kernel and modules.
pub const KERNEL: &str = "/nix/store/22222222222222222222222222222222-linux";

thread_local! {
    static SYSTEM: System = System::new();
}

/// A small store, with a file beside it that must not be reached.
struct System {
    root: tempfile::TempDir,
    toplevel: PathBuf,
}

impl System {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path.trim_start_matches('/'));
        let toplevel = at(TOPLEVEL);
        fs::create_dir_all(&toplevel).unwrap();
        fs::create_dir_all(at(KERNEL).join("lib/modules/6.12.1")).unwrap();
        fs::write(at(KERNEL).join("bzImage"), "kernel").unwrap();
        fs::write(at("outside"), "secret").unwrap();
        fs::write(toplevel.join("init"), "").unwrap();
        symlink(KERNEL, toplevel.join("kernel-modules")).unwrap();
        Self { root, toplevel }
    }

    fn check(&self) {
        let store = StoreRoot::new(self.root.path());
        let path = StorePath::parse(TOPLEVEL).unwrap();
        let Ok(system) = toplevel::read(&store, &path) else { return };
        for boot in std::iter::once(&system.boot).chain(system.specialisations.values()) {
            for file in
                [Some(&boot.kernel), boot.initrd.as_ref(), boot.device_tree.as_ref()].into_iter().flatten()
            {
                let FileSource::File { physical, .. } = &file.content else { panic!("made up contents") };
                let real = physical.canonicalize().unwrap();
                assert!(real.starts_with(self.root.path().join("nix/store")), "{}", real.display());
            }
            let texts = boot.kernel_params.iter().chain([&boot.label, &boot.init]).chain(&boot.sort_key);
            for text in texts {
                assert!(!text.contains(char::is_control), "{text:?}");
            }
        }
    }
}

/// A variable store that can be read is written in a form that reads back as the same; so is each variable that can
/// be shown.
pub fn variable_store(bytes: &[u8]) {
    let Ok(store) = VariableStore::parse(bytes) else { return };
    assert!(store.used() <= store.capacity());
    let written = store.to_bytes().unwrap();
    assert_eq!(written.len(), bytes.len());
    let again = VariableStore::parse(&written).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.variables(), store.variables());
    assert_eq!(again.to_bytes().unwrap(), written);
    for variable in store.variables() {
        let _ = describe(variable);
        if let Ok(option) = LoadOption::decode(&variable.data) {
            let encoded = option.encode().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(LoadOption::decode(&encoded).unwrap_or_else(|error| panic!("{error}")), option);
        }
    }
}

/// Variables that can be read from JSON are written as JSON that reads back as the same.
pub fn variables_json(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(variables) = import_json(text) else { return };
    let exported = export_json(&variables).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(import_json(&exported).unwrap_or_else(|error| panic!("{error}")), variables);
}
