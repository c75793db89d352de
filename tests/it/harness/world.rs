//! One service and its database, with two organizations, their admins, and agents by name.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use identity_http::cursor::{self, HistoryPlace};
use identity_log::history;
use identityd::operator::{NewKey, Operator, Purpose};
use identityd::settings::{PostgresLayer, QuotaLayer, WireLayer};
use identityd::signing::SigningSettings;
use identityd::witnesses::Witness;
use secrecy::ExposeSecret as _;
use serde_json::json;
use sqlx::PgPool;

use super::caller::Caller;
use super::database::Database;
use super::server::Server;
use super::tap::Tap;
use super::wait;

/// How long a name stays reserved after its identity was deleted, unless a test says otherwise: the default setting.
const DEFAULT_NAME_HOLD: Duration = Duration::from_hours(30 * 24);

/// A service for one test. The server stands before the database, because fields are dropped in this order.
pub(crate) struct World {
    server: Server,
    database: Database,
    name_hold: Duration,
    /// Settings of webhooks, if they are not those that an installation starts with.
    webhooks: Option<identity_webhooks::Settings>,
    /// Who is asked to cosign checkpoints.
    witnesses: Vec<Witness>,
    home: Organization,
    other: OnceLock<Organization>,
    agents: Mutex<BTreeMap<String, AgentRecord>>,
}

/// Another service over the database of a world.
pub(crate) struct Beside(Server);

impl Beside {
    /// The same caller at this service.
    pub(crate) fn at(&self, caller: &Caller) -> Caller {
        caller.at(self.0.base_url())
    }

    /// A caller of this service with this key.
    pub(crate) fn holder_of(&self, key: &str) -> Caller {
        Caller::new(&self.0, Some(key))
    }
}

/// An organization and its first key.
#[derive(Debug, Clone)]
pub(crate) struct Organization {
    id: String,
    key: String,
}

impl Organization {
    /// Creates an organization, as an operator does.
    pub(crate) fn create(pool: &PgPool, signing: SigningSettings, name: &str) -> Self {
        let made = wait(Operator::new(pool.clone(), signing).create_organization(name));
        let made = made.expect("the operator can make an organization");
        Self { id: made.organization_id, key: made.api_key.expose_secret().to_owned() }
    }
}

#[derive(Debug, Clone)]
struct AgentRecord {
    id: String,
    key: String,
    key_id: String,
}

/// An identity that calls with a key of its own.
pub(crate) struct Agent {
    caller: Caller,
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) key_id: String,
}

impl Deref for Agent {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl World {
    /// A service with default settings, and an empty organization.
    pub(crate) fn new() -> Self {
        Self::with_name_hold(DEFAULT_NAME_HOLD)
    }

    /// The same, where names become free again after this time.
    pub(crate) fn with_name_hold(name_hold: Duration) -> Self {
        let database = Database::with_home();
        let server = Server::start(database.url(), database.signing(), name_hold);
        Self { name_hold, ..Self::of(database, server) }
    }

    /// A service with other wire settings (TLS, proxies, limits), and an empty organization. Names become free at once.
    pub(crate) fn with_wire(wire: WireLayer) -> Self {
        let database = Database::with_home();
        let server = Server::with_wire(database.url(), database.signing(), wire);
        Self::of(database, server)
    }

    /// The same, with a proxy to its database that records statements.
    pub(crate) fn tapped(wire: WireLayer) -> (Tap, Self) {
        let database = Database::with_home();
        let tap = Tap::to(database.url());
        let server = Server::with_wire(tap.url(), database.signing(), wire);
        (tap, Self::of(database, server))
    }

    /// The same, with other settings of how Postgres is used.
    pub(crate) fn tapped_with_postgres(postgres: &PostgresLayer, wire: WireLayer) -> (Tap, Self) {
        let database = Database::with_home();
        let tap = Tap::to(database.url());
        let server = Server::with_postgres(tap.url(), database.signing(), postgres, wire);
        (tap, Self::of(database, server))
    }

    /// A service whose Postgres belongs to this test alone, so that settings of the server can be changed.
    pub(crate) fn with_server_of_its_own(postgres: &PostgresLayer) -> Self {
        let database = Database::on_another_server();
        let server =
            Server::with_postgres(database.url(), database.signing(), postgres, WireLayer::default());
        Self::of(database, server)
    }

