//! The service that is measured: a process of its own over a database of its own, with an organization and a key.

use identityd::operator::{NewOrganization, Operator, Purpose};
use secrecy::ExposeSecret as _;
use sqlx::PgPool;

use crate::arena::{Arena, Server, tidy};
use crate::seed::{Seeded, Seeder};

/// A running service.
pub(crate) struct Ours {
    /// The process.
    pub(crate) server: Server,
    /// Its database.
    pub(crate) pool: PgPool,
    /// The organization in which everything happens.
    pub(crate) organization_id: String,
    /// Its admin key.
    pub(crate) key: String,
}

impl Ours {
    /// Starts the service over an empty database.
    pub(crate) async fn start(arena: &Arena, database: &str) -> anyhow::Result<Self> {
        let pool = arena.database(database).await?;
        let server = serve(arena, database).await?;
        let NewOrganization { organization_id, api_key } =
            Operator::new(pool.clone()).create_organization("bench").await?;
        Ok(Self { server, pool, organization_id, key: api_key.expose_secret().to_owned() })
    }

    /// Brings identities into being, and lets Postgres tidy up behind them.
    pub(crate) async fn seed(&self, prefix: &str, count: usize) -> anyhow::Result<Seeded> {
        let seeded = Seeder::with(&self.pool, &self.organization_id, async |seeder| {
            seeder.create(prefix, count).await
        })
        .await?;
        tidy(&self.pool).await?;
        Ok(seeded)
    }

    /// Keys of the first identities of `seeded`, with their numbers.
    pub(crate) async fn agents(&self, seeded: &Seeded, count: usize) -> anyhow::Result<Vec<(usize, String)>> {
        let operator = Operator::new(self.pool.clone());
        let mut keys = Vec::with_capacity(count);
        for number in 0..count.min(seeded.ids.len()) {
            let handle = seeded.handle(number);
            let key = operator.issue_key(&self.organization_id, "agent", Purpose::Agent(&handle)).await?;
            keys.push((number, key.api_key.expose_secret().to_owned()));
        }
        Ok(keys)
    }

    /// Ends it, and lets go of its database.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.server.stop().await?;
        self.pool.close().await;
        Ok(())
    }
}

/// Starts the service over a database that is there.
pub(crate) async fn serve(arena: &Arena, database: &str) -> anyhow::Result<Server> {
    let (url, data_dir) = (arena.url(database), data_dir(arena));
    let place = ["--database-url", &url, "--data-dir", &data_dir];
    arena.serve("identityd", &[["serve", "--listen", "127.0.0.1:0"].as_slice(), &place].concat()).await
}

/// Where the service keeps its signing key. Its database is elsewhere.
pub(crate) fn data_dir(arena: &Arena) -> String {
    arena.file("service").to_string_lossy().into_owned()
}
