//! A Merkle tree in rows of `merkle_tiles`. A root or a proof reads the tiles that it needs; new leaves change the
//! tiles at the right edge.

use std::collections::{BTreeMap, HashMap, HashSet};

use identity_proof::Hash;
use identity_proof::tile::{self, TileId, WIDTH};
use identity_proof::tree::Node;
use identity_proof::{Frontier, ProofError};
use sqlx::PgConnection;

use super::error::TreeError;

/// The hashes of these nodes. A node whose tile is not stored is left out.
pub(super) async fn nodes(
    connection: &mut PgConnection,
    organization_id: &str,
    epoch: u64,
    nodes: &[Node],
) -> Result<HashMap<Node, Hash>, TreeError> {
    let wanted: HashSet<TileId> = nodes.iter().copied().map(TileId::of).collect();
    let tiles = read(connection, organization_id, epoch, wanted).await?;
    let hash = |node: &Node| tile::node(tiles.get(&TileId::of(*node))?, *node);
    Ok(nodes.iter().filter_map(|node| Some((*node, hash(node)?))).collect())
}

async fn read(
    connection: &mut PgConnection,
    organization_id: &str,
    epoch: u64,
    wanted: impl IntoIterator<Item = TileId>,
) -> Result<BTreeMap<TileId, Vec<Hash>>, TreeError> {
    let (levels, places): (Vec<i16>, Vec<i64>) =
        wanted.into_iter().map(|id| (i16::from(id.level), bigint(id.place))).unzip();
    let rows: Vec<(i16, i64, Vec<u8>)> = sqlx::query_as(
        "select level, place, hashes
         from unnest($3::smallint[], $4::bigint[]) as wanted (wanted_level, wanted_place)
         join merkle_tiles on organization_id = $1 and epoch = $2 and level = wanted_level and place = wanted_place",
    )
    .bind(organization_id)
    .bind(bigint(epoch))
    .bind(levels)
    .bind(places)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(stored).collect()
}

fn stored((level, place, bytes): (i16, i64, Vec<u8>)) -> Result<(TileId, Vec<Hash>), TreeError> {
    let level = u8::try_from(level).map_err(|_| TreeError::Tile)?;
    let place = u64::try_from(place).map_err(|_| TreeError::Tile)?;
    Ok((TileId { level, place }, tile::from_bytes(&bytes).ok_or(TreeError::Tile)?))
}

/// A tree to which leaves are appended.
#[derive(Debug)]
pub(super) struct Growing {
    organization_id: String,
    epoch: u64,
    pub(super) frontier: Frontier,
    /// The tiles that are not full, and those that changed since they were written last.
    tiles: BTreeMap<TileId, Vec<Hash>>,
}

impl Growing {
    /// Loads the tree of this size.
    pub(super) async fn load(
        connection: &mut PgConnection,
        organization_id: &str,
        epoch: u64,
        size: u64,
    ) -> Result<Self, TreeError> {
        let wanted = Frontier::nodes(size)?;
        let found = nodes(connection, organization_id, epoch, &wanted).await?;
        let subtree = |node: Node| found.get(&node).copied().ok_or(ProofError::Missing(node));
        let subtrees = wanted.into_iter().map(subtree).collect::<Result<_, _>>()?;
        let frontier = Frontier::resume(size, subtrees)?;
        let mut tiles = BTreeMap::new();
        for (id, filled) in edge(size) {
            let mut hashes = read(connection, organization_id, epoch, [id]).await?.remove(&id);
            // A tile may have hashes of an abandoned history beyond the size. They are not part of this tree.
            hashes.get_or_insert_default().truncate(filled);
            tiles.insert(id, hashes.unwrap_or_default());
        }
        Ok(Self { organization_id: organization_id.to_owned(), epoch, frontier, tiles })
    }

    /// Appends a leaf. The root of a tile that it fills is appended to the tile above.
    pub(super) fn append(&mut self, leaf: Hash) {
        let mut id = TileId::of(Node { level: 0, place: self.frontier.size() });
        self.frontier.append(leaf);
        let mut hash = leaf;
        loop {
            let tile = self.tiles.entry(id).or_default();
            tile.push(hash);
            let Some(root) = tile::full_root(tile) else { return };
            hash = root;
            id = id.above();
        }
    }

    /// Writes the tiles, and drops the full ones from memory.
    pub(super) async fn write(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query(
            "insert into merkle_tiles (organization_id, epoch, level, place, hashes)
             select $1, $2, * from unnest($3::smallint[], $4::bigint[], $5::bytea[])
             on conflict on constraint merkle_tiles_pkey do update set hashes = excluded.hashes",
        )
        .bind(&self.organization_id)
        .bind(bigint(self.epoch))
        .bind(self.tiles.keys().map(|id| i16::from(id.level)).collect::<Vec<_>>())
        .bind(self.tiles.keys().map(|id| bigint(id.place)).collect::<Vec<_>>())
        .bind(self.tiles.values().map(|hashes| tile::to_bytes(hashes)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
        self.tiles.retain(|_, hashes| tile::full_root(hashes).is_none());
        Ok(())
    }
}

/// The tiles at the right edge of a tree that are not full, with the number of hashes in each.
fn edge(size: u64) -> impl Iterator<Item = (TileId, usize)> {
    let widths =
        std::iter::successors(Some(size), |nodes| Some(nodes / WIDTH)).take_while(|nodes| *nodes > 0);
    (0..).zip(widths).filter_map(|(level, nodes)| {
        let filled = usize::try_from(nodes % WIDTH).ok()?;
        (filled > 0).then_some((TileId { level, place: nodes / WIDTH }, filled))
    })
}

/// A number as Postgres stores it. Epochs, sizes and places never exceed the range of a bigint.
pub(super) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
