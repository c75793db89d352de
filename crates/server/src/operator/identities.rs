//! Identities and who may see them, as operators handle them.

use anyhow::Context as _;
use identity_domain::identity::Command as IdentityCommand;
use identity_domain::{Command, Event, Handle, identity};
use identity_log::{AppendError, Committed, ids};
use identity_projections::identities::{self, IdentityBody, IdentityQuery, Row, Viewer};
use identity_projections::visibility;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Operator, append};

/// Who may see an identity, as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Id of the row.
    pub id: Uuid,
    /// Handle of the one viewer; none if every active identity of the organization may see it.
    pub viewer: Option<String>,
    /// The row as the API shows it.
    pub document: Value,
}

/// What is read of a row.
#[derive(Deserialize)]
struct AccessRow {
    id: Uuid,
    viewer_identity_id: Option<Uuid>,
}

impl Operator {
    /// All identities of an organization, given by its id or name, the newest first.
    pub async fn list_identities(&self, organization: &str) -> anyhow::Result<Vec<Row>> {
        let organization_id = self.find_organization(organization).await?;
        let every = identities::listing::owners(
            &self.pool,
            &organization_id,
            &Viewer::Admin,
            None,
            u32::MAX,
            usize::MAX,
        );
        let (rows, _) = every.await.context("cannot list identities")?;
        Ok(rows)
    }

    /// An identity as an admin of its organization sees it, by its handle.
    pub async fn show_identity(&self, organization: &str, handle: &str) -> anyhow::Result<Value> {
        let organization_id = self.find_organization(organization).await?;
        let identity = self.find_identity(&organization_id, handle).await?;
        serde_json::from_str(&identity.body()).context("the identity cannot be read")
    }

    /// Who may see an identity, the oldest grant first.
    pub async fn list_access(&self, organization: &str, handle: &str) -> anyhow::Result<Vec<Access>> {
        let organization_id = self.find_organization(organization).await?;
        let target = self.find_identity(&organization_id, handle).await?;
        let documents = visibility::list(&self.pool, target.id).await.context("cannot list access")?;
        let mut listed = Vec::with_capacity(documents.len());
        for document in documents {
            let AccessRow { id, viewer_identity_id } = serde_json::from_str(&document)?;
            let viewer = match viewer_identity_id {
                Some(viewer) => Some(self.handle_of(&organization_id, viewer).await?),
                None => None,
            };
            listed.push(Access { id, viewer, document: serde_json::from_str(&document)? });
        }
        Ok(listed)
    }

    /// Lets one identity see another. Says whether that is new.
    pub async fn grant_access(&self, organization: &str, handle: &str, viewer: &str) -> anyhow::Result<()> {
        let organization_id = self.find_organization(organization).await?;
        let target = self.find_identity(&organization_id, handle).await?.id;
        let viewer = self.find_identity(&organization_id, viewer).await?.id;
        let command = IdentityCommand::GrantVisibility { access_id: ids::mint(), viewer };
        self.change(&organization_id, target, command).await.map(drop)
    }

    /// Lets every active identity of the organization see this one. Gives false if they already may.
    pub async fn grant_everyone(&self, organization: &str, handle: &str) -> anyhow::Result<bool> {
        let organization_id = self.find_organization(organization).await?;
        let target = self.find_identity(&organization_id, handle).await?.id;
        let command = IdentityCommand::OpenVisibility { access_id: ids::mint() };
        let committed = self.change(&organization_id, target, command).await?;
        let opens =
            |event: &Event| matches!(event, Event::Identity(identity::Event::VisibilityOpened { .. }));
        Ok(committed.events.iter().any(|recorded| opens(&recorded.event)))
    }

    /// Takes an identity out of the sight of one that may see it. Where every identity may, all others still may.
    pub async fn revoke_access(&self, organization: &str, handle: &str, viewer: &str) -> anyhow::Result<()> {
        let organization_id = self.find_organization(organization).await?;
        let target = self.find_identity(&organization_id, handle).await?.id;
        let viewer = self.find_identity(&organization_id, viewer).await?.id;
        let command = IdentityCommand::RevokeVisibility { viewer };
        self.change(&organization_id, target, command).await.map(drop)
    }

    async fn change(
        &self,
        organization_id: &str,
        id: Uuid,
        command: IdentityCommand,
    ) -> anyhow::Result<Committed> {
        let change = append(organization_id, &id.to_string(), Command::Identity(command));
        self.appending(async |log| match log.append(change).await {
            // The reason alone is what an operator wants to read.
            Err(AppendError::Rejected(reason)) => Err(reason.into()),
            appended => Ok(appended?),
        })
        .await
    }

    /// An identity by its handle, in any spelling that the API takes.
    pub(super) async fn find_identity(
        &self,
        organization_id: &str,
        handle: &str,
    ) -> anyhow::Result<IdentityBody> {
        let parsed = Handle::parse(handle).with_context(|| format!("{handle} is not a handle"))?;
        let wanted = IdentityQuery {
            organization_id: organization_id.to_owned(),
            viewer: Viewer::Admin,
            handle: parsed.as_str().to_owned(),
        };
        let found = identities::find(&self.pool, &[wanted]).await?.pop().flatten();
        found.with_context(|| format!("there is no identity {parsed} in this organization"))
    }

    /// The handle of an identity, or its id if it was deleted meanwhile.
    async fn handle_of(&self, organization_id: &str, id: Uuid) -> anyhow::Result<String> {
        let row = identities::row(&self.pool, organization_id, id).await?;
        Ok(row.map_or_else(|| id.to_string(), |row| row.document.agent_handle))
    }
}
