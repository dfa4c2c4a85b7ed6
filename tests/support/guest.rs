//! The guest that `scripts/make-guest.sh` makes out of Debian's packages.

use std::fs;
use std::path::{Path, PathBuf};

use super::{text, tool};

/// The guest's closure in a store of its own.
pub struct Guest {
    pub root: PathBuf,
    pub registration: PathBuf,
    pub toplevel: String,
}

impl Guest {
    /// `make test` makes it before the tests.
    pub fn get() -> Self {
        Self::at("target/guest")
    }

    /// The one that does what a test's scripts say.
    pub fn scripted() -> Self {
        Self::at("target/guest-scripted")
    }

    /// The one that was made in this directory, relative to the project's.
    pub fn at(directory: &str) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        let toplevel =
            fs::read_to_string(directory.join("toplevel")).expect("run scripts/make-guest.sh target/guest");
        Self {
            root: directory.join("root"),
            registration: directory.join("registration"),
            toplevel: toplevel.trim().to_owned(),
        }
    }

    /// The store path of the closure whose name ends so.
    pub fn path(&self, name: &str) -> String {
        let registration = fs::read_to_string(&self.registration).unwrap();
        let is_it = |line: &&str| line.starts_with("/nix/store/") && line.ends_with(name);
        registration.lines().find(is_it).unwrap_or_else(|| panic!("no {name} in the guest")).to_owned()
    }

    /// Where a store path of the guest really is.
    pub fn physical(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Checks what a guest that looks at its store says of it, as other tools have worked it out.
    pub fn check(&self, said: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/expected-guest.sh");
        let expected = tool(&[script, text(self.root.parent().unwrap())]);
        assert_eq!(expected.lines().count(), 2);
        for line in expected.lines().chain(["GUEST-STORE-IS-WRITABLE", "NIX-IMAGEGEN-GUEST-OK"]) {
            assert!(said.lines().any(|said| said.ends_with(line)), "no {line} in {said}");
        }
    }
}
