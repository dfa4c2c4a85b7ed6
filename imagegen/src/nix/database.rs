//! A Nix store's own database, read to find closures: `/nix/var/nix/db/db.sqlite`, of schema 10 as every Nix 2 has it.
//!
//! Nothing is written, not even beside the database. Nix keeps it in SQLite's WAL mode (sqlite.org, "Write-Ahead
//! Logging"), in which an ordinary reader makes files of its own. So while there is no log to be read, the database
//! is opened as immutable, which works on a read-only file system too, and looked at again afterwards: what changed
//! meanwhile is an error.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Statement};

use super::deriver;
use super::nar_hash::{NarHash, NarInfo};
use super::problem::ClosureError;
use super::registration::{Registered, Registration};
use crate::error_kind::ErrorKind;
use crate::host_file::open_without_waiting;
use crate::nix::store_path::StorePath;

/// Where Nix keeps the database, below the store's root.
pub const DATABASE_DIRECTORY: &str = "nix/var/nix/db";
/// The schema of Nix 1.11 and of every Nix 2 so far.
pub const SCHEMA: u32 = 10;

/// How long a writer may hold the database before this gives up. Nix's transactions take milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where SQLite's header says how the file is to be read ("Database File Format", section 1.3), and its value for
/// WAL mode.
const READ_VERSION: usize = 19;
const READ_VERSION_WAL: u8 = 2;

/// Why a closure cannot be had from a database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum DatabaseError {
    /// No database, or no permission to read it.
    #[error("cannot read the Nix database `{}`", database.display())]
    Missing { database: PathBuf, source: io::Error },
    /// The number of the schema is in a file beside the database.
    #[error("`{}` does not hold the number of a schema", .0.display())]
    SchemaFile(PathBuf),
    /// Another schema.
    #[error(
        "the Nix database `{}` has schema {found}, and this library knows {SCHEMA}; {advice}",
        database.display()
    )]
    Schema { database: PathBuf, found: u32, advice: &'static str },
    /// The last changes are in a log that SQLite reads only with an index, which it cannot make here.
    #[error(
        "the newest changes of the Nix database `{file}` are in its log `{file}-wal`, which cannot be read without the index \
         `{file}-shm`, and that cannot be made here; let Nix open the store once where it can be written to, read it from a \
         copy of which db.sqlite and db.sqlite-wal can be written to",
        file = .0.display()
    )]
    Log(PathBuf),
    /// Somebody else does not let go.
    #[error("the Nix database `{}` is locked; wait for the Nix process that writes to it", .0.display())]
    Locked(PathBuf),
    /// Somebody wrote while this program read.
    #[error("the Nix database `{}` changed while it was read; try again", .0.display())]
    Changed(PathBuf),
    /// Whatever else SQLite says.
    #[error("cannot read the Nix database `{}`", database.display())]
    Sqlite { database: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// The store does not have the path.
    #[error("{path} is not valid in this store: `{}` does not know it", database.display())]
    Invalid { path: StorePath, database: PathBuf },
    /// A row that Nix would not have written, nor reads.
    #[error("the Nix database `{}` is damaged: {problem}", database.display())]
    Damaged { database: PathBuf, problem: String },
    /// The rows contradict each other.
    #[error("the Nix database is damaged")]
    Closure(#[from] ClosureError),
}

impl DatabaseError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { source, .. } => ErrorKind::of(source),
            Self::Schema { .. } | Self::Log(_) => ErrorKind::Unsupported,
            Self::Locked(_) | Self::Sqlite { .. } => ErrorKind::Io,
            Self::Changed(_) => ErrorKind::Mismatch,
            Self::Invalid { .. } => ErrorKind::NotFound,
            Self::SchemaFile(_) | Self::Damaged { .. } | Self::Closure(_) => ErrorKind::InvalidInput,
        }
    }
}

/// Computes the closure of some paths, as `nix-store --query --requisites` and `--dump-db` give it, from the
/// database of the store below `root`.
pub fn closure(root: &Path, paths: &[StorePath]) -> Result<Registration, DatabaseError> {
    let database = Database::open(root)?;
    let registration = database.closure(paths)?;
    database.check_unchanged()?;
    Ok(registration)
}

struct Database {
    file: PathBuf,
    connection: Connection,
    /// The state of a file that is read without locks.
    unlocked: Option<State>,
}

/// What changes when somebody writes.
#[derive(PartialEq, Eq)]
struct State {
    size: u64,
    modified: Option<SystemTime>,
    has_log: bool,
}

impl Database {
    fn open(root: &Path) -> Result<Self, DatabaseError> {
        let file = root.join(DATABASE_DIRECTORY).join("db.sqlite");
        check_schema(&file)?;
        let state = State::of(&file)?;
        let immutable = is_wal(&file)? && !state.has_log;
        let connection = Connection::open_with_flags(
            uri(&file, immutable),
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        );
        let connection = connection.map_err(sqlite(&file))?;
        connection.busy_timeout(PATIENCE).map_err(sqlite(&file))?;
        Ok(Self { file, connection, unlocked: immutable.then_some(state) })
    }

