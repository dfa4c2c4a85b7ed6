//! What Nix tells the builder of a derivation: attributes in `.attrs.json` or in the environment (the Nix manual,
//! "Derivations" and "Advanced Attributes").

mod attributes;
mod options;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use attributes::Attributes;
pub use options::arguments;

/// A derivation that this program builds.
#[derive(Debug)]
pub struct Derivation {
    /// What to build.
    pub product: Product,
    /// The options, under the names of the command line's but in camel case.
    pub options: Map<String, Value>,
    /// Files with the references graphs of the closure.
    pub graphs: Vec<PathBuf>,
    /// The output's store path, where nothing is yet.
    pub output: PathBuf,
    /// How this program is called: the derivation's builder.
    pub program: String,
}

/// What can be built: the attribute `imagegen`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// A directory with `nixos.qcow2`, or `nixos.img` if that is raw.
    StoreImage,
    /// A directory with `disk.img` and, from a template, `efi-vars.fd`.
    BootDisk,
    /// A directory with `nixos.qcow2`, or `nixos.img` if that is raw.
    RootDisk,
    /// A directory with `bin/run-NAME-vm`.
    Vm,
}

impl Derivation {
    /// Reads the attributes of the derivation that is being built. Those of structured ones that are references graphs
    /// go to files in `directory`, the temporary directory of the build.
    pub fn read(directory: &Path) -> anyhow::Result<Self> {
        let attributes = Attributes::read(directory)?;
        let product = match attributes.text("imagegen")?.as_str() {
            "store-image" => Product::StoreImage,
            "boot-disk" => Product::BootDisk,
            "root-disk" => Product::RootDisk,
            "vm" => Product::Vm,
            other => {
                bail!(
                    "the attribute `imagegen` is `{other}`; it can be store-image, boot-disk, root-disk or vm"
                )
            }
        };
        Ok(Self {
            product,
            options: attributes.options()?,
            graphs: attributes.graphs(directory).context("the attribute `exportReferencesGraph`")?,
            output: attributes.output()?,
            program: attributes.text("builder")?,
        })
    }
}
