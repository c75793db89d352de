//! A victim beside a hostile key: gets, pages and changes of one organization while a key of another does its worst, in one way
//! after the other. The victim's 95th percentiles stay within five times their quiet values, and it is refused nothing.

mod webhooks;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use identityd::operator::{NewOrganization, Operator};
use rand::Rng as _;
use rand::rngs::StdRng;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::answer::Answer;
use crate::arena::Arena;
use crate::load::{self, Load, Requests};
use crate::ours::Ours;
use crate::requests;
use crate::results::{Bound, Results, milliseconds};
use crate::scale::Scale;

/// How many connections the victim has.
const VICTIM_CONNECTIONS: usize = 8;

/// How many identities the victim asks for.
const VICTIM_IDENTITIES: usize = 100;

/// What the hostile key does on each connection, and over how many.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Announces a body that does not come.
    Heads,
    /// Changes one identity again and again.
    Changes,
    /// Asks for the whole list and reads nothing of it.
    Lists,
    /// Follows a silent history.
    Followers,
    /// Opens a connection and says nothing.
    Silence,
    /// Guesses keys.
    Guesses,
    /// Asks for large pages and reads nothing of them.
    Pages,
    /// Searches all identities for what none has.
    Searches,
    /// Searches history for what is not in it.
    Filters,
    /// Asks for the first state of an identity.
    Past,
    /// Opens an identity to everybody, and then hides it from one, which writes a row for each of the others.
    Narrowings,
    /// Changes long descriptions.
    Descriptions,
}

/// Whose key is hostile, and what it uses.
struct Hostile<'a> {
    key: &'a str,
    /// An identity from which others are hidden.
    viewer: Uuid,
}

impl Way {
    const ALL: [Self; 12] = [
        Self::Heads,
        Self::Changes,
        Self::Lists,
        Self::Followers,
        Self::Silence,
        Self::Guesses,
        Self::Pages,
        Self::Searches,
        Self::Filters,
        Self::Past,
        Self::Narrowings,
        Self::Descriptions,
    ];

    const fn connections(self) -> usize {
        match self {
            Self::Heads | Self::Followers | Self::Silence => 1_000,
            Self::Lists | Self::Pages => 60,
            Self::Searches => 200,
            Self::Changes | Self::Guesses | Self::Filters | Self::Past | Self::Descriptions => 48,
            Self::Narrowings => 10,
        }
    }

