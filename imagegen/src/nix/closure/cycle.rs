//! Paths that refer to one another in a circle. No store has any: Nix registers a path after those that it refers to.

use std::collections::HashMap;

use crate::nix::problem::ClosureError;
use crate::nix::registration::Registered;
use crate::nix::store_path::StorePath;

/// Whether each path can be registered after those that it refers to.
pub fn check_order(paths: &[Registered]) -> Result<(), ClosureError> {
    find(paths).map_or(Ok(()), |(path, reference)| {
        Err(ClosureError::Cycle { path: path.clone(), reference: reference.clone() })
    })
}

/// A reference that closes a circle: the first path, and the one it refers to, which leads back to it. A path may refer to
/// itself.
fn find(paths: &[Registered]) -> Option<(&StorePath, &StorePath)> {
    let numbers: HashMap<&StorePath, usize> =
        paths.iter().enumerate().map(|(number, registered)| (&registered.path, number)).collect();
    let mut states = vec![State::New; paths.len()];
    // Depth first, without recursion: the input decides how long a chain is.
    let mut open: Vec<(usize, std::slice::Iter<'_, StorePath>)> = Vec::new();
    for start in 0..paths.len() {
        let mut next = Some(start);
        loop {
            if let Some(number) = next.take().filter(|&number| states[number] == State::New) {
                states[number] = State::Open;
                open.push((number, paths[number].references.iter()));
            }
            let Some((number, references)) = open.last_mut() else { break };
            let Some(reference) = references.next() else {
                states[*number] = State::Done;
                open.pop();
                continue;
            };
            let Some(&referred) = numbers.get(reference) else { continue };
            if referred != *number && states[referred] == State::Open {
                return Some((&paths[*number].path, reference));
            }
            next = Some(referred);
        }
    }
    None
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(find(&paths(&[&[1], &[0]])), Some((&path(1), &path(0))));
        assert_eq!(find(&paths(&[&[], &[0, 2], &[2, 3], &[1]])), Some((&path(3), &path(1))));
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
