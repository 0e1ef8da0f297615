//! `add --stdin`: publishes for as long as file names come, each as a publication of its own.

use std::ffi::OsString;
use std::io::BufRead;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use crate::cli::Context;
use crate::cli::exit::{SomeFailed, code};
use crate::cli::output::{BAD, GOOD, styled};
use crate::repository::{Edit, Published, Publisher, read_distribution};

/// Publications under way at once; the next line is read when one is done.
const MAX_OUTSTANDING: usize = 256;

/// Publishes the file on each line of stdin. Prints a line for each when it is durable and visible, or refused.
pub(super) async fn publish_lines(context: &Context, publisher: Publisher) -> anyhow::Result<()> {
    let spool = tempfile::tempdir()?;
    let mut lines = lines();
    let mut running = FuturesUnordered::new();
    let (mut ended, mut all, mut failed) = (false, 0_u64, Vec::new());
    loop {
        tokio::select! {
            line = lines.recv(), if !ended && running.len() < MAX_OUTSTANDING => match line {
                Some(line) => running.push(publish_one(context, &publisher, line?, spool.path().to_owned())),
                None => ended = true,
            },
            Some((file, outcome)) = running.next() => {
                all += 1;
                failed.extend(outcome.as_ref().err().map(code));
                report(context, &file.to_string_lossy(), &outcome)?;
            }
            else => break,
        }
    }
    match failed.first() {
        None => Ok(()),
        Some(code) => {
            let text = format!("{} of {all} files were not published", failed.len());
            Err(SomeFailed { text, code: *code }.into())
        }
    }
}

/// The lines of stdin, as a thread reads them; empty ones are left out.
fn lines() -> mpsc::Receiver<std::io::Result<PathBuf>> {
    let (sender, lines) = mpsc::channel(MAX_OUTSTANDING);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            let line = line.map(|bytes| PathBuf::from(OsString::from_vec(bytes)));
            let empty = line.as_ref().is_ok_and(|line| line.as_os_str().is_empty());
            if !empty && sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

async fn publish_one(
    context: &Context,
    publisher: &Publisher,
    file: PathBuf,
    spool: PathBuf,
) -> (PathBuf, anyhow::Result<Published>) {
    let name = file.clone();
    let outcome = async {
        let read = tokio::task::spawn_blocking(move || read_distribution(&file, &spool));
        let edits = vec![Edit::Add(Box::new(read.await??))];
        Ok(publisher.publish(edits, (context.clock)()).await?)
    };
    (name, outcome.await)
}

fn report(context: &Context, file: &str, outcome: &anyhow::Result<Published>) -> anyhow::Result<()> {
    if context.out.json() {
        let value = match outcome {
            Ok(published) => serde_json::json!({
                "file": file, "changed": !published.changed.is_empty(),
                "snapshot": published.snapshot, "timestamp": published.timestamp,
            }),
            Err(error) => serde_json::json!({ "file": file, "error": error.to_string() }),
        };
        context.out.line(serde_json::to_string(&value)?);
        return Ok(());
    }
    match outcome {
        Ok(published) if published.changed.is_empty() => context.out.line(format_args!("unchanged {file}")),
        Ok(published) => {
            let snapshot = published.snapshot;
            context.out.line(format_args!("{} {file} (snapshot {snapshot})", styled(GOOD, "published")));
        }
        Err(error) => context.out.line(format_args!("{} {file}: {error}", styled(BAD, "refused"))),
    }
    Ok(())
}
