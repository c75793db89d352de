use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::HeaderValue;
use clap::Args as _;
use identity_http::client::ForwardedHeader;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Cors, DatabaseFlags, DatabaseSettings, PostgresSettings, ServeFlags, ServeSettings, SettingsFile,
    SigningSettings, Urls, WireLayer,
};
use crate::ServiceSettings;
use crate::secrets_key::SecretsSettings;

fn served(flags: ServeFlags, file: &str) -> Result<ServeSettings, String> {
    let file = SettingsFile::parse(file).map_err(|error| format!("{error:#}"))?;
    ServeSettings::resolve(flags, file).map_err(|error| format!("{error:#}"))
}

fn rejected(file: &str) -> String {
    served(ServeFlags::default(), file).unwrap_err()
}

#[test]
fn everything_has_a_default() {
    let settings = served(ServeFlags::default(), "").unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.mail_domain, "agents.localhost");
    assert_eq!(settings.tunnel_zone, "tunnels.localhost");
    assert_eq!(settings.name_hold, Duration::from_hours(30 * 24));
    assert_eq!(settings.description_limit, 10_000);
    assert_eq!(settings.idempotency_retention, Duration::from_hours(24));
}

#[test]
fn the_file_wins_over_the_default_and_a_flag_over_the_file() {
    let file = "
        listen = '127.0.0.1:1'
        mail_domain = 'file.example'
        tunnel_zone = 'zone.example'
        name_hold_days = 0
        description_limit = 5
    ";
    let flags = ServeFlags {
        mail_domain: Some("flag.example".to_owned()),
        description_limit: Some(6),
        ..ServeFlags::default()
    };
    let settings = served(flags, file).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:1");
    assert_eq!(settings.mail_domain, "flag.example");
    assert_eq!(settings.tunnel_zone, "zone.example");
    assert_eq!(settings.name_hold, Duration::ZERO);
    assert_eq!(settings.description_limit, 6);
}

/// The settings of the file that packages bring, as if nothing in it were commented out.
fn packaged() -> Vec<&'static str> {
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let lines = include_str!("../../../../packaging/identityd.toml").lines();
    let lines = lines.map(|line| line.trim_start_matches("# "));
    lines
        .filter(|line| line.starts_with('[') || line.split_once(" = ").is_some_and(|(name, _)| is_name(name)))
        .collect()
}

#[test]
fn the_packaged_file_has_every_documented_setting() {
    let packaged = packaged();
    SettingsFile::parse(&packaged.join("\n")).unwrap();
    let rows = include_str!("../../../../docs/settings.md").lines().filter(|line| line.starts_with("| `--"));
    let names = rows.filter_map(|row| row.split(" | ").nth(2)).flat_map(|names| names.split(", "));
    for name in names.filter_map(|name| name.strip_prefix('`')?.strip_suffix('`')) {
        let setting = format!("{name} = ");
        assert!(packaged.iter().any(|line| line.starts_with(&setting)), "{name}");
    }
}

#[test]
fn answers_are_kept_for_a_day_or_longer() {
    let kept = served(ServeFlags::default(), "idempotency_retention_hours = 48").unwrap();
    assert_eq!(kept.idempotency_retention, Duration::from_hours(48));
    let message = "idempotency_retention_hours must be at least 24";
    assert_eq!(rejected("idempotency_retention_hours = 23"), message);
}

#[test]
fn a_witness_is_a_verifier_key_and_a_url() {
    let key = "witness.example/w1+8832d1ae+BNVCB9oZSXfc9Grb/sK8LnW1LVqKQhhP7f3AACTw4+ja";
    let read = |witness: &str| served(ServeFlags::default(), &format!("witnesses = ['{witness}']"));
    for url in ["https://witness.example/log", "https://10.0.0.7:8443/log/", "http://127.0.0.1:1/log"] {
        let [witness] = &read(&format!("{key} {url}")).unwrap().witnesses[..] else {
            panic!("one was given")
        };
        assert_eq!(witness.key.to_string(), key);
        assert_eq!(witness.url, format!("{}/add-checkpoint", url.trim_end_matches('/')));
    }
    let rejected = |witness: &str| read(witness).unwrap_err();
    assert_eq!(rejected(key), "line 1: a witness is its verifier key, a space and its URL");
    let no_key = "line 1: the key of a witness (Ed25519 cosignatures, type 0x04): this is no verifier key";
    // A key of another type, and a key id that is not that of the name.
    for key in ["w+00000000+AW56HN0psLeP0Tr0xVmP7/TvKpcWbjym8uT7/M2AUFvx", &key.replace("/w1", "/w2")] {
        assert!(rejected(&format!("{key} https://witness.example")).starts_with(no_key));
    }
    for url in ["http://10.0.0.7", "ftp://witness.example", "witness"] {
        assert!(
            rejected(&format!("{key} {url}"))
                .starts_with("line 1: the URL of the witness witness.example/w1: ")
        );
    }
}

