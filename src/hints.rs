//! Which option helps against a failure of the library, which knows of no options.

use std::error::Error;
use std::io;

use imagegen::boot::GenerationsError;
use imagegen::boot::grub::GrubError;
use imagegen::boot::systemd_boot::SystemdBootError;
use imagegen::boot::toplevel::ToplevelError;
use imagegen::container::reader::ReadError;
use imagegen::disk::layout::LayoutError;
use imagegen::firmware::efi_vars::EfiVarsError;
use imagegen::fs::ext4::Ext4Error;
use imagegen::image::BootPartsError;
use imagegen::image::boot_disk::BootDiskError;
use imagegen::image::root_disk::RootDiskError;
use imagegen::nix::closure::ScanError;
use imagegen::nix::database::DatabaseError;
use imagegen::nix::references_graph::GraphError;
use imagegen::nix::store_path::ResolveError;
use imagegen::nix::{Problem, RegistrationError};
use imagegen::reading::probe::FindError;

/// An error with its causes, outermost first, each with its hint.
pub fn shown(error: &anyhow::Error) -> String {
    chain(error).join(": ")
}

/// The same one by one.
pub fn chain(error: &anyhow::Error) -> Vec<String> {
    error.chain().map(|cause| format!("{cause}{}", hint(cause).unwrap_or_default())).collect()
}

/// What stands behind the library's words, with the punctuation before it. A type of errors has a line here if one of
/// its cases has a hint. So has one that is `#[error(transparent)]` for such an error, which is not among the causes
/// then: its function calls the inner error's.
fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    None.or_else(|| error.downcast_ref().and_then(of_scan))
        .or_else(|| error.downcast_ref().and_then(of_database))
        .or_else(|| error.downcast_ref().and_then(of_generations))
        .or_else(|| error.downcast_ref().and_then(of_systemd_boot))
        .or_else(|| error.downcast_ref().and_then(of_grub))
        .or_else(|| error.downcast_ref().and_then(of_boot_disk))
        .or_else(|| error.downcast_ref().and_then(of_root_disk))
        .or_else(|| error.downcast_ref().and_then(of_ext4))
        .or_else(|| error.downcast_ref().and_then(of_image))
        .or_else(|| error.downcast_ref().and_then(of_find))
        .or_else(|| error.downcast_ref().and_then(of_variables))
        .or_else(|| error.downcast_ref().and_then(of_registration))
        .or_else(|| error.downcast_ref().and_then(of_graph))
        .or_else(|| error.downcast_ref().and_then(of_toplevel))
        .or_else(|| error.downcast_ref().and_then(of_resolving))
        .or_else(|| error.downcast_ref().and_then(of_system))
}

/// Stands behind what is missing in the store.
pub const STORE_ROOT: &str = " (is --store-root right?)";

fn of_scan(error: &ScanError) -> Option<String> {
    match error {
        ScanError::Missing { .. } => Some(STORE_ROOT.to_owned()),
        ScanError::CaseHack { .. } => Some(", and give --store-root DIR".to_owned()),
        _ => None,
    }
}

fn of_database(error: &DatabaseError) -> Option<String> {
    match error {
        DatabaseError::Missing { .. } => Some(STORE_ROOT.to_owned()),
        DatabaseError::Schema { .. } | DatabaseError::Log(_) => Some(", or give --registration".to_owned()),
        _ => None,
    }
}

