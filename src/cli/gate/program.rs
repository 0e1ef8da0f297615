//! Another program is asked: for so long, and with so many words, and no more.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// How often to look whether it is done.
const INTERVAL: Duration = Duration::from_millis(20);
/// Bytes that a program may say before it is ended: a verifier says little, and the disk is not its own.
const MAX_SAID: u64 = 1024 * 1024;
/// Bytes of what it said that are repeated, at most: the last ones.
const MAX_REASON: u64 = 2_000;

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// The last of what it said, on one line.
    pub(super) said: String,
}

/// Runs a program to its end, for `patience` at most.
///
/// # Errors
/// Why there is no end to tell of; one that goes on for too long, or says too much, is ended.
pub(super) async fn run(command: &mut Command, patience: Duration) -> Result<Ended, String> {
    let told = |error: std::io::Error| error.to_string();
    let mut said = tempfile::tempfile().map_err(told)?;
    let (stdout, stderr) = (said.try_clone().map_err(told)?, said.try_clone().map_err(told)?);
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let mut child = command.spawn().map_err(told)?;
    let mut waited = Duration::ZERO;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(told)? {
            break Ok(status);
        }
        if waited >= patience {
            break Err(format!("no answer within {} s", patience.as_secs()));
        }
        if said.metadata().map_err(told)?.len() > MAX_SAID {
            break Err(format!("it says more than {MAX_SAID} bytes"));
        }
        tokio::time::sleep(INTERVAL).await;
        waited += INTERVAL;
    };
    if status.is_err() {
        drop(child.kill());
        drop(child.wait());
    }
    Ok(Ended { status: status?, said: last_words(&mut said).map_err(told)? })
}

fn last_words(said: &mut File) -> std::io::Result<String> {
    let length = said.metadata()?.len();
    said.seek(std::io::SeekFrom::Start(length.saturating_sub(MAX_REASON)))?;
    let mut bytes = Vec::new();
    said.take(MAX_REASON).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    async fn shell(script: &str, patience: Duration) -> Result<Ended, String> {
        run(Command::new("sh").args(["-c", script]), patience).await
    }

    #[tokio::test]
    async fn the_last_words_of_both_streams_are_told_on_one_line() {
        let ended = shell("echo first; echo second >&2; exit 3", Duration::from_mins(1)).await.unwrap();
        assert_eq!((ended.status.code(), ended.said.as_str()), (Some(3), "first second"));
        let long = shell("yes x | head -c 10000; echo; echo end", Duration::from_mins(1)).await.unwrap();
        assert!(long.said.ends_with("end") && long.said.len() <= 2_000, "{}", long.said.len());
    }

    #[tokio::test]
    async fn who_talks_without_end_or_never_answers_is_ended() {
        let talks = shell("exec yes", Duration::from_mins(5)).await.unwrap_err();
        assert_eq!(talks, "it says more than 1048576 bytes");
        let sleeps = shell("exec sleep 1000", Duration::ZERO).await.unwrap_err();
        assert_eq!(sleeps, "no answer within 0 s");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_an_error() {
        let absent = run(&mut Command::new("/no/such/program"), Duration::from_mins(1)).await;
        assert!(absent.unwrap_err().contains("No such file"));
    }
}
