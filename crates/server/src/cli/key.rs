//! `identityd key`.

use std::time::Duration;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Subcommand, ValueEnum};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use identityd::operator::{Key, NewKey, Purpose, RotatedKey};

use super::expiry::{ExpiryFlags, duration};
use super::output::{Output, must_reach_somebody, print_list, timestamp};
use super::table::{Table, Tone, Toned, ago, is_past, plain};
use super::{Arguments, Installation, as_operator};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Issue a key and print it once
    Issue(IssueFlags),
    /// List the keys of an organization, the oldest first
    List {
        /// Id or name of the organization
        #[arg(long)]
        org: String,
    },
    /// Give a key a new secret and print the key once; the old secret stays valid until the overlap ends
    Rotate(RotateFlags),
    /// Revoke a key
    Revoke {
        /// Its public part, `ApiKey_<uuid>`
        key_id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct IssueFlags {
    /// Id or name of the organization
    #[arg(long)]
    org: String,

    /// What to call the key
    #[arg(long)]
    label: String,

    /// What it may do; `agent` if an identity is given, else `admin`
    #[arg(long)]
    scope: Option<ScopeFlag>,

    /// Handle of the only identity it may act for
    #[arg(long, value_name = "HANDLE", required_if_eq("scope", "agent"))]
    identity: Option<String>,

    #[command(flatten)]
    expiry: ExpiryFlags,
}

#[derive(Debug, Args)]
pub(super) struct RotateFlags {
    /// Its public part, `ApiKey_<uuid>`
    key_id: String,

    /// How long the text that the key has until now stays valid, at most 30 days
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    overlap: Duration,

    #[command(flatten)]
    expiry: ExpiryFlags,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScopeFlag {
    /// Everything in the organization
    Admin,
    /// What one identity may do
    Agent,
    /// Read the organization's history, and nothing else
    Auditor,
}

impl IssueFlags {
    /// Flags that exclude each other in a way that clap cannot express are a usage error, too.
    fn purpose(&self) -> Result<Purpose<'_>, clap::Error> {
        let mistake = |kind, text| Err(Arguments::command().error(kind, text));
        match (self.scope, self.identity.as_deref()) {
            (None | Some(ScopeFlag::Agent), Some(handle)) => Ok(Purpose::Agent(handle)),
            (None | Some(ScopeFlag::Admin), None) => Ok(Purpose::Admin),
            (Some(ScopeFlag::Auditor), None) => Ok(Purpose::Auditor),
            (Some(ScopeFlag::Agent), None) => {
                mistake(ErrorKind::MissingRequiredArgument, "an agent key needs --identity")
            }
            (Some(ScopeFlag::Admin | ScopeFlag::Auditor), Some(_)) => {
                mistake(ErrorKind::ArgumentConflict, "--identity is for agent keys only")
            }
        }
    }
}

pub(super) async fn run(command: Command, installation: &Installation, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Issue(flags) => issue(&flags, installation, output).await,
        Command::List { org } => list(&org, installation, output).await,
        Command::Rotate(flags) => rotate(&flags, installation, output).await,
        Command::Revoke { key_id } => revoke(&key_id, installation, output).await,
    }
}

async fn issue(flags: &IssueFlags, installation: &Installation, output: Output) -> anyhow::Result<()> {
    let IssueFlags { org, label, expiry, .. } = flags;
    let expires_at = expiry.moment();
    let purpose = flags.purpose().unwrap_or_else(|mistake| mistake.exit());
    must_reach_somebody()?;
    let issuing = as_operator(installation, async |operator| {
        operator.issue_key_until(org, label, purpose, expires_at).await
    });
    let NewKey { key_id, api_key } = issuing.await?;
    let key = api_key.expose_secret();
    let lines = [format!("key id {key_id}"), format!("key    {key}")];
    let printed = output.print_lines(&json!({ "key_id": key_id, "api_key": key }), &lines);
    printed.with_context(|| {
        format!(
            "the key {key_id} was issued, but could not be shown; revoke it with `identityd key revoke {key_id}` \
             and issue another"
        )
    })
}