fn of_registration(error: &RegistrationError) -> Option<String> {
    let hint = match error.problem {
        Problem::PathsOnly => "; or give the paths as --closure",
        Problem::IsReferencesGraph => "; give it as --references-graph",
        Problem::IsRegistration => "; give it as --registration",
        Problem::Json => "; if it is one of these, give it as --references-graph",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn of_graph(error: &GraphError) -> Option<String> {
    if let GraphError::Text(error) = error { of_registration(error) } else { None }
}

/// What is missing: a store path, or only a file in one.
fn is_store_path_missing(error: &ResolveError) -> Option<bool> {
    match error {
        ResolveError::Io { component, source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Some(component.parent().is_some_and(|parent| parent.ends_with("nix/store")))
        }
        _ => None,
    }
}

fn of_resolving(error: &ResolveError) -> Option<String> {
    (is_store_path_missing(error) == Some(true)).then(|| STORE_ROOT.to_owned())
}

fn of_toplevel(error: &ToplevelError) -> Option<String> {
    let ToplevelError::Resolve { source, .. } = error else { return None };
    let hint = " (is it a system, `config.system.build.toplevel`?)";
    (is_store_path_missing(source) == Some(false)).then(|| hint.to_owned())
}

/// What the system said, wherever it was asked.
fn of_system(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room there, or write to another file system"
        }
        io::ErrorKind::FileTooLarge => "; `ulimit -f` or the file system allows no larger file there",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn of_generations(error: &GenerationsError) -> Option<String> {
    match error {
        GenerationsError::NoGeneration { number, .. } => Some(format!(" (--ignore-initrd-secrets={number})")),
        GenerationsError::InitrdSecrets { number, .. } => Some(format!(
            "; give --ignore-initrd-secrets={number} to leave them out of that generation, or --ignore-initrd-secrets for all"
        )),
        _ => None,
    }
}

fn of_systemd_boot(error: &SystemdBootError) -> Option<String> {
    matches!(error, SystemdBootError::Missing { .. }).then(|| "; give --systemd STORE_PATH".to_owned())
}

fn of_grub(error: &GrubError) -> Option<String> {
    let hint = match error {
        GrubError::NotReferredTo { .. } => "; give --grub STORE_PATH, a GRUB with `lib/grub/i386-pc`",
        GrubError::Ambiguous { .. } => "; give --grub STORE_PATH, the one of them to install",
        GrubError::NotGrub { .. } => "; give --grub STORE_PATH",
        GrubError::Font { .. } => "; leave out --resolution for a menu in text",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn of_boot_disk(error: &BootDiskError) -> Option<String> {
    match error {
        BootDiskError::TooSmall { enough, .. } => {
            Some(format!("; --size {}M is the smallest that will do", enough.0 >> 20))
        }
        BootDiskError::Parts(BootPartsError::Grub(error)) => of_grub(error),
        _ => None,
    }
}

fn of_root_disk(error: &RootDiskError) -> Option<String> {
    let hint = match error {
        RootDiskError::Toplevel(_) => "; name it with --closure, or register its closure",
        RootDiskError::NotInClosure(_) => "; name it with --closure, or register it",
        RootDiskError::TooSmall { needed, .. } => return Some(format!("; give at least --size {needed}")),
        RootDiskError::BootSize { enough, .. } => {
            return Some(format!("; --boot-size {}M is the smallest that will do", enough.0 >> 20));
        }
        RootDiskError::Parts(BootPartsError::Layout(LayoutError::End { .. })) => {
            "; give a larger --boot-size"
        }
        RootDiskError::Parts(BootPartsError::Layout(LayoutError::TooLarge(_))) => {
            "; use --partition-table efi"
        }
        RootDiskError::Parts(BootPartsError::Grub(error)) => return of_grub(error),
        _ => return None,
    };
    Some(hint.to_owned())
}

fn of_ext4(error: &Ext4Error) -> Option<String> {
    match error {
        Ext4Error::TooSmall { needed, .. } => Some(format!("; give at least --size {needed}")),
        Ext4Error::TooMuchSpace(_) => Some("; give a smaller --size".to_owned()),
        Ext4Error::TooManyInodes(_) => Some("; give a larger --bytes-per-inode".to_owned()),
        Ext4Error::BytesPerInode(_) => Some("; give a --bytes-per-inode from 1K to 64M".to_owned()),
        _ => None,
    }
}

fn of_image(error: &ReadError) -> Option<String> {
    match error {
        ReadError::Foreign { .. } => Some("; or read it as it is: `--format raw`".to_owned()),
        ReadError::Backing { .. } => Some("; give --follow-backing if you trust it".to_owned()),
        _ => None,
    }
}

fn of_find(error: &FindError) -> Option<String> {
    match error {
        FindError::Read(error) => of_image(error),
        FindError::NoTable => Some("; leave --partition out".to_owned()),
        FindError::Several => Some("; name the one that holds the store with --partition".to_owned()),
        _ => None,
    }
}

fn of_variables(error: &EfiVarsError) -> Option<String> {
    let hint = "; delete what is not needed with `efi-vars delete`, or take a larger template";
    matches!(error, EfiVarsError::DoNotFit { .. }).then(|| hint.to_owned())
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    use imagegen::nix::store_path::StorePath;

    const PATH: &str = "/nix/store/00000000000000000000000000000000-a";

    #[test]
    fn a_hint_stands_behind_its_cause_wherever_that_is() {
        let missing = || ScanError::Missing { path: StorePath::parse(PATH).unwrap(), physical: "/x".into() };
        let expected = format!("{PATH} is registered but missing: there is no `/x` (is --store-root right?)");
        assert_eq!(shown(&missing().into()), expected);
        let error = Err::<(), _>(missing()).context("cannot do it").unwrap_err();
        assert_eq!(shown(&error), format!("cannot do it: {expected}"));

        let source = io::ErrorKind::NotFound.into();
        let missing = DatabaseError::Missing { database: "db".into(), source };
        let expected = "cannot read the Nix database `db` (is --store-root right?): entity not found";
        assert_eq!(shown(&missing.into()), expected);
    }
}
