//! Where a ceremony is: in a repository under its name, or in a file that is carried by hand.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::Args;

use crate::cli::RepoArg;
use crate::cli::exit::Usage;
use crate::cli::files::{read_file, write_file};
use crate::cli::keys::open_repository;
use crate::repository::{Event, EventName, MAX_EVENT, Repository, RepositoryError};

/// A ceremony, and the repository if it lies in one.
#[derive(Debug, Args)]
pub(in crate::cli) struct EventArg {
    #[command(flatten)]
    pub(in crate::cli) repo: RepoArg,
    /// Its name in the repository, or a file that was exported: `./FILE` or with an ending
    pub(in crate::cli) event: String,
}

/// Where it was found.
#[derive(Debug)]
pub(super) enum Found {
    InRepository(Box<Repository>),
    InFile(PathBuf),
}

impl EventArg {
    /// The ceremony, read and verified.
    pub(super) async fn read(&self) -> anyhow::Result<(Event, Found)> {
        if self.event.contains(['/', '.', '\\']) {
            let file = PathBuf::from(&self.event);
            return Ok((read_event(&file)?, Found::InFile(file)));
        }
        let name = EventName::new(self.event.as_str()).map_err(RepositoryError::from)?;
        let repository = open_repository(&self.repo).await?;
        let event = repository.ceremony(&name).await?;
        Ok((event, Found::InRepository(Box::new(repository))))
    }
}

impl Found {
    /// Refuses, where the repository is at hand, a ceremony that it has gone on from: signed all the same, there would be two
    /// good files of one version.
    pub(super) async fn still_current(&self, event: &Event, now: DateTime<Utc>) -> anyhow::Result<()> {
        match self {
            Self::InRepository(repository) => Ok(repository.still_current(event, now).await?),
            Self::InFile(_) => Ok(()),
        }
    }

    /// Puts the ceremony back with its new signatures; those that others made meanwhile are kept.
    pub(super) async fn keep(&self, event: &Event) -> anyhow::Result<Event> {
        match self {
            Self::InRepository(repository) => Ok(repository.keep(event).await?),
            Self::InFile(file) => {
                let mut merged = event.clone();
                merged.merge_file(&read_file(file, MAX_EVENT)?).map_err(RepositoryError::from)?;
                write_file(file, &merged.to_bytes().map_err(RepositoryError::from)?)?;
                Ok(merged)
            }
        }
    }
}

/// A carried file, bounded and verified.
pub(super) fn read_event(file: &Path) -> anyhow::Result<Event> {
    Ok(Event::read(&read_file(file, MAX_EVENT)?).map_err(RepositoryError::from)?)
}

/// Asks on the terminal. Nobody is asked where there is none: then `--yes` must have been given.
pub(in crate::cli) fn agreed(question: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Usage(format!("{question} There is no terminal to ask on: give --yes")).into());
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "{question} Type yes: ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(Usage("not agreed: nothing was done".to_owned()).into()) }
}
