//! A database URL and what can be read out of it without showing it.

use anyhow::{Context as _, bail, ensure};
use identity_log::session::{self, Setting};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;

/// Parameters that mean something to sqlx. It logs others together with their values, and a value may be a secret.
const KNOWN: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Which server libpq asks for. sqlx does not know this parameter.
const SERVER_WANTED: &str = "target_session_attrs";

/// What every statement of this software presumes, whatever a role or a database is given as default: how texts are quoted, and
/// that no statement fails because it waited for a lock. A pooler may drop it.
const PRESUMED: [Setting<'static>; 3] =
    [("standard_conforming_strings", "on"), ("quote_all_identifiers", "off"), ("lock_timeout", "0")];

/// How to connect. A parameter that nobody knows is left out, and named in the log without its value.
pub fn options(url: &SecretString) -> anyhow::Result<PgConnectOptions> {
    check_escapes(url.expose_secret())?;
    check_server(url.expose_secret())?;
    let (url, unknown) = known_part(url.expose_secret());
    for name in unknown {
        // Anything else may be a part of a password.
        let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'-');
        let name = if is_name { &name } else { "(not shown)" };
        tracing::warn!(name, "a parameter of the database URL is unknown and was left out");
    }
    let options: PgConnectOptions = url.parse().context("the database URL is not valid")?;
    Ok(session::beginning_with(options, &PRESUMED))
}

/// Refuses a URL in which the password probably ends too early: what is behind a `?`, `#` or `/` in it would be taken for a parameter,
/// a fragment or a database, and named as such. The value of a known parameter may have an `@`.
fn check_escapes(url: &str) -> anyhow::Result<()> {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, _) = after_scheme.split_once(['/', '?', '#']).unwrap_or((after_scheme, ""));
    let (address, query) = after_scheme.split_once('?').unwrap_or((after_scheme, ""));
    let unknown = query.split('&').filter(|parameter| !is_known(parameter));
    let has_at = |part: &str| part.contains('@');
    ensure!(
        (has_at(authority) || !has_at(address)) && !unknown.into_iter().any(has_at),
        "the database URL has an @ behind the host: write the characters ? # / @ in a password as %3F %23 %2F %40"
    );
    Ok(())
}

/// Refuses what only libpq can do: to choose among several hosts, and to look for a standby.
fn check_server(url: &str) -> anyhow::Result<()> {
    ensure!(
        !names_several_hosts(url),
        "the database URL names several hosts, of which only one could be used: give the address of a proxy such as HAProxy \
         that leads to the primary"
    );
    match value(url, SERVER_WANTED).as_deref() {
        None | Some("any" | "primary" | "read-write") => Ok(()),
        Some(_) => bail!(
            "{SERVER_WANTED} of the database URL must be primary, read-write or any, or be left out: identityd works with \
             the primary alone"
        ),
    }
}

/// Whether the host has a comma, as libpq allows it: between user and database, or in the parameters `host` and `hostaddr`. The
/// folder of a socket may have one in its name.
fn names_several_hosts(url: &str) -> bool {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?']).next().unwrap_or_default();
    let host = decoded(authority.rsplit('@').next().unwrap_or_default());
    [Some(host), value(url, "host"), value(url, "hostaddr")]
        .into_iter()
        .flatten()
        .any(|host| host.contains(',') && !host.starts_with('/'))
}

