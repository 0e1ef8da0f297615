//! The command line: what was typed → a checked command → a call into the library. One room per person.
//!
//! | file | who |
//! |---|---|
//! | `admin`, `keys` | repository admins: `init key add import remove yank bump status check fsck gc backup restore recover diff bins role ceremony claims log serve token compress` |
//! | `journal`, `disclose`, `watch` | what `serve` writes down: `journal` |
//! | `project` | maintainers: `project` |
//! | `gate` | who is asked before a ceremony is published |
//! | `record`, `monitor` | third parties: `record monitor` |
//! | `client`, `lock`, `verify_env`, `trust`, `exec`, `proxy`, `sync` | clients: `trust download verify lock explain exec proxy sync` |
//! | `witness` | witnesses of logs: `witness` |
//! | `look` | everyone: `inspect tree completion man help` |
//! | `conformance` | the TUF conformance suite |
//! | `demo`, `samples` | whoever tries it for the first time |
//! | `files` | files that people carry |
//! | `listen` | what everything that listens has |
//! | `place` | folders and buckets: what `--repo` names |
//! | `output`, `exit` | how results and errors reach people and programs |

mod admin;
mod attested;
mod client;
mod conformance;
mod demo;
mod disclose;
mod exec;
mod exit;
mod files;
mod gate;
mod journal;
mod keys;
mod listen;
mod lock;
mod log;
mod log_announce;
mod log_check;
mod log_evidence;
mod log_held;
mod logged;
mod look;
mod monitor;
mod output;
mod place;
mod project;
mod proxy;
mod record;
mod record_claims;
mod samples;
mod sync;
mod trust;
mod verify_env;
mod watch;
mod witness;

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::builder::FalseyValueParser;
use clap::{CommandFactory, Parser, Subcommand};

use output::{ColorChoice, Out};
use place::Place;

/// Seals a Python package repository with TUF (PEP 458), and verifies what is downloaded from it.
#[derive(Debug, Parser)]
#[command(name = "wheelseal", version, disable_help_subcommand = true, propagate_version = true)]
#[command(after_help = "Start with: wheelseal demo\nTopics: wheelseal help exit-codes | keys | environment")]
pub(crate) struct Cli {
    /// Machine-readable output on stdout
    #[arg(long, global = true)]
    json: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", env = "WHEELSEAL_COLOR")]
    color: ColorChoice,
    /// No progress bars
    #[arg(long, global = true, env = "WHEELSEAL_NO_PROGRESS", value_parser = FalseyValueParser::new())]
    no_progress: bool,
    #[command(subcommand)]
    command: Command,
}

/// Where the repository lies.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RepoArg {
    /// Folder of the repository, or its bucket: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`
    #[arg(long, value_name = "DIR|URL", default_value = ".", env = "WHEELSEAL_REPO")]
    repo: Place,
}

#[derive(Debug, Subcommand)]
enum Command {
    // Repository admins.
    /// Make a new, signed repository
    Init(admin::Init),
    /// Make and look at signing keys
    #[command(subcommand)]
    Key(keys::Key),
    /// Publish wheels and sdists
    Add(admin::Add),
    /// Sign many files at once, by their hashes
    Import(admin::Import),
    /// Withdraw published files
    Remove(admin::Remove),
    /// Mark published files as not to be chosen (PEP 592), or take that back
    Yank(admin::Yank),
    /// Sign anew what expires soon
    Bump(admin::Bump),
    /// Versions, expiry, thresholds, who has signed
    Status(admin::Status),
    /// Verify the whole repository as a client would
    Check(admin::Check),
    /// Name every file that is missing or altered
    Fsck(admin::Fsck),
    /// Does the object store keep its promises? Tried out on objects of its own
    CheckStore(admin::CheckStore),
    /// Remove files that no recent snapshot refers to
    Gc(admin::Gc),
    /// Write everything that is signed to one file
    Backup(admin::Backup),
    /// Make a repository again from a backup
    Restore(admin::Restore),
    /// After a theft or a loss: what differs from the last known good state, and back to it
    #[command(subcommand)]
    Recover(admin::Recover),
    /// What changed between two snapshots
    Diff(admin::Diff),
    /// Store metadata compressed as well
    Compress(admin::Compress),
    /// The transparency log: what it has, whether it is whole
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Serve the repository over HTTP
    Serve(Box<admin::Serve>),
    /// Tokens for uploads to `serve`
    #[command(subcommand)]
    Token(admin::Token),
    /// What `serve` has written down, and how to be rid of it
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// Change how many hashed bins there are
    #[command(subcommand)]
    Bins(admin::Bins),
    /// Change who signs a role
    #[command(subcommand)]
    Role(admin::Role),
    /// Projects that belong to their maintainers (PEP 480)
    #[command(subcommand)]
    Claims(admin::Claims),
    // Maintainers.
    /// Claim a project, sign its releases
    #[command(subcommand)]
    Project(project::Project),
    /// Change roles by signatures of several people
    #[command(subcommand)]
    Ceremony(admin::Ceremony),
    // Third parties.
    /// Record what an index publishes, as an independent third party
    Record(Box<record::Record>),
    /// Watch a transparency log for projects and keys, and for what no log may do
    Monitor(Box<monitor::Monitor>),
    // Clients.
    /// Which repositories you trust
    #[command(subcommand)]
    Trust(client::Trust),
    /// Download a file, verified
    Download(client::Download),
    /// Are these local files exactly what the repository signed?
    Verify(client::Verify),
    /// Lock files of pip, uv, Poetry, PDM and Pipenv against what is signed
    #[command(subcommand)]
    Lock(lock::LockCommand),
    /// Why a file is trusted: roles, keys, thresholds, versions, expiry
    Explain(client::Explain),
    /// Run a command whose tools get verified files
    Exec(exec::Exec),
    /// Verified indexes on a port of this machine
    Proxy(proxy::Proxy),
    /// A verified index in a folder, for machines without a network
    Sync(sync::Sync),
    // Witnesses.
    /// Cosign what logs sign, so that none can show two trees (c2sp.org/tlog-witness)
    #[command(subcommand)]
    Witness(witness::WitnessCommand),
    // Everyone.
    /// Show a metadata file (nothing is verified)
    Inspect(look::Inspect),
    /// The delegation tree of a repository
    Tree(look::Tree),
    /// See it work: a repository, a verified download, three attacks
    Demo(demo::Demo),
    /// Completion script for a shell
    Completion(look::Completion),
    /// Manual pages
    Man(look::Man),
    /// Help on a command or topic
    Help(look::Help),
    /// The client protocol of the TUF conformance suite
    Conformance(conformance::Conformance),
}

