//! python-tuf as a verifier: a short script, run by a Python that has the library.
//!
//! It is given the metadata that wheelseal's client asked for and nothing else, the time, and what that client found. It
//! gets no variables but those that find programs: no passphrase or credential. Python runs isolated (`-I`): neither
//! the present folder nor `PYTHONPATH` can lend it modules.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::Answer;
use super::program::run;
use crate::tuf::metadata::TargetFile;
use crate::tuf::path::TargetPath;

/// How `--gate` names it.
pub(super) const NAME: &str = "python-tuf";
/// What Python runs.
const SCRIPT: &str = include_str!("python_tuf.py");
/// How long it may take: it reads a few files that are at hand.
const PATIENCE: Duration = Duration::from_mins(2);
/// Variables that it gets.
const VARIABLES: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "TMPDIR"];

/// What it says of a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It finds what wheelseal's client found.
    Same,
    /// It refuses, or finds something else.
    Refuses(String),
    /// It could not be asked.
    Unasked(String),
}

/// Asks python-tuf about `metadata/` of a folder, starting from the `root.json` beside it. The script may write there.
pub(super) async fn ask(
    python: &OsString,
    folder: &Path,
    found: &[(TargetPath, Answer)],
    now: DateTime<Utc>,
) -> Verdict {
    if let Err(error) = std::fs::write(folder.join("wanted.json"), wanted(found)) {
        return Verdict::Unasked(error.to_string());
    }
    let mut command = Command::new(python);
    command.args(["-I", "-c", SCRIPT]).arg(folder);
    command.arg(now.format("%Y-%m-%dT%H:%M:%S+00:00").to_string()).env_clear();
    command.envs(VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    let python = Path::new(python).display();
    match run(&mut command, PATIENCE).await {
        Ok(ended) if ended.status.success() => Verdict::Same,
        Ok(ended) => match ended.status.code() {
            Some(1) => Verdict::Refuses(ended.said),
            Some(3) => Verdict::Unasked(format!("{python} does not have it: {}", ended.said)),
            _ => Verdict::Unasked(format!("{python}: {}: {}", ended.status, ended.said)),
        },
        Err(reason) => Verdict::Unasked(format!("{python}: {reason}")),
    }
}

/// What wheelseal's client found, as the script reads it. What had expired is not asked for.
fn wanted(found: &[(TargetPath, Answer)]) -> String {
    let entries = found.iter().filter_map(|(path, answer)| match answer {
        Answer::Signed(TargetFile { length, hashes, .. }) => {
            Some((path.to_string(), json!({ "length": length, "sha256": hashes.sha256.map(hex::encode) })))
        }
        Answer::NotSigned => Some((path.to_string(), Value::Null)),
        Answer::Expired(_) => None,
    });
    Value::Object(entries.collect::<Map<_, _>>()).to_string()
}
