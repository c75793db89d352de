//! The columns of a read model's table. They are declared once, by the struct of a table row (`table_row!`); loading,
//! storing, COPY and the table itself follow from it.

use std::borrow::Borrow;

use identity_log::copy::CopyWriter;
use identity_log::{ReadModelFailure, Statement, Writes};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::change::Change;

/// A column: its name, and its type in SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    sql_type: &'static str,
    is_nullable: bool,
}

impl Column {
    /// The column for a field of type `T`.
    pub const fn of<T: Cell>(name: &'static str) -> Self {
        Self { name, sql_type: T::SQL_TYPE, is_nullable: T::IS_NULLABLE }
    }

    /// Whether it has UUIDs.
    pub(crate) fn is_uuid(&self) -> bool {
        self.sql_type == Uuid::SQL_TYPE
    }

    /// Whether it has whole numbers.
    pub(crate) fn is_whole_number(&self) -> bool {
        self.sql_type == i64::SQL_TYPE
    }

    /// The column as `create table` declares it. Texts are compared byte by byte, whatever the collation of the database is.
    fn definition(self) -> String {
        let Self { name, sql_type, is_nullable } = self;
        let collation = if sql_type == "text" { r#" collate "C""# } else { "" };
        let constraint = if is_nullable { "" } else { " not null" };
        format!("{name} {sql_type}{collation}{constraint}")
    }
}

/// The names of columns, as a list in SQL.
pub(crate) fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

/// A type of Rust whose values stand in a column.
pub trait Cell {
    /// The type of the column.
    const SQL_TYPE: &'static str;
    /// Whether the column can be null. A column that was added later can be: while two versions of the software run, the
    /// older one writes rows without it.
    const IS_NULLABLE: bool = false;
    /// The value as it is bound to a statement.
    type Bound<'a>
    where
        Self: 'a;

    /// The value as it is bound to a statement.
    fn bound(&self) -> Self::Bound<'_>;

    /// Writes the value with COPY.
    fn copy(&self, writer: &mut CopyWriter);
}

/// Implements [`Cell`] for a type.
macro_rules! cell {
    ($kind:ty as $sql_type:literal, $bound:ty, $self:ident => $value:expr, $copy:ident) => {
        impl $crate::columns::Cell for $kind {
            const SQL_TYPE: &'static str = $sql_type;
            type Bound<'a>
                = $bound
            where
                Self: 'a;

            fn bound(&$self) -> Self::Bound<'_> {
                $value
            }

            fn copy(&$self, writer: &mut identity_log::copy::CopyWriter) {
                writer.$copy($value);
            }
        }
    };
}
pub(crate) use cell;

