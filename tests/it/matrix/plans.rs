//! No statement of the service reads rows of all organizations: otherwise an organization with very many rows makes the requests of
//! all others slow.

use std::collections::BTreeSet;

use identityd::settings::WireLayer;
use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::estate::{Estate, Target, Who};
use super::walk;
use crate::harness::{World, eventually, wait};

/// How the sessions of the service plan.
const SETTINGS: &str = "
    set search_path = read_model, public;
    set plan_cache_mode = force_generic_plan;
    set enable_seqscan = off;
    set jit = off";

/// The statements that are planned: all others concern the session.
const PLANNED: [&str; 5] = ["select", "with", "insert", "update", "delete"];

/// Statements that concern all organizations, and are no part of a request. Each is a part of its text.
const OF_ALL_ORGANIZATIONS: [&str; 8] = [
    // Whether there is any row at all.
    "select not exists (select from",
    // The signer looks for what is not signed yet, and learns what is when the service starts.
    "where sequence is distinct from (",
    "select organization_id, epoch, size, note",
    // The fan-out asks whether there is anything to do, and for which organizations.
    "select exists (select from webhook_log_endpoints)",
    "with behind as (",
    "select organization_id from webhook_late",
    "select distinct organization_id from read_model.webhook_subscriptions",
    // The dispatcher takes due deliveries of all organizations, and gives each organization its share.
    "with recursive endpoint (id)",
];

/// A crowd of a few things with very many parts each: an identity with thousands of viewers, an aggregate with thousands of events.
const CROWDED: [(&str, &str); 2] = [(":differs", "indkey[indnkeyatts - 1] = attnum"), (":first", "0")];

/// A crowd of very many things.
const SCATTERED: [(&str, &str); 2] = [(":differs", "attnum = any(indkey)"), (":first", "1000000")];

/// Tables that no crowd makes large, or of which the requests of this test make no rows.
const SMALL: &str = "_sqlx_migrations api_key_states api_key_uses identity_states log_head read_model_shapes read_models restore_under_way \
                     signing_key_introductions vault_secret_states vault_states webhook_cursor webhook_late webhook_subscription_states";

/// Finds the parts of plans that read too much.
struct Planner {
    connection: PgConnection,
    /// The tables and indexes that grow with the number of organizations.
    large: BTreeSet<String>,
}

impl Planner {
    async fn new(world: &World) -> Self {
        let mut connection = PgConnection::connect(world.database().owner_url()).await.unwrap();
        connection.execute(SETTINGS).await.unwrap();
        let large = "select relname from pg_class
                     where reltuples > 1000 and relnamespace in ('public'::regnamespace, 'read_model'::regnamespace)";
        let large: Vec<String> = sqlx::query_scalar(large).fetch_all(&mut connection).await.unwrap();
        Self { connection, large: large.into_iter().collect() }
    }

    async fn plan(&mut self, statement: &str) -> Result<Value, sqlx::Error> {
        let connection = &mut self.connection;
        connection.execute(format!("prepare planned as {statement}").as_str()).await?;
        let count = "select cardinality(parameter_types) from pg_prepared_statements where name = 'planned'";
        let count: i32 = sqlx::query_scalar(count).fetch_one(&mut *connection).await?;
        let values = vec!["null"; usize::try_from(count).unwrap()].join(", ");
        let values = if count == 0 { values } else { format!("({values})") };
        let explain = format!("explain (format json) execute planned {values}");
        let plan: Value = sqlx::query_scalar(&explain).persistent(false).fetch_one(&mut *connection).await?;
        connection.execute("deallocate planned").await?;
        Ok(plan[0]["Plan"].clone())
    }

    /// The scans of a plan that read a large table or index as a whole, and are not ended by a limit.
    fn whole_scans(&self, plan: &Value, is_limited: bool) -> Vec<String> {
        let node = plan["Node Type"].as_str().unwrap();
        let reads_all = match node {
            "Seq Scan" => true,
            "Index Scan" | "Index Only Scan" | "Bitmap Index Scan" => plan["Index Cond"].is_null(),
            _ => false,
        };
        let ends_early = is_limited && plan["Filter"].is_null();
        let name = plan["Index Name"].as_str().or(plan["Relation Name"].as_str()).unwrap_or_default();
        let is_wrong = reads_all && !ends_early && self.large.contains(name);
        let children = plan["Plans"].as_array().into_iter().flatten();
        let of_children = children
            .flat_map(|child| self.whole_scans(child, node == "Limit" || is_limited && node == "Result"));
        is_wrong.then(|| format!("{node} of {name}")).into_iter().chain(of_children).collect()
    }
}

/// Sends every request that may be made.
fn walk_all(world: &World) {
    let estate = Estate::new(world);
    let names = &estate.target.names;
    for who in [Who::Hidden, Who::Granted, Who::Itself, Who::Auditor, Who::Admin] {
        for operation in walk::reads(world) {
            for all_parameters in [false, true] {
                drop(operation.request(names, all_parameters).of(estate.caller(who)).open());
            }
        }
    }
    for operation in walk::writes(world) {
        let request = operation.request(names, true).of(estate.caller(Who::Admin));
        drop(request.header("Idempotency-Key", &operation.id).open());
    }
    // Some of the requests deleted what is to be copied.
    let viewer = &names.parameters["viewer_identity_id"];
    Target::new(estate.caller(Who::Admin), viewer, |code| code == "vault_exists");
    let is_behind =
        "select count(*) from webhook_cursor, log_head where webhook_cursor.position < log_head.position";
    eventually("webhooks are queued", || world.database().number(is_behind) == 0);
}

#[test]
fn no_statement_of_a_request_reads_the_rows_of_all_organizations() {
    let (tap, world) = World::tapped(WireLayer::default());
    walk_all(&world);
    // The service does not act on what it could not have written.
    world.database().wait_until_nobody_is_in_a_transaction();
    tap.hang();
    let statements = tap.statements();
    let of_requests = statements.iter().filter(|statement| {
        PLANNED.iter().any(|word| statement.trim_start().starts_with(word))
            && !OF_ALL_ORGANIZATIONS.iter().any(|part| statement.contains(part))
    });
    let of_requests: Vec<&String> = of_requests.collect();
    let mut wrong = BTreeSet::new();
    for crowd in [CROWDED, SCATTERED] {
        let [differs, first] = crowd;
        world
            .database()
            .execute(&include_str!("crowd.sql").replace(differs.0, differs.1).replace(first.0, first.1));
        let mut planner = wait(Planner::new(&world));
        for statement in &of_requests {
            let plan = wait(planner.plan(statement)).unwrap_or_else(|error| panic!("{error}: {statement}"));
            wrong.extend(
                planner.whole_scans(&plan, false).into_iter().map(|scan| format!("{scan}: {statement}")),
            );
        }
    }
    let small = "select coalesce(string_agg(relname, ' ' order by relname), '') from pg_class
                 where reltuples < 1000 and relkind = 'r'
                   and relnamespace in ('public'::regnamespace, 'read_model'::regnamespace)";
    assert_eq!(world.database().text(small), SMALL);
    assert!(of_requests.len() > 100, "{} statements", of_requests.len());
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n\n"));
}