/// The two URLs of these flags over this file.
fn urls(flags: DatabaseFlags, file: &str) -> (String, Option<String>) {
    let resolved = DatabaseSettings::resolve(flags, &SettingsFile::parse(file).unwrap()).unwrap();
    let DatabaseSettings::Url(Urls { service, owner }) = resolved else { panic!("no URL") };
    (service.expose_secret().to_owned(), owner.map(|owner| owner.expose_secret().to_owned()))
}

#[test]
fn a_url_wins_over_a_data_directory() {
    let file = "database_url = 'postgres://file'";
    let flags = DatabaseFlags { data_dir: Some(PathBuf::from("data")), ..DatabaseFlags::default() };
    assert_eq!(urls(flags, file), ("postgres://file".to_owned(), None));

    let flags = DatabaseFlags { database_url: Some("postgres://flag".into()), ..DatabaseFlags::default() };
    assert_eq!(urls(flags, file), ("postgres://flag".to_owned(), None));
}

#[test]
fn the_owner_has_a_url_beside_that_of_the_service_and_not_without_it() {
    let file = "owner_url = 'postgres://owner@file'\ndatabase_url = 'postgres://file'";
    let owner = |name: &str| Some(format!("postgres://owner@{name}"));
    assert_eq!(urls(DatabaseFlags::default(), file).1, owner("file"));
    let flags =
        DatabaseFlags { owner_url: owner("flag").map(SecretString::from), ..DatabaseFlags::default() };
    assert_eq!(urls(flags, file).1, owner("flag"));

    let alone = SettingsFile::parse("owner_url = 'postgres://owner:hunter2@file'").unwrap();
    let error = DatabaseSettings::resolve(DatabaseFlags::default(), &alone).unwrap_err().to_string();
    assert_eq!(error, "owner_url is set, and database_url is not");
}

#[test]
fn without_a_url_the_data_directory_is_the_flags_or_the_files_or_the_default() {
    let resolve = |flag: Option<&str>, file: &str| {
        let flags = DatabaseFlags { data_dir: flag.map(PathBuf::from), ..DatabaseFlags::default() };
        match DatabaseSettings::resolve(flags, &SettingsFile::parse(file).unwrap()).unwrap() {
            DatabaseSettings::Private(data_dir) => data_dir,
            DatabaseSettings::Url(_) => panic!("no data directory"),
        }
    };
    assert_eq!(resolve(None, ""), PathBuf::from(".identityd"));
    assert_eq!(resolve(None, "data_dir = 'file'"), PathBuf::from("file"));
    assert_eq!(resolve(Some("flag"), "data_dir = 'file'"), PathBuf::from("flag"));
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let error = rejected("listen = '127.0.0.1:1'\nmail_domian = 'a.example'\n");
    assert!(error.starts_with("line 2: unknown field `mail_domian`"), "{error}");
}

