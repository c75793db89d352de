//! Two roles of Postgres: one that owns and migrates, one that serves.

use std::process::Command;

use identity_postgres::PrivatePostgres;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::runtime::Runtime;

use crate::harness::{Finished, Place, Serving, bare, run, run_to_end};

/// A Postgres of somebody else: a database that belongs to the role `keeper`, and the role `runner`, which has no rights yet. The
/// superuser is a third one.
struct Cluster {
    place: Place,
    postgres: PrivatePostgres,
    runtime: Runtime,
}

impl Cluster {
    fn new() -> Self {
        let place = Place::served();
        let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cluster = Self { place, postgres, runtime };
        cluster.does("create role keeper login; create role runner login");
        cluster.does("create database apart owner keeper template template0");
        cluster
    }

    /// Carries out statements as the superuser, in its own database.
    fn does(&self, statements: &str) {
        self.on(&self.postgres.url(), statements);
    }

    /// The same in the database of the two roles.
    fn does_there(&self, statements: &str) {
        self.on(&self.url("identityd"), statements);
    }

    fn on(&self, url: &str, statements: &str) {
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(url).await.unwrap();
            connection.execute(statements).await.unwrap();
            connection.close().await.unwrap();
        });
    }

    /// The URL of the database for a role.
    fn url(&self, role: &str) -> String {
        let url = self.postgres.url().replace("/identityd?", "/apart?");
        url.replace("//identityd@", &format!("//{role}@"))
    }

    /// A command as a role, with the keys of the place.
    fn command(&self, role: &str, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        command.env("DATABASE_URL", self.url(role));
        command
    }

    fn run(&self, role: &str, arguments: &[&str]) -> Finished {
        run(&mut self.command(role, arguments))
    }

    /// A command as `runner`, which is told of the owner.
    fn run_with_owner(&self, owner: &str, arguments: &[&str]) -> Finished {
        run(self.command("runner", arguments).env("IDENTITYD_OWNER_URL", self.url(owner)))
    }

    fn refuses_to_serve(&self, role: &str) -> String {
        let mut command = self.command(role, &["serve", "--listen", "127.0.0.1:0"]);
        run_to_end(command.env("RUST_LOG", "off")).error().to_owned()
    }

    fn serves(&self, role: &str) {
        let mut command = self.command(role, &["serve", "--listen", "127.0.0.1:0"]);
        assert!(Serving::start(&mut command).stop().success());
    }

    /// What the doctor says of the role.
    fn standing(&self, role: &str) -> String {
        found(&self.run(role, &["doctor", "--json"]), "role")
    }

    fn end(self) {
        self.postgres.close().unwrap();
    }
}

/// What a check of the doctor found.
fn found(doctor: &Finished, check: &str) -> String {
    let checks = doctor.json()["checks"].clone();
    let found = checks.as_array().unwrap().iter().find(|found| found["name"] == check).unwrap();
    assert_eq!(found["passed"], true, "{found}");
    found["finding"].as_str().unwrap().to_owned()
}

/// Everything that an operator does beside the service.
const WORK: [&[&str]; 9] = [
    &["key", "issue", "--org", "acme", "--label", "second"],
    &["key", "list", "--org", "acme"],
    &["identity", "list", "--org", "acme"],
    &["projections", "rebuild", "--all"],
    &["projections", "verify"],
    &["projections", "verify", "--independent"],
    &["projections", "rollback", "identities"],
    &["audit", "new-epoch", "--org", "acme"],
    &["audit", "rotate-key"],
];

#[test]
fn an_installation_of_one_role_moves_to_two() {
    let cluster = Cluster::new();
    cluster.run("keeper", &["migrate"]).succeeded();
    cluster.run("keeper", &["org", "create", "acme"]).succeeded();
    cluster.serves("keeper");
    let alone = cluster.standing("keeper");
    assert!(
        alone.starts_with(
            "warning: keeper could switch off what protects the history, since it owns the tables"
        ),
        "{alone}"
    );

    let error = cluster.refuses_to_serve("runner");
    assert!(error.contains("the role runner lacks "), "{error}");
    assert!(error.contains("run `identityd migrate --owner-url URL` with the URL of keeper"), "{error}");
    let moved = cluster.run_with_owner("keeper", &["migrate"]).succeeded();
    assert!(moved.stdout.ends_with("; keeper owns the tables, runner serves\n"), "{}", moved.stdout);
    assert_eq!(moved.stderr, "");
    cluster.serves("runner");
    for arguments in WORK {
        cluster.run("runner", arguments).succeeded();
    }
    cluster.serves("runner");
    let file = cluster.place.path("backup");
    cluster.run("runner", &["backup", file.to_str().unwrap()]).succeeded();
    let apart = cluster.standing("runner");
    assert_eq!(apart, "runner cannot change what protects the history; the tables belong to keeper");

    // Once more there is nothing to do, and the owner is not even asked.
    let again = run(cluster
        .command("runner", &["migrate"])
        .env("IDENTITYD_OWNER_URL", "postgres://nobody@127.0.0.1:1/none"));
    assert_eq!(again.succeeded().stdout, moved.stdout);
    cluster.end();
}