    /// The requests of a connection, which it repeats in turn.
    fn requests(self, hostile: &Hostile<'_>, connection: usize) -> Vec<String> {
        let Hostile { key, viewer } = hostile;
        let of_one = format!("/api/v1/identities/agent-{}", connection + 1);
        match self {
            Self::Narrowings => vec![
                with_body("POST", &format!("{of_one}/access"), key, "{}"),
                with_body("DELETE", &format!("{of_one}/access/{viewer}"), key, ""),
            ],
            Self::Descriptions => ["first", "second"]
                .map(|start| format!(r#"{{"description":"{start}{}"}}"#, "€".repeat(9_900)))
                .map(|body| with_body("PATCH", &of_one, key, &body))
                .into(),
            _ => vec![self.request(key)],
        }
    }

    /// The request of a way that repeats one.
    fn request(self, key: &str) -> String {
        let (line, further, key) = match self {
            Self::Heads => ("POST /api/v1/identities", "content-length: 100\r\n\r\n".to_owned(), key),
            Self::Changes => {
                let body = r#"{"description":"changed"}"#;
                return with_body("PATCH", "/api/v1/identities/agent-0", key, body);
            }
            Self::Lists => ("GET /api/v1/identities", "\r\n".to_owned(), key),
            Self::Followers => ("GET /api/v1/events", "accept: text/event-stream\r\n\r\n".to_owned(), key),
            Self::Silence | Self::Narrowings | Self::Descriptions => return String::new(),
            Self::Pages => ("GET /api/v1/identities?limit=1000", "\r\n".to_owned(), key),
            Self::Searches => ("GET /api/v1/identities?q=zzzzzz&limit=1", "\r\n".to_owned(), key),
            Self::Filters => ("GET /api/v1/events?event_type=identity.deleted", "\r\n".to_owned(), key),
            Self::Past => ("GET /api/v1/identities/agent-0?as_of=sequence:1", "\r\n".to_owned(), key),
            Self::Guesses => ("GET /api/v1/identities", "\r\n".to_owned(), "ApiKey_guess"),
        };
        let mut request = String::new();
        // Writing to memory cannot fail.
        let _ = write!(request, "{line} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n{further}");
        request
    }

    /// Whether an answer is read and the request sent again.
    const fn repeats(self) -> bool {
        !matches!(self, Self::Heads | Self::Lists | Self::Followers | Self::Silence | Self::Pages)
    }
}

fn with_body(method: &str, path: &str, key: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::start(arena, "ours").await?;
    let seeded = ours.seed("agent", scale.listed).await?;
    let viewer = *seeded.ids.first().context("no identity was made")?;
    let enemy = Hostile { key: &ours.key, viewer };
    let operator = Operator::new(ours.pool.clone(), ours.signing.clone());
    let NewOrganization { organization_id, api_key } = operator.create_organization("victim").await?;
    ours.seed_of(&organization_id, "victim", VICTIM_IDENTITIES).await?;
    let victim = api_key.expose_secret();
    let mut quiet = Vec::new();
    for what in VictimRequest::ALL {
        quiet.push(percentile_95(&ours, victim, what, scale).await?);
    }
    for way in Way::ALL {
        let requests = |connection| way.requests(&enemy, connection);
        let hostile = attack(ours.server.address, way.connections(), way.repeats(), requests).await;
        for (what, quiet) in VictimRequest::ALL.into_iter().zip(&quiet) {
            let beside = percentile_95(&ours, victim, what, scale).await?;
            let claim =
                format!("{way:?}: the victim's 95th percentile of {what:?}, by its quiet {quiet:.2} ms");
            results.judge(claim, beside / quiet, Bound::AtMost(5.0));
        }
        drop(hostile);
    }
    ours.stop().await?;
    webhooks::run(arena, scale, results).await
}

/// What the victim asks for.
#[derive(Debug, Clone, Copy)]
enum VictimRequest {
    /// One identity.
    Gets,
    /// A page of twenty.
    Pages,
    /// A change of one identity.
    Changes,
}

impl VictimRequest {
    const ALL: [Self; 3] = [Self::Gets, Self::Pages, Self::Changes];
}

/// The requests of the victim.
struct Victim {
    key: String,
    what: VictimRequest,
}

impl Requests for Victim {
    fn write(&self, _connection: usize, random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        let one = format!("/victim-{}", random.random_range(0..VICTIM_IDENTITIES));
        match self.what {
            VictimRequest::Gets => requests::write(request, "GET", &one, &self.key, ""),
            VictimRequest::Pages => requests::write(request, "GET", "?limit=20", &self.key, ""),
            VictimRequest::Changes => {
                let body = format!(r#"{{"description":"{}"}}"#, random.random::<u32>());
                requests::write(request, "PATCH", &one, &self.key, &body);
            }
        }
        true
    }
}

/// The 95th percentile of what the victim asks for, in milliseconds. Fails if the victim is refused.
async fn percentile_95(ours: &Ours, key: &str, what: VictimRequest, scale: Scale) -> anyhow::Result<f64> {
    let victim = Victim { key: key.to_owned(), what };
    let load = Load { address: ours.server.address, connections: VICTIM_CONNECTIONS, time: scale.turn };
    let measured = load::run(load, Arc::new(victim)).await?;
    anyhow::ensure!(measured.refused == 0, "the victim was refused {} times ({what:?})", measured.refused);
    Ok(milliseconds(&measured.latencies, 95))
}

/// The connections of the hostile key, which are closed when this is dropped. Each sends its requests in turn if it `repeats` them,
/// and otherwise the first one.
async fn attack(
    address: SocketAddr,
    connections: usize,
    repeats: bool,
    requests: impl Fn(usize) -> Vec<String>,
) -> JoinSet<()> {
    let mut hostile = JoinSet::new();
    for connection in 0..connections {
        // A connection that is refused is what a hostile client may get.
        let Ok(stream) = TcpStream::connect(address).await else { continue };
        let requests = requests(connection);
        hostile.spawn(async move { drop(misbehave(stream, repeats, &requests).await) });
    }
    hostile
}

async fn misbehave(mut stream: TcpStream, repeats: bool, requests: &[String]) -> anyhow::Result<()> {
    let mut answer = Answer::default();
    for request in requests.iter().cycle() {
        stream.write_all(request.as_bytes()).await?;
        if !repeats {
            return std::future::pending().await;
        }
        answer.clear();
        while !answer.is_complete()? {
            anyhow::ensure!(stream.read_buf(&mut answer.bytes).await? > 0, "the connection was closed");
        }
    }
    Ok(())
}
