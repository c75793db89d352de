//! Webhook subscriptions: addresses to which events of identities are sent. Contract, section 10.6. An agent sees and
//! changes those of its identity only; an auditor reads all of them.

pub(super) mod address;
mod forms;

use axum::http::StatusCode;
use axum::response::Response;
use identity_domain::identity::Command as IdentityCommand;
use identity_domain::webhook_subscription::{
    Change, Command as SubscriptionCommand, Creation, DeleteReason, Owner, OwnerKind, Settings,
};
use identity_domain::{Command, Event, identity};
use identity_log::signing_keys::SigningKey;
use identity_log::{Committed, ids, webhook_tokens};
use identity_projections::bodies::{
    CreatedWebhookSubscription, WebhookCatalog, WebhookSubscription, WebhookSubscriptions,
};
use identity_projections::identities::listing::ListPlace;
use identity_projections::identities::{self, Part, Viewer};
use identity_projections::versioned::Versioned;
use identity_projections::webhook_subscriptions::{self as subscriptions, Filter, Row};
use secrecy::SecretString;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use self::address::must_be_reachable;
use self::forms::{ChangedSubscription, NewSubscription, not_for};
use super::interruption::Interruption;
use super::json as answer;
use super::pieces::{self, Entries, FEW_ROWS};
use crate::caller::writes::Write;
use crate::caller::{Caller, Holder, Segments, uuid_segment};
use crate::code::Code;
use crate::conditional::{unless_current, unless_known};
use crate::error::ApiError;
use crate::fault::{Complaint, Fault};
use crate::form::Sent;
use crate::headers::{IfMatch, IfNoneMatch};
use crate::parameters::{Parameters, Query, ReadQuery, id, text};
use crate::precondition::expected_version;
use crate::reply::{Answer, Done, Reply, made};
use crate::revision::Revision;

/// List the types of events
///
/// The types that this service sends, and types that published clients know and that this service does not send yet.
#[utoipa::path(get, path = "/api/v1/webhooks/catalog", tag = "Webhooks",
    responses((status = 200, description = "The types", body = WebhookCatalog)))]
pub(crate) async fn get_webhook_catalog(_: Holder) -> Result<Response, ApiError> {
    answer(StatusCode::OK, &WebhookCatalog::new())
}

