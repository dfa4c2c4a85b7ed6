//! What depends on what, brought into an order.

use std::collections::HashMap;
use std::hash::Hash;

/// The starts and all that they need, each once and after everything that it needs: depth first, without recursion, since
/// the input decides how long a chain is. `needs` gives what a node needs; of a circle, `circle` is told a node and what it
/// needs, which leads back to it.
pub(crate) fn depth_first<N, I, E>(
    starts: impl IntoIterator<Item = N>,
    needs: impl Fn(N) -> Result<I, E>,
    circle: impl FnOnce(N, N) -> E,
) -> Result<Vec<N>, E>
where
    N: Copy + Eq + Hash,
    I: Iterator<Item = N>,
{
    let mut is_done = HashMap::new();
    let mut done = Vec::new();
    let mut open: Vec<(N, I)> = Vec::new();
    for start in starts {
        let mut next = Some(start);
        loop {
            if let Some(node) = next.take().filter(|node| !is_done.contains_key(node)) {
                is_done.insert(node, false);
                open.push((node, needs(node)?));
            }
            let Some((node, rest)) = open.last_mut() else { break };
            next = rest.next();
            match next {
                None => {
                    is_done.insert(*node, true);
                    done.push(*node);
                    open.pop();
                }
                Some(needed) if is_done.get(&needed) == Some(&false) => return Err(circle(*node, needed)),
                Some(_) => {}
            }
        }
    }
    Ok(done)
}