/// What every command gets.
pub(crate) struct Context {
    pub(crate) out: Out,
    /// The one reading of the clock for this command.
    pub(crate) now: DateTime<Utc>,
    /// For commands that run on: reads it anew.
    pub(crate) clock: fn() -> DateTime<Utc>,
}

/// The whole program but for the clock, which is given.
pub fn main(clock: fn() -> DateTime<Utc>) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows which stream each belongs to.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    let out = Out::new(cli.json, cli.color, !cli.no_progress);
    let conformance = matches!(cli.command, Command::Conformance(_));
    let context = Context { out, now: clock(), clock };
    let mut runtime = match &cli.command {
        Command::Serve(_)
        | Command::Record(_)
        | Command::Monitor(_)
        | Command::Exec(_)
        | Command::Proxy(_)
        | Command::Sync(_) => tokio::runtime::Builder::new_multi_thread(),
        Command::Witness(witness) if witness.stays() => tokio::runtime::Builder::new_multi_thread(),
        Command::Add(add) if add.stays() => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return context.out.failure(&error.into()),
    };
    match runtime.block_on(run(cli.command, &context)) {
        Ok(()) => context.out.success(),
        Err(error) if conformance => {
            context.out.failure(&error);
            ExitCode::from(exit::OTHER)
        }
        Err(error) => match error.downcast_ref::<exit::Ended>() {
            Some(exit::Ended(code)) => ExitCode::from(*code),
            None => context.out.failure(&error),
        },
    }
}

async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    match command {
        Command::Init(command) => command.run(context).await,
        Command::Key(command) => command.run(context).await,
        Command::Add(command) => command.run(context).await,
        Command::Import(command) => command.run(context).await,
        Command::Remove(command) => command.run(context).await,
        Command::Yank(command) => command.run(context).await,
        Command::Bump(command) => command.run(context).await,
        Command::Status(command) => command.run(context).await,
        Command::Check(command) => command.run(context).await,
        Command::Fsck(command) => command.run(context).await,
        Command::CheckStore(command) => command.run(context).await,
        Command::Gc(command) => command.run(context).await,
        Command::Backup(command) => command.run(context).await,
        Command::Restore(command) => command.run(context).await,
        Command::Recover(command) => command.run(context).await,
        Command::Diff(command) => command.run(context).await,
        Command::Compress(command) => command.run(context).await,
        Command::Log(command) => command.run(context).await,
        Command::Serve(command) => command.run(context).await,
        Command::Token(command) => command.run(context),
        Command::Journal(command) => command.run(context),
        Command::Bins(command) => command.run(context).await,
        Command::Role(command) => command.run(context).await,
        Command::Claims(command) => command.run(context).await,
        Command::Project(command) => command.run(context).await,
        Command::Ceremony(command) => command.run(context).await,
        Command::Record(command) => command.run(context).await,
        Command::Monitor(command) => command.run(context).await,
        Command::Trust(command) => command.run(context),
        Command::Download(command) => command.run(context).await,
        Command::Verify(command) => command.run(context).await,
        Command::Lock(command) => command.run(context).await,
        Command::Explain(command) => command.run(context).await,
        Command::Exec(command) => command.run(context).await,
        Command::Proxy(command) => command.run(context).await,
        Command::Sync(command) => command.run(context).await,
        Command::Witness(command) => command.run(context).await,
        Command::Inspect(command) => command.run(context).await,
        Command::Tree(command) => command.run(context).await,
        Command::Demo(command) => command.run(context).await,
        Command::Completion(command) => command.run(context),
        Command::Man(command) => command.run(context),
        Command::Help(command) => command.run(context),
        Command::Conformance(command) => command.run(context).await,
    }
}

/// The command tree, for completion, manual pages and help.
fn tree() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_variable_of_a_flag_is_in_the_help_topic() {
        let mut commands = vec![Cli::command()];
        let mut variables = 0;
        while let Some(command) = commands.pop() {
            for name in command.get_arguments().filter_map(clap::Arg::get_env) {
                let name = name.to_string_lossy();
                assert!(
                    look::ENVIRONMENT.contains(&format!("{name} ")),
                    "help environment does not tell of {name}"
                );
                variables += 1;
            }
            commands.extend(command.get_subcommands().cloned());
        }
        assert!(variables >= 5);
    }
}
