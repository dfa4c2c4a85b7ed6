//! The database of a Nix store, as a guest finds it: `db.sqlite` of schema 10, filled from a registration.
//!
//! It is what `nix-store --load-db` would have left, but for times, row numbers and SQLite's traces of its work: these
//! are the same whenever and wherever it is made.

use std::collections::HashMap;
use std::io;

use data_encoding::HEXLOWER;
use rusqlite::{Connection, MAIN_DB, params};

use crate::error_kind::ErrorKind;
use crate::fixed;
use crate::nix::closure::check_order;
use crate::nix::store_path::StorePath;
use crate::nix::{ClosureError, Registered, Registration};

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum DatabaseError {
    /// A path without hash and size; Nix refuses to read such a row.
    #[error("{0} has no hash in the registration, and the database must have one")]
    NoHash(StorePath),
    /// Paths that Nix would not register.
    #[error("the registration cannot be a store's")]
    Cycle(#[from] ClosureError),
    /// A size that SQLite cannot hold.
    #[error("{0} has a NAR of more bytes than a database can hold")]
    Size(StorePath),
    /// Whatever SQLite says.
    #[error("cannot make the Nix database")]
    Sqlite(#[source] io::Error),
}

impl DatabaseError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoHash(_) | Self::Cycle(_) => ErrorKind::InvalidInput,
            Self::Size(_) => ErrorKind::TooLarge,
            Self::Sqlite(_) => ErrorKind::Internal,
        }
    }
}

fn sqlite(error: rusqlite::Error) -> DatabaseError {
    DatabaseError::Sqlite(io::Error::other(error))
}

/// The tables and their columns are those that Nix's queries name; a Nix in the guest finds nothing to change.
const TABLES: &str = "
    create table ValidPaths (
        id integer primary key autoincrement not null,
        path text unique not null,
        hash text not null,
        registrationTime integer not null,
        deriver text,
        narSize integer,
        ultimate integer,
        sigs text,
        ca text
    );
    create table Refs (
        referrer integer not null,
        reference integer not null,
        primary key (referrer, reference),
        foreign key (referrer) references ValidPaths(id) on delete cascade,
        foreign key (reference) references ValidPaths(id) on delete restrict
    );
    create table DerivationOutputs (
        drv integer not null,
        id text not null,
        path text not null,
        primary key (drv, id),
        foreign key (drv) references ValidPaths(id) on delete cascade
    );";

/// Made after the rows, which is faster. The trigger lets a path that refers to itself be deleted.
const INDEXES: &str = "
    create index IndexReferrer on Refs(referrer);
    create index IndexReference on Refs(reference);
    create index IndexDerivationOutputs on DerivationOutputs(path);
    create trigger DeleteSelfRefs before delete on ValidPaths begin
        delete from Refs where referrer = old.id and reference = old.id;
    end;";

/// Which changes of the schema were made that its number does not tell; none yet. Newer Nix makes the table as soon as it
/// opens a store without one, which fails where it may only read.
const MIGRATIONS: &str = "create table SchemaMigrations (migration text primary key not null);";

/// The bytes of the database of a closure.
pub fn bytes(registration: &Registration) -> Result<Vec<u8>, DatabaseError> {
    let paths = registration.paths();
    check_order(paths)?;
    let mut connection = Connection::open_in_memory().map_err(sqlite)?;
    connection.pragma_update(None, "page_size", 4096).map_err(sqlite)?;
    // Every reference is looked up here anyway; SQLite need not do it twice more.
    connection.pragma_update(None, "foreign_keys", false).map_err(sqlite)?;
    connection.execute_batch(TABLES).map_err(sqlite)?;
    let transaction = connection.transaction().map_err(sqlite)?;
    let rows = insert_paths(&transaction, paths)?;
    insert_references(&transaction, paths, &rows)?;
    transaction.commit().map_err(sqlite)?;
    connection.execute_batch(INDEXES).map_err(sqlite)?;
    connection.execute_batch(MIGRATIONS).map_err(sqlite)?;
    Ok(connection.serialize(MAIN_DB).map_err(sqlite)?.to_vec())
}

/// Gives the number of each path's row.
fn insert_paths<'p>(
    connection: &Connection,
    paths: &'p [Registered],
) -> Result<HashMap<&'p StorePath, i64>, DatabaseError> {
    let mut insert = connection
        .prepare(
            "insert into ValidPaths (path, hash, registrationTime, deriver, narSize) values (?, ?, ?, ?, ?)",
        )
        .map_err(sqlite)?;
    let mut rows = HashMap::with_capacity(paths.len());
    for registered in paths {
        let path = &registered.path;
        let nar = registered.nar.ok_or_else(|| DatabaseError::NoHash(path.clone()))?;
        let size = i64::try_from(nar.size).map_err(|_| DatabaseError::Size(path.clone()))?;
        let hash = format!("sha256:{}", HEXLOWER.encode(&nar.hash.0));
        let row = insert
            .insert(params![
                path.to_string(),
                hash,
                fixed::STORE_TIME,
                registered.deriver.as_ref().map(StorePath::to_string),
                size
            ])
            .map_err(sqlite)?;
        rows.insert(path, row);
    }
    Ok(rows)
}

fn insert_references(
    connection: &Connection,
    paths: &[Registered],
    rows: &HashMap<&StorePath, i64>,
) -> Result<(), DatabaseError> {
    let mut insert = connection
        .prepare("insert or ignore into Refs (referrer, reference) values (?, ?)")
        .map_err(sqlite)?;
    for Registered { path, references, .. } in paths {
        // Every reference has a row: a registration is complete.
        let mut references: Vec<_> = references.iter().filter_map(|reference| rows.get(reference)).collect();
        references.sort_unstable();
        for reference in references {
            insert.execute(params![rows.get(path), reference]).map_err(sqlite)?;
        }
    }
    Ok(())
}
