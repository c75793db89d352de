//! The check that events can be written: some of every aggregate are written with the key of the service, and rolled back.

use anyhow::Context as _;
use identity_log::{Log, Settings, connect_options};
use sqlx::PgPool;

use super::Finding;
use crate::signing::SigningSettings;

pub(super) async fn writes(pool: &PgPool, signing: &SigningSettings) -> anyhow::Result<Finding> {
    let Some(key) = signing.existing_key_of_history(pool).await? else {
        return Ok(Finding::good(
            "not checked, since there is no signing key yet: the first start makes one",
        ));
    };
    let settings = Settings::new(std::time::Duration::MAX, key.seal_key());
    let (log, _) = Log::open(connect_options(pool), identity_projections::all(), settings);
    let mut connection = pool.acquire().await.context("cannot connect to the database")?;
    let Err(error) = log.try_write(&mut connection).await else {
        return Ok(Finding::good("events of every aggregate can be written; they were rolled back"));
    };
    Err(anyhow::Error::from(error).context("events cannot be written"))
}