/// List webhook subscriptions
///
/// Newest first; an agent sees those of its identity. At most one of the three owners is given.
#[utoipa::path(get, path = "/api/v1/webhooks/subscriptions", tag = "Webhooks",
    responses((status = 200, description = "The subscriptions", body = WebhookSubscriptions<'static>)))]
pub(crate) async fn list_webhook_subscriptions(
    holder: Holder,
    query: Query<Filter>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let caller = holder.reader();
    let filter = query.read()?;
    unless_known(&caller, &headers, async || {
        let subscriptions = Subscriptions {
            pool: caller.pool().await.clone(),
            organization_id: caller.organization_id().to_owned(),
            viewer: caller.viewer(),
            filter,
            after: None,
        };
        pieces::list(subscriptions, r#"{"subscriptions":["#.to_owned(), "]}", &caller).await
    })
    .await
}

/// Subscriptions, while they are read.
struct Subscriptions {
    pool: PgPool,
    organization_id: String,
    viewer: Viewer,
    filter: Filter,
    after: Option<ListPlace>,
}

impl Entries for Subscriptions {
    async fn next(&mut self, limit: u32) -> Result<(Vec<String>, bool), Interruption> {
        let Self { pool, organization_id, viewer, filter, after } = self;
        let limit = limit.min(FEW_ROWS);
        let rows = subscriptions::list(&*pool, organization_id, viewer, filter, *after, limit.into()).await?;
        *after = rows.last().map(|row| ListPlace { created_at: row.created_at, id: row.id });
        let is_last = rows.len() < limit as usize;
        let body = |row: &Row| serde_json::to_string(&WebhookSubscription::of(row)?);
        Ok((rows.iter().map(body).collect::<Result<_, _>>()?, is_last))
    }
}

/// The parameters of the list.
impl ReadQuery for Filter {
    fn read(parameters: &mut Parameters) -> Self {
        let owners = ["mailbox_id", "phone_number_id", "agent_identity_id"];
        let given: Vec<&str> = owners.into_iter().filter(|name| parameters.has(name)).collect();
        let [mailbox_id, phone_number_id, identity] =
            owners.map(|name| parameters.one(name, "Only those of this owner", id()));
        if let [_, second, ..] = given.as_slice() {
            let complaint = Complaint::new("value_error", "At most one owner should be given");
            parameters.fault(second, complaint, "");
        }
        let Scope(is_whole) = Scope::read(parameters);
        Self {
            mailbox_id,
            phone_number_id,
            identity_id: identity.filter(|_| !is_whole),
            of_identity: identity.filter(|_| is_whole),
            url: parameters.one("url", "Only those with this very address", text()),
            event_type: parameters.one("event_type", "Only those with this type of events", text()),
        }
    }
}

/// The parameter `scope`, which newer clients send with a write, too: whether an identity is meant together with its
/// mailbox and its phone number.
#[derive(Debug)]
pub(crate) struct Scope(bool);

impl ReadQuery for Scope {
    fn read(parameters: &mut Parameters) -> Self {
        let about = "`identity`: `agent_identity_id` means the mailbox and the phone number of the identity, too. Subscriptions to \
                     several kinds of events are listed, changed and deleted with it and without it";
        let read = |text: &str| match text {
            "identity" => Ok(()),
            _ => Err(Complaint::new("enum", "Input should be 'identity'")),
        };
        Self(parameters.one("scope", about, (read, || json!({ "const": "identity" }))).is_some())
    }
}

/// Get a webhook subscription
#[utoipa::path(get, path = "/api/v1/webhooks/subscriptions/{subscription_id}", tag = "Webhooks",
    responses((status = 200, description = "The subscription", body = WebhookSubscription<'static>)),
    extensions(("x-errors" = json!([Code::WebhookSubscriptionNotFound]))))]
pub(crate) async fn get_webhook_subscription(
    holder: Holder,
    Segments(id): Segments<String>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let caller = holder.reader();
    let found = find(&caller, &id).await?;
    let body = serde_json::to_string(&WebhookSubscription::of(&found.row)?)?;
    Ok(unless_current(&headers, Revision::of(found.row.id, &found), body))
}

async fn find(caller: &Caller, id: &str) -> Result<Versioned<Row>, ApiError> {
    let id = uuid_segment("subscription_id", id)?;
    let found =
        subscriptions::find(caller.pool().await, caller.organization_id(), &caller.viewer(), id).await?;
    found.ok_or_else(ApiError::webhook_subscription_not_found)
}

/// Create a webhook subscription
///
/// If its identity has no signing key, it gets one, whose text is shown this once.
#[utoipa::path(post, path = "/api/v1/webhooks/subscriptions", tag = "Webhooks",
    responses((status = 201, description = "The subscription", body = CreatedWebhookSubscription<'static>)),
    extensions(("x-errors" = json!([Code::IdentityNotFound, Code::MailboxNotFound, Code::PhoneNumberNotFound, Code::TooManyWebhooks]))))]
pub(crate) async fn create_webhook_subscription(
    caller: Caller,
    body: Sent<NewSubscription>,
) -> Result<Response, ApiError> {
    let new = body.read(caller.settings())?;
    let owner = Owner { kind: new.owner_kind, id: new.owner_id };
    let identity = identity_of(&caller, owner).await?;
    must_be_reachable(&caller, &new.url).await?;
    let (id, key) = (ids::mint(), SigningKey::generate()?);
    let settings = Settings {
        url: new.url,
        event_types: new.event_types,
        context_config: new.context_config,
        has_auth_token: new.auth_token.is_some(),
    };
    let creation = SubscriptionCommand::Create(Box::new(Creation { identity_id: identity, owner, settings }));
    let prepare = IdentityCommand::PrepareWebhooks {
        secret_sha256: key.sha256(),
        phone_number_id: (owner.kind == OwnerKind::PhoneNumber).then_some(owner.id),
    };
    let sealed = caller.secrets_key().seal(identity, &key)?;
    let write = Write::new(id, Command::WebhookSubscription(creation))
        .storing(sealed_token(&caller, id, new.auth_token.as_ref())?)
        .with(Write::new(identity, Command::Identity(prepare)).storing([sealed]));
    caller.carry_out(write, None, Created { key }).await
}

/// The identity of an owner that the caller may write to. Whatever belongs to another identity does not exist for an agent.
async fn identity_of(caller: &Caller, owner: Owner) -> Result<Uuid, ApiError> {
    let (pool, organization) = (caller.pool().await, caller.organization_id());
    let (part, missing): (_, fn() -> ApiError) = match owner.kind {
        OwnerKind::Mailbox => (Part::MailboxId(owner.id), ApiError::mailbox_not_found),
        OwnerKind::PhoneNumber => (Part::PhoneNumber(owner.id), ApiError::phone_number_not_found),
        OwnerKind::Identity => {
            let may = caller.is_admin() || caller.is(owner.id);
            let found = if may { identities::row(pool, organization, owner.id).await? } else { None };
            return found.map(|row| row.document.id).ok_or_else(ApiError::identity_not_found);
        }
    };
    let found = identities::owner_of(pool, organization, &caller.viewer(), part).await?;
    found.map(|row| row.document.id).ok_or_else(missing)
}

fn sealed_token(
    caller: &Caller,
    id: Uuid,
    token: Option<&SecretString>,
) -> Result<Option<identity_log::ciphertexts::CiphertextChange>, ApiError> {
    Ok(token.map(|token| webhook_tokens::seal(caller.secrets_key(), id, token)).transpose()?)
}

/// Answers with a new subscription. The text of a signing key is shown once: a repetition of the request gets the
/// answer without it.
struct Created {
    key: SigningKey,
}

impl Reply for Created {
    fn compose(&self, committed: &Committed) -> Result<Answer, ApiError> {
        let is_key = |event: &Event| matches!(event, Event::Identity(identity::Event::SigningKeySet { .. }));
        let has_new_key = committed.further.iter().any(|recorded| is_key(&recorded.event));
        let body = CreatedWebhookSubscription {
            subscription: WebhookSubscription::of(made(committed)?)?,
            signing_key: None,
            message: has_new_key.then_some(SHOWN_BEFORE),
        };
        Answer::json(StatusCode::CREATED, &body)
    }

    fn reveal(&self, answer: Answer) -> Result<Answer, ApiError> {
        answer.revealing("signing_key", self.key.text())
    }
}

/// The message to a repetition, in place of the signing key.
pub(super) const SHOWN_BEFORE: &str = "The signing key was shown when it was created, and is not shown again";

/// Change a webhook subscription
///
/// Absent fields stay unchanged. The owner never changes. If the subscription is disabled, any change makes it active
/// again, even a change to the `url` that it has.
#[utoipa::path(patch, path = "/api/v1/webhooks/subscriptions/{subscription_id}", tag = "Webhooks",
    responses((status = 200, description = "The subscription", body = WebhookSubscription<'static>)),
    extensions(("x-errors" = json!([Code::WebhookSubscriptionNotFound, Code::TooManyWebhooks]))))]
pub(crate) async fn update_webhook_subscription(
    caller: Caller,
    Segments(id): Segments<String>,
    query: Query<Scope>,
    IfMatch(headers): IfMatch,
    body: Sent<ChangedSubscription>,
) -> Result<Response, ApiError> {
    let found = find(&caller, &id).await?;
    let row = &found.row;
    query.read()?;
    let changed = body.read(caller.settings())?;
    check_types(row, changed.event_types.as_deref())?;
    if let Some(url) = &changed.url {
        must_be_reachable(&caller, url).await?;
    }
    let expected = expected_version(&headers, Revision::of(row.id, &found))?;
    let change = Change {
        identity_id: row.identity_id,
        owner_id: row.owner_id,
        url: changed.url,
        event_types: changed.event_types,
        context_config: changed.context_config,
        auth_token: changed.auth_token.as_ref().map(Option::is_some),
    };
    let command = Command::WebhookSubscription(SubscriptionCommand::Change(Box::new(change)));
    let token = match &changed.auth_token {
        Some(None) => Some(webhook_tokens::delete()),
        Some(Some(token)) => sealed_token(&caller, row.id, Some(token))?,
        None => None,
    };
    caller.carry_out(Write::new(row.id, command).storing(token), expected, Changed).await
}

fn check_types(row: &Row, types: Option<&[String]>) -> Result<(), ApiError> {
    let kinds = [OwnerKind::Mailbox, OwnerKind::PhoneNumber, OwnerKind::Identity];
    let kind = kinds.into_iter().find(|kind| row.owner(*kind).is_some());
    let refused = kind.zip(types).and_then(|(kind, types)| not_for(kind, types));
    refused.map_or(Ok(()), |sentence| Err(ApiError::invalid(vec![Fault::value("event_types", &sentence)])))
}

/// Answers with the subscription.
struct Changed;

impl Reply for Changed {
    fn compose(&self, committed: &Committed) -> Result<Answer, ApiError> {
        Answer::json(StatusCode::OK, &WebhookSubscription::of(made(committed)?)?)
    }
}

/// Delete a webhook subscription
///
/// Nothing is sent to it any more, and its token is deleted.
#[utoipa::path(delete, path = "/api/v1/webhooks/subscriptions/{subscription_id}", tag = "Webhooks",
    responses((status = 204, description = "Done")),
    extensions(("x-errors" = json!([Code::WebhookSubscriptionNotFound]))))]
pub(crate) async fn delete_webhook_subscription(
    caller: Caller,
    Segments(id): Segments<String>,
    query: Query<Scope>,
    IfMatch(headers): IfMatch,
) -> Result<Response, ApiError> {
    let found = find(&caller, &id).await?;
    let id = found.row.id;
    query.read()?;
    let expected = expected_version(&headers, Revision::of(id, &found))?;
    let command = SubscriptionCommand::Delete(DeleteReason::Client);
    caller.write(id, Command::WebhookSubscription(command), expected, Done).await
}
