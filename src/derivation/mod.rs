//! What Nix tells the builder of a derivation: attributes in `.attrs.json` or in the environment (the Nix manual,
//! "Derivations" and "Advanced Attributes").

mod attributes;
mod options;
pub mod product;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use attributes::Attributes;
pub use options::arguments;
pub use product::Image;

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

/// What can be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// An image.
    Image(&'static Image),
    /// A virtual machine.
    Vm,
}

impl Derivation {
    /// Reads the attributes of the derivation that is being built. Those of structured ones that are references graphs
    /// go to files in `directory`, the temporary directory of the build.
    pub fn read(directory: &Path) -> anyhow::Result<Self> {
        let attributes = Attributes::read(directory)?;
        let wanted = attributes.text("imagegen")?;
        let product = match product::IMAGES.iter().find(|image| image.subcommand == wanted) {
            Some(image) => Product::Image(image),
            None if wanted == product::VM => Product::Vm,
            None => {
                let images = product::IMAGES.each_ref().map(|image| image.subcommand).join(", ");
                bail!("the attribute `imagegen` is `{wanted}`; it can be {images} or {}", product::VM)
            }
        };
        Ok(Self {
            product,
            options: attributes.options()?,
            graphs: attributes.graphs(directory).context("the attribute `exportReferencesGraph`")?,
            output: attributes.output()?,
            program: attributes.text("builder")?.to_owned(),
        })
    }
}
