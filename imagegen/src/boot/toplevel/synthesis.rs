//! The document of a toplevel without `boot.json`, as `synthesize` of the bootspec tools makes it.

use std::collections::BTreeMap;
use std::path::Path;

use ::bootspec::SystemConfigurationRoot;
use ::bootspec::v1::BootSpecV1;

use super::bootspec::Document;
use super::{Reader, ToplevelError};

impl Reader<'_> {
    /// Makes the document that the files and links of a toplevel imply.
    pub(super) fn synthesize(&self, directory: &Path) -> Result<Document, ToplevelError> {
        Ok(Document::new(self.synthesize_bootspec(directory)?, self.synthesize_specialisations(directory)?))
    }

    fn synthesize_bootspec(&self, directory: &Path) -> Result<BootSpecV1, ToplevelError> {
        let version = self.text("version", &directory.join("nixos-version"))?;
        let system = self.text("system double", &directory.join("system"))?;
        let kernel_params = self.text("kernel parameters", &directory.join("kernel-params"))?;
        let kernel_version = self.kernel_version(directory)?;
        let path_of = |name: &str| Ok(self.exists(directory, name)?.then(|| directory.join(name)));
        Ok(BootSpecV1 {
            label: format!("NixOS {} (Linux {kernel_version})", version.trim_end_matches('\n')),
            kernel: directory.join("kernel"),
            kernel_params: kernel_params.trim_end_matches('\n').split(' ').map(str::to_owned).collect(),
            init: directory.join("init"),
            initrd: path_of("initrd")?,
            initrd_secrets: path_of("append-initrd-secrets")?,
            system: system.trim_end_matches('\n').to_owned(),
            toplevel: SystemConfigurationRoot(directory.to_owned()),
        })
    }

    fn synthesize_specialisations(
        &self,
        directory: &Path,
    ) -> Result<BTreeMap<String, Document>, ToplevelError> {
        if !self.exists(directory, "specialisation")? {
            return Ok(BTreeMap::new());
        }
        let within = directory.join("specialisation");
        let names = self.list("specialisations", &within)?;
        let synthesize = |name: String| {
            let found = self.resolve("specialisation", &within.join(&name))?;
            // The links of its own toplevel, so that `init=` names that one.
            let bootspec = self.synthesize_bootspec(&found.logical())?;
            Ok((name, Document::new(bootspec, BTreeMap::new())))
        };
        names.into_iter().map(synthesize).collect()
    }

    /// The name of the directory that holds the kernel's modules.
    fn kernel_version(&self, directory: &Path) -> Result<String, ToplevelError> {
        let modules = directory.join("kernel-modules/lib/modules");
        let names = self.list("kernel modules", &modules)?;
        names.into_iter().next().ok_or(ToplevelError::NoKernelVersion { path: modules })
    }
}