    /// A service with other quotas, and an empty organization.
    pub(crate) fn with_quotas(quotas: &QuotaLayer) -> Self {
        let database = Database::with_home();
        let server = Server::with_quotas(database.url(), database.signing(), quotas, DEFAULT_NAME_HOLD);
        Self { name_hold: DEFAULT_NAME_HOLD, ..Self::of(database, server) }
    }

    /// A service that neither reserves the names that identities gave up, nor counts how often they are renamed.
    pub(crate) fn with_names_for_free() -> Self {
        let database = Database::with_home();
        let quotas = QuotaLayer { identity_renames_per_day: Some(0), ..QuotaLayer::default() };
        let server = Server::with_quotas(database.url(), database.signing(), &quotas, Duration::ZERO);
        Self::of(database, server)
    }

    /// A service with another interval of heartbeats in live streams, and an empty organization.
    pub(crate) fn with_heartbeat(heartbeat: Duration) -> Self {
        let database = Database::with_home();
        let server = Server::with_heartbeat(database.url(), database.signing(), heartbeat);
        Self::of(database, server)
    }

    /// The same where webhooks are sent to other addresses, or at other times.
    pub(crate) fn with_webhooks(webhooks: identity_webhooks::Settings) -> Self {
        let database = Database::with_home();
        let server = Server::with_webhooks(database.url(), database.signing(), webhooks.clone());
        Self { webhooks: Some(webhooks), ..Self::of(database, server) }
    }

    /// The same with other quotas, too.
    pub(crate) fn with_webhooks_and_quotas(
        webhooks: identity_webhooks::Settings,
        quotas: &QuotaLayer,
    ) -> Self {
        let database = Database::with_home();
        let (url, signing) = (database.url(), database.signing());
        let server = Server::with_webhooks_and_quotas(url, signing, webhooks.clone(), quotas);
        Self { webhooks: Some(webhooks), ..Self::of(database, server) }
    }

    /// The same world after its service was stopped, and started again with other settings of webhooks.
    pub(crate) fn restarted_with_webhooks(mut self, webhooks: identity_webhooks::Settings) -> Self {
        self.webhooks = Some(webhooks);
        self.restarted()
    }

    /// The same world after its service was stopped, and started again with witnesses.
    pub(crate) fn restarted_with_witnesses(mut self, witnesses: Vec<Witness>) -> Self {
        self.witnesses = witnesses;
        self.restarted()
    }

    /// A service whose signer remembers in etcd what was signed, and an empty organization.
    pub(crate) fn with_etcd(endpoints: &[&str]) -> Self {
        let database = Database::with_home();
        database.remember_in(endpoints);
        let server = Server::start(database.url(), database.signing(), DEFAULT_NAME_HOLD);
        Self { name_hold: DEFAULT_NAME_HOLD, ..Self::of(database, server) }
    }

    fn of(database: Database, server: Server) -> Self {
        let (home, other, agents) = (database.home(), OnceLock::new(), Mutex::default());
        let (name_hold, webhooks, witnesses) = (Duration::ZERO, None, vec![]);
        Self { server, database, name_hold, webhooks, witnesses, home, other, agents }
    }

    /// The admin of the organization that most tests use.
    pub(crate) fn admin(&self) -> Caller {
        self.holder_of(&self.home.key)
    }

    /// The admin of another organization on the same service.
    pub(crate) fn other_admin(&self) -> Caller {
        let other = self
            .other
            .get_or_init(|| Organization::create(self.database.pool(), self.database.signing(), "other"));
        self.holder_of(&other.key)
    }

    /// The admin of a new organization.
    pub(crate) fn new_admin(&self) -> Caller {
        let made = Organization::create(self.database.pool(), self.database.signing(), "new");
        self.holder_of(&made.key)
    }

    /// A further admin key of an organization.
    pub(crate) fn another_admin(&self, organization_id: &str) -> NewKey {
        let operator = Operator::new(self.database.pool().clone(), self.database.signing());
        wait(operator.issue_key(organization_id, "another", Purpose::Admin)).unwrap()
    }

    /// An auditor of the same organization, with a new key.
    pub(crate) fn auditor(&self) -> Caller {
        self.holder_of(self.admin().mint_auditor()["api_key"].as_str().unwrap())
    }

    /// Another service over the same database, which stands for another process.
    pub(crate) fn beside(&self) -> Beside {
        self.beside_with(self.database.signing())
    }

