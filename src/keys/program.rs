//! Keys behind a program of one's own: `exec:` and its path. It signs however it likes: by a service that wheelseal does
//! not know, by a device, by asking a person.
//!
//! The program is started for each request, without a shell and without arguments: a script around it gives those. It
//! reads one line of JSON from stdin and writes one line of JSON to stdout; docs/formats.md says which. What it writes to
//! stderr is passed on. It is given no passphrase and no PIN of wheelseal's. Its signatures are verified.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{KeyError, KeyUri, PIN_VARIABLE, Signer, VARIABLE, as_key, checked};
use crate::crypto::PublicKey;
use crate::tuf::key::Key;

/// Name and version of the protocol.
pub const FORMAT: &str = "wheelseal-signer-1";
/// Time for an answer, at most: a person may have to be asked.
const MAX_WAIT: Duration = Duration::from_mins(2);
/// Bytes of an answer, at most. An RSA signature of 8,192 bits takes 1.4 kB.
const MAX_ANSWER: u64 = 64 * 1024;
/// Programs running at once, at most.
const MAX_AT_ONCE: usize = 8;
/// Characters of the program's own error that are shown, at most.
const MAX_WORDS: usize = 300;

/// Why a program gave no signature.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProgramError {
    /// It does not start.
    #[error("the program does not start: {message}")]
    Start {
        /// The system's wording.
        message: String,
    },
    /// No answer for too long.
    #[error("the program gave no answer within {seconds} s, and was ended")]
    Slow {
        /// The limit, in seconds.
        seconds: u64,
    },
    /// It failed.
    #[error("the program failed: {status}{}", after(told.as_deref()))]
    Failed {
        /// How it ended.
        status: String,
        /// What it said of it.
        told: Option<String>,
    },
    /// It did not keep to the protocol.
    #[error("the program gave no usable answer: {reason}")]
    Nonsense {
        /// What is wrong.
        reason: &'static str,
    },
}

impl ProgramError {
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Start { .. } => Some("exec: takes the path of an executable file, without arguments"),
            Self::Nonsense { .. } => Some("docs/formats.md says what the program must answer"),
            _ => None,
        }
    }
}

fn after(told: Option<&str>) -> String {
    told.map(|told| format!(": {told}")).unwrap_or_default()
}

#[derive(Deserialize, Default)]
struct Answer {
    public: Option<String>,
    signature: Option<String>,
    error: Option<String>,
}

#[derive(Debug)]
struct ProgramSigner {
    uri: KeyUri,
    program: PathBuf,
    key: Key,
    permits: Semaphore,
}

#[async_trait]
impl Signer for ProgramSigner {
    fn key(&self) -> &Key {
        &self.key
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let request = json!({
            "format": FORMAT,
            "op": "sign",
            "keyid": self.key.id().as_str(),
            "scheme": self.key.scheme_name(),
            "payload": BASE64_STANDARD.encode(message),
        });
        let permit = self.permits.acquire().await;
        let answer = ask(&self.program, &request).await.map_err(|cause| wrapped(&self.uri, cause));
        drop(permit);
        let nonsense = |reason| wrapped(&self.uri, ProgramError::Nonsense { reason });
        let text = answer?.signature.ok_or_else(|| nonsense("it has no \"signature\""))?;
        let signature = BASE64_STANDARD.decode(text).map_err(|_| nonsense("the signature is not base64"))?;
        checked(&self.uri, &self.key, message, signature)
    }
}

fn wrapped(uri: &KeyUri, cause: ProgramError) -> KeyError {
    KeyError::Program { uri: uri.clone(), cause }
}

/// Asks the program for its public key. Nothing is signed yet.
pub(super) async fn open(uri: &KeyUri, program: &Path) -> Result<Box<dyn Signer>, KeyError> {
    // A bare name must not be looked for along PATH.
    let program =
        std::path::absolute(program).map_err(|error| KeyError::io("find the program", program, &error))?;
    let request = json!({"format": FORMAT, "op": "public"});
    let answer = ask(&program, &request).await.map_err(|cause| wrapped(uri, cause))?;
    let none = || wrapped(uri, ProgramError::Nonsense { reason: "it has no \"public\"" });
    let unusable = |cause| KeyError::Unusable { uri: uri.clone(), cause };
    let public = PublicKey::from_pem(&answer.public.ok_or_else(none)?).map_err(unusable)?;
    let (uri, key) = (uri.clone(), as_key(uri, public)?);
    Ok(Box::new(ProgramSigner { uri, program, key, permits: Semaphore::new(MAX_AT_ONCE) }))
}

async fn ask(program: &Path, request: &Value) -> Result<Answer, ProgramError> {
    let ran = timeout(MAX_WAIT, run(program, format!("{request}\n"))).await;
    // What is not awaited any more is ended.
    let (status, bytes) = ran.map_err(|_| ProgramError::Slow { seconds: MAX_WAIT.as_secs() })??;
    let nonsense = |reason| ProgramError::Nonsense { reason };
    // Before how it ended: one whose answer is cut off ends badly for that.
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_ANSWER {
        return Err(nonsense("it is too long"));
    }
    let answer = serde_json::from_slice::<Answer>(&bytes).map_err(|_| nonsense("it is not one line of JSON"));
    let told = answer.as_ref().ok().and_then(|answer| answer.error.as_deref());
    if !status.success() || told.is_some() {
        let clean = |text: &str| text.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
        return Err(ProgramError::Failed { status: status.to_string(), told: told.map(clean) });
    }
    answer
}

/// How the program ended, and one byte more than it may answer at most.
async fn run(program: &Path, request: String) -> Result<(ExitStatus, Vec<u8>), ProgramError> {
    let failed = |error: std::io::Error| ProgramError::Start { message: error.to_string() };
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command.env_remove(VARIABLE).env_remove(PIN_VARIABLE);
    let mut child = command.spawn().map_err(failed)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let written = async {
        if let Some(mut stdin) = stdin {
            // A program that knows enough may leave the rest unread; its answer counts.
            drop(stdin.write_all(request.as_bytes()).await);
        }
    };
    let mut answer = Vec::new();
    let read = async {
        let Some(stdout) = stdout else { return Ok(0) };
        stdout.take(MAX_ANSWER + 1).read_to_end(&mut answer).await
    };
    let ((), read) = tokio::join!(written, read);
    read.map_err(failed)?;
    Ok((child.wait().await.map_err(failed)?, answer))
}
