//! The report of an image as JSON: what it holds, how long it took and what was fixed.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use data_encoding::HEXLOWER;
use imagegen::output::OutputFile;
use imagegen::text::shown;
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::cli::SyncArg;
use crate::events::Phase;
use crate::json::Versioned;

/// The report of an image, from which it can be made again.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Report<C> {
    /// What made it.
    pub program: Program,
    /// The image file, as it was named.
    pub image: String,
    /// `qcow2` or `raw`.
    pub format: &'static str,
    /// The length of the file.
    pub image_bytes: u64,
    /// The size of the disk that the guest sees.
    pub virtual_bytes: u64,
    /// What is in it; the keys are the product's own.
    #[serde(flatten)]
    pub contents: C,
    /// SHA-256 of the image file.
    pub sha256: String,
    /// How long each phase took.
    pub phases: Vec<Phase>,
    /// Every identifier, seed and time that is fixed.
    pub fixed: BTreeMap<&'static str, String>,
}

/// The program's version, and what it was asked for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Program {
    name: &'static str,
    version: &'static str,
    /// Where relative paths among the arguments begin.
    directory: String,
    /// All that decides the image's bytes, defaults too; with `--output` they make it again.
    arguments: Vec<String>,
}

/// An option that was not given, or not as a value, and what it came to.
#[derive(Debug)]
pub struct Decided {
    /// Its name, without dashes.
    pub option: &'static str,
    /// Each of its values with a `=` before it; nothing for an option without one.
    pub values: Vec<String>,
}

impl Decided {
    fn is_option_of(&self, word: &str) -> bool {
        let name = word.strip_prefix("--").and_then(|word| word.split('=').next());
        name == Some(self.option)
    }

    fn words(&self) -> impl Iterator<Item = String> {
        self.values.iter().map(|value| format!("--{}{value}", self.option))
    }
}

impl Program {
    /// This one, called with these, and with the options that were decided from them.
    pub fn current(arguments: &[String], decided: &[Decided]) -> anyhow::Result<Self> {
        let is_decided = |word: &&String| decided.iter().any(|decided| decided.is_option_of(word));
        let given = arguments.iter().filter(|word| !is_decided(word)).cloned();
        let directory = std::env::current_dir().context("cannot find the current directory")?;
        Ok(Self {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            directory: shown(directory.as_os_str().as_encoded_bytes()),
            arguments: given.chain(decided.iter().flat_map(Decided::words)).collect(),
        })
    }
}

/// A report file that appears when the image does.
pub struct ReportFile {
    file: OutputFile,
    path: PathBuf,
}

impl ReportFile {
    /// Fails before the work where the report could not be written after it.
    pub fn create(path: &Path, sync: SyncArg) -> anyhow::Result<Self> {
        let file = OutputFile::create(path).context("cannot write the report")?.durable(sync.sync);
        Ok(Self { file, path: path.to_owned() })
    }

    /// Writes the report and gives it its name.
    pub fn finish(self, report: &impl Serialize) -> anyhow::Result<()> {
        let context = || format!("cannot write the report `{}`", self.path.display());
        let mut text = serde_json::to_vec_pretty(&Versioned::new(report)).with_context(context)?;
        text.push(b'\n');
        self.file.file().write_all(&text).with_context(context)?;
        self.file.finish().with_context(context)
    }
}

/// The SHA-256 of a text.
pub fn text_digest(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text.as_bytes()))
}
