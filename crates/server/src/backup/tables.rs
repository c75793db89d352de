//! Which tables are in a backup, and why the others are not; and what the role that serves may do to each. A test compares this
//! list with a migrated database.

/// A table of the schema `public`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Whether it is in a backup.
    pub fate: Fate,
    /// What the role that serves may do to it, if another role owns it: privileges as SQL names them.
    pub rights: &'static [&'static str],
}

/// Only the owner writes it.
const SELECT_ONLY: &[&str] = &["SELECT"];

/// Rows are added and never change.
const APPEND_ONLY: &[&str] = &["SELECT", "INSERT"];

/// The same, but a note can be signed again.
const APPEND_AND_SIGN: &[&str] = &["SELECT", "INSERT", "UPDATE (note)"];

/// Its one row moves on.
const UPDATE_ONLY: &[&str] = &["SELECT", "UPDATE"];

/// Rows are added and change, and stay.
const APPEND_AND_UPDATE: &[&str] = &["SELECT", "INSERT", "UPDATE"];

/// Rows come and go.
pub const ALL_RIGHTS: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];

/// Whether a table is in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its rows are in the backup, in this order if one is given.
    Kept(Option<&'static str>),
    /// The same. It has one row from its migration on, which a restore replaces.
    KeptRow,
    /// It is made again without the backup.
    Derived,
}

/// All tables of the schema `public`, in the order in which a backup has them: what is needed to verify events comes before them.
pub const TABLES: [Table; 22] = [
    // Position, generation and sealing key of the log. The position follows from the events, the others do not.
    Table { name: "log_head", fate: Fate::KeptRow, rights: UPDATE_ONLY },
    // Follows from the events. It is kept as a second witness of how many there are.
    Table { name: "organization_heads", fate: Fate::Kept(None), rights: APPEND_AND_UPDATE },
    // Each is signed by two keys, of which one is gone.
    Table { name: "signing_key_introductions", fate: Fate::Kept(Some("number")), rights: APPEND_AND_SIGN },
    // Signed once. A new signature would not show what was signed when.
    Table {
        name: "checkpoints",
        fate: Fate::Kept(Some("organization_id, epoch, size")),
        rights: APPEND_AND_SIGN,
    },
    // The log, with leaf hashes and seals.
    Table { name: "events", fate: Fate::Kept(Some("position")), rights: APPEND_ONLY },
    // Follows from the leaf hashes, but is what was signed, even if an event was changed since.
    Table { name: "merkle_tiles", fate: Fate::Kept(None), rights: ALL_RIGHTS },
    // Signing keys of identities, vault keys, content of vault secrets, tokens of webhooks: nowhere else.
    Table { name: "ciphertexts", fate: Fate::Kept(None), rights: ALL_RIGHTS },
    // Follows from the events, but only writers fold it. `identityd projections claims` makes it again, which reads all events of
    // names.
    Table { name: "name_claims", fate: Fate::Kept(None), rights: APPEND_AND_UPDATE },
    // The same.
    Table { name: "webhook_owners", fate: Fate::Kept(None), rights: ALL_RIGHTS },
    // The numbers that operators loaded, and which of them rest.
    Table { name: "phone_number_pool", fate: Fate::Kept(None), rights: APPEND_AND_UPDATE },
    // The answers that repetitions get.
    Table { name: "idempotency_records", fate: Fate::Kept(None), rights: ALL_RIGHTS },
    // When keys were used is no event.
    Table { name: "api_key_uses", fate: Fate::Kept(None), rights: APPEND_AND_UPDATE },
    // How far the log was read for webhooks, and what is still to be sent. Without these, webhooks are lost or sent again.
    Table { name: "webhook_cursor", fate: Fate::KeptRow, rights: UPDATE_ONLY },
    Table { name: "webhook_late", fate: Fate::Kept(None), rights: ALL_RIGHTS },
    Table { name: "webhook_queue", fate: Fate::Kept(None), rights: ALL_RIGHTS },
    Table { name: "webhook_endpoints", fate: Fate::Kept(None), rights: ALL_RIGHTS },
    // What clients can look up of earlier attempts.
    Table { name: "webhook_deliveries", fate: Fate::Kept(None), rights: ALL_RIGHTS },
    // To which addresses history is sent, and how far each has it.
    Table { name: "webhook_log_endpoints", fate: Fate::Kept(None), rights: ALL_RIGHTS },
    // A rebuild of the read models writes it.
    Table { name: "read_models", fate: Fate::Derived, rights: APPEND_AND_UPDATE },
    // The owner writes it when it migrates.
    Table { name: "read_model_shapes", fate: Fate::Derived, rights: SELECT_ONLY },
    // A restore writes it.
    Table { name: "restore_under_way", fate: Fate::Derived, rights: SELECT_ONLY },
    // The migrations write it. The head of a backup has their numbers.
    Table { name: "_sqlx_migrations", fate: Fate::Derived, rights: SELECT_ONLY },
];

impl Table {
    /// Whether its rows are in a backup.
    pub fn is_kept(&self) -> bool {
        self.fate != Fate::Derived
    }

    /// The order of its rows in a backup, as SQL.
    pub fn order(&self) -> String {
        match self.fate {
            Fate::Kept(Some(columns)) => format!(" order by {columns}"),
            _ => String::new(),
        }
    }
}

/// The tables whose rows are in a backup.
pub fn kept() -> impl Iterator<Item = Table> {
    TABLES.into_iter().filter(Table::is_kept)
}
