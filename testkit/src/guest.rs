//! The guest that `scripts/make-guest.sh` makes out of Debian's packages.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{project, text, tool};

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
        let directory = project().join(directory);
        let toplevel =
            fs::read_to_string(directory.join("toplevel")).expect("run scripts/make-guest.sh target/guest");
        Self {
            root: directory.join("root"),
            registration: directory.join("registration"),
            toplevel: toplevel.trim().to_owned(),
        }
    }

    /// The store path of the closure whose name has this in it.
    pub fn path(&self, name: &str) -> String {
        let registration = fs::read_to_string(&self.registration).unwrap();
        let is_it = |line: &&str| line.starts_with("/nix/store/") && line.contains(name);
        registration.lines().find(is_it).unwrap_or_else(|| panic!("no {name} in the guest")).to_owned()
    }

    /// Where a store path of the guest really is.
    pub fn physical(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The file that a link of the toplevel leads to, such as its `kernel`.
    pub fn part(&self, link: &str) -> PathBuf {
        let target = fs::read_link(self.physical(&self.toplevel).join(link)).unwrap();
        self.physical(text(&target))
    }

    /// Writes an initrd that is the guest's with the files of a directory in it, in the place of those of their names.
    pub fn initrd_with(&self, tree: &Path, initrd: &Path) {
        let mut first = fs::read(self.part("initrd")).unwrap();
        // Where Linux looks for a second archive.
        first.resize(first.len().next_multiple_of(4), 0);
        let mut file = File::create(initrd).unwrap();
        file.write_all(&first).unwrap();
        let mut cpio = Command::new("cpio");
        cpio.args(["--quiet", "--create", "--format=newc", "--owner=0:0"]).current_dir(tree);
        let mut cpio = cpio.stdin(Stdio::piped()).stdout(file).spawn().unwrap();
        let names = Command::new("find").arg(".").current_dir(tree).output().unwrap().stdout;
        cpio.stdin.take().unwrap().write_all(&names).unwrap();
        assert!(cpio.wait().unwrap().success());
    }

    /// Checks what a guest that looks at its store says of it, as other tools have worked it out.
    pub fn check(&self, said: &str) {
        let script = project().join("scripts/expected-guest.sh");
        let expected = tool(&[text(&script), text(self.root.parent().unwrap())]);
        assert_eq!(expected.lines().count(), 2);
        for line in expected.lines().chain(["GUEST-STORE-IS-WRITABLE", "NIX-IMAGEGEN-GUEST-OK"]) {
            assert!(said.lines().any(|said| said.ends_with(line)), "no {line} in {said}");
        }
    }
}