#[test]
fn what_is_missing_for_a_migration_is_named() {
    let cluster = Cluster::new();
    let error = cluster.refuses_to_serve("runner");
    assert!(error.contains("the role runner may not change the tables of this database"), "{error}");
    let error = cluster.run_with_owner("runner", &["migrate"]).error().to_owned();
    assert!(error.contains("owner_url and database_url are of the same role, runner"), "{error}");
    let other = cluster.url("keeper").replace("/apart?", "/identityd?");
    let elsewhere = run(cluster.command("runner", &["migrate"]).args(["--owner-url", &other]));
    assert!(elsewhere.error().contains("lead to different databases"), "{}", elsewhere.stderr);

    // The service may migrate, too, if it is told of the owner.
    let mut command = cluster.command("runner", &["serve", "--listen", "127.0.0.1:0"]);
    command.env("IDENTITYD_OWNER_URL", cluster.url("keeper"));
    assert!(Serving::start(&mut command).stop().success());
    cluster.does("create role stranger login superuser");
    cluster.does_there("revoke select on events from runner");
    let error = cluster.run_with_owner("stranger", &["migrate"]).error().to_owned();
    assert!(error.contains("the tables belong to keeper, and owner_url is of stranger"), "{error}");

    // A newer version comes, and with it a migration.
    cluster.run_with_owner("keeper", &["migrate"]).succeeded();
    cluster.does_there(
        "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)",
    );
    let error = cluster.refuses_to_serve("runner");
    assert!(error.contains("give the URL of keeper with --owner-url"), "{error}");
    cluster.does_there("insert into _sqlx_migrations values (9999, 'later', now(), true, '', 0)");
    let error = cluster.refuses_to_serve("runner");
    assert!(error.contains("from a newer identityd [9999]"), "{error}");
    cluster.end();
}

// As Postgres 14 made databases, and as an upgrade from it leaves them.
#[test]
fn what_somebody_has_put_into_public_is_not_carried_out_by_the_owner() {
    let cluster = Cluster::new();
    cluster.does_there("alter schema public owner to identityd; grant create on schema public to public");
    cluster.does_there("grant create on schema public to keeper");
    let error = cluster.run_with_owner("keeper", &["migrate"]).error().to_owned();
    assert!(error.ends_with(": revoke create on schema public from public cascade"), "{error}");

    cluster.on(
        &cluster.url("runner"),
        "create function public.format(text, name, name) returns text language plpgsql as
             $$ begin raise exception 'carried out by %', current_user; end $$;
         create operator public.~~~ (leftarg = text, rightarg = text, function = texteq);
         create type public.mine as enum ()",
    );
    cluster.does_there("revoke create on schema public from public");
    let error = cluster.run_with_owner("keeper", &["migrate"]).error().to_owned();
    let statements = "drop operator public.~~~(text,text); drop routine public.format(text,name,name); drop type public.mine";
    assert!(error.ends_with(statements), "{error}");
    cluster.does_there(statements);
    cluster.run_with_owner("keeper", &["migrate"]).succeeded();
    assert!(!cluster.standing("runner").contains("warning"));
    // Rights of a group count like those of the role.
    cluster.does_there("create role makers; grant makers to runner; grant create on schema public to makers");
    let error = cluster.run_with_owner("keeper", &["migrate"]).error().to_owned();
    assert!(error.ends_with(": revoke create on schema public from makers cascade"), "{error}");
    cluster.end();
}

#[test]
fn a_role_that_could_change_the_history_all_the_same_is_named() {
    let cluster = Cluster::new();
    cluster.run_with_owner("keeper", &["migrate"]).succeeded();
    for (grant, power, revoke) in [
        ("grant keeper to runner", "owns the tables, or may act as their owner", "revoke keeper from runner"),
        ("alter role runner superuser", "is a superuser", "alter role runner nosuperuser"),
        ("grant update on events to public", "may change events", "revoke update on events from public"),
        (
            "grant update (root) on checkpoints to public",
            "may change checkpoints (UPDATE (root))",
            "revoke update (root) on checkpoints from public",
        ),
        (
            "grant delete on _sqlx_migrations to public",
            "may change _sqlx_migrations (DELETE)",
            "revoke delete on _sqlx_migrations from public",
        ),
        (
            "grant pg_write_server_files to runner",
            "may run programs",
            "revoke pg_write_server_files from runner",
        ),
        (
            "create table aside (); alter table aside owner to runner",
            "owns tables or functions in our schemas",
            "drop table aside",
        ),
        (
            "grant create on schema public to runner",
            "may make functions in our schemas",
            "revoke create on schema public from runner",
        ),
    ] {
        cluster.does_there(grant);
        let standing = cluster.standing("runner");
        assert!(standing.starts_with("warning: ") && standing.contains(power), "{grant}: {standing}");
        cluster.does_there(revoke);
    }
    // What the owner carries out is nobody else's to write.
    cluster.does_there("create role makers; grant makers to runner");
    for (grant, grantee) in [("insert", "public"), ("update (indexes)", "makers")] {
        cluster.does_there(&format!("grant {grant} on read_model_shapes to {grantee}"));
        let statements = format!(
            "revoke insert, update, delete, truncate, references, trigger on public.read_model_shapes from {grantee} cascade; \
             truncate public.read_model_shapes"
        );
        let error = cluster.refuses_to_serve("runner");
        assert!(error.ends_with(&statements), "{error}");
        let error = cluster.run_with_owner("keeper", &["migrate"]).error().to_owned();
        assert!(error.ends_with(&statements), "{error}");
        cluster.does_there(&statements);
        cluster.run_with_owner("keeper", &["migrate"]).succeeded();
    }
    // A right that was granted directly is taken away.
    cluster.does_there(
        "grant delete, truncate, trigger on events to runner; grant create on database apart to runner",
    );
    cluster.run_with_owner("keeper", &["migrate"]).succeeded();
    assert!(!cluster.standing("runner").contains("warning"));
    cluster.end();
}

