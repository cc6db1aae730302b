//! The tree of a batch: one signature over its root vouches for every leaf.
//!
//! Leaves are statement ids. A node is BLAKE3 in a key-derivation context over its two children; a
//! node without a sibling moves up unchanged, as in RFC 9162. Ids and nodes are hashed in different
//! contexts, so that a node cannot pass for a leaf.

use std::sync::LazyLock;

use crate::key::StatementId;

/// Has hashed the context, which would take as long as a node does.
static NODE_HASHER: LazyLock<blake3::Hasher> =
    LazyLock::new(|| blake3::Hasher::new_derive_key("talkoot 1 merkle node"));

/// Leaves in one batch at most: a path then has at most 16 hashes.
pub const MAX_LEAVES: usize = 1 << 16;

pub(crate) const HASH_BYTES: usize = 32;

pub(crate) type Hash = [u8; HASH_BYTES];

/// The root over `leaves`, and the path of each leaf from the bottom up.
///
/// # Panics
/// If there is no leaf or more than [`MAX_LEAVES`].
pub(crate) fn root_and_paths(leaves: &[StatementId]) -> (Hash, Vec<Vec<Hash>>) {
    assert!((1..=MAX_LEAVES).contains(&leaves.len()), "a batch has 1 to {MAX_LEAVES} leaves");
    let mut paths = vec![Vec::new(); leaves.len()];
    let mut level: Vec<Hash> = leaves.iter().map(|leaf| *leaf.as_bytes()).collect();
    let mut hasher = NODE_HASHER.clone();
    let mut height = 0;
    while level.len() > 1 {
        for (leaf, path) in paths.iter_mut().enumerate() {
            path.extend(level.get((leaf >> height) ^ 1));
        }
        level = level.chunks(2).map(|children| parent(&mut hasher, children)).collect();
        height += 1;
    }
    (level[0], paths)
}

/// The root that `leaf`, the `index`-th of `count`, has with `path`; `None` if the path cannot fit.
pub(crate) fn root_from<'a>(
    leaf: StatementId,
    index: u32,
    count: u32,
    path: impl IntoIterator<Item = &'a Hash>,
) -> Option<Hash> {
    if index >= count {
        return None;
    }
    let (mut index, mut width) = (index, count);
    let mut hash = *leaf.as_bytes();
    let mut path = path.into_iter();
    let mut hasher = NODE_HASHER.clone();
    while width > 1 {
        if index % 2 == 1 {
            hash = parent(&mut hasher, &[*path.next()?, hash]);
        } else if index + 1 < width {
            hash = parent(&mut hasher, &[hash, *path.next()?]);
        }
        index /= 2;
        width = width.div_ceil(2);
    }
    path.next().is_none().then_some(hash)
}

/// `hasher` is a copy of [`NODE_HASHER`], whatever it has hashed since.
fn parent(hasher: &mut blake3::Hasher, children: &[Hash]) -> Hash {
    match children {
        [left, right] => {
            hasher.reset().update(left).update(right);
            *hasher.finalize().as_bytes()
        }
        _ => children[0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u8) -> Vec<StatementId> {
        (0..count).map(|n| StatementId::from_bytes([n; 32])).collect()
    }

    #[test]
    fn every_leaf_of_every_size_leads_to_the_root() {
        for count in 1..=33 {
            let leaves = leaves(count);
            let (root, paths) = root_and_paths(&leaves);
            for (index, (leaf, path)) in leaves.iter().zip(&paths).enumerate() {
                let index = u32::try_from(index).expect("small");
                assert_eq!(root_from(*leaf, index, count.into(), path), Some(root));
            }
        }
    }

    #[test]
    fn another_place_leaf_or_path_does_not() {
        let leaves = leaves(5);
        let (root, paths) = root_and_paths(&leaves);
        let long = [paths[1].clone(), vec![[0; 32]]].concat();

        assert_ne!(root_from(leaves[1], 0, 5, &paths[1]), Some(root));
        assert_ne!(root_from(leaves[2], 1, 5, &paths[1]), Some(root));
        assert_eq!(root_from(leaves[1], 5, 5, &paths[1]), None);
        assert_eq!(root_from(leaves[1], 1, 5, &paths[1][1..]), None);
        assert_eq!(root_from(leaves[1], 1, 5, &long), None);
    }
}
