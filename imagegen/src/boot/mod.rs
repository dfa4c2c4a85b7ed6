//! Boot loaders: what of a NixOS system they start, and the files by which they do.

mod architecture;
mod efi_program;
pub mod grub;
mod linux;
mod loaders;
mod menu;
pub mod systemd_boot;
pub mod toplevel;

pub use architecture::Architecture;
pub use linux::command_line_max;
pub(crate) use loaders::Installed;
pub use loaders::{Loader, Loaders};
pub use menu::{ConsoleMode, MachineId, Menu, Resolution, Serial, Timeout};

use std::collections::BTreeSet;

use crate::error_kind::ErrorKind;
use crate::nix::store_path::StorePath;
use toplevel::{Boot, System};

/// The systems that a boot menu offers.
#[derive(Debug, Clone)]
pub struct Generations {
    /// Every generation with its number, ascending; never empty.
    list: Vec<Generation>,
    /// The place in the list of the generation that boots by itself.
    default: usize,
    /// The specialisation of the default generation that boots by itself, if it is not the generation as such.
    default_specialisation: Option<String>,
}

/// A system with its number in the system profile.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Generation {
    /// The number, from one.
    pub number: u32,
    /// The system.
    pub system: System,
}

/// Why generations do not make a menu.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum GenerationsError {
    /// Systems that do not make one menu, or no such specialisation.
    #[error("{0}")]
    Invalid(String),
    /// The highest number is taken.
    #[error("there is no number left for {0} above the last generation")]
    NoNumberLeft(StorePath),
    /// No generation of that number.
    #[error("there is no generation {number}, only {}", numbers(.known))]
    NoGeneration {
        /// The number that was asked for.
        number: u32,
        known: Vec<u32>,
    },
    /// Secrets would have to be added by a script of the system.
    #[error(
        "{toplevel}{} adds secrets to its initrd by a script, which cannot run here",
        variant(.specialisation.as_deref())
    )]
    InitrdSecrets {
        toplevel: StorePath,
        number: u32,
        /// The variant of it that does, if not the system as such.
        specialisation: Option<String>,
    },
}

impl GenerationsError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InitrdSecrets { .. } => ErrorKind::Unsupported,
            Self::NoNumberLeft(_) => ErrorKind::TooLarge,
            _ => ErrorKind::InvalidInput,
        }
    }
}

/// Which initrds may be installed without the secrets that a script of their system adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IgnoredSecrets {
    /// Those of generations with these numbers.
    Of(BTreeSet<u32>),
    /// All of them.
    All,
}

impl Generations {
    /// Orders systems into a menu whose default is `toplevel`. It has the number that `others` give it, or the next
    /// one after all of them, which is 1 if there are none.
    pub fn new(
        toplevel: System,
        others: Vec<(u32, System)>,
        default_specialisation: Option<String>,
    ) -> Result<Self, GenerationsError> {
        let mut list: Vec<_> =
            others.into_iter().map(|(number, system)| Generation { number, system }).collect();
        list.sort_by_key(|generation| generation.number);
        check_numbers(&list)?;
        check_architecture(&toplevel, &list)?;
        check_specialisation(&toplevel, default_specialisation.as_deref())?;

        let listed = list.iter().rposition(|generation| generation.system.toplevel == toplevel.toplevel);
        let default = listed.unwrap_or(list.len());
        if listed.is_none() {
            let highest = list.last().map_or(0, |generation| generation.number);
            let Some(number) = highest.checked_add(1) else {
                return Err(GenerationsError::NoNumberLeft(toplevel.toplevel));
            };
            list.push(Generation { number, system: toplevel });
        }
        Ok(Self { list, default, default_specialisation })
    }