#[test]
fn a_restore_is_the_work_of_the_owner() {
    let cluster = Cluster::new();
    cluster.run("keeper", &["org", "create", "acme"]).succeeded();
    let file = cluster.place.path("backup");
    let file = file.to_str().unwrap();
    cluster.run("keeper", &["backup", file]).succeeded();
    cluster.does("drop database apart with (force)");
    cluster.does("create database apart owner keeper template template0");

    let refused = cluster.run("runner", &["restore", file, "--nothing-lost"]);
    assert!(
        refused.error().contains("give the URL of the role that is to own the tables with --owner-url"),
        "{}",
        refused.stderr
    );
    // The pair of roles is checked before anything is written.
    let same = cluster.run_with_owner("runner", &["restore", file, "--nothing-lost"]);
    assert!(same.error().contains("of the same role, runner"), "{}", same.stderr);
    let elsewhere = cluster.url("keeper").replace("/apart?", "/identityd?");
    let mut command = cluster.command("runner", &["restore", file, "--nothing-lost"]);
    let refused = run(command.env("IDENTITYD_OWNER_URL", elsewhere));
    assert!(refused.error().contains("lead to different databases"), "{}", refused.stderr);
    cluster.run_with_owner("keeper", &["restore", file, "--nothing-lost"]).succeeded();
    cluster.serves("runner");
    assert!(!cluster.standing("runner").contains("warning"));
    assert!(cluster.run("runner", &["org", "list"]).succeeded().stdout.contains("acme"));
    cluster.run("runner", &["projections", "rebuild", "--all"]).succeeded();
    cluster.end();
}

#[test]
fn a_private_postgres_of_an_earlier_version_gets_the_role_that_serves() {
    let place = Place::served();
    place.run(&["org", "create", "acme"]).succeeded();
    // As a version left it that had one role.
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let earlier = "drop owned by identityd_service; drop role identityd_service; drop table read_model_shapes, webhook_late;
                   drop table read_model.identity_states, read_model.api_key_states, read_model.vault_states,
                              read_model.vault_secret_states, read_model.webhook_subscription_states;
                   drop function log_writers, make_read_model, index_read_model, finish_read_model, move_read_model, drop_read_model;
                   drop trigger checkpoints_keep_signatures on checkpoints;
                   drop trigger checkpoints_stay_readable on checkpoints;
                   drop trigger introductions_keep_notes on signing_key_introductions;
                   drop function refuse_lost_signature, refuse_unreadable_checkpoint, keep_replaced_introduction;
                   alter table signing_key_introductions drop column replaced;
                   alter table webhook_endpoints drop column last_attempt_at;
                   alter table log_head drop column sole_process, drop column sole_term, drop column sole_recalled;
                   drop index events_of_long_aggregates, read_model.identities_number, read_model.identities_with_number,
                              phone_number_pool_free_of_any_state;
                   delete from _sqlx_migrations where version >= 76";
    runtime.block_on(async {
        let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
        connection.execute(earlier).await.unwrap();
        connection.close().await.unwrap();
    });
    let checked = place.run(&["doctor", "--json"]);
    assert!(checked.stdout.contains("pending [76"), "{}", checked.stdout);
    let refused = place.run(&["backup", place.path("backup").to_str().unwrap()]);
    assert!(refused.error().contains("run `identityd migrate` first"), "{}", refused.stderr);
    assert!(place.serve().stop().success());
    let standing = found(&place.run(&["doctor", "--json"]).succeeded(), "role");
    assert_eq!(
        standing,
        "identityd_service cannot change what protects the history; the tables belong to identityd"
    );
    place.run(&["projections", "rebuild", "--all"]).succeeded();
    postgres.close().unwrap();
}

#[test]
fn an_owner_without_a_database_is_a_mistake_and_its_url_is_not_shown() {
    let finished =
        run(bare(&["migrate"]).env("IDENTITYD_OWNER_URL", "postgres://owner:hunter2@host/database"));
    assert_eq!(finished.error(), "owner_url is set, and database_url is not");
}