    /// The same on a host of its own, with its own data directory.
    pub(crate) fn beside_with(&self, signing: SigningSettings) -> Beside {
        Beside(Server::start(self.database.url(), signing, self.name_hold))
    }

    /// A caller without a key.
    pub(crate) fn stranger(&self) -> Caller {
        Caller::new(&self.server, None)
    }

    /// A caller with this key, which may be invalid.
    pub(crate) fn holder_of(&self, key: &str) -> Caller {
        Caller::new(&self.server, Some(key))
    }

    /// The agent with this handle. The first call creates it and its key.
    pub(crate) fn agent(&self, handle: &str) -> Agent {
        let mut agents = self.agents.lock().unwrap();
        let record = agents.entry(handle.to_owned()).or_insert_with(|| self.enrol(handle)).clone();
        let caller = self.holder_of(&record.key);
        Agent { caller, id: record.id, key: record.key, key_id: record.key_id }
    }

    /// Several agents, created in this order.
    pub(crate) fn agents<const N: usize>(&self, handles: [&str; N]) -> [Agent; N] {
        handles.map(|handle| self.agent(handle))
    }

    fn enrol(&self, handle: &str) -> AgentRecord {
        let admin = self.admin();
        let id = admin.create(handle)["id"].as_str().unwrap().to_owned();
        let minted = admin.post("/api-keys", &json!({"label": handle, "scoped_identity_id": id})).created();
        let key_id = minted["record"]["id"].as_str().unwrap().to_owned();
        AgentRecord { id, key: minted["api_key"].as_str().unwrap().to_owned(), key_id }
    }

    /// The id of the organization.
    pub(crate) fn organization_id(&self) -> &str {
        &self.home.id
    }

    /// The address of the service.
    pub(crate) fn base_url(&self) -> &str {
        self.server.base_url()
    }

    /// The first key of the organization.
    pub(crate) fn admin_key(&self) -> &str {
        &self.home.key
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The number of events in the log.
    pub(crate) fn events(&self) -> i64 {
        self.database.number("select count(*) from events")
    }

    /// The cursor after the event with this sequence; for 0 the beginning.
    pub(crate) fn cursor(&self, sequence: i64) -> String {
        let (pool, id) = (self.database.pool(), self.organization_id());
        let leaf_start = wait(history::leaf_start_of(pool, id, sequence)).unwrap().unwrap_or_default();
        cursor::encode(id, HistoryPlace { sequence, leaf_start })
    }

    /// How many phone numbers are free.
    pub(crate) fn free_numbers(&self) -> i64 {
        self.database.number("select count(*) from phone_number_pool where claimed_by is null")
    }

    /// Asserts that `attempt`, usually a refused request, adds no event to the log.
    #[track_caller]
    pub(crate) fn stores_nothing<T>(&self, attempt: impl FnOnce() -> T) -> T {
        let before = self.events();
        let result = attempt();
        assert_eq!(self.events(), before, "something was stored that should not have been");
        result
    }

    /// The same world after its service was stopped and started again, at another address: callers from before cannot be
    /// used any more.
    pub(crate) fn restarted(self) -> Self {
        self.restarted_after(|_| ())
    }

    /// The same. `happens` is called while no service runs.
    pub(crate) fn restarted_after(self, happens: impl FnOnce(&Database)) -> Self {
        let world = self.restarting_after(happens);
        world.becomes_ready();
        world
    }

    /// Returns when the service answers.
    pub(crate) fn becomes_ready(&self) {
        self.server.becomes_ready();
    }

    /// The same world while its service is still starting again.
    pub(crate) fn restarting(self) -> Self {
        self.restarting_after(|_| ())
    }

    fn restarting_after(self, happens: impl FnOnce(&Database)) -> Self {
        let Self { server, database, name_hold, webhooks, witnesses, home, other, agents } = self;
        drop(server);
        happens(&database);
        let (url, signing) = (database.url(), database.signing());
        let server = match webhooks.clone() {
            Some(webhooks) => Server::with_webhooks(url, signing, webhooks),
            None if !witnesses.is_empty() => Server::with_witnesses(url, signing, witnesses.clone()),
            None => Server::begin(url, signing, name_hold),
        };
        Self { server, database, name_hold, webhooks, witnesses, home, other, agents }
    }
}
