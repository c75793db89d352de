//! skilj, as in its documentation: a command arrives over the REST interface, which its own benchmark also measures.
//! The interface is called in this process, without a socket.

use anyhow::ensure;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Error, from_slice, from_str, to_value, to_vec};
use skilj::{CommandType, EventType, Skilj, default_pool_options};
use skilj_core::event_store::Event;
use skilj_core::plugin::BoundedContextEvent;
use skilj_core::shared::{CommandDecision, EventSpec, TagMapping};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::identity::{Created, mint};
use crate::peer::Peer;
use crate::pools;

const CONTEXT: &str = "identities";

/// The maximum size of an answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The REST interface, and its key.
pub(crate) struct Identities {
    router: Router,
    authorization: String,
}

struct IdentityCreated;

impl EventType for IdentityCreated {
    type Payload = Created;
    const NAME: &'static str = "IdentityCreated";

    fn tag_mappings() -> Vec<TagMapping> {
        tags()
    }
}

enum IdentityEvent {
    Created,
}

impl BoundedContextEvent for IdentityEvent {
    fn try_from_event(event: &Event) -> Option<Result<Self, Error>> {
        let created = event.event_type.name == IdentityCreated::NAME;
        created.then(|| from_str::<Created>(&event.payload).map(|_| Self::Created))
    }
}

struct CreateIdentity;

impl CommandType for CreateIdentity {
    type Payload = Created;
    type Event = IdentityEvent;
    const NAME: &'static str = "CreateIdentity";

    fn rest_trigger_allowed() -> bool {
        true
    }

    fn tag_mappings() -> Vec<TagMapping> {
        tags()
    }

    fn decide(created: &Created, earlier: &[IdentityEvent]) -> CommandDecision {
        match to_value(created) {
            Ok(payload) if earlier.is_empty() => CommandDecision::Accepted {
                events: vec![EventSpec { event_type: IdentityCreated::NAME.to_owned(), payload }],
            },
            _ => CommandDecision::Rejected {
                reason: "the identity exists".to_owned(),
                kind: "exists".to_owned(),
            },
        }
    }
}

/// A command is decided against the events of the same identity.
fn tags() -> Vec<TagMapping> {
    vec![TagMapping::new("identity", "id")]
}

/// The body of a request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Trigger {
    payload: Created,
    correlation_id: Uuid,
    causation_id: Uuid,
}

/// The part of the answer that is read.
#[derive(Deserialize)]
struct Answer {
    accepted: bool,
}

impl Peer for Identities {
    const CRATE: &'static str = "skilj";

    async fn open(database_url: &str, writers: u32) -> anyhow::Result<Self> {
        let admin = skilj::dev::seed_admin(database_url, "bench", &[CONTEXT]).await?;
        // Its listener keeps one connection.
        let connections = pools::connections(writers) + 1;
        let pool = default_pool_options().min_connections(connections).max_connections(connections);
        let builder = Skilj::builder(database_url)
            .pool_options(pool)
            .bounded_context(CONTEXT)
            .event_type::<IdentityCreated>()
            .command_type::<CreateIdentity>()
            .reconciliation_role(admin.external_subject());
        let (skilj, _) = Box::pin(builder.build()).await?;
        let token = admin.create_command_token(CONTEXT, CreateIdentity::NAME).await?;
        admin.close().await;
        Ok(Self { router: skilj.rest_router(), authorization: format!("Bearer {token}") })
    }

    async fn append(&self, created: Created) -> anyhow::Result<()> {
        let trigger = Trigger { payload: created, correlation_id: mint(), causation_id: mint() };
        let request = Request::post("/v1/commands/trigger")
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(to_vec(&trigger)?))?;
        let response = self.router.clone().oneshot(request).await?;
        let status = response.status();
        let body = to_bytes(response.into_body(), MAX_ANSWER_BYTES).await?;
        ensure!(status == StatusCode::OK, "{status}: {}", String::from_utf8_lossy(&body));
        let answer: Answer = from_slice(&body)?;
        ensure!(answer.accepted, "refused: {}", String::from_utf8_lossy(&body));
        Ok(())
    }

    async fn count(&self, database_url: &str) -> anyhow::Result<usize> {
        pools::count(database_url, "select count(*) from bc_identities.events").await
    }
}
