//! What the name of an image says of its container.

use std::path::Path;

use imagegen::container::Format;
use imagegen::output::OutputDevice;

use super::{Command, DiskCommand, ImageArgs};
use crate::streams::is_standard_output;

/// The extensions of the containers that are written.
const WRITTEN: [(&str, Format); 3] = [("qcow2", Format::Qcow2), ("img", Format::Raw), ("raw", Format::Raw)];
/// The extensions of those that are not, with the name that qemu-img has for them.
const NOT_WRITTEN: [(&str, &str); 5] =
    [("vdi", "vdi"), ("vmdk", "vmdk"), ("vhdx", "vhdx"), ("vhd", "vpc"), ("vpc", "vpc")];

impl Command {
    /// The image that the command writes.
    pub fn image_mut(&mut self) -> Option<&mut ImageArgs> {
        match self {
            Self::StoreImage(args) => Some(&mut args.image),
            Self::BootDisk(args) => Some(&mut args.image),
            Self::RootDisk(args) => Some(&mut args.image),
            Self::Disk(DiskCommand::Create(args)) => Some(&mut args.image),
            _ => None,
        }
    }
}

impl ImageArgs {
    /// The file or device, unless the image goes to standard output.
    pub fn file(&self) -> Option<&Path> {
        Some(self.output.as_path()).filter(|output| !is_standard_output(output))
    }

    /// What messages call it.
    pub fn name(&self) -> impl std::fmt::Display {
        self.file().unwrap_or(Path::new("standard output")).display()
    }

    /// Lets the extension of the output decide the container, unless `--format` is given. The error says what is wrong with
    /// the two together, or with an extension of a container that is not written.
    pub fn follow_name(&mut self, is_format_given: bool) -> Result<(), String> {
        if is_standard_output(&self.output) {
            if self.sync.sync {
                return Err("--sync is for files, and `-o -` writes to standard output".to_owned());
            }
            if !is_format_given {
                self.format = Format::Raw;
            }
            return Ok(());
        }
        // A device is what it is, whatever links to it are called.
        let Some(extension) = extension(&self.output).filter(|_| !OutputDevice::is_at(&self.output)) else {
            return Ok(());
        };
        let written = known(&WRITTEN, &extension);
        let foreign = known(&NOT_WRITTEN, &extension);
        let Some(named) = written.map(Format::name).or(foreign) else { return Ok(()) };
        let shown = self.output.display();
        if is_format_given && written != Some(self.format) {
            let format = self.format.name();
            return Err(format!(
                "`{shown}` has the name of a {named} image, and --format is {format}; leave out --format, or name the image \
                 otherwise"
            ));
        }
        if let Some(foreign) = foreign {
            return Err(not_written(&self.output, &extension, foreign));
        }
        self.format = written.unwrap_or(self.format);
        Ok(())
    }
}

fn extension(path: &Path) -> Option<String> {
    path.extension()?.to_str().map(str::to_ascii_lowercase)
}

fn known<T: Copy>(extensions: &[(&str, T)], extension: &str) -> Option<T> {
    extensions.iter().find(|(known, _)| *known == extension).map(|(_, value)| *value)
}

fn not_written(output: &Path, extension: &str, format: &str) -> String {
    let name = |path: &Path| shell_words::quote(&path.to_string_lossy()).into_owned();
    let ours = output.with_extension("qcow2");
    format!(
        "`.{extension}` images are not written, only qcow2 (`.qcow2`) and raw (`.img`, `.raw`); write {ours} and make the \
         other of it: `qemu-img convert -f qcow2 -O {format} {ours} {}`",
        name(output),
        ours = name(&ours),
    )
}

#[cfg(test)]
mod tests {
    use super::super::SyncArg;
    use super::*;

    /// The container of an image of that name: by default, and with `--format` given.
    fn format_of(output: &str, given: Option<Format>) -> Result<&'static str, String> {
        let format = given.unwrap_or(Format::Qcow2);
        let mut args = ImageArgs {
            output: output.into(),
            force: false,
            sync: SyncArg::default(),
            format,
            digest: false,
        };
        args.follow_name(given.is_some()).map(|()| args.format.name())
    }

    #[test]
    fn the_extension_decides_unless_it_says_nothing() {
        for (output, format) in [
            ("a.qcow2", "qcow2"),
            ("a.img", "raw"),
            ("dir.img/a.RAW", "raw"),
            ("a.img.qcow2", "qcow2"),
            ("-", "raw"),
            ("./-", "qcow2"),
            ("a", "qcow2"),
            ("a.iso", "qcow2"),
            ("dir.img/a", "qcow2"),
            (".img", "qcow2"),
        ] {
            assert_eq!(format_of(output, None).as_deref(), Ok(format), "{output}");
        }
        for (output, format) in
            [("-", Format::Qcow2), ("a.raw", Format::Raw), ("a.qcow2", Format::Qcow2), ("a.x", Format::Raw)]
        {
            assert_eq!(format_of(output, Some(format)), Ok(format.name()), "{output}");
        }
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (output, given, words) in [
            ("a.img", Some(Format::Qcow2), ["`a.img` has the name of a raw image", "--format is qcow2"]),
            ("a.QCOW2", Some(Format::Raw), ["the name of a qcow2 image", "--format is raw"]),
            ("a.vhd", Some(Format::Raw), ["the name of a vpc image", "--format is raw"]),
            ("a.vmdk", None, ["only qcow2 (`.qcow2`) and raw", "-f qcow2 -O vmdk a.qcow2 a.vmdk`"]),
            ("a b.VHD", None, ["`.vhd` images", "-O vpc 'a b.qcow2' 'a b.VHD'`"]),
        ] {
            let error = format_of(output, given).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{output}: {error}");
        }
    }
}
