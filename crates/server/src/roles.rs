//! Two roles of Postgres: the owner, which migrates and owns every table, and the role that serves, which owns nothing and has no
//! more rights than the service needs. It cannot switch off what protects the history.
//!
//! - [`rights`]: what the role that serves is granted.
//! - [`openings`]: what would let it have the rights of the owner.
//! - [`powers`]: what a role could do to the history all the same.
//!
//! One role may be both. Then nothing is granted.

pub mod openings;
pub mod powers;
pub mod rights;

use anyhow::{Context as _, ensure};
use sqlx::{Acquire as _, Executor as _, PgConnection, PgPool, Postgres, Transaction};

/// Within a transaction of the owner that has to do with roles, no name leads to what somebody else has put into another schema.
const OWN_NAMES: &str = "set local search_path = pg_catalog";

/// How the role of a connection stands to the tables of identityd.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Standing {
    /// The role.
    pub role: String,
    /// The owner of the tables; none if there are none yet.
    pub owner: Option<String>,
    /// Whether the role may change the tables, or make them where there are none.
    pub may_migrate: bool,
}

/// How the role of a connection stands to the tables.
pub async fn standing(connection: &mut PgConnection) -> Result<Standing, sqlx::Error> {
    sqlx::query_as(
        "select current_user::text as role, pg_get_userbyid(relowner)::text as owner,
                coalesce(pg_has_role(relowner, 'USAGE'), has_schema_privilege(to_regnamespace('public')::oid, 'CREATE'), false)
                    as may_migrate
         from (values (to_regclass('public._sqlx_migrations')::oid)) as wanted (oid)
         left join pg_class using (oid)",
    )
    .fetch_one(connection)
    .await
}

impl Standing {
    /// Fails if the role may not change tables.
    pub fn refuse_without_ownership(&self) -> anyhow::Result<()> {
        let Self { role, owner, may_migrate } = self;
        let owner = owner.as_deref().unwrap_or("the role that is to own the tables");
        ensure!(
            may_migrate,
            "the role {role} may not change the tables of this database: give the URL of {owner} with --owner-url, for example to \
             `identityd migrate`, or in IDENTITYD_OWNER_URL if it has a password"
        );
        Ok(())
    }
}

/// Fails if the role neither owns the tables nor was given the rights that it needs.
pub async fn refuse_without_rights(connection: &mut PgConnection) -> anyhow::Result<Standing> {
    let standing = standing(connection).await.context("cannot look up the role")?;
    if !standing.may_migrate {
        let missing = rights::missing(connection, &standing.role).await?;
        ensure!(
            missing.is_empty(),
            "the role {} lacks {} rights, the first is {}: run `identityd migrate --owner-url URL` with the URL of {}, which grants them (a URL with a \
             password belongs into IDENTITYD_OWNER_URL)",
            standing.role,
            missing.len(),
            missing.first().map_or("none", String::as_str),
            standing.owner.as_deref().unwrap_or("the owner of the tables")
        );
        let statements = openings::of_shapes(connection, &standing.role).await?;
        ensure!(
            statements.is_empty(),
            "the role {} may write what the owner carries out: as the owner, run these, then `identityd migrate`: {}",
            standing.role,
            statements.join("; ")
        );
    }
    Ok(standing)
}

/// The role of `service`, which `owner` is to give its rights. Fails if the two do not belong together, or if the role could have
/// the owner carry out what it likes.
pub async fn role_to_serve(service: &PgPool, owner: &PgPool) -> anyhow::Result<String> {
    let mut owner = owner.acquire().await.context("cannot connect as the owner")?;
    let mut owner = begin(&mut owner).await.context("cannot begin as the owner")?;
    let mut service = service.acquire().await.context("cannot connect to the database")?;
    ensure!(
        place(&mut owner).await? == place(&mut service).await?,
        "owner_url and database_url lead to different databases"
    );
    let role = belong_together(standing(&mut owner).await?, standing(&mut service).await?)?;
    openings::close(&mut owner, &role).await?;
    owner.commit().await.context("cannot close the schemas")?;
    Ok(role)
}

/// Begins a transaction in which names mean what Postgres means by them.
pub async fn begin(owner: &mut PgConnection) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    let mut transaction = owner.begin().await?;
    transaction.execute(OWN_NAMES).await?;
    Ok(transaction)
}

/// The role of the service, if the other one owns the tables.
fn belong_together(owner: Standing, service: Standing) -> anyhow::Result<String> {
    ensure!(
        owner.role != service.role,
        "owner_url and database_url are of the same role, {}: make a role of its own for database_url",
        owner.role
    );
    let owns = owner.owner.as_ref().is_none_or(|found| *found == owner.role);
    ensure!(
        owns,
        "the tables belong to {}, and owner_url is of {}: give the URL of {0}, and another role with database_url",
        owner.owner.unwrap_or_default(),
        owner.role
    );
    Ok(service.role)
}

/// Makes the role that serves, and grants it what it needs of what is there already. Its name needs no quotes.
pub async fn make(owner: &PgPool, role: &str) -> anyhow::Result<()> {
    let context = "cannot make the role that serves";
    let mut owner = owner.acquire().await.context(context)?;
    let mut transaction = begin(&mut owner).await.context(context)?;
    // Another process may do so at the same time.
    transaction.execute("select pg_advisory_xact_lock(hashtext('identityd role'))").await?;
    let query = sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)").bind(role);
    let is_there: bool = query.fetch_one(&mut *transaction).await?;
    if !is_there {
        transaction.execute(format!("create role {role} login").as_str()).await?;
        openings::close(&mut transaction, role).await?;
        rights::grant_with(&mut transaction, role).await?;
    }
    Ok(transaction.commit().await?)
}

/// Which database of which server this is.
async fn place(connection: &mut PgConnection) -> Result<(i64, String), sqlx::Error> {
    sqlx::query_as("select (select system_identifier from pg_control_system()), current_database()::text")
        .fetch_one(connection)
        .await
}
