//! Options of `bench`.

use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Args, Command, Error, ValueEnum};
use imagegen::units::ByteCount;

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nix-imagegen bench --shape mix --rounds 3 --svg bench.svg
  nix-imagegen bench --store-root guest/root --registration guest/registration --only cat,qcow2,cp
  nix-imagegen bench --store-root guest/root --toplevel $(cat guest/toplevel)
  nix-imagegen bench --only cat,qcow2 --peer 'old=./old store-image --registration $REGISTRATION \\
    --store-root $ROOT -o $OUT'")]
pub struct BenchArgs {
    /// The kind of closure to make for the measurement
    #[arg(long, value_name = "SHAPE", default_value = "mix", conflicts_with_all = ["registration", "toplevel"])]
    pub shape: ShapeArg,
    /// How many files the made closure has, in place of the shape's own number
    #[arg(long, value_name = "N", conflicts_with_all = ["registration", "toplevel"])]
    pub files: Option<NonZeroU32>,
    /// How large all files of the made closure are together, in place of the shape's own size
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["registration", "toplevel"])]
    pub total: Option<ByteCount>,
    /// Only make the closure, as DIR/root and DIR/registration, and measure nothing; with --registration it is a copy of
    /// that closure
    #[arg(long, value_name = "DIR", conflicts_with_all = ["toplevel", "json", "svg"])]
    pub make: Option<PathBuf>,

    /// Measure with this closure instead of a made one
    #[arg(long, value_name = "FILE", requires = "store_root")]
    pub registration: Option<PathBuf>,
    /// Measure boot disks of this system, instead of store images
    #[arg(long, value_name = "STORE_PATH", requires = "store_root", conflicts_with = "registration")]
    pub toplevel: Option<PathBuf>,
    /// Where the store of the closure or the system is
    #[arg(long, value_name = "DIR")]
    pub store_root: Option<PathBuf>,

    /// How many times each contender runs, in turn with the others
    #[arg(long, value_name = "N", default_value = "5")]
    pub rounds: NonZeroU32,
    /// Run these contenders only
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = ContenderName, hide_possible_values = true)]
    pub only: Vec<String>,
    /// Leave these contenders out
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = ContenderName, hide_possible_values = true)]
    pub skip: Vec<String>,
    /// Add a contender, which runs also where --only does not name it: a shell command that reads $STORE (or $ROOT and
    /// $REGISTRATION) and writes $OUT
    #[arg(long, value_name = "NAME=COMMAND", value_parser = peer)]
    pub peer: Vec<(String, String)>,
    /// Name all contenders, say which of them can run here, and measure nothing
    #[arg(long)]
    pub list: bool,

    /// Keep temporary data below DIR, which decides about the file system; $TMPDIR or /tmp if not given
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Write all figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw a chart
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// What a made closure is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShapeArg {
    /// 100,000 files of some 2 KiB in many directories
    ManySmall,
    /// 120,000 files of some 1 KiB in one directory
    Flat,
    /// 4 files of 512 MiB
    FewHuge,
    /// 60,000 files, 2 GiB: sizes as they are on a system, from a few bytes to many megabytes
    Mix,
}

/// The contenders that are always there, of both comparisons.
pub const CONTENDERS: [&str; 14] = [
    "cat",
    "cp",
    "genext2fs",
    "mkfs.erofs",
    "mkfs.ext4",
    "mkfs.ext4+qcow2",
    "mkfs.ext4+qcow2-c",
    "mksquashfs",
    "qcow2",
    "qcow2-no-verify",
    "qcow2-zlib",
    "qcow2-zstd",
    "raw",
    "sgdisk+mtools",
];

/// Takes any name, since `--peer` adds some, and tells shells those that are always there.
#[derive(Clone)]
struct ContenderName;

impl TypedValueParser for ContenderName {
    type Value = String;

    fn parse_ref(&self, command: &Command, option: Option<&Arg>, value: &OsStr) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, option, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(CONTENDERS.iter().map(PossibleValue::new)))
    }
}

/// Reads a contender's name in the table, and what a shell is to run.
fn peer(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, command)) if !name.is_empty() && command.contains("$OUT") => {
            Ok((name.to_owned(), command.to_owned()))
        }
        Some((name, _)) if !name.is_empty() => Err("the command must write to $OUT"),
        _ => Err("write NAME=COMMAND, as in `tar=tar -cf $OUT $STORE`"),
    }
}
