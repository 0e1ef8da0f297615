//! Without witnesses nobody else looks whether a log only grows: the client does, by the log's tiles.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Growth, LogError, small};
use crate::client::ClientError;
use crate::client::source::Source;
use crate::tlog::merkle::{Hash, Tree};
use crate::tlog::proof::{ProofError, check_consistency};
use crate::tlog::recipe::Recipe;
use crate::tlog::tile::{TileError, TileId, Tiles};

/// Tiles that are fetched at once. A proof has some 20.
const AT_ONCE: usize = 6;

/// Whether the tree of `old` begins that of `new`, by tiles. They are whole, and do not show it: `false`.
pub(super) async fn grew(
    tiles: Option<&dyn Source>,
    (old, old_root): (u64, &Hash),
    (new, new_root): (u64, &Hash),
) -> Result<bool, ClientError> {
    let refused = |problem| LogError::NoGrowth { old, new, problem };
    let source = tiles.ok_or_else(|| refused(Growth::Nowhere))?;
    let impossible = |error| refused(Growth::Proof(ProofError::Impossible(error)));
    let recipe = Recipe::consistency(old, new).map_err(impossible)?;
    let before = Recipe::subtrees(old).map_err(impossible)?;
    let mut wanted = recipe.tiles();
    wanted.extend(before.tiles().into_iter().filter_map(|id| TileId::new(id.level(), id.index(), new)));
    let fetched = stream::iter(wanted).map(|id| fetch(source, id)).buffer_unordered(AT_ONCE);
    let fetched: Vec<_> = fetched.try_collect().await?;
    let mut tiles = Tiles::default();
    for (id, bytes) in fetched {
        let missing = || refused(Growth::Tile(TileError::Missing { path: id.path() }));
        let bytes = bytes.ok_or_else(missing)?;
        tiles.insert(id, &bytes).map_err(|error| refused(error.into()))?;
    }
    let hashes = recipe.hashes(&tiles).map_err(|error| refused(error.into()))?;
    let Err(error) = check_consistency(old, new, &hashes, old_root, new_root) else { return Ok(true) };
    // Only tiles that lead to the new root, and come from another old one, show something: others are damaged.
    let first = before.hashes(&tiles).map_err(|error| refused(error.into()))?;
    let other = Tree::resume(old, first).map(|tree| tree.root());
    let shown = other.is_ok_and(|other| {
        other != *old_root && check_consistency(old, new, &hashes, &other, new_root).is_ok()
    });
    if shown { Ok(false) } else { Err(refused(error.into()).into()) }
}

/// A tile, or the full one in the place of a partial one that has gone.
async fn fetch(source: &dyn Source, id: TileId) -> Result<(TileId, Option<Vec<u8>>), ClientError> {
    if let Some(bytes) = small(source, &id.path(), id.byte_len()).await? {
        return Ok((id, Some(bytes)));
    }
    let full = id.full();
    if full == id {
        return Ok((id, None));
    }
    Ok((full, small(source, &full.path(), full.byte_len()).await?))
}
