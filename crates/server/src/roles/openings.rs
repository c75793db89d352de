//! What would let the role that serves put functions in the place of those that the owner calls. A statement of the owner that
//! calls such a function carries it out with the rights of the owner.

use anyhow::{Context as _, ensure};
use sqlx::{Executor as _, PgConnection};

/// Closes our schemas as far as the owner may. Fails if somebody else could make functions there, or has made some in `public`, and
/// names the statements to run.
pub async fn close(owner: &mut PgConnection, role: &str) -> anyhow::Result<()> {
    let context = "cannot look up who may make functions in our schemas";
    for statement in revocable(owner, role).await.context(context)? {
        owner.execute(statement.as_str()).await.context(context)?;
    }
    let mut statements = open(owner, role).await.context(context)?;
    statements.extend(of_shapes(owner, role).await.context(context)?);
    statements.extend(foreign(owner).await.context(context)?);
    ensure!(
        statements.is_empty(),
        "{role} could carry out statements with the rights of the owner, or somebody has tried to: look at each of these, and run them \
         as a superuser, or as the owner of what they name: {}",
        statements.join("; ")
    );
    Ok(())
}

/// The statements that close our schemas, as far as the owner may send them. Up to Postgres 14 everybody may make tables and
/// functions in `public`, and a database that was upgraded from such a version stays like that.
async fn revocable(owner: &mut PgConnection, role: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select distinct format(
             'revoke create on schema %I from %s cascade', nspname, case grantee when 0 then 'public' else quote_ident($2) end)
         from pg_namespace, aclexplode(nspacl)
         where nspname = any($1) and privilege_type = 'CREATE' and pg_has_role(nspowner, 'USAGE')
           and (grantee = 0 or grantee = (select oid from pg_roles where rolname = $2))
           and grantee <> nspowner",
    )
    .bind(super::rights::schemas())
    .bind(role)
    .fetch_all(owner)
    .await
}

/// The statements without which a role may make functions in our schemas: by a right of its own, of a role that it is a member
/// of, or of everybody, or as a superuser.
pub async fn open(connection: &mut PgConnection, role: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "with role as (select oid, rolsuper from pg_roles where rolname = $2),
              ours as (
                  select nspname, coalesce(nspacl, acldefault('n', nspowner)) as acl,
                         case when nspowner = 'pg_database_owner'::regrole then datdba else nspowner end as owner
                  from pg_namespace join pg_database on datname = current_database()
                  where nspname = any($1))
         select format('alter role %I nosuperuser', $2) from role where rolsuper
         union
         select format('alter schema %I owner to %I', nspname, session_user)
         from ours, role
         where not rolsuper and owner = role.oid
         union
         select case when ours.owner = right_of.grantee or right_of.grantee = 'pg_database_owner'::regrole
                     then format('revoke %s from %I', ours.owner::regrole, $2)
                     else format('revoke create on schema %I from %s cascade', nspname,
                                 case right_of.grantee when 0 then 'public' else right_of.grantee::regrole::text end)
                end
         from ours, role, aclexplode(acl) as right_of
         where not rolsuper and ours.owner <> role.oid and right_of.privilege_type = 'CREATE'
           and (right_of.grantee = 0 or pg_has_role(role.oid, right_of.grantee, 'MEMBER'))",
    )
    .bind(super::rights::schemas())
    .bind(role)
    .fetch_all(connection)
    .await
}

