//! Finds the installed Postgres servers and chooses one.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

/// The oldest version with all features that the log uses.
const OLDEST_MAJOR: u32 = 14;

/// Programs that make up a server; a folder without all of them belongs to a client package.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// Folders of versioned packages: Debian, the project's own for Red Hat, Homebrew on both kinds of Mac.
const PACKAGES: [(&str, &str, &str); 4] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
];

/// The programs of one installed server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binaries {
    pub(crate) major: u32,
    pub(crate) folder: PathBuf,
}

impl Binaries {
    /// The newest server on this machine, for a new cluster.
    pub(crate) fn newest() -> anyhow::Result<Self> {
        Self::newest_of(installed())
    }

    /// The server of this major version, the only one that can open a cluster of that version.
    pub(crate) fn of_major(major: u32) -> anyhow::Result<Self> {
        Self::of_major_in(major, installed())
    }

    /// The server of this major version, to which data is to be moved.
    pub(crate) fn installed_of_major(major: u32) -> anyhow::Result<Self> {
        ensure!(major >= OLDEST_MAJOR, "Postgres {OLDEST_MAJOR} or later is needed");
        let installed = installed();
        let here = majors(&installed);
        let found = installed.into_iter().find(|found| found.major == major);
        found.with_context(|| {
            format!(
                "Postgres {major} is not installed here ({here} is): install the package `postgresql-{major}`"
            )
        })
    }

    /// The newest server on this machine, unless the data is of a newer one.
    pub(crate) fn newest_from(from: u32) -> anyhow::Result<Self> {
        let newest = Self::newest()?;
        if newest.major < from { Self::of_major(from) } else { Ok(newest) }
    }

    pub(crate) fn of_major_in(major: u32, mut installed: Vec<Self>) -> anyhow::Result<Self> {
        let place = installed.iter().position(|found| found.major == major);
        match place {
            Some(place) => Ok(installed.swap_remove(place)),
            None => bail!("{}", missing(major, &installed)),
        }
    }

    pub(crate) fn newest_of(installed: Vec<Self>) -> anyhow::Result<Self> {
        let newest = installed.into_iter().max_by_key(|found| found.major);
        let newest = newest
            .context("no Postgres server is installed here; install the Debian package `postgresql`")?;
        let found = newest.major;
        ensure!(
            found >= OLDEST_MAJOR,
            "Postgres {OLDEST_MAJOR} or later is needed and {found} is installed; install a newer `postgresql`"
        );
        Ok(newest)
    }

    /// The path of one of the programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn in_folder(folder: PathBuf) -> Option<Self> {
        if !PROGRAMS.iter().all(|program| folder.join(program).is_file()) {
            return None;
        }
        let major = major_of(&printed_by(folder.join("postgres").as_os_str(), "--version")?)?;
        Some(Self { major, folder })
    }
}

/// What to do without the server that made a cluster.
fn missing(major: u32, installed: &[Binaries]) -> String {
    let way_on = if installed.iter().any(|found| found.major > major) {
        ", then `identityd postgres upgrade` moves the data to the newest version; without that package, `identityd restore FILE` writes \
         a backup into a new data directory"
    } else {
        ""
    };
    format!(
        "Postgres {major} made the data in this data directory, no other version can open it, and the version that is installed \
         here is: {here}; install the package `postgresql-{major}` beside it (apt.postgresql.org has versions that Debian does not \
         have){way_on}",
        here = majors(installed)
    )
}

/// The versions that are installed, as words.
fn majors(installed: &[Binaries]) -> String {
    let majors: BTreeSet<u32> = installed.iter().map(|found| found.major).collect();
    let majors: Vec<String> = majors.iter().map(u32::to_string).collect();
    if majors.is_empty() { "none".to_owned() } else { format!("Postgres {}", majors.join(", ")) }
}

/// Says that data can be moved to a newer version, since the version that made it gets no repairs one day.
pub(crate) fn warn_of_newer(major: u32) {
    if let Ok(newest) = Binaries::newest()
        && newest.major > major
    {
        tracing::warn!(
            "Postgres {major} runs on this data directory, and Postgres {} is installed here, too: to move the data there, stop the \
             service and run `identityd postgres upgrade`",
            newest.major
        );
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "programs are looked up where a shell would look; it is no setting"
)]
fn installed() -> Vec<Binaries> {
    let configured = printed_by(OsStr::new("pg_config"), "--bindir").map(|line| PathBuf::from(line.trim()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let packaged =
        PACKAGES.iter().flat_map(|(parent, prefix, rest)| packages(Path::new(parent), prefix, rest));
    let folders = configured.into_iter().chain(std::env::split_paths(&path)).chain(packaged);
    folders.filter_map(Binaries::in_folder).collect()
}

fn packages(parent: &Path, prefix: &str, rest: &str) -> Vec<PathBuf> {
    let Ok(entries) = parent.read_dir() else { return Vec::new() };
    let named = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    named.map(|entry| entry.path().join(rest)).collect()
}

/// The 15 of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`; previews are called `18beta1`.
pub(crate) fn major_of(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(2)?;
    let end = number.find(|character: char| !character.is_ascii_digit()).unwrap_or(number.len());
    number.get(..end)?.parse().ok()
}

fn printed_by(program: &OsStr, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stderr(Stdio::null()).output().ok()?;
    if output.status.success() { String::from_utf8(output.stdout).ok() } else { None }
}