cell!(Uuid as "uuid", Uuid, self => *self, uuid);
cell!(OffsetDateTime as "timestamptz", OffsetDateTime, self => *self, timestamp);
cell!(bool as "boolean", bool, self => *self, boolean);
cell!(i64 as "bigint", i64, self => *self, bigint);
cell!(String as "text", &'a str, self => self.as_str(), text);
cell!(&str as "text", &'a str, self => self, text);
cell!(Vec<u8> as "bytea", &'a [u8], self => self.as_slice(), bytes);

impl<T: Cell> Cell for Option<T> {
    const SQL_TYPE: &'static str = T::SQL_TYPE;
    const IS_NULLABLE: bool = true;
    type Bound<'a>
        = Option<T::Bound<'a>>
    where
        Self: 'a;

    fn bound(&self) -> Self::Bound<'_> {
        self.as_ref().map(Cell::bound)
    }

    fn copy(&self, writer: &mut CopyWriter) {
        match self {
            Some(value) => value.copy(writer),
            None => writer.null(),
        }
    }
}

/// A row of a read model's table.
pub trait TableRow: Sized {
    /// Its columns, in order. The first one is the id of the aggregate.
    const COLUMNS: &'static [Column];

    /// Writes the row with COPY.
    fn copy(&self, writer: &mut CopyWriter);

    /// Binds the rows to a statement: one array for each column.
    fn bind<B: Borrow<Self>>(rows: &[B], statement: &mut Statement) -> Result<(), sqlx::Error>;
}

/// Declares the struct of a table row. Each field is a column of the same name.
macro_rules! table_row {
    ($(#[$about:meta])* $visibility:vis struct $name:ident $(<$life:lifetime>)? {
        $($(#[$field_about:meta])* $field_visibility:vis $field:ident: $kind:ty),+ $(,)?
    }) => {
        $(#[$about])*
        $visibility struct $name $(<$life>)? {
            $($(#[$field_about])* $field_visibility $field: $kind),+
        }

        impl $(<$life>)? $crate::columns::TableRow for $name $(<$life>)? {
            const COLUMNS: &'static [$crate::columns::Column] =
                &[$($crate::columns::Column::of::<$kind>(stringify!($field))),+];

            fn copy(&self, writer: &mut identity_log::copy::CopyWriter) {
                writer.row(Self::COLUMNS.len());
                $($crate::columns::Cell::copy(&self.$field, writer);)+
            }

            fn bind<B: std::borrow::Borrow<Self>>(
                rows: &[B],
                statement: &mut identity_log::Statement,
            ) -> Result<(), sqlx::Error> {
                $(statement.bind(
                    rows.iter().map(|row| $crate::columns::Cell::bound(&row.borrow().$field)).collect::<Vec<_>>(),
                )?;)+
                Ok(())
            }
        }
    };
}
pub(crate) use table_row;

/// Loads the rows of aggregates. The search path says whether from the live table or from the next one.
pub(crate) async fn load<T>(
    connection: &mut PgConnection,
    table: &str,
    ids: &[&str],
) -> Result<Vec<T>, ReadModelFailure>
where
    T: TableRow + for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let Some(id) = T::COLUMNS.first() else { return Ok(vec![]) };
    let (columns, Column { name, sql_type, .. }) = (names(T::COLUMNS), id);
    let query = format!("select {columns} from {table} where {name} = any($1::text[]::{sql_type}[])");
    Ok(sqlx::query_as(&query).bind(ids).fetch_all(connection).await?)
}

/// Adds the writes that apply changes to a table with one row for each aggregate, whose rows are those that are folded.
pub(crate) fn store<T: TableRow>(
    table: &str,
    changes: &[Change<T>],
    writes: &mut Writes,
) -> Result<(), ReadModelFailure> {
    delete::<T, T>(table, changes, writes)?;
    let rows: Vec<&T> = changes.iter().filter_map(|change| change.after.as_ref()).collect();
    put::<T, _>(table, &rows, writes)
}

/// Adds a part that deletes the rows of aggregates that have none any more.
pub(crate) fn delete<T: TableRow, Row>(
    table: &str,
    changes: &[Change<Row>],
    writes: &mut Writes,
) -> Result<(), ReadModelFailure> {
    let gone = changes.iter().filter(|change| change.after.is_none());
    let gone: Vec<&str> = gone.map(|change| change.id.as_str()).collect();
    let Some(Column { name, sql_type, .. }) = T::COLUMNS.first().filter(|_| !gone.is_empty()) else {
        return Ok(());
    };
    let condition = format!("{name} = any(?::text[]::{sql_type}[])");
    writes
        .part(&format!("delete from {table} where {condition} and exists (select from turn)"))
        .bind(gone)?;
    Ok(())
}

/// Adds a part that inserts rows, each in place of the row with the same key.
pub(crate) fn put<T: TableRow, B: Borrow<T>>(
    table: &str,
    rows: &[B],
    writes: &mut Writes,
) -> Result<(), ReadModelFailure> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = names(T::COLUMNS);
    let arrays: Vec<String> = T::COLUMNS.iter().map(|column| format!("?::{}[]", column.sql_type)).collect();
    let set: Vec<String> =
        T::COLUMNS.iter().map(|Column { name, .. }| format!("{name} = excluded.{name}")).collect();
    let (arrays, set) = (arrays.join(", "), set.join(", "));
    let part = writes.part(&format!(
        "insert into {table} ({columns})
         select * from unnest({arrays})
         where exists (select from turn)
         on conflict on constraint {table}_pkey do update set {set}"
    ));
    Ok(T::bind(rows, part)?)
}

/// An index of a table.
#[derive(Debug, Clone, Copy)]
pub struct Index {
    name: &'static str,
    is_unique: bool,
    /// What it is on, as in SQL.
    on: &'static str,
}

impl Index {
    /// An index that makes look-ups and lists fast.
    pub const fn of(name: &'static str, on: &'static str) -> Self {
        Self { name, is_unique: false, on }
    }

    /// An index on which no two rows may agree.
    pub const fn unique(name: &'static str, on: &'static str) -> Self {
        Self { name, is_unique: true, on }
    }
}

/// What is needed to make the table of a read model.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The name of the table.
    pub(crate) name: &'static str,
    /// Its columns.
    pub(crate) columns: &'static [Column],
    /// How many of the first columns are its key.
    pub(crate) key_columns: usize,
    /// Its indexes, but for that of the key.
    pub(crate) indexes: &'static [Index],
}

impl Shape {
    /// The statement that makes the next table, without key and indexes.
    pub(crate) fn create(&self) -> String {
        let columns: Vec<String> = self.columns.iter().copied().map(Column::definition).collect();
        format!("create table read_model_next.{} ({})", self.name, columns.join(", "))
    }

    /// Statements that add the indexes, the one of the key first.
    pub(crate) fn indexes(&self) -> Vec<String> {
        let name = self.name;
        let key = names(self.columns.get(..self.key_columns).unwrap_or_default());
        let key = format!("create unique index {name}_pkey on read_model_next.{name} ({key})");
        let others = self.indexes.iter().map(|index| {
            let unique = if index.is_unique { "unique " } else { "" };
            format!("create {unique}index {} on read_model_next.{name} {}", index.name, index.on)
        });
        std::iter::once(key).chain(others).collect()
    }
}
