//! Which subscribers may see an identity, as far as its access rows say. The rows of an identity are read once for all
//! subscribers: most subscribers see few identities, so a lookup for each of them would mostly find nothing.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use uuid::Uuid;

/// How many access rows of an identity are read. If it has more, every subscriber counts as one that may see it, and is looked up
/// later.
const MAX_ROWS: usize = 256;

/// The viewers of identities. A viewer that is listed may still not see the identity: the viewer or the identity may be paused.
#[derive(Debug, Default)]
pub(super) struct Granted(HashMap<Uuid, Viewers>);

#[derive(Debug)]
enum Viewers {
    These(HashSet<Uuid>),
    All,
}

impl Granted {
    /// Reads the access rows of these identities.
    pub(super) async fn load(connection: &mut PgConnection, targets: &[Uuid]) -> Result<Self, sqlx::Error> {
        if targets.is_empty() {
            return Ok(Self::default());
        }
        let rows: Vec<(Uuid, Vec<Option<Uuid>>)> = sqlx::query_as(
            "select target, (select coalesce(array_agg(viewer_id), '{}')
                             from (select viewer_id from read_model.visibility where target_id = target limit $2) as granted)
             from unnest($1::uuid[]) as wanted (target)",
        )
        .bind(targets)
        .bind(i64::try_from(MAX_ROWS + 1).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
        Ok(Self(rows.into_iter().map(|(target, granted)| (target, Viewers::of(granted))).collect()))
    }

    /// Whether an access row may let the viewer see the identity.
    pub(super) fn may_show(&self, target: Uuid, viewer: Uuid) -> bool {
        match self.0.get(&target) {
            Some(Viewers::These(viewers)) => viewers.contains(&viewer),
            Some(Viewers::All) | None => true,
        }
    }
}

impl Viewers {
    /// A row without a viewer is for all of the organization.
    fn of(granted: Vec<Option<Uuid>>) -> Self {
        if granted.len() > MAX_ROWS {
            return Self::All;
        }
        granted.into_iter().collect::<Option<HashSet<Uuid>>>().map_or(Self::All, Self::These)
    }
}
