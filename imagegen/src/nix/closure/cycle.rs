//! Paths that refer to one another in a circle. No store has any: Nix registers a path after those that it refers to.

use std::collections::HashMap;

use crate::depth_first::depth_first;
use crate::nix::problem::ClosureError;
use crate::nix::registration::Registered;
use crate::nix::store_path::StorePath;

/// Whether each path can be registered after those that it refers to. A path may refer to itself.
pub fn check_order(paths: &[Registered]) -> Result<(), ClosureError> {
    let all: HashMap<&StorePath, &[StorePath]> =
        paths.iter().map(|registered| (&registered.path, registered.references.as_slice())).collect();
    let others = |path| {
        let references = all.get(path).copied().unwrap_or_default();
        Ok(references.iter().filter(move |reference| *reference != path))
    };
    let circle = |path: &StorePath, reference: &StorePath| {
        let (path, reference) = (path.clone(), reference.clone());
        ClosureError::Cycle { path, reference }
    };
    depth_first(paths.iter().map(|registered| &registered.path), others, circle).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(paths: &[Registered]) -> Option<(StorePath, StorePath)> {
        match check_order(paths) {
            Err(ClosureError::Cycle { path, reference }) => Some((path, reference)),
            _ => None,
        }
    }

    fn path(number: usize) -> StorePath {
        StorePath::parse(&format!("/nix/store/{number:032}-x")).unwrap()
    }

    fn paths(references: &[&[usize]]) -> Vec<Registered> {
        let registered = |(number, references): (usize, &&[usize])| Registered {
            path: path(number),
            nar: None,
            deriver: None,
            references: references.iter().map(|&number| path(number)).collect(),
        };
        references.iter().enumerate().map(registered).collect()
    }

    #[test]
    fn a_circle_is_found_and_a_path_may_refer_to_itself() {
        let good: [&[&[usize]]; 4] =
            [&[], &[&[0]], &[&[0, 1, 2], &[1, 2], &[2]], &[&[1, 2], &[3], &[3], &[]]];
        for good in good {
            assert_eq!(find(&paths(good)), None, "{good:?}");
        }
        assert_eq!(find(&paths(&[&[1], &[0]])), Some((path(1), path(0))));
        assert_eq!(find(&paths(&[&[], &[0, 2], &[2, 3], &[1]])), Some((path(3), path(1))));
        // A long chain needs no stack.
        let mut chain: Vec<_> = paths(&vec![&[][..]; 100_000]);
        for (number, registered) in chain.iter_mut().enumerate().skip(1) {
            registered.references = vec![path(number - 1)];
        }
        assert_eq!(find(&chain), None);
        chain[0].references = vec![path(99_999)];
        assert!(find(&chain).is_some());
    }
}
