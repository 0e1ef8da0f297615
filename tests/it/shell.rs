//! The built program as someone at a shell uses it: in a home of its own, with no terminal and a clean environment.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program that does not start is a test that cannot run"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::scene::{example, files_below, wheel};

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Fails the test unless the program succeeded; gives what it printed.
    pub(crate) fn fine(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// Fails the test unless the program refused with this code and each of these in its error.
    pub(crate) fn refused(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        // Notes may come before it, such as a key that is not on this machine.
        assert!(self.stderr.lines().any(|line| line.starts_with("error: ")), "{}", self.stderr);
        for text in texts {
            assert!(self.stderr.contains(text), "no {text:?} in: {}", self.stderr);
        }
    }
}

impl Ran {
    /// Fails the test unless the line itself was wrong, in these words.
    pub(crate) fn refused_usage(&self, text: &str) {
        assert_eq!(self.code, 2, "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.contains(text), "no {text:?} in: {}", self.stderr);
    }
}

/// A home, and in it a folder to work in.
pub(crate) struct Home {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() };
        for folder in ["work", "config", "state", "dists"] {
            fs::create_dir(home.folder.path().join(folder)).unwrap();
        }
        home
    }

    /// A home with the repository `repo` of two bins in its folder, and two projects in it.
    pub(crate) fn with_repository() -> Self {
        let home = Self::new();
        home.init(&["--bins", "2"]).fine();
        home.publish("alpha", "1.0");
        home.publish("beta", "1.0");
        home
    }

    /// The folder to work in.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// The folder of what the user's programs remember.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Sets a variable for all runs that follow.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Runs the program.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_by(&[], arguments)
    }

    /// The program, ready to run by another one, such as `unshare`.
    pub(crate) fn command(&self, by: &[&str], arguments: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_wheelseal");
        let line: Vec<&str> = by.iter().copied().chain([program]).chain(arguments.iter().copied()).collect();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).current_dir(self.work()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder.path());
        for (name, folder) in [("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state")] {
            command.env(name, self.folder.path().join(folder));
        }
        command.envs(self.variables.iter().cloned());
        command
    }

    /// Runs the program by another one.
    pub(crate) fn run_by(&self, by: &[&str], arguments: &[&str]) -> Ran {
        let output = assert_cmd::Command::from_std(self.command(by, arguments)).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ran = Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        assert!(ran.code != 101 && !ran.stderr.contains("panicked"), "{arguments:?}: {ran:?}");
        ran
    }

    /// `init` of `repo` with the example keys.
    pub(crate) fn init(&self, more: &[&str]) -> Ran {
        let keys = ["root-1", "targets-1", "online"].map(|name| example(name).display().to_string());
        let [root, targets, online] = &keys;
        let init =
            ["init", "--repo", "repo", "--root-key", root, "--targets-key", targets, "--online-key", online];
        self.run(&[&init, more].concat())
    }

    /// Makes a wheel in a folder beside; gives its path.
    pub(crate) fn wheel(&self, project: &str, version: &str) -> String {
        let folder = self.folder.path().join("dists");
        wheel(&folder, project, version, &format!("# {project} {version}\n")).display().to_string()
    }

    /// Makes and publishes a wheel.
    pub(crate) fn publish(&self, project: &str, version: &str) {
        self.run(&["add", "--repo", "repo", &self.wheel(project, version)]).fine();
    }

    /// Runs something that must be refused, and leave every file of the repository as it was.
    pub(crate) fn refuses(&self, arguments: &[&str], code: i32, texts: &[&str]) {
        let before = files_below(&self.work());
        self.run(arguments).refused(code, texts);
        assert!(files_below(&self.work()) == before, "{arguments:?} changed the repository");
    }
}

/// The path as text.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
