//! Going through a playbook: the whole plan first, then one step after the other, asking before each.

use std::io::IsTerminal;

use clap::Parser;

use super::playbook::{Playbook, State, Step, typed};
use crate::cli::admin::ceremony::agreed;
use crate::cli::exit::{self, SomeFailed};
use crate::cli::output::{BAD, FAINT, GOOD, STRONG, styled};
use crate::cli::{Cli, Context};
use crate::repository::{CeremonyError, RepositoryError};

/// Shows the plan; where somebody can be asked, or agreed beforehand, goes through it.
pub(super) async fn run(playbook: &Playbook, context: &Context) -> anyhow::Result<()> {
    let (out, yes) = (&context.out, playbook.common().yes);
    let steps = playbook.steps().await?;
    if out.json() {
        return out.result(&serde_json::json!({"steps": steps}), || ());
    }
    steps.iter().enumerate().for_each(|(at, step)| show(at, step, context));
    if !yes && !std::io::stdin().is_terminal() {
        out.note("nothing was done: give --yes to go through the steps, or run them one by one");
        return Ok(());
    }
    for at in 0..steps.len() {
        // What the steps before did is seen in the repository.
        let now = playbook.steps().await?;
        let Some(step) = now.get(at) else { break };
        one(at, step, yes, context).await?;
    }
    out.line(format_args!("{} all steps are done that can be done here", styled(GOOD, "ok")));
    Ok(())
}

async fn one(at: usize, step: &Step, yes: bool, context: &Context) -> anyhow::Result<()> {
    match (&step.state, &step.command) {
        (State::Done, _) => Ok(()),
        (State::Waiting(what), _) => {
            let text = format!("step {} waits {what}; then run this again", at + 1);
            Err(SomeFailed { text, code: exit::THRESHOLD }.into())
        }
        (State::ToDo, Some(words)) => {
            context.out.line(format_args!("{} {}", styled(STRONG, "step"), at + 1));
            context.out.line(format_args!("$ {}", typed(words)));
            agreed("Run it?", yes)?;
            lenient(words, run_line(words, context).await)
        }
        (State::People | State::ToDo, _) => {
            show(at, step, context);
            if yes { Ok(()) } else { agreed("Is it done?", false) }
        }
    }
}

/// A comparison that finds something has done its work, and a key that has signed before need not sign again.
fn lenient(words: &[String], outcome: anyhow::Result<()>) -> anyhow::Result<()> {
    let Err(error) = outcome else { return Ok(()) };
    let signed = matches!(
        error.downcast_ref::<RepositoryError>(),
        Some(RepositoryError::Ceremony(CeremonyError::SignedBefore { .. }))
    );
    let compared = words.iter().take(2).eq(["recover", "compare"])
        && error.downcast_ref::<SomeFailed>().is_some_and(|failed| failed.code == exit::INTEGRITY);
    if signed || compared { Ok(()) } else { Err(error) }
}

/// The very command that was shown.
async fn run_line(words: &[String], context: &Context) -> anyhow::Result<()> {
    let words = ["wheelseal".to_owned()].into_iter().chain(words.iter().cloned());
    let cli = Cli::try_parse_from(words)?;
    Box::pin(crate::cli::run(cli.command, context)).await
}

fn show(at: usize, step: &Step, context: &Context) {
    let state = match &step.state {
        State::Done => styled(GOOD, "done"),
        State::ToDo => styled(STRONG, "to do"),
        State::Waiting(what) => format!("{} {what}", styled(BAD, "waits")),
        State::People => styled(STRONG, "for you"),
    };
    context.out.line(format_args!("{}. [{state}] {}", at + 1, step.why));
    if let Some(words) = &step.command {
        context.out.line(format_args!("     {}", styled(FAINT, typed(words))));
    }
}
