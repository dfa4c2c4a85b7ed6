//! `ls`, `cat` and `extract`: files out of an image.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use imagegen::container::Format;
use imagegen::container::reader::{Image, Source, Window};
use imagegen::job::Job;
use imagegen::output::OutputTree;
use imagegen::reading::extract::extract as extract_tree;
use imagegen::reading::files::{Files, Node, Type};
use imagegen::reading::volume::{VolumeError, Volumes, find};
use imagegen::text::{lines, shown};
use imagegen::units::ByteCount;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use crate::cli::{CatArgs, ExtractArgs, LsArgs, VolumeArgs};
use crate::json;
use crate::outputs::check_input;
use crate::progress::Reporter;
use crate::streams;
use crate::table::aligned;

/// How much of a file is printed at once.
const PIECE: u64 = 1 << 20;

/// An image, and the partition that is asked for.
struct Opened<'a> {
    name: String,
    image: Image,
    partition: Option<&'a str>,
}

impl<'a> Opened<'a> {
    /// Takes `FILE:PARTITION` apart, unless there is a file of that name.
    fn new(args: &'a VolumeArgs) -> anyhow::Result<Self> {
        let whole = Path::new(&args.image);
        let parts = args.image.to_str().and_then(|text| text.rsplit_once(':'));
        let (path, partition) = match parts {
            Some((image, partition)) if !whole.exists() && Path::new(image).exists() => {
                (Path::new(image), Some(partition))
            }
            _ => (whole, None),
        };
        let image = Image::open(path, args.format, &args.backing.into())?;
        Ok(Self { name: shown(path.as_os_str().as_bytes()), image, partition })
    }

    fn find(&self) -> anyhow::Result<Window<'_>> {
        find(&self.image, self.partition).map_err(|error| self.explained(&error))
    }

    fn explained(&self, error: &VolumeError) -> anyhow::Error {
        anyhow!("cannot read files of `{}`: {error}{}", self.name, self.hint(error))
    }

    /// What helps where there is no file system to read.
    fn hint(&self, error: &VolumeError) -> String {
        match error {
            VolumeError::Several(volumes) => {
                let number = volumes.0.first().map_or(1, |volume| volume.number);
                format!("; name one, as in `{}:{number}`", self.name)
            }
            VolumeError::Unread { start, number, contents, .. } if contents.ends_with("file system") => {
                self.mount(*start, *number)
            }
            _ => String::new(),
        }
    }

    /// How Linux reads what this program does not: as root, by a loop device or QEMU's server for block devices.
    fn mount(&self, start: u64, number: Option<u32>) -> String {
        let name = &self.name;
        if self.image.layers().iter().all(|layer| layer.format() == Format::Raw) {
            return format!("; `mount -o ro,loop,offset={start} {name} DIRECTORY` lets Linux read it");
        }
        let device = number.map_or("/dev/nbd0".to_owned(), |number| format!("/dev/nbd0p{number}"));
        format!(
            "; `qemu-nbd --read-only --connect=/dev/nbd0 {name}` and `mount -o ro {device} DIRECTORY` let Linux read it"
        )
    }
}

/// Lists a directory, or the partitions of a disk.
pub fn ls(args: &LsArgs) -> anyhow::Result<()> {
    let opened = Opened::new(&args.volume)?;
    let window = match find(&opened.image, opened.partition) {
        Ok(window) => window,
        Err(VolumeError::Several(volumes)) if args.path == "/" && !args.recursive => {
            return list_volumes(&opened, &volumes, args.json);
        }
        Err(error) => return Err(opened.explained(&error)),
    };
    let files = Files::open(&window)?;
    let path = args.path.as_bytes();
    let (mut node, mut way) = files.find(path, false)?;
    if node.kind == Type::Symlink
        && let Ok((target, target_way)) = files.find(path, true)
        && target.kind == Type::Directory
    {
        (node, way) = (target, target_way);
    }
    let mut listed = Vec::new();
    if node.kind == Type::Directory {
        list(&files, &node, &way, args.recursive, &mut listed)?;
    } else {
        listed.push(Listed::new(&files, &node, way.rsplit(|&byte| byte == b'/').next().unwrap_or_default())?);
    }
    if args.json {
        return streams::print_json(&Listing::Files { files: listed });
    }
    let rows: Vec<_> = listed.iter().map(Listed::row).collect();
    streams::print(lines(&aligned(&rows, "", 1..3)))
}