async fn rotate(flags: &RotateFlags, installation: &Installation, output: Output) -> anyhow::Result<()> {
    let RotateFlags { key_id, overlap, expiry } = flags;
    must_reach_somebody()?;
    let expires_at = expiry.moment();
    let rotating =
        as_operator(installation, async |operator| operator.rotate_key(key_id, *overlap, expires_at).await);
    let RotatedKey { key: NewKey { key_id, api_key }, previous_valid_until } = rotating.await?;
    let key = api_key.expose_secret();
    let until = previous_valid_until.map(timestamp);
    let lines = [
        format!("key id {key_id}"),
        format!("key    {key}"),
        format!("the old secret is valid until {}", until.as_deref().unwrap_or("now")),
    ];
    let json = json!({ "key_id": key_id, "api_key": key, "previous_valid_until": until });
    output.print_lines(&json, &lines).with_context(|| {
        format!("the key {key_id} was rotated, but the new secret could not be shown; rotate it again")
    })
}

async fn list(org: &str, installation: &Installation, output: Output) -> anyhow::Result<()> {
    let keys = as_operator(installation, async |operator| operator.list_keys(org).await).await?;
    let json = keys.iter().map(as_json).collect();
    let lines: Vec<_> = keys.iter().map(as_line).collect();
    let mut table = Table::new(
        "API keys",
        &["KEY", "LABEL", "MAY ACT AS", "ENDS WITH", "ISSUED", "EXPIRES", "LAST USED", "STATE"],
        &[0],
    );
    for key in &keys {
        table.add(as_row(key));
    }
    print_list(output, json, &lines, &table)
}

async fn revoke(key_id: &str, installation: &Installation, output: Output) -> anyhow::Result<()> {
    as_operator(installation, async |operator| operator.revoke_key(key_id).await).await?;
    output.print(&json!({ "key_id": key_id, "status": "revoked" }), &format!("revoked {key_id}"))
}

fn as_json(key: &Key) -> Value {
    json!({
        "id": key.id,
        "label": key.label,
        "scope": key.scope.as_str(),
        "identity": key.identity,
        "last4": key.last4,
        "created_at": timestamp(key.created_at),
        "revoked_at": key.revoked_at.map(timestamp),
        "expires_at": key.expires_at.map(timestamp),
        "previous_valid_until": key.previous_valid_until.map(timestamp),
        "last_used_at": key.last_used_at.map(timestamp),
    })
}

fn as_line(key: &Key) -> Vec<String> {
    let scope = key.identity.clone().unwrap_or_else(|| key.scope.as_str().to_owned());
    let state = match (key.revoked_at, key.expires_at) {
        (Some(at), _) => format!("revoked {}", timestamp(at)),
        (None, Some(at)) if is_past(at) => format!("expired {}", timestamp(at)),
        (None, Some(at)) => format!("active until {}", timestamp(at)),
        (None, None) => "active".to_owned(),
    };
    vec![
        key.id.clone(),
        key.label.clone(),
        scope,
        format!("…{}", key.last4),
        timestamp(key.created_at),
        state,
    ]
}

fn as_row(key: &Key) -> [Toned; 8] {
    let scope = key.identity.as_deref().unwrap_or(key.scope.as_str());
    let state = match (key.revoked_at, key.expires_at) {
        (Some(at), _) => (format!("revoked {}", ago(at)), Tone::Past),
        (None, Some(at)) if is_past(at) => (format!("expired {}", ago(at)), Tone::Past),
        (None, _) => ("active".to_owned(), Tone::Good),
    };
    let last4 = format!("…{}", key.last4);
    let expires = key.expires_at.map_or_else(|| "never".to_owned(), timestamp);
    [
        plain(&key.id),
        plain(&key.label),
        plain(scope),
        plain(last4),
        plain(ago(key.created_at)),
        plain(expires),
        plain(key.last_used_at.map_or_else(|| "never".to_owned(), ago)),
        state,
    ]
}
