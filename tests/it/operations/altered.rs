//! A database in which somebody has put something that makes writes fail: no write is answered as a defect of the service.

use reqwest::Method;
use serde_json::json;

use crate::harness::World;

/// Statements that make the create of an identity fail, or its deletion, and those that mend that. What the readiness probe writes is
/// not refused by all of them.
const ALTERATIONS: [(&[&str], &[&str]); 11] = [
    (
        &["alter table name_claims add constraint no_zz check (name !~ 'zz')"],
        &["alter table name_claims drop constraint no_zz"],
    ),
    (
        &["create unique index one on read_model.identities ((true)) where agent_handle ~ 'zz|old-1'"],
        &["drop index read_model.one"],
    ),
    (
        &[
            "create index reciprocals on read_model.identities ((1 / case when agent_handle ~ 'zz' then 0 else 1 end))",
        ],
        &["drop index read_model.reciprocals"],
    ),
    (
        &[
            "create function refuse() returns trigger language plpgsql as 'begin raise exception ''no''; end'",
            "create trigger refusing before insert on read_model.identities for each row
             when (new.agent_handle ~ 'zz') execute function refuse()",
        ],
        &["drop function refuse() cascade"],
    ),
    (
        &["create rule nothing as on insert to name_claims do instead nothing"],
        &["drop rule nothing on name_claims"],
    ),
    (
        &[
            "alter table name_claims add column strange text not null default ''",
            "alter table name_claims alter column strange drop default",
        ],
        &["alter table name_claims drop column strange"],
    ),
    (
        &["alter table read_model.identities rename column mailbox_id to box_id"],
        &["alter table read_model.identities rename column box_id to mailbox_id"],
    ),
    (
        &["alter table organization_heads drop constraint organization_heads_pkey"],
        &["alter table organization_heads add primary key (organization_id)"],
    ),
    (
        &[
            "create table pictures (identity_id uuid references read_model.identities (id))",
            "insert into pictures select id from read_model.identities",
        ],
        &["drop table pictures"],
    ),
    // A trigger that leaves rows out says nothing about it.
    (
        &[
            "create function leave_out() returns trigger language plpgsql as 'begin return null; end'",
            "create trigger leaving_out before insert on events for each row
             when (new.payload::text ~ 'zz') execute function leave_out()",
        ],
        &["drop function leave_out() cascade"],
    ),
    (
        &[
            "create function leave_out() returns trigger language plpgsql as 'begin return null; end'",
            "create trigger leaving_out before insert on name_claims for each row
             when (new.name ~ 'zz') execute function leave_out()",
        ],
        &["drop function leave_out() cascade"],
    ),
];

#[test]
fn what_the_database_refuses_because_of_somebody_else_is_no_defect_of_the_service() {
    let world = World::new();
    let admin = world.admin();
    for (number, (alters, mends)) in ALTERATIONS.into_iter().enumerate() {
        let (old, new) = (format!("z-old-{number}"), format!("zz-new-of-a-long-name-{number}"));
        admin.create(&old);
        for statement in alters {
            world.database().execute(statement);
        }
        let body = json!({ "agent_handle": new });
        let answers = [
            admin.post("/identities/", &body),
            admin.call(Method::DELETE, &format!("/identities/{old}")).send(),
        ];
        let refused = answers.iter().filter(|answer| answer.status == 503).count();
        assert!(refused > 0, "{alters:?}: {} {}", answers[0], answers[1]);
        for answer in &answers {
            assert_ne!(answer.status, 500, "{alters:?}: {answer}");
        }
        for statement in mends {
            world.database().execute(statement);
        }
        admin.post("/identities/", &json!({ "agent_handle": format!("y-new-{number}") })).created();
    }
}
