//! `identityd man` and `identityd completions`: both are generated from the definition of the command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Arguments;

/// Flags of `identityd man`.
#[derive(Debug, Args)]
pub(super) struct ManFlags {
    /// Folder for a page of every command [default: print the page of identityd]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(super) fn man(flags: &ManFlags) -> anyhow::Result<()> {
    if let Some(folder) = &flags.output {
        return write_pages(folder);
    }
    let mut page = Vec::new();
    Man::new(Arguments::command()).render(&mut page).context("cannot write the page")?;
    print(&page)
}

fn write_pages(folder: &Path) -> anyhow::Result<()> {
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Arguments::command(), folder));
    written.with_context(|| format!("cannot write pages to {}", folder.display()))
}

pub(super) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "identityd", &mut script);
    print(&script)
}

fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(text).and_then(|()| output.flush()).context("cannot write to standard output")
}