/// The value of a parameter of the URL. If it is given several times, the last one counts.
fn value(url: &str, wanted: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let mut from_the_end = query.rsplit('&').filter_map(|parameter| parameter.split_once('='));
    from_the_end.find(|(name, _)| decoded(name) == wanted).map(|(_, value)| decoded(value))
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The URL with the parameters that are known, and the names of the others but [`SERVER_WANTED`], which was looked at before.
fn known_part(url: &str) -> (String, Vec<String>) {
    let Some((address, query)) = url.split_once('?') else { return (url.to_owned(), vec![]) };
    let (known, unknown): (Vec<&str>, Vec<&str>) =
        query.split('&').partition(|parameter| is_known(parameter));
    let unknown = unknown.into_iter().filter(|parameter| !parameter.is_empty()).map(name);
    let unknown = unknown.filter(|name| name != SERVER_WANTED).collect();
    (format!("{address}?{}", known.join("&")), unknown)
}

/// The name of a parameter.
fn name(parameter: &str) -> String {
    decoded(parameter.split('=').next().unwrap_or_default())
}

fn is_known(parameter: &str) -> bool {
    let name = name(parameter);
    KNOWN.contains(&name.as_str()) || name.starts_with("options[")
}

#[cfg(test)]
mod tests {
    use super::{known_part, options};

    #[test]
    fn one_host_is_named() {
        for url in ["postgres://u:p,w@one/d", "postgres://one/a,b", "postgres://one:5432/d?options[a]=b,c"] {
            options(&url.into()).unwrap();
        }
        for url in [
            "postgres://one,two/d",
            "postgres://one%2Ctwo/d",
            "postgres://u:p@one:5432,two:5432/d?target_session_attrs=read-write",
            "postgres:///d?host=one,two",
            "postgres://one/d?sslmode=disable&host=one%2Ctwo&port=5432,5433",
            "postgres:///d?hostaddr=10.0.0.1,10.0.0.2",
        ] {
            let error = options(&url.into()).unwrap_err().to_string();
            assert!(error.contains("several hosts") && error.contains("HAProxy"), "{error}");
        }
    }

    #[test]
    fn a_password_that_ends_too_early_is_not_repeated() {
        for password in ["S3CRET?PW", "S3CRET#PW", "S3CRET/PW", "S3CRET?a=PW", "S3CRET?a=b&PW"] {
            let url = format!("postgres://x:{password}@127.0.0.1:1/none");
            let error = format!("{:#}", options(&url.into()).unwrap_err());
            assert!(error.contains("%3F") && !error.contains("PW") && !error.contains("S3CRET"), "{error}");
        }
        options(&"postgres://x:S3@CRET?PW&lower@127.0.0.1:1/none".into()).unwrap_err();
        for url in [
            "postgres://x:S3CRET%3FPW%40@127.0.0.1:1/none",
            "postgres://x:S3CRET@127.0.0.1:1/a@b",
            "postgres://127.0.0.1:1/none?user=x@server",
        ] {
            options(&url.into()).unwrap();
        }
    }

    #[test]
    fn the_folder_of_a_socket_may_have_a_comma_in_its_name() {
        options(&"postgres:///d?host=%2Fsrv%2Fa%2Cb".into()).unwrap();
    }

    #[test]
    fn a_standby_is_not_asked_for() {
        for wanted in ["any", "primary", "read-write", "read%2Dwrite"] {
            let url = format!("postgres://one/d?target_session_attrs={wanted}");
            options(&url.as_str().into()).unwrap();
            // It is not dropped with a warning: it asks for what is done anyway.
            assert_eq!(known_part(&url), ("postgres://one/d?".to_owned(), vec![]));
        }
        for wanted in ["standby", "read-only", "prefer-standby", "primray"] {
            let url = format!("postgres://one/d?target_session_attrs={wanted}");
            let error = options(&url.as_str().into()).unwrap_err().to_string();
            assert!(error.contains("target_session_attrs") && error.contains("read-write"), "{error}");
        }
    }

    #[test]
    fn unknown_parameters_are_taken_out() {
        let url = "postgres://u:p@h/d?sslmode=disable&pass%77d=secret&options[a]=b&x";
        let (known, unknown) = known_part(url);
        assert_eq!(known, "postgres://u:p@h/d?sslmode=disable&options[a]=b");
        assert_eq!(unknown, ["passwd", "x"]);
        assert_eq!(known_part("postgres://h/d").0, "postgres://h/d");
    }
}
