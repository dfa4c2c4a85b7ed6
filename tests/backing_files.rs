//! Images that name files of this machine as their backing files, as one from somebody else could: nothing outside of the
//! image's directory is opened for it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Output;

use testkit::every_command::status;
use testkit::store::Store;
use testkit::{imagegen, text, tool};

/// A directory with images, and beside it a file that they must not show.
struct Place {
    directory: tempfile::TempDir,
    registration: String,
    _store: Store,
}

impl Place {
    fn new() -> Self {
        let mut store = Store::new();
        fs::write(store.add('a', "file"), "contents").unwrap();
        let registration = text(&store.register()).to_owned();
        let place = Self { directory: tempfile::tempdir().unwrap(), registration, _store: store };
        fs::create_dir_all(place.directory.path().join("images/below")).unwrap();
        for name in ["secret", "images/base", "images/below/base"] {
            fs::write(place.directory.path().join(name), vec![b's'; 1 << 20]).unwrap();
        }
        symlink("../secret", place.directory.path().join("images/link")).unwrap();
        symlink("..", place.directory.path().join("images/way")).unwrap();
        symlink("below/base", place.directory.path().join("images/inner-link")).unwrap();
        tool(&["mkfifo", &place.at("images/fifo")]);
        place
    }

    fn at(&self, name: &str) -> String {
        text(&self.directory.path().join(name)).to_owned()
    }

    /// An image with the backing file of that name, which qemu-img does not look at.
    fn image(&self, name: &str, backing: &str, format: &str) -> String {
        let image = self.at(name);
        tool(&["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", format, "-b", backing, &image, "1M"]);
        image
    }

    /// What each of the readers says of an image.
    fn read(&self, image: &str, more: &[&str]) -> Vec<(String, i32, String)> {
        let commands: [&[&str]; 6] = [
            &["inspect"],
            &["inspect", "--json"],
            &["verify", "--registration", &self.registration],
            &["diff", &self.at("images/base")],
            &["diff", "--ignore-container", &self.at("images/base")],
            &["run"],
        ];
        let said = |command: &&[&str]| {
            let Output { status: code, stdout, stderr } = if command[0] == "run" {
                self.run(image, more)
            } else {
                imagegen!().args(["--quiet"]).args(*command).arg(image).args(more).output().unwrap()
            };
            let told = String::from_utf8_lossy(&stderr).into_owned();
            let code = status(&Output { status: code, stdout, stderr }, command[0]);
            (command.join(" "), code, told)
        };
        commands.iter().map(said).collect()
    }

    /// `run` with the image as the root disk and, in another machine, as a drive of its own.
    fn run(&self, image: &str, more: &[&str]) -> Output {
        let run = |config: &str| {
            fs::write(self.at("vm.toml"), config).unwrap();
            let mut command = imagegen!();
            command.args(["run", "--print", "--config", &self.at("vm.toml")]).args(more);
            command.env_remove("NIX_DISK_IMAGE").output().unwrap()
        };
        let common = "useBootLoader = true\nmountHostNixStore = false\nsharedDirectories = {}\nbootDisk = ";
        let (plain, empty) = (self.at("images/base"), self.at("root.qcow2"));
        let own =
            run(&format!("{common}{plain:?}\ndiskImage = {empty:?}\nqemu.drives = [{{ file = {image:?} }}]"));
        let boot = run(&format!("{common}{image:?}\ndiskImage = {empty:?}"));
        let root = run(&format!("{common}{plain:?}\ndiskImage = {image:?}"));
        let codes = [&own, &boot, &root].map(|output| output.status.code());
        let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            codes.iter().all(|code| *code == codes[0]),
            "{codes:?} {}{}{}",
            told(&own),
            told(&boot),
            told(&root)
        );
        for (output, option) in
            [(&own, "qemu.drives.<entry 1>.file: "), (&boot, "bootDisk: "), (&root, "diskImage: ")]
        {
            assert!(output.status.success() || told(output).contains(option), "{option}: {}", told(output));
        }
        root
    }

    fn is_refused(&self, image: &str, why: &str) {
        for (command, code, told) in self.read(image, &[]) {
            assert_eq!(code, if command.starts_with("diff") { 2 } else { 1 }, "{command} {image}: {told}");
            assert!(told.contains(why), "{command} {image}: {told}");
            assert_eq!(told.lines().count(), 1, "{told}");
        }
    }

    fn is_read(&self, image: &str, more: &[&str]) {
        for (command, code, told) in self.read(image, more) {
            // There is no file system to verify, and a qcow2 file differs from a raw one.
            if command.starts_with("verify") {
                assert!(
                    told.contains("there is neither an ext4 file system nor a partition table"),
                    "{told}"
                );
            } else {
                assert_eq!(code, i32::from(command.starts_with("diff /")), "{command} {image}: {told}");
            }
        }
    }
}

