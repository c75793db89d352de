//! The stock stack in one process: `CqrsFramework`, postgres-es, `GenericQuery` and axum, put together as in their
//! own examples. It has the same aggregate, events and document as ours, and no keys, no unique names, and no commit
//! order.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cqrs_es::persist::{GenericQuery, QueryReplay};
use cqrs_es::{AggregateError, EventEnvelope, View};
use identity_domain::identity::{Command, Identity, IdentityError, Update};
use identity_domain::{Event, Facts};
use identity_log::{Metadata, Recorded, ids};
use identity_projections::document::IdentityDocument;
use postgres_es::{
    PostgresCqrs, PostgresEventRepository, PostgresViewRepository, default_postgress_pool, postgres_cqrs,
};
use serde::{Deserialize, Serialize};
use sqlx::{Executor as _, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::seed;

type Views = PostgresViewRepository<Document, Identity>;

/// The tables of postgres-es, as in its own script, and the one view.
const TABLES: &str = "
    create table events (
        aggregate_type text                         not null,
        aggregate_id   text                         not null,
        sequence       bigint check (sequence >= 0) not null,
        event_type     text                         not null,
        event_version  text                         not null,
        payload        json                         not null,
        metadata       json                         not null,
        primary key (aggregate_type, aggregate_id, sequence)
    );
    create table identity_view (
        view_id text                        not null,
        version bigint check (version >= 0) not null,
        payload json                        not null,
        primary key (view_id)
    );";

/// Prepares an empty database for the stock stack.
pub(crate) async fn prepare(pool: &PgPool) -> anyhow::Result<()> {
    pool.execute(TABLES).await?;
    Ok(())
}

/// The view: our document by our fold, so that both answer the same bytes.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Document(Option<Box<IdentityDocument>>);

impl View<Identity> for Document {
    fn update(&mut self, event: &EventEnvelope<Identity>) {
        let recorded = Recorded {
            position: 0,
            organization_id: "org_stock".to_owned(),
            organization_sequence: 0,
            aggregate_id: event.aggregate_id.clone(),
            sequence: 0,
            event: Event::Identity(event.payload.clone()),
            metadata: Metadata::default(),
            recorded_at: now(),
        };
        self.0 = IdentityDocument::fold(self.0.take(), &recorded);
    }
}

#[expect(clippy::disallowed_methods, reason = "the stock stack has no other clock")]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

#[derive(Clone)]
struct Service {
    cqrs: Arc<PostgresCqrs<Identity>>,
    views: Arc<GenericQuery<Views, Document, Identity>>,
}

/// Serves until the process is killed.
pub(crate) async fn serve(database_url: &str) -> anyhow::Result<()> {
    let pool = default_postgress_pool(database_url).await;
    let views = Arc::new(Views::new("identity_view", pool.clone()));
    // The stock stack cannot look facts up: every identity that a command names counts as live.
    let facts = Facts { identity_is_live: true, ..Facts::default() };
    let cqrs = postgres_cqrs(pool, vec![Box::new(GenericQuery::new(Arc::clone(&views)))], facts);
    let service = Service { cqrs: Arc::new(cqrs), views: Arc::new(GenericQuery::new(views)) };
    let router = Router::new()
        .route("/api/v1/identities", post(create_identity))
        .route("/api/v1/identities/{agent_handle}", get(get_identity).patch(update_identity))
        .route("/api/v1/identities/{agent_handle}/access", post(grant_access))
        .with_state(service);
    crate::serve(SocketAddr::from(([127, 0, 0, 1], 0)), router).await
}

#[derive(Deserialize)]
struct CreateBody {
    agent_handle: String,
}

async fn create_identity(State(service): State<Service>, Json(body): Json<CreateBody>) -> Response {
    let Ok(create) = seed::create(ids::mint(), &body.agent_handle) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let done = execute(&service, &body.agent_handle, Command::Create(Box::new(create))).await;
    answer(&service, &body.agent_handle, done).await
}

async fn get_identity(State(service): State<Service>, Path(handle): Path<String>) -> Response {
    answer(&service, &handle, Ok(())).await
}

#[derive(Deserialize)]
struct UpdateBody {
    display_name: String,
}

async fn update_identity(
    State(service): State<Service>,
    Path(handle): Path<String>,
    Json(body): Json<UpdateBody>,
) -> Response {
    let update = Update { display_name: Some(Some(body.display_name)), ..Update::default() };
    let done = execute(&service, &handle, Command::Update(Box::new(update))).await;
    answer(&service, &handle, done).await
}

#[derive(Deserialize)]
struct GrantBody {
    viewer_identity_id: Uuid,
}

async fn grant_access(
    State(service): State<Service>,
    Path(handle): Path<String>,
    Json(body): Json<GrantBody>,
) -> Response {
    let command = Command::GrantVisibility { access_id: ids::mint(), viewer: body.viewer_identity_id };
    match execute(&service, &handle, command).await {
        Ok(()) => StatusCode::CREATED.into_response(),
        Err(error) => refused(&error),
    }
}

async fn execute(
    service: &Service,
    handle: &str,
    command: Command,
) -> Result<(), AggregateError<IdentityError>> {
    service.cqrs.execute(handle, command).await
}

async fn answer(
    service: &Service,
    handle: &str,
    done: Result<(), AggregateError<IdentityError>>,
) -> Response {
    if let Err(error) = done {
        return refused(&error);
    }
    match service.views.load(handle).await {
        Some(view) => Json(view).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn refused(error: &AggregateError<IdentityError>) -> Response {
    (StatusCode::CONFLICT, error.to_string()).into_response()
}

/// Replays every event of a database into its view, as the stock stack does it.
pub(crate) async fn replay(database_url: &str) -> anyhow::Result<()> {
    let pool = default_postgress_pool(database_url).await;
    let query = GenericQuery::new(Arc::new(Views::new("identity_view", pool.clone())));
    let replay = QueryReplay::new(PostgresEventRepository::new(pool), query);
    Ok(replay.replay_all().await?)
}