    /// An error if an initrd is to have secrets and is not among those that may do without.
    pub fn check_secrets(&self, ignored: &IgnoredSecrets) -> Result<(), GenerationsError> {
        let IgnoredSecrets::Of(numbers) = ignored else { return Ok(()) };
        let known: Vec<_> = self.list.iter().map(|generation| generation.number).collect();
        if let Some(&number) = numbers.iter().find(|number| !known.contains(number)) {
            return Err(GenerationsError::NoGeneration { number, known });
        }
        let adds = |boot: &Boot| boot.initrd_secrets.as_ref().is_some_and(|secrets| secrets.adds);
        for Generation { number, system } in self.list.iter().filter(|g| !numbers.contains(&g.number)) {
            if let Some((name, _)) = system.variants().find(|(_, boot)| adds(boot)) {
                let (toplevel, number) = (system.toplevel.clone(), *number);
                let specialisation = name.map(str::to_owned);
                return Err(GenerationsError::InitrdSecrets { toplevel, number, specialisation });
            }
        }
        Ok(())
    }

    /// What the distribution of the default generation calls itself, which is the name in every title.
    pub fn distribution(&self) -> &str {
        &self.default().system.distribution
    }

    /// Extensions of any bootspec that are not followed, since nothing is known of them.
    pub fn unknown_extensions(&self) -> BTreeSet<&str> {
        self.list.iter().flat_map(|g| &g.system.unknown_extensions).map(String::as_str).collect()
    }

    /// The initial RAM disks that somebody else has to put on the EFI system partition: paths from its root.
    pub fn extra_initrds(&self) -> BTreeSet<&str> {
        let boots = self.list.iter().flat_map(|generation| generation.system.boots());
        boots.flat_map(|boot| &boot.extra_initrds).map(String::as_str).collect()
    }

    /// All generations, ascending by number.
    pub fn list(&self) -> &[Generation] {
        &self.list
    }

    /// The generation that boots by itself.
    pub fn default(&self) -> &Generation {
        &self.list[self.default]
    }

    /// The specialisation of it that boots by itself, if not the generation as such.
    pub fn default_specialisation(&self) -> Option<&str> {
        self.default_specialisation.as_deref()
    }
}

fn check_numbers(list: &[Generation]) -> Result<(), GenerationsError> {
    if let Some(Generation { system, .. }) = list.first().filter(|generation| generation.number == 0) {
        let toplevel = &system.toplevel;
        return Err(GenerationsError::Invalid(format!(
            "generations are numbered from 1, so {toplevel} cannot be generation 0"
        )));
    }
    match list.windows(2).find(|pair| pair[0].number == pair[1].number) {
        Some(pair) => Err(GenerationsError::Invalid(format!(
            "generation {} is both {} and {}; give every generation its own number",
            pair[0].number, pair[0].system.toplevel, pair[1].system.toplevel
        ))),
        None => Ok(()),
    }
}

fn check_architecture(first: &System, list: &[Generation]) -> Result<(), GenerationsError> {
    match list.iter().find(|generation| generation.system.system != first.system) {
        Some(Generation { system: second, .. }) => Err(GenerationsError::Invalid(format!(
            "{} is made for {} and {} for {}; one disk boots one of them",
            first.toplevel, first.system, second.toplevel, second.system
        ))),
        None => Ok(()),
    }
}

fn check_specialisation(system: &System, name: Option<&str>) -> Result<(), GenerationsError> {
    let known = &system.specialisations;
    let Some(name) = name.filter(|name| !known.contains_key(*name)) else { return Ok(()) };
    let names: Vec<_> = known.keys().map(|name| format!("`{name}`")).collect();
    let others = if names.is_empty() { String::new() } else { format!("; it has {}", names.join(", ")) };
    let toplevel = &system.toplevel;
    Err(GenerationsError::Invalid(format!("{toplevel} has no specialisation `{name}`{others}")))
}

fn numbers(known: &[u32]) -> String {
    known.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

fn variant(specialisation: Option<&str>) -> String {
    specialisation.map(|name| format!(" (specialisation `{name}`)")).unwrap_or_default()
}
