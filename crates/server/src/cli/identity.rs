//! `identityd identity`.

use clap::Subcommand;
use identity_projections::identities::Row;
use serde_json::{Value, json};

use identityd::audit::replay;

use super::output::{Output, print_list, timestamp};
use super::table::{Table, Tone, ago, plain};
use super::{Installation, as_operator};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the identities of an organization, the newest first
    List {
        /// Id or name of the organization
        #[arg(long)]
        org: String,
    },
    /// Show an identity as an admin of its organization sees it
    Show {
        /// Its handle
        handle: String,

        /// Id or name of the organization
        #[arg(long)]
        org: String,
    },
}

pub(super) async fn run(command: Command, installation: &Installation, output: Output) -> anyhow::Result<()> {
    match command {
        Command::List { org } => list(&org, installation, output).await,
        Command::Show { handle, org } => show(&org, &handle, installation, output).await,
    }
}

async fn list(org: &str, installation: &Installation, output: Output) -> anyhow::Result<()> {
    let rows = as_operator(installation, async |operator| operator.list_identities(org).await).await?;
    let mut table =
        Table::new("identities", &["HANDLE", "NAME", "STATUS", "MAIL", "PHONE", "CREATED", "ID"], &[0, 6]);
    for row in &rows {
        let [id, handle, name, status, mail, phone, _] = fields(row);
        let status = if status == "active" { (status, Tone::Good) } else { (status, Tone::Past) };
        let created = plain(ago(row.created_at));
        table.add([plain(handle), plain(name), status, plain(mail), plain(phone), created, plain(id)]);
    }
    let json = rows.iter().map(|row| serde_json::to_value(&row.document)).collect::<Result<_, _>>()?;
    let lines: Vec<Vec<String>> = rows.iter().map(|row| fields(row).to_vec()).collect();
    print_list(output, json, &lines, &table)
}

/// Id, handle, display name, status, mail address, phone number, time of creation.
fn fields(row: &Row) -> [String; 7] {
    let document = &row.document;
    let status = serde_json::to_value(document.status).ok();
    [
        document.id.to_string(),
        document.agent_handle.clone(),
        document.display_name.clone().unwrap_or_default(),
        status.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(),
        document.email_address.clone(),
        document.phone_number.as_ref().map(|phone| phone.number.clone()).unwrap_or_default(),
        timestamp(row.created_at),
    ]
}

async fn show(org: &str, handle: &str, installation: &Installation, output: Output) -> anyhow::Result<()> {
    let identity =
        as_operator(installation, async |operator| operator.show_identity(org, handle).await).await?;
    let line = |(pointer, value): (String, Value)| format!("{}: {value}", pointer.trim_start_matches('/'));
    let lines: Vec<String> = replay::fields(&identity).into_iter().map(line).collect();
    output.print_lines(&json!(identity), &lines)
}