/// The statements without which everybody may put functions in the place of those of Postgres, and those that drop such
/// functions. If the owner of the tables could make none without the right of everybody, it is granted one of its own. Up to
/// Postgres 14 everybody may make functions in `public`, and a database that was upgraded from such a version stays like that.
pub async fn to_everybody(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "with ours as (
             select oid, rolname, rolsuper from pg_roles
             where oid = coalesce((select relowner from pg_class where oid = to_regclass('public._sqlx_migrations')),
                                  (select oid from pg_roles where rolname = current_user)))
         select format('%srevoke create on schema %I from public cascade',
                       case when rolsuper or exists (select from aclexplode(nspacl) as named
                                                     where named.privilege_type = 'CREATE' and named.grantee <> 0
                                                       and pg_has_role(ours.oid, named.grantee, 'USAGE'))
                            then '' else format('grant create on schema %I to %I; ', nspname, rolname) end,
                       nspname)
         from ours, pg_namespace, aclexplode(nspacl) as right_of
         where nspname = any($1) and right_of.privilege_type = 'CREATE' and right_of.grantee = 0
         union all
         select format('drop routine %s', made.oid::regprocedure)
         from pg_proc as made join pg_roles on pg_roles.oid = proowner
         where pronamespace = 'public'::regnamespace and not rolsuper and rolname <> current_user
           and exists (select from pg_proc as original
                       where original.pronamespace = 'pg_catalog'::regnamespace and original.proname = made.proname)
           and not exists (select from pg_depend
                           where classid = 'pg_proc'::regclass and objid = made.oid and refclassid = 'pg_extension'::regclass
                             and deptype = 'e')",
    )
    .bind(super::rights::schemas())
    .fetch_all(connection)
    .await
}

/// The statements that keep a role from writing into `read_model_shapes`, whose statements the owner carries out when a read
/// model is rebuilt. The last one empties the table, since the role may have written into it before; the next migration fills it
/// again.
pub async fn of_shapes(connection: &mut PgConnection, role: &str) -> Result<Vec<String>, sqlx::Error> {
    let mut statements: Vec<String> = sqlx::query_scalar(
        "with role as (select oid from pg_roles where rolname = $1 and not rolsuper),
              rights as (
                  select relowner, (aclexplode(coalesce(relacl, acldefault('r', relowner)))).*
                  from pg_class where oid = to_regclass('public.read_model_shapes')
                  union all
                  select relowner, (aclexplode(attacl)).*
                  from pg_class join pg_attribute on attrelid = pg_class.oid
                  where pg_class.oid = to_regclass('public.read_model_shapes'))
         select distinct case
                    when grantee = relowner then format('revoke %s from %I', grantee::regrole, $1)
                    else format('revoke insert, update, delete, truncate, references, trigger on public.read_model_shapes from %s cascade',
                                case grantee when 0 then 'public' else grantee::regrole::text end)
                end
         from rights, role
         where privilege_type <> 'SELECT' and role.oid <> relowner
           and (grantee = 0 or pg_has_role(role.oid, grantee, 'MEMBER'))",
    )
    .bind(role)
    .fetch_all(connection)
    .await?;
    if !statements.is_empty() {
        statements.push("truncate public.read_model_shapes".to_owned());
    }
    Ok(statements)
}

/// The statements that drop what somebody else has put into `public`: functions, operators, and types that are not the rows of a
/// table. A superuser needs no such way, and what belongs to an extension is not ours to judge.
async fn foreign(owner: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "with found as (
             select 'pg_proc'::regclass as class, oid, proowner as owner, pronamespace as folder,
                    format('drop routine %s', oid::regprocedure) as statement
             from pg_proc
             union all
             select 'pg_operator'::regclass, oid, oprowner, oprnamespace, format('drop operator %s', oid::regoperator)
             from pg_operator
             union all
             select 'pg_type'::regclass, pg_type.oid, typowner, typnamespace, format('drop type %s', pg_type.oid::regtype)
             from pg_type left join pg_class on pg_class.oid = typrelid
             where coalesce(relkind, 'c') = 'c' and typcategory <> 'A')
         select statement
         from found join pg_roles on pg_roles.oid = owner
         where folder = 'public'::regnamespace and not rolsuper and rolname <> current_user
           and not exists (select from pg_depend
                           where classid = class and objid = found.oid and refclassid = 'pg_extension'::regclass and deptype = 'e')
         order by statement",
    )
    .fetch_all(owner)
    .await
}