    /// Goes through the references, breadth first, in one transaction.
    fn closure(&self, paths: &[StorePath]) -> Result<Registration, DatabaseError> {
        let error = sqlite(&self.file);
        let transaction = self.connection.unchecked_transaction().map_err(&error)?;
        let mut find = transaction.prepare("select id from ValidPaths where path = ?").map_err(&error)?;
        let mut describe = transaction
            .prepare("select path, hash, narSize, deriver from ValidPaths where id = ?")
            .map_err(&error)?;
        let mut refer = transaction
            .prepare("select reference from Refs where referrer = ? order by reference")
            .map_err(&error)?;

        let mut todo = Vec::new();
        for path in paths {
            let id: Option<i64> =
                find.query_row([path.to_string()], |row| row.get(0)).optional().map_err(&error)?;
            todo.push(
                id.ok_or_else(|| DatabaseError::Invalid { path: path.clone(), database: self.file.clone() })?,
            );
        }
        let mut found = BTreeMap::new();
        while let Some(id) = todo.pop() {
            if found.contains_key(&id) {
                continue;
            }
            let references = references_of(id, &mut refer).map_err(&error)?;
            todo.extend_from_slice(&references);
            found.insert(id, (self.describe(id, &mut describe)?, references));
        }
        let path_of = |id: &i64| found.get(id).map(|(registered, _)| registered.path.clone());
        let with_references = |(registered, references): &(Registered, Vec<i64>)| {
            let mut references: Vec<StorePath> = references.iter().filter_map(path_of).collect();
            references.sort_unstable();
            Registered { references, ..registered.clone() }
        };
        Ok(Registration::new(found.values().map(with_references).collect())?)
    }

    /// All of a path but its references.
    fn describe(&self, id: i64, describe: &mut Statement<'_>) -> Result<Registered, DatabaseError> {
        type Row = (String, String, Option<i64>, Option<String>);
        let row = describe.query_row([id], |row| Row::try_from(row));
        let (path, hash, size, deriver) = row.map_err(sqlite(&self.file))?;
        let damaged = |problem| DatabaseError::Damaged { database: self.file.clone(), problem };
        // Nix writes no size for paths whose size it does not know.
        let size = size.unwrap_or(0);
        let nar = NarHash::parse_optional(&hash).ok().zip(u64::try_from(size).ok());
        let (hash, size) =
            nar.ok_or_else(|| damaged(format!("{path} has the hash `{hash}` and the size {size}")))?;
        let path = StorePath::parse(&path)
            .map_err(|error| damaged(format!("{path} is not a store path: {error}")))?;
        let nar = hash.filter(|_| size != 0).map(|hash| NarInfo { hash, size });
        let deriver = deriver::parse(deriver.as_deref().unwrap_or(""))
            .map_err(|error| damaged(format!("the deriver of {path} is not a store path: {error}")))?;
        Ok(Registered { path, nar, deriver, references: Vec::new() })
    }

    fn check_unchanged(&self) -> Result<(), DatabaseError> {
        match &self.unlocked {
            Some(before) if *before != State::of(&self.file)? => {
                Err(DatabaseError::Changed(self.file.clone()))
            }
            _ => Ok(()),
        }
    }
}

fn references_of(id: i64, refer: &mut Statement<'_>) -> rusqlite::Result<Vec<i64>> {
    refer.query_map([id], |row| row.get(0))?.collect()
}

impl State {
    fn of(file: &Path) -> Result<Self, DatabaseError> {
        let metadata = file.metadata().map_err(missing(file))?;
        Ok(Self { size: metadata.len(), modified: metadata.modified().ok(), has_log: has_log(file) })
    }
}

/// Whether there are changes beside the database.
fn has_log(file: &Path) -> bool {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    Path::new(&log).metadata().is_ok_and(|log| log.len() > 0)
}

fn is_wal(file: &Path) -> Result<bool, DatabaseError> {
    let mut header = [0; READ_VERSION + 1];
    // What is shorter than a header is not in WAL mode either; SQLite then says what is wrong with it.
    match open(file).and_then(|mut open| open.read_exact(&mut header)) {
        Ok(()) => Ok(header[READ_VERSION] == READ_VERSION_WAL),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(missing(file)(error)),
    }
}

/// Reads the number that Nix keeps in the file `schema` beside the database.
fn check_schema(database: &Path) -> Result<(), DatabaseError> {
    let file = database.with_file_name("schema");
    let mut text = String::new();
    // A number; whatever else it is, no more of it is read.
    open(&file).and_then(|file| file.take(64).read_to_string(&mut text)).map_err(missing(&file))?;
    let number = text.trim().parse();
    let found: u32 = number.map_err(|_| DatabaseError::SchemaFile(file.clone()))?;
    let advice = match found.cmp(&SCHEMA) {
        std::cmp::Ordering::Less => "let a newer Nix open the store once",
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Greater => "look for a newer nix-imagegen",
    };
    Err(DatabaseError::Schema { database: database.to_owned(), found, advice })
}

/// Opens a file; nobody waits for the other end of a pipe that has its name.
fn open(path: &Path) -> io::Result<File> {
    let file = open_without_waiting(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

/// The file's name as SQLite takes it with parameters (sqlite.org, "Uniform Resource Identifiers").
fn uri(file: &Path, immutable: bool) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut uri = b"file:".to_vec();
    // Two slashes at the beginning would be the name of a host.
    if file.is_absolute() {
        uri.extend_from_slice(b"//");
    }
    for &byte in file.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.extend_from_slice(format!("%{byte:02x}").as_bytes()),
            _ => uri.push(byte),
        }
    }
    uri.extend_from_slice(if immutable { b"?immutable=1" } else { b"?mode=ro" });
    std::ffi::OsString::from_vec(uri).into()
}

fn missing(file: &Path) -> impl Fn(io::Error) -> DatabaseError {
    let database = file.to_owned();
    move |source| DatabaseError::Missing { database: database.clone(), source }
}

fn sqlite(file: &Path) -> impl Fn(rusqlite::Error) -> DatabaseError {
    let database = file.to_owned();
    let has_log = has_log(file);
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) if has_log => DatabaseError::Log(database.clone()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DatabaseError::Locked(database.clone()),
        _ => DatabaseError::Sqlite { database: database.clone(), source: source.into() },
    }
}
