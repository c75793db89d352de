use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::{DatabaseFlags, DatabaseSettings, ServeFlags, ServeSettings, SettingsFile};

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

#[test]
fn answers_are_kept_for_a_day_or_longer() {
    let kept = served(ServeFlags::default(), "idempotency_retention_hours = 48").unwrap();
    assert_eq!(kept.idempotency_retention, Duration::from_hours(48));
    let message = "idempotency_retention_hours must be at least 24";
    assert_eq!(rejected("idempotency_retention_hours = 23"), message);
}

#[test]
fn a_url_wins_over_a_data_directory() {
    let file = SettingsFile::parse("database_url = 'postgres://file'").unwrap();
    let flags = DatabaseFlags { data_dir: Some(PathBuf::from("data")), database_url: None };
    let DatabaseSettings::Url(url) = DatabaseSettings::resolve(flags, &file) else { panic!("no URL") };
    assert_eq!(url.expose_secret(), "postgres://file");

    let flags = DatabaseFlags { data_dir: None, database_url: Some(SecretString::from("postgres://flag")) };
    let DatabaseSettings::Url(url) = DatabaseSettings::resolve(flags, &file) else { panic!("no URL") };
    assert_eq!(url.expose_secret(), "postgres://flag");
}

#[test]
fn without_a_url_the_data_directory_is_the_flags_or_the_files_or_the_default() {
    let resolve = |flag: Option<&str>, file: &str| {
        let flags = DatabaseFlags { data_dir: flag.map(PathBuf::from), database_url: None };
        match DatabaseSettings::resolve(flags, &SettingsFile::parse(file).unwrap()) {
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
    let settings = DatabaseSettings::Url(SecretString::from("postgres://user:hunter2@host/database"));
    assert!(!format!("{settings:?}").contains("hunter2"));
}
