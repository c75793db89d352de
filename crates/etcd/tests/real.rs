//! A real etcd.

#![cfg(test)]

use std::fs;
use std::net::TcpListener;

use identity_etcd::{Account, Etcd, Settings};
use identity_log::proof::memory::{Entry, SharedPlace as _};
use identityd_tests::etcd::Etcd as Server;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

fn at(endpoints: &[&str]) -> Settings {
    let endpoints = endpoints.iter().map(ToString::to_string).collect();
    Settings { endpoints, authorities: vec![], certificate: None, account: None }
}

#[tokio::test]
async fn an_entry_is_replaced_only_if_it_is_the_one_that_was_read() {
    let Some(server) = Server::start() else { return };
    let etcd = Etcd::new(at(&[&server.endpoint()])).unwrap();
    assert_eq!(etcd.read("a").await.unwrap(), None);
    let first = etcd.replace("a", "one\n— ü", 0).await.unwrap().unwrap();
    let entry = Entry { text: "one\n— ü".to_owned(), revision: first };
    assert_eq!(etcd.read("a").await.unwrap(), Some(entry.clone()));
    assert_eq!(etcd.replace("a", "two", 0).await.unwrap(), None, "it is there already");
    let other = etcd.replace("b", "", 0).await.unwrap().unwrap();
    assert_eq!(etcd.replace("a", "two", other).await.unwrap(), None, "the revision is that of another entry");
    assert_eq!(etcd.read("a").await.unwrap(), Some(entry));
    let second = etcd.replace("a", "two", first).await.unwrap().unwrap();
    assert!(second > first);
    assert_eq!(etcd.replace("a", "three", first).await.unwrap(), None, "it was replaced");
    assert_eq!(etcd.read("b").await.unwrap(), Some(Entry { text: String::new(), revision: other }));
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_passed_over() {
    let Some(server) = Server::start() else { return };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let etcd = Etcd::new(at(&[&silent, "http://127.0.0.1:1", &server.endpoint()])).unwrap();
    let revision = etcd.replace("a", "one", 0).await.unwrap().unwrap();
    assert_eq!(etcd.read("a").await.unwrap().unwrap().revision, revision);
    let error =
        Etcd::new(at(&[&silent, "http://127.0.0.1:1"])).unwrap().read("a").await.unwrap_err().to_string();
    assert!(error.contains("no answer within 2 s; http://127.0.0.1:1: cannot be reached"), "{error}");
}

#[test]
fn what_is_no_endpoint_is_refused() {
    for wrong in ["10.0.0.1:2379", "unix:///socket", "http://name:password@host", "http://host/path", ""] {
        let error = Etcd::new(at(&[wrong])).unwrap_err().to_string();
        assert!(error.contains("is no endpoint of etcd") && !error.contains("password"), "{wrong}: {error}");
    }
    assert_eq!(Etcd::new(at(&[])).unwrap_err().to_string(), "no endpoint of etcd is given");
    Etcd::new(at(&["https://host:2379/"])).unwrap();
}

/// Sends a request as an operator of etcd.
async fn set_up(server: &Server, path: &str, request: Value) {
    let sent =
        reqwest::Client::new().post(format!("{}/v3/auth/{path}", server.endpoint())).json(&request).send();
    sent.await.unwrap().error_for_status().unwrap();
}

#[tokio::test]
async fn an_account_gets_a_token_and_another_one_when_it_has_ended() {
    let Some(mut server) = Server::start() else { return };
    set_up(&server, "user/add", json!({"name": "root", "password": "secret"})).await;
    set_up(&server, "role/add", json!({"name": "root"})).await;
    set_up(&server, "user/grant", json!({"user": "root", "role": "root"})).await;
    set_up(&server, "enable", json!({})).await;
    let with = |password: &str| {
        let account = Some(Account { user: "root".to_owned(), password: password.into() });
        Etcd::new(Settings { account, ..at(&[&server.endpoint()]) }).unwrap()
    };
    let (etcd, stranger) = (with("secret"), with("wrong"));
    assert!(!format!("{etcd:?}").contains("secret"));
    let revision = etcd.replace("a", "one", 0).await.unwrap().unwrap();
    let refused = stranger.read("a").await.unwrap_err().to_string();
    assert!(refused.contains("authentication failed"), "{refused}");
    Etcd::new(at(&[&server.endpoint()])).unwrap().read("a").await.unwrap_err();
    // Tokens are in the memory of etcd.
    server.stop();
    server.start_again();
    // A connection from before may be noticed as closed only when it is used.
    drop(etcd.read("a").await);
    assert_eq!(etcd.read("a").await.unwrap().unwrap().revision, revision);
}

#[tokio::test]
async fn etcd_and_its_client_show_certificates() {
    let folder = TempDir::new().unwrap();
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    // The gateway is a client of its own etcd.
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ca = file("ca.pem", authority.pem());
    let (chain, key_file) =
        (file("certificate.pem", certificate.pem()), file("key.pem", key.serialize_pem()));
    let arguments =
        ["--client-cert-auth", "--trusted-ca-file", &ca, "--cert-file", &chain, "--key-file", &key_file];
    let Some(server) = Server::with("https", &arguments) else { return };
    let trusting = || Settings { authorities: vec![authority.der().clone()], ..at(&[&server.endpoint()]) };
    let shown =
        Some((vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap()));
    let etcd = Etcd::new(Settings { certificate: shown, ..trusting() }).unwrap();
    let revision = etcd.replace("a", "one", 0).await.unwrap().unwrap();
    assert_eq!(etcd.read("a").await.unwrap().unwrap().revision, revision);
    Etcd::new(trusting()).unwrap().read("a").await.expect_err("a certificate is wanted");
    Etcd::new(at(&[&server.endpoint()])).unwrap().read("a").await.expect_err("nobody knows this authority");
}