#[test]
fn a_bad_file_is_explained_without_the_text_of_its_line() {
    let error = rejected("\n\ndatabase_url = postgres://user:hunter2@host/database\n");
    assert!(error.starts_with("line 3: "), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn values_out_of_range_are_named() {
    assert_eq!(rejected("name_hold_days = 36501"), "name_hold_days is 36501, at most 36500 is possible");
    assert_eq!(rejected("description_limit = 0"), "description_limit must be at least 1");
    assert!(rejected("name_hold_days = -1").starts_with("line 1: "));
    assert!(rejected("listen = 'localhost'").starts_with("line 1: "));
}

#[test]
fn domains_have_one_spelling() {
    let too_long = ["a"; 128].join(".");
    for bad in
        ["", "Agents.localhost", "a..b", ".a", "a.", "-a.b", "a-.b", "a_b", "a b", "ä.example", &too_long]
    {
        let error = rejected(&format!("tunnel_zone = {bad:?}"));
        assert!(error.starts_with(&format!("tunnel_zone is {bad:?}, which is no domain name")), "{error}");
    }
    for good in ["localhost", "a-b.c3.example", "xn--nxasmq6b"] {
        assert_eq!(
            served(ServeFlags::default(), &format!("tunnel_zone = {good:?}")).unwrap().tunnel_zone,
            good
        );
    }
}

#[test]
fn a_database_url_is_not_shown_by_accident() {
    let url = || SecretString::from("postgres://user:hunter2@host/database");
    let settings = DatabaseSettings::Url(Urls { service: url(), owner: Some(url()) });
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn what_lies_between_clients_and_the_api_stands_in_a_table_of_its_own() {
    let file = "
        [http]
        client_timeout_seconds = 5
        max_connections = 7
        key_requests_per_minute = 60
        refused_keys_per_minute = 0
        trusted_proxies = ['10.0.0.0/8', '::1/128']
        forwarded_header = 'forwarded'
        cors_origins = ['https://app.example']
        compression = false
    ";
    let wire = WireLayer { max_connections: Some(8), ..WireLayer::default() };
    let wire = served(ServeFlags { wire, ..ServeFlags::default() }, file).unwrap().wire;
    assert_eq!(wire.connections.client_timeout, Duration::from_secs(5));
    assert_eq!(wire.connections.max_connections, 8, "a flag wins over the file");
    assert_eq!(wire.connections.trusted_proxies.networks.len(), 2);
    assert_eq!(wire.connections.trusted_proxies.header, ForwardedHeader::Forwarded);
    assert_eq!(wire.limits.key.map(NonZeroU32::get), Some(60));
    assert_eq!((wire.limits.organization, wire.limits.refused_keys), (None, None));
    assert_eq!(wire.cors, Cors::Of(vec![HeaderValue::from_static("https://app.example")]));
    assert!(!wire.compression);
}

#[test]
fn what_cannot_be_between_clients_and_the_api_is_named() {
    let rejected = |line: &str| rejected(&format!("[http]\n{line}"));
    assert!(rejected("max_conections = 1").starts_with("line 2: unknown field `max_conections`"));
    assert!(rejected("trusted_proxies = ['everybody']").starts_with("line 2: "));
    assert!(rejected("forwarded_header = 'via'").starts_with("line 2: "));
    assert!(rejected("key_requests_per_minute = 0").starts_with("line 2: "));
    assert_eq!(
        rejected("client_timeout_seconds = 0"),
        "client_timeout_seconds is 0, which is not in 1 to 3600"
    );
    assert_eq!(rejected("max_requests = 0"), "max_requests is 0, which is not in 1 to 1000000");
    assert!(rejected("cors_origins = ['app.example']").starts_with("cors_origins has \"app.example\""));
    assert_eq!(rejected("tls_key = 'key'"), "tls_key is set and tls_certificate is not");
    assert_eq!(rejected("tls_certificate = 'chain'"), "tls_certificate is set and tls_key is not");
}

#[test]
fn no_password_is_shown_by_accident() {
    let url = "postgres://u:hunter2@h/d";
    let file = format!("database_url = '{url}'\nowner_url = '{url}'\nsigning_key = 'hunter2'");
    let file = SettingsFile::parse(&file).unwrap();
    let database =
        DatabaseFlags { data_dir: None, database_url: Some(url.into()), owner_url: Some(url.into()) };
    let served = ServeSettings::resolve(ServeFlags::default(), SettingsFile::default()).unwrap();
    let service = ServiceSettings {
        listen: served.listen,
        database_url: url.into(),
        owner_url: Some(url.into()),
        mail_domain: served.mail_domain,
        tunnel_zone: served.tunnel_zone,
        name_hold: served.name_hold,
        description_limit: served.description_limit,
        quotas: served.quotas,
        idempotency_retention: Duration::from_hours(24),
        trust_checkpoints: false,
        witnesses: vec![],
        signing: SigningSettings {
            data_dir: PathBuf::new(),
            key: Some("hunter2".to_owned().into()),
            etcd: None,
        },
        secrets: SecretsSettings::new(None, Path::new("")),
        wire: served.wire,
        heartbeat: crate::HEARTBEAT,
        postgres: PostgresSettings::default(),
        webhooks: served.webhooks,
    };
    for shown in [format!("{file:?}"), format!("{database:?}"), format!("{service:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn every_setting_of_a_limit_is_on_the_page_of_limits_with_its_default() {
    let rows: Vec<&str> = include_str!("../../../../docs/limits.md").lines().collect();
    let is_limit = |name: &str| {
        ["max_", "_per_", "timeout", "_held", "_limit", "hold", "retention", "_log_"]
            .iter()
            .any(|part| name.contains(part))
    };
    let command = ServeFlags::augment_args(clap::Command::new("serve"));
    let limits: Vec<_> =
        command.get_arguments().filter(|argument| is_limit(argument.get_id().as_str())).collect();
    assert!(limits.len() > 20, "{limits:?}");
    for limit in limits {
        let (name, help) = (limit.get_id().as_str(), limit.get_help().unwrap().to_string());
        let row = rows.iter().find(|row| row.contains(&format!("`{name}`")));
        let row = row.unwrap_or_else(|| panic!("{name} is not in docs/limits.md"));
        let default = help.split("[default: ").nth(1).unwrap().trim_end_matches(']').to_owned();
        assert!(
            row.contains(&format!("| {default} |")),
            "the default of {name} is {default}, not as in {row}"
        );
    }
}