/// What is in a directory; with `recursive`, paths from that directory on instead of names.
fn list(
    files: &Files<'_>,
    directory: &Node,
    way: &[u8],
    recursive: bool,
    listed: &mut Vec<Listed>,
) -> anyhow::Result<()> {
    let mut entered = std::collections::HashSet::from([directory.directory_id()]);
    let mut open = vec![(Vec::new(), files.entries(directory)?.into_iter())];
    while let Some((prefix, entries)) = open.last_mut() {
        let Some(entry) = entries.next() else {
            open.pop();
            continue;
        };
        let path = [prefix.as_slice(), &entry.name].concat();
        let node =
            files.node(&entry).with_context(|| format!("cannot read `{}/{}`", shown(way), shown(&path)))?;
        listed.push(Listed::new(files, &node, &path)?);
        if recursive && node.kind == Type::Directory {
            ensure!(
                entered.insert(node.directory_id()),
                "the directory `{}` is in the tree twice",
                shown(&path)
            );
            open.push(([path.as_slice(), b"/"].concat(), files.entries(&node)?.into_iter()));
        }
    }
    Ok(())
}

/// What `ls --json` prints.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Listing<'v> {
    /// Where the image, the partition or the path is one file system's.
    Files { files: Vec<Listed> },
    /// For a disk of which no partition was named and several have files.
    Partitions { partitions: Vec<ListedPartition<'v>> },
}

/// A partition with files.
#[derive(Serialize, JsonSchema)]
struct ListedPartition<'v> {
    /// Its number, from 1 on.
    partition: u32,
    /// Its name in the GPT.
    name: &'v str,
    /// The file system.
    contents: &'static str,
    /// Its length in bytes.
    size: u64,
}

/// A line of `ls`.
#[derive(Serialize, JsonSchema)]
struct Listed {
    /// Its name, or its path from the directory that is listed; escaped where it is not printable.
    name: String,
    /// `directory`, `file`, `symlink` or `special`.
    kind: Type,
    /// Octal digits.
    permissions: String,
    uid: u32,
    gid: u32,
    /// Its length in bytes.
    size: u64,
    /// Seconds since 1970.
    modified: i64,
    /// Where a symbolic link points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl Listed {
    fn new(files: &Files<'_>, node: &Node, name: &[u8]) -> anyhow::Result<Self> {
        let target = match node.kind {
            Type::Symlink => Some(shown(&files.link_target(node)?)),
            _ => None,
        };
        let (uid, gid) = node.owner;
        Ok(Self {
            name: shown(name),
            kind: node.kind,
            permissions: format!("{:04o}", node.permissions),
            uid,
            gid,
            size: node.size,
            modified: node.modified,
            target,
        })
    }

    fn row(&self) -> [String; 5] {
        let kind = match self.kind {
            Type::Directory => 'd',
            Type::File => '-',
            Type::Symlink => 'l',
            Type::Special => '?',
        };
        let arrow = self.target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
        [
            format!("{kind} {}", self.permissions),
            format!("{}:{}", self.uid, self.gid),
            self.size.to_string(),
            utc(self.modified),
            format!("{}{arrow}", self.name),
        ]
    }
}

/// A time as people read it; one that no calendar has stays a number.
fn utc(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("@{seconds}"),
    }
}

