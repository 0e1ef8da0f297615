//! Machines of many people on one: a folder and a home for each, and what they type there, as processes of their own.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::cli::Context;
use crate::cli::output::{FAINT, STRONG, styled};

/// What one command may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two looks whether a server is there.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes of a line, at most, if it can be broken.
const WIDTH: usize = 110;

/// The folder that everybody can read: what people hand to each other.
pub(super) const GIVEN: &str = "given";

/// All machines, and the servers that run on them. They end with it.
pub(super) struct Town<'a> {
    context: &'a Context,
    home: PathBuf,
    program: PathBuf,
    servers: Vec<(String, Child)>,
    /// Who does what somebody else was seen doing.
    unseen: &'static [&'static str],
}

/// What a command said.
#[derive(Debug)]
pub(super) struct Said {
    /// Its standard output.
    pub(super) out: String,
    /// Everything else it said.
    pub(super) notes: String,
}

impl<'a> Town<'a> {
    /// Machines below `home`. What happens on those of `unseen` is not shown.
    pub(super) fn new(
        context: &'a Context,
        home: &Path,
        unseen: &'static [&'static str],
    ) -> anyhow::Result<Self> {
        let home = std::path::absolute(home)?;
        fs::create_dir_all(home.join(GIVEN))?;
        let program = std::env::current_exe().context("this program")?;
        Ok(Self { context, home, program, servers: Vec::new(), unseen })
    }

    pub(super) fn heading(&self, text: &str) {
        self.context.out.line("");
        self.context.out.line(styled(STRONG, text));
    }

    pub(super) fn say(&self, text: &str) {
        self.context.out.line(format_args!("  {text}"));
    }

    /// A folder on somebody's machine.
    pub(super) fn folder(&self, who: &str) -> anyhow::Result<PathBuf> {
        let folder = self.home.join(who);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    fn command(&self, who: &str, typed: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.program);
        let folder = self.folder(who)?;
        // Of the variables of whoever runs this, none that could change what happens.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
            command.env_remove(name);
        }
        command
            .args(typed.split(' ').filter(|word| !word.is_empty()))
            .args(["--color", "never", "--no-progress"])
            .env("HOME", &folder)
            .env("XDG_CONFIG_HOME", folder.join(".config"))
            .env("XDG_STATE_HOME", folder.join(".state"))
            .env("WHEELSEAL_PYTHON", "")
            .current_dir(folder)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Types a command, which must end with `code`, and shows what it says.
    pub(super) async fn types(&self, who: &str, typed: &str, code: i32) -> anyhow::Result<Said> {
        self.prompt(who, typed);
        let shown = !self.unseen.contains(&who);
        let said = self.run(who, typed, code).await?;
        for line in said.out.lines().chain(said.notes.lines()).filter(|_| shown) {
            for line in wrapped(line) {
                self.context.out.line(styled(FAINT, format_args!("      {line}")));
            }
        }
        Ok(said)
    }

    fn prompt(&self, who: &str, typed: &str) {
        self.shell(who, &format!("wheelseal {typed}"));
    }

    /// Shows what is done by the shell's own means.
    pub(super) fn shell(&self, who: &str, typed: &str) {
        if !self.unseen.contains(&who) {
            self.context.out.line(format_args!("  {} {typed}", styled(FAINT, format_args!("{who}$"))));
        }
    }

    async fn run(&self, who: &str, typed: &str, code: i32) -> anyhow::Result<Said> {
        let running = self.command(who, typed)?.output();
        let output = tokio::time::timeout(PATIENCE, running).await;
        let output = output.with_context(|| format!("{who}: wheelseal {typed} does not end"))??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = Said { out: text(&output.stdout), notes: text(&output.stderr) };
        if output.status.code() != Some(code) {
            let (found, Said { out, notes }) = (output.status, said);
            bail!("{who}: wheelseal {typed}: expected code {code}, but {found}:\n{out}{notes}");
        }
        Ok(said)
    }

    /// Starts a server on a free port, which stands at `PORT` in what is typed. It is there when this returns; its address.
    pub(super) async fn serves(&mut self, who: &str, typed: &str) -> anyhow::Result<String> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        self.serves_again(who, typed, &format!("http://127.0.0.1:{port}/")).await
    }

    /// The same on the port of an address.
    pub(super) async fn serves_again(
        &mut self,
        who: &str,
        typed: &str,
        address: &str,
    ) -> anyhow::Result<String> {
        let place = address.trim_start_matches("http://").trim_end_matches('/');
        let typed = typed.replace("127.0.0.1:PORT", place);
        self.context
            .out
            .line(format_args!("  {} wheelseal {typed} &", styled(FAINT, format_args!("{who}$"))));
        let notes = self.folder(who)?.join("server.log");
        let file = fs::File::options().create(true).append(true).open(&notes)?;
        let mut child = self.command(who, &typed)?.stdout(file.try_clone()?).stderr(file).spawn()?;
        let there = async {
            while TcpStream::connect(place).await.is_err() {
                if child.try_wait()?.is_some() {
                    bail!("{who}: wheelseal {typed} ended:\n{}", fs::read_to_string(&notes)?);
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, there)
            .await
            .with_context(|| format!("{who}: wheelseal {typed} does not listen"))??;
        // It may be somebody else who listens there.
        if child.try_wait()?.is_some() {
            bail!("{who}: wheelseal {typed} ended:\n{}", fs::read_to_string(&notes)?);
        }
        self.servers.push((address.to_owned(), child));
        Ok(address.to_owned())
    }

    /// Ends the server at an address.
    pub(super) async fn ends(&mut self, address: &str) -> anyhow::Result<()> {
        let at = self.servers.iter().position(|(known, _)| known == address).context("no such server")?;
        let (_, mut child) = self.servers.swap_remove(at);
        Ok(child.kill().await?)
    }

    /// Copies a file of somebody's to where everybody can read it.
    pub(super) fn gives(&self, who: &str, file: &str, name: &str) -> anyhow::Result<()> {
        self.shell(who, &format!("cp {file} ../{GIVEN}/{name}"));
        fs::copy(self.folder(who)?.join(file), self.home.join(GIVEN).join(name))?;
        Ok(())
    }
}

fn is_ours(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    ["WHEELSEAL_", "TWINE_", "UV_", "PIP_"].iter().any(|start| name.starts_with(start))
        || name.to_ascii_lowercase().ends_with("_proxy")
}

/// A line in parts that are not too long, broken at spaces. A word that is too long stays whole.
fn wrapped(line: &str) -> Vec<String> {
    let indent: String = line.chars().take_while(|c| *c == ' ').take(WIDTH / 2).collect();
    let mut lines = Vec::new();
    let mut last = indent.clone();
    for word in line.split(' ').filter(|word| !word.is_empty()) {
        if last.len() > indent.len() && last.len() + word.len() >= WIDTH {
            lines.push(std::mem::replace(&mut last, format!("{indent}  ")));
        }
        if last.trim_start().is_empty() {
            last.push_str(word);
        } else {
            last.push(' ');
            last.push_str(word);
        }
    }
    lines.push(last);
    lines
}

/// The word behind a word: `key  NAME+…` and the like.
pub(super) fn word_after<'t>(text: &'t str, label: &str) -> anyhow::Result<&'t str> {
    let found = text.lines().find_map(|line| line.trim_start().strip_prefix(label));
    found.and_then(|rest| rest.split_whitespace().next()).with_context(|| format!("no {label:?} in {text}"))
}
