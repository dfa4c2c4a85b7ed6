//! Which option helps against a failure of the library, which knows of no options.

use std::error::Error;

use imagegen::nix::closure::ScanError;
use imagegen::nix::database::DatabaseError;

/// An error with its causes, outermost first, each with its hint.
pub fn shown(error: &anyhow::Error) -> String {
    let causes = error.chain().map(|cause| format!("{cause}{}", hint(cause).unwrap_or_default()));
    causes.collect::<Vec<_>>().join(": ")
}

/// What stands behind the library's words, with the punctuation before it. A type of errors has a line here if one of
/// its cases has a hint. So has one that is `#[error(transparent)]` for such an error, which is not among the causes
/// then: its function calls the inner error's.
fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    None.or_else(|| error.downcast_ref().and_then(of_scan))
        .or_else(|| error.downcast_ref().and_then(of_database))
}

const STORE_ROOT: &str = " (is --store-root right?)";

fn of_scan(error: &ScanError) -> Option<String> {
    match error {
        ScanError::Missing { .. } => Some(STORE_ROOT.to_owned()),
        _ => None,
    }
}

fn of_database(error: &DatabaseError) -> Option<String> {
    match error {
        DatabaseError::Missing { .. } => Some(STORE_ROOT.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_hint_stands_behind_its_cause_wherever_that_is() {
        let missing = || ScanError::Missing { path: "/nix/store/a".into(), physical: "/x".into() };
        let expected = "/nix/store/a is registered but missing: there is no `/x` (is --store-root right?)";
        assert_eq!(shown(&missing().into()), expected);
        let error = Err::<(), _>(missing()).context("cannot do it").unwrap_err();
        assert_eq!(shown(&error), format!("cannot do it: {expected}"));

        let source = std::io::ErrorKind::NotFound.into();
        let missing = DatabaseError::Missing { database: "db".into(), source };
        let expected = "cannot read the Nix database `db` (is --store-root right?): entity not found";
        assert_eq!(shown(&missing.into()), expected);
    }
}