/// Lists the partitions of a disk, where none is asked for.
fn list_volumes(opened: &Opened<'_>, volumes: &Volumes, json: bool) -> anyhow::Result<()> {
    let partitions: Vec<_> = volumes
        .0
        .iter()
        .map(|volume| ListedPartition {
            partition: volume.number,
            name: &volume.name,
            contents: volume.contents.name(),
            size: volume.size,
        })
        .collect();
    if json {
        return streams::print_json(&Listing::Partitions { partitions });
    }
    let rows: Vec<_> = partitions
        .iter()
        .map(|volume| {
            let size = ByteCount(volume.size).to_string();
            [
                format!("{}:{}", opened.name, volume.partition),
                size,
                volume.contents.to_owned(),
                volume.name.to_owned(),
            ]
        })
        .collect();
    streams::print(lines(&aligned(&rows, "", 1..2)))
}

/// Prints a file.
pub fn cat(args: &CatArgs) -> anyhow::Result<()> {
    let opened = Opened::new(&args.volume)?;
    let window = opened.find()?;
    let files = Files::open(&window)?;
    let (node, way) = files.find(args.path.as_bytes(), true)?;
    let file = files.file(&node, &way)?;
    let mut out = io::stdout().lock();
    let mut buffer = vec![0; usize::try_from(file.size().min(PIECE))?];
    let mut offset = 0;
    while offset < file.size() {
        let piece = &mut buffer[..usize::try_from((file.size() - offset).min(PIECE))?];
        file.read_at(piece, offset)?;
        if let Err(error) = out.write_all(piece) {
            return streams::printed(Err(error));
        }
        offset += u64::try_from(piece.len())?;
    }
    streams::printed(Ok(()))
}

/// Copies files out of the image.
pub fn extract(args: &ExtractArgs, reporter: &Reporter) -> anyhow::Result<()> {
    ensure!(
        !streams::is_standard_output(&args.output),
        "`-` stands for standard output, where this cannot be written; `./-` is a directory of that name"
    );
    let opened = Opened::new(&args.volume)?;
    let window = opened.find()?;
    let files = Files::open(&window)?;
    let (node, way) = files.find(args.path.as_bytes(), false)?;
    super::decided::threads(args.jobs, reporter);
    let (directory, name) = (&args.output, way.rsplit(|&byte| byte == b'/').next().unwrap_or_default());
    let target = if name.is_empty() { directory.clone() } else { directory.join(OsStr::from_bytes(name)) };
    opened.image.layers().iter().try_for_each(|layer| check_input(&target, layer.path()))?;
    let made = !name.is_empty() && !directory.exists();
    if made {
        let create = DirBuilder::new().create(directory);
        create.with_context(|| format!("cannot create the directory `{}`", directory.display()))?;
    }
    let extracted = (|| {
        let output = OutputTree::create(&target)?;
        let job = Job::default().threads(args.jobs).progress(reporter);
        let extracted = extract_tree(&files, &node, &way, output.path(), &job)
            .map_err(|error| error.with_path(output.path(), &target))
            .with_context(|| format!("cannot extract `{}` from `{}`", args.path.display(), opened.name))?;
        output.finish()?;
        anyhow::Ok(extracted)
    })();
    if made && extracted.is_err() {
        // It is empty again.
        let _ = std::fs::remove_dir(directory);
    }
    let extracted = extracted?;
    if extracted.special > 0 {
        reporter.note(&format!(
            "warning: {} devices, pipes and sockets were left out, among them `{}`",
            extracted.special,
            extracted.first_special.first().map_or("", String::as_str)
        ));
    }
    reporter.note(&format!(
        "{}: {} files, {} directories, {} symbolic links, {}; {:.1} s",
        target.display(),
        extracted.files,
        extracted.directories,
        extracted.symlinks,
        ByteCount(extracted.bytes),
        reporter.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The schema of `ls --json`.
pub fn schema() -> Schema {
    json::versioned_schema::<Listing<'static>>("nix-imagegen ls --json")
}
