//! How addresses are written, and what goes with them.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use identity_webhooks::Settings;
use identity_webhooks::address::{Policy, Resolver, Turn};
use serde_json::json;

use super::deliveries::{eventually_delivered, settings};
use super::receiver::Receiver;
use super::{PATH, of_identity, path_of, subscribe};
use crate::harness::{World, eventually, text};

#[test]
fn an_address_is_sent_to_whatever_its_characters() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let alpha = world.agent("alpha");
    let url = format!("{}/ü{{x}}?q=\"ä\"", receiver.url());
    let shown = subscribe(
        &alpha,
        &json!({ "agent_identity_id": alpha.id, "url": url, "event_types": ["identity.updated"] }),
    );
    assert_eq!(shown["url"], url);
    receiver.wait_for(1);
}

#[test]
fn a_token_does_not_go_to_another_host_unless_it_is_given_again() {
    let world = World::with_webhooks(settings());
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let mut body = of_identity(&alpha.id);
    body["auth_token"] = json!("let-me-in");
    let path = path_of(&subscribe(&admin, &body));
    for url in
        ["https://other.example/events", "https://harbor.example:8443/events", "http://127.0.0.1/events"]
    {
        world.stores_nothing(|| {
            alpha.patch(&path, &json!({ "url": url })).invalid_at(&["body", "auth_token"])
        });
    }
    for url in ["https://harbor.example/other", "https://HARBOR.example:443/"] {
        assert_eq!(alpha.patch(&path, &json!({ "url": url })).ok()["has_auth_token"], json!(true));
    }
    for token in [json!("another"), json!(null)] {
        let url = format!("https://{}.example/", token.as_str().unwrap_or("none"));
        let shown = alpha.patch(&path, &json!({ "url": url, "auth_token": token })).ok();
        assert_eq!(shown["has_auth_token"], json!(token.is_string()));
    }
    alpha.patch(&path, &json!({ "url": "https://other.example/" })).ok();
}

/// Every name is this machine when it is looked up first, and leads to a private network from then on.
#[derive(Debug, Default)]
struct Turning {
    lookups: AtomicUsize,
}

#[async_trait]
impl Resolver for Turning {
    async fn addresses(&self, _: &str, _: Turn) -> io::Result<Vec<IpAddr>> {
        let is_first = self.lookups.fetch_add(1, Ordering::SeqCst) == 0;
        Ok(vec![if is_first { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(10, 0, 0, 1) }.into()])
    }
}

// Scenario 61.
#[test]
fn a_name_that_turns_private_after_the_check_is_not_followed_and_is_refused_when_it_is_checked_again() {
    let names = Arc::new(Turning::default());
    let resolver: Arc<dyn Resolver> = Arc::<Turning>::clone(&names);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let policy = Policy { ports: vec![port], ..settings().policy };
    let world = World::with_webhooks(Settings { resolver, policy, ..settings() });
    let alpha = world.agent("alpha");
    let mut body = of_identity(&alpha.id);
    body["url"] = json!(format!("https://harbor.example:{port}/in"));
    subscribe(&alpha, &body);
    // The address that was checked is connected to, though the name has turned meanwhile.
    eventually("there is a connection", || listener.accept().is_ok());
    let listed = eventually_delivered(&alpha, 2);
    let [.., second, first] = &listed[..] else { panic!("{listed:?}") };
    let reason = text(&second["error_detail"]);
    assert!(reason.ends_with("harbor.example leads to an address that is not public"), "{reason}");
    assert!(!text(&first["error_detail"]).contains("not public"), "{first}");
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// Over http only this machine is reached. That a name leads elsewhere is known only when it is looked up.
#[test]
fn a_name_is_looked_up_before_its_address_is_saved() {
    let world = World::with_webhooks(settings());
    let alpha = world.agent("alpha");
    let subscription = subscribe(&alpha, &of_identity(&alpha.id));
    let mut body = of_identity(&alpha.id);
    body["url"] = json!("http://harbor.example/in");
    alpha.post(PATH, &body).invalid_at(&["body", "url"]);
    alpha.patch(&path_of(&subscription), &json!({ "url": body["url"] })).invalid_at(&["body", "url"]);
}
