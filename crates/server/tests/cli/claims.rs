//! Rows by hand that say who has a name, a number or a webhook subscription: the doctor finds them, nothing is given to two, and
//! one command makes them again.

use identity_postgres::PrivatePostgres;
use reqwest::Method;
use reqwest::blocking::Client;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Runtime;

use crate::harness::{Place, Serving};

/// Everything that is compared.
const ALL: &str = "
    select concat_ws(E'\\n',
        (select json_agg(claim order by name)::text from name_claims as claim),
        (select json_agg(pool order by number)::text from phone_number_pool as pool where claimed_by is not null),
        (select json_agg(owner)::text from webhook_owners as owner))";

struct Scene {
    serving: Serving,
    key: String,
    runtime: Runtime,
    database: PgConnection,
}

impl Scene {
    fn start(place: &Place, postgres: &PrivatePostgres) -> Self {
        let made = place.run(&["org", "create", "acme", "--json"]).succeeded().json();
        let key = made["api_key"].as_str().unwrap().to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let database = runtime.block_on(PgConnection::connect(&postgres.url())).unwrap();
        Self { serving: place.serve(), key, runtime, database }
    }

    fn call(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/api/v1{path}", self.serving.base());
        let request = Client::builder().no_proxy().build().unwrap().request(method, url);
        let answer = request.header("X-API-Key", &self.key).json(body).send().unwrap();
        (answer.status().as_u16(), answer.json().unwrap_or_default())
    }

    fn create(&self, handle: &str) -> (u16, Value) {
        self.call(Method::POST, "/identities", &json!({ "agent_handle": handle }))
    }

    fn number(&self, handle: &str) -> (u16, Value) {
        self.call(Method::POST, "/phone/numbers", &json!({ "agent_handle": handle }))
    }

    fn execute(&mut self, statement: &str) {
        self.runtime.block_on(sqlx::query(statement).execute(&mut self.database)).unwrap();
    }

    fn all(&mut self) -> String {
        self.runtime.block_on(sqlx::query_scalar(ALL).fetch_one(&mut self.database)).unwrap()
    }
}

/// What the doctor says of claims.
fn claims(place: &Place) -> (bool, String) {
    let checks = place.run(&["doctor", "--json"]).json();
    let checks = checks["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "claims").unwrap();
    (check["passed"] == true, check["finding"].as_str().unwrap().to_owned())
}

#[test]
fn claims_that_are_missing_are_found_and_made_again_and_nothing_is_given_to_two() {
    let place = Place::served();
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    let mut scene = Scene::start(&place, &postgres);
    let mut ids = vec![];
    for handle in ["alpha", "bravo", "carol", "delta"] {
        let (status, created) = scene.create(handle);
        assert_eq!(status, 201, "{created}");
        ids.push(created["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(scene.number("bravo").0, 201);
    // Names that are held back: of a rename, of a rename back, and of a deletion.
    for (from, to) in [("alpha", "alpha-2"), ("bravo", "bravo-2"), ("bravo-2", "bravo")] {
        let path = format!("/identities/{from}");
        assert_eq!(scene.call(Method::PATCH, &path, &json!({ "agent_handle": to })).0, 200);
    }
    assert_eq!(scene.call(Method::DELETE, "/identities/carol", &Value::Null).0, 204);
    let subscription = json!({ "agent_identity_id": ids[1], "url": "https://harbor.example/", "event_types": ["identity.updated"] });
    assert_eq!(scene.call(Method::POST, "/webhooks/subscriptions", &subscription).0, 201);
    assert!(claims(&place).0);
    let before = scene.all();

    scene.execute("delete from name_claims");
    scene.execute("update phone_number_pool set claimed_by = null");
    scene.execute("delete from webhook_owners");
    let (passed, finding) = claims(&place);
    assert!(!passed);
    for table in ["name_claims", "phone_number_pool", "webhook_owners"] {
        assert!(finding.contains(table), "{table}: {finding}");
    }
    // The unique indexes of the read model know better.
    for (status, refused) in [scene.create("bravo"), scene.number("delta")] {
        assert_eq!((status, &refused["code"]), (503, &json!("unavailable")), "{refused}");
    }
    let made = place.run(&["projections", "claims", "--json"]).succeeded().json();
    assert_eq!(made, json!({ "name_claims": 6, "phone_number_pool": 1, "webhook_owners": 1 }));
    assert_eq!(scene.all(), before);
    assert!(claims(&place).0, "{:?}", claims(&place));
    for taken in ["alpha", "alpha-2", "bravo", "bravo-2", "carol"] {
        let (status, refused) = scene.create(taken);
        assert_eq!(
            (status, &refused["detail"]["code"]),
            (409, &json!("agent_handle_unavailable")),
            "{refused}"
        );
    }
    assert_eq!(scene.number("delta").0, 201);
    let nothing = place.run(&["projections", "claims", "--json"]).succeeded().json();
    assert_eq!(nothing, json!({ "name_claims": 0, "phone_number_pool": 0, "webhook_owners": 0 }));
    let Scene { serving, .. } = scene;
    assert!(serving.stop().success());
    postgres.close().unwrap();
}
