//! `audit trust`: an operator confirms, where the memory is empty, that the checkpoints in the database are the last ones.

use super::error::SignError;
use super::signer::Signer;

impl Signer {
    /// Accepts the checkpoints in the database as the last ones, if the memory is empty, and remembers them. Returns the number of
    /// logs.
    pub async fn trust(&self) -> Result<u64, SignError> {
        self.clone().trusting_checkpoints(true).accepted().await?;
        let logs: Vec<String> =
            sqlx::query_scalar("select distinct organization_id from checkpoints order by organization_id")
                .fetch_all(&self.pool)
                .await?;
        for organization_id in &logs {
            self.sign(organization_id).await?;
        }
        Ok(logs.len() as u64)
    }
}