#[test]
fn backing_files_beside_the_image_are_read() {
    let place = Place::new();
    for (number, backing) in
        ["base", "below/base", "./base", "below/../base", "inner-link", "file:base"].iter().enumerate()
    {
        let image = place.image(&format!("images/near-{number}"), backing, "raw");
        place.is_read(&image, &[]);
    }
    let absolute = place.image("images/absolute", &place.at("images/below/base"), "raw");
    place.is_read(&absolute, &[]);
    // From below, through an image that is inside, back to one beside the first.
    place.image("images/below/middle", "../near-0", "qcow2");
    let chain = place.image("images/chain", "below/middle", "qcow2");
    place.is_read(&chain, &[]);
}

#[test]
fn backing_files_outside_are_refused_unless_they_are_to_be_followed() {
    let place = Place::new();
    let outside =
        [&place.at("secret"), "../secret", "link", "way/secret", "below/../../secret", "file:../secret"];
    for (number, backing) in outside.iter().enumerate() {
        let image = place.image(&format!("images/far-{number}"), backing, "raw");
        place.is_refused(&image, "which lies outside of the image's directory");
        place.is_refused(&image, "give --follow-backing if you trust it");
        place.is_read(&image, &["--follow-backing"]);
        let chain = place.image(&format!("images/chain-{number}"), &format!("far-{number}"), "qcow2");
        place.is_refused(&chain, "which lies outside of the image's directory");
        place.is_read(&chain, &["--follow-backing"]);
    }
}

/// None of them is opened: to open a pipe would wait, and to open a device may do something.
#[test]
fn what_is_no_file_is_refused() {
    let place = Place::new();
    symlink("/dev/zero", place.at("images/zero")).unwrap();
    let image = place.image("images/pipe", "fifo", "raw");
    place.is_refused(&image, "is no regular file");
    let image = place.image("images/directory", "below", "raw");
    place.is_refused(&image, "is no regular file");
    for (name, backing) in [("device", "/dev/zero"), ("linked", "zero"), ("shadow", "/etc/shadow")] {
        let image = place.image(&format!("images/{name}"), backing, "raw");
        place.is_refused(&image, "lies outside of the image's directory");
    }
    let image = place.image("images/missing", "no-such-file", "raw");
    place.is_refused(&image, "cannot find");
    for (number, backing) in
        ["json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}", "nbd://localhost/x", "fat:rw:/etc"]
            .iter()
            .enumerate()
    {
        let image = place.image(&format!("images/protocol-{number}"), backing, "raw");
        place.is_refused(&image, "is no plain file name");
    }
}

#[test]
fn data_in_another_file_are_refused() {
    let place = Place::new();
    let (image, data) = (place.at("images/split"), place.at("images/data"));
    let option = format!("data_file={data}");
    tool(&["qemu-img", "create", "-q", "-f", "qcow2", "-o", &option, &image, "1M"]);
    place.is_refused(&image, "keeps its data in an external file");
    let over = place.image("images/over", "split", "qcow2");
    place.is_refused(&over, "keeps its data in an external file");
}
