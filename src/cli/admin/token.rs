//! `token`: who may upload to `serve`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use chrono::TimeDelta;
use clap::{Args, Subcommand};

use crate::cli::Context;
use crate::cli::exit::Usage;
use crate::cli::output::{STRONG, until};
use crate::cli::watch::NoteArg;
use crate::journal::{Deed, TokenUse};
use crate::python::ProjectName;
use crate::server::{Grant, Tokens};

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token; it is shown once
    Create(Create),
    /// Which tokens there are, and what they allow
    List(List),
    /// Take a token away
    Revoke(Revoke),
}

/// The file of tokens.
#[derive(Debug, Args)]
struct TokensArg {
    /// The file that `serve` reads; it holds hashes, no token. Not in the repository
    #[arg(long, value_name = "FILE", env = "WHEELSEAL_TOKENS")]
    tokens: PathBuf,
}

/// Make a token for uploads. It is shown once, and kept as a hash. Give it to twine or uv as the password of __token__.
#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    file: TokensArg,
    /// A project that it may publish; may be repeated
    #[arg(long = "project", value_name = "NAME", required_unless_present = "all")]
    projects: Vec<String>,
    /// It may publish every project, and make new ones
    #[arg(long, conflicts_with = "projects")]
    all: bool,
    /// Days until it is worth nothing; without it: never
    #[arg(long, value_name = "DAYS")]
    expires: Option<u32>,
    #[command(flatten)]
    note: NoteArg,
}

/// Which tokens there are, and what they allow.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    file: TokensArg,
}

/// Take a token away. A server that runs knows it at once.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    file: TokensArg,
    /// What `token list` calls it
    id: String,
    #[command(flatten)]
    note: NoteArg,
}

impl Token {
    pub(in crate::cli) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Create(command) => command.run(context),
            Self::List(command) => command.run(context),
            Self::Revoke(command) => {
                Tokens::at(command.file.tokens).revoke(&command.id)?;
                command.note.note(changed(TokenUse::Revoked, &command.id), context);
                context.out.note(format_args!("{} is worth nothing any more", command.id));
                Ok(())
            }
        }
    }
}

impl Create {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let named = self.projects.iter().map(|name| ProjectName::from_str(name));
        let named = named.collect::<Result<BTreeSet<_>, _>>().map_err(|error| Usage(error.to_string()))?;
        let projects = (!self.all).then_some(named);
        let expires = self.expires.map(|days| context.now + TimeDelta::days(days.into()));
        let (grant, token) = Tokens::at(self.file.tokens).create(projects, expires)?;
        self.note.note(changed(TokenUse::Created, &grant.id), context);
        let value = serde_json::json!({ "id": grant.id, "token": *token });
        context.out.result(&value, || {
            context.out.line(&*token);
            context.out.note(format_args!("{} allows {}; it is not shown again", grant.id, allowed(&grant)));
        })
    }
}

fn changed(what: TokenUse, id: &str) -> Deed {
    Deed::Token { what, account: id.parse().ok() }
}

impl List {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let grants = Tokens::at(self.file.tokens).all()?;
        let value = grants.iter().map(|grant| {
            serde_json::json!({ "id": grant.id, "projects": grant.projects, "expires": grant.expires })
        });
        context.out.result(&value.collect::<Vec<_>>(), || {
            let left = |grant: &Grant| match grant.expires {
                Some(expires) if expires <= context.now => "expired".to_owned(),
                Some(expires) => format!("{} left", until(expires, context.now)),
                None => "does not expire".to_owned(),
            };
            let id = |grant: &Grant| crate::cli::output::styled(STRONG, &grant.id);
            let rows = grants.iter().map(|grant| vec![id(grant), allowed(grant), left(grant)]);
            context.out.table(&rows.collect::<Vec<_>>());
        })
    }
}

fn allowed(grant: &Grant) -> String {
    match &grant.projects {
        None => "every project".to_owned(),
        Some(projects) => projects.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    }
}
