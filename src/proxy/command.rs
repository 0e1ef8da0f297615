//! The command of `exec`: what it finds in its environment, how signals reach it, how it ends.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::ProxyError;

/// Where tools look for a proxy. pip's own one is named because a setting of pip's would come before the others.
const PROXY: [&str; 7] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "PIP_PROXY"];
/// Where tools look for hosts that need none: there are none.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// Where tools look for the certificates that they trust instead of all others.
const ROOTS: [&str; 4] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE"];
/// Where Node.js looks for those that it trusts beside its own.
const MORE_ROOTS: &str = "NODE_EXTRA_CA_CERTS";
/// Where tools keep what they fetched, and the folder for each.
const CACHES: [(&str, &str); 4] = [
    ("PIP_CACHE_DIR", "pip"),
    ("UV_CACHE_DIR", "uv"),
    ("POETRY_CACHE_DIR", "poetry"),
    ("PDM_CACHE_DIR", "pdm"),
];
/// Bytes of a file of certificates, at most: all that a system has are under a megabyte.
const MAX_BUNDLE: u64 = 16 * 1_024 * 1_024;
/// What is added to the number of the signal that ended a command, as shells do.
const BY_SIGNAL: i32 = 128;

/// What a command is given.
#[derive(Debug)]
pub struct Surroundings {
    set: Vec<(&'static str, OsString)>,
    /// Holds the certificates; removed when dropped.
    folder: TempDir,
}

impl Surroundings {
    /// Everything goes through the proxy at `address`, whose CA is `authority` (PEM), beside the roots that the command would
    /// have used without it. `caches`: where tools keep what they fetch; `None`: where they always do.
    pub fn new(address: &str, authority: &str, caches: Option<&Path>) -> Result<Self, ProxyError> {
        let mut builder = tempfile::Builder::new();
        let folder = builder.prefix("wheelseal-").permissions(Permissions::from_mode(0o700)).tempdir();
        let folder = folder.map_err(|error| local("making a folder for certificates", &error))?;
        let mut set: Vec<(&'static str, OsString)> = PROXY.map(|name| (name, address.into())).into();
        let system = super::system_roots();
        for name in ROOTS {
            let roots = given(name)?.unwrap_or_else(|| system.clone());
            set.push((name, bundle(&folder, name, &roots, authority)?));
        }
        let more = given(MORE_ROOTS)?.unwrap_or_default();
        set.push((MORE_ROOTS, bundle(&folder, MORE_ROOTS, &more, authority)?));
        if let Some(caches) = caches {
            set.extend(CACHES.map(|(name, tool)| (name, caches.join(tool).into())));
        }
        Ok(Self { set, folder })
    }

    /// The variables and their values.
    pub fn variables(&self) -> &[(&'static str, OsString)] {
        &self.set
    }

    /// Runs a command to its end; its exit code, or 128 and the signal that ended it.
    pub async fn run(&self, program: &OsStr, arguments: &[OsString]) -> Result<u8, ProxyError> {
        let mut command = Command::new(program);
        command.args(arguments).envs(self.set.iter().map(|(name, value)| (name, value)));
        for name in NO_PROXY {
            command.env_remove(name);
        }
        // Before the child is there, so that no signal ends this process without it.
        let listen = |kind| signal(kind).map_err(|error| local("listening to signals", &error));
        let (mut interrupt, mut terminate) =
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let (mut quit, mut hangup) = (listen(SignalKind::quit())?, listen(SignalKind::hangup())?);
        let started = command.spawn();
        let mut child = started.map_err(|error| ProxyError::Command {
            name: program.to_string_lossy().into_owned(),
            reason: error.to_string(),
            absent: error.kind() == ErrorKind::NotFound,
        })?;
        // The keys of a terminal reach the command without us.
        let typed = std::io::stdin().is_terminal();
        loop {
            let (passed, by_key) = tokio::select! {
                ended = child.wait() => {
                    return ended.map(code).map_err(|error| local("waiting for the command", &error));
                }
                _ = interrupt.recv() => (Signal::INT, true),
                _ = quit.recv() => (Signal::QUIT, true),
                _ = terminate.recv() => (Signal::TERM, false),
                _ = hangup.recv() => (Signal::HUP, true),
            };
            if !(typed && by_key) {
                pass(&child, passed);
            }
        }
    }

    /// Where the certificates are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn pass(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended just now.
        let _ = kill_process(pid, signal);
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| BY_SIGNAL.saturating_add(signal)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The certificates that a variable names already.
fn given(name: &'static str) -> Result<Option<String>, ProxyError> {
    let Some(path) = std::env::var_os(name).filter(|path| !path.is_empty()) else { return Ok(None) };
    let about = std::fs::metadata(&path).map_err(|error| local(name, &error))?;
    if !about.is_file() || about.len() > MAX_BUNDLE {
        return Err(local(name, &"this variable must name a file of certificates of a usual size"));
    }
    std::fs::read_to_string(&path).map(Some).map_err(|error| local(name, &error))
}

fn bundle(folder: &TempDir, name: &str, roots: &str, authority: &str) -> Result<OsString, ProxyError> {
    let path = folder.path().join(format!("{name}.pem"));
    let written = std::fs::File::create_new(&path)
        .and_then(|mut file| file.write_all(format!("{}\n{authority}", roots.trim_end()).as_bytes()));
    written.map_err(|error| local("writing certificates", &error))?;
    Ok(path.into())
}

fn local(what: &'static str, reason: &impl ToString) -> ProxyError {
    ProxyError::Local { what, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_that_of_the_command_or_that_of_its_signal() {
        for (raw, expected) in [(0, 0), (1 << 8, 1), (255 << 8, 255), (9, 137), (2, 130), (15, 143)] {
            assert_eq!(code(ExitStatus::from_raw(raw)), expected, "{raw}");
        }
    }
}
