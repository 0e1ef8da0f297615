//! Keys in an ssh agent, by OpenSSH's own; and agents that lie, which are servers of our own.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::scene::example;
use crate::shell::{Home, shown};

/// A running agent, which ends with this.
struct Agent {
    home: Home,
    process: Child,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Agent {
    fn new() -> Self {
        let mut home = Home::new();
        let socket = home.state().join("agent");
        let mut command = Command::new("ssh-agent");
        command.args(["-D", "-a"]).arg(&socket).stdout(Stdio::piped()).stderr(Stdio::null());
        command.env_remove("SSH_ASKPASS").env_remove("DISPLAY");
        let mut process = command.spawn().unwrap();
        // It writes its first line when it listens.
        let mut byte = [0];
        process.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        home.set("SSH_AUTH_SOCK", &shown(&socket));
        Self { home, process }
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.home.work()).stdin(Stdio::null());
        let output = command.env("SSH_AUTH_SOCK", self.home.state().join("agent")).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes a key, and gives it to the agent. Gives its fingerprint.
    fn add(&self, kind: &[&str], comment: &str, how: &[&str]) -> String {
        let make = [&["-q", "-N", "", "-f", comment, "-C", comment, "-t"], kind].concat();
        self.tool("ssh-keygen", &make);
        self.tool("ssh-add", &[&["-q"], how, &[comment]].concat());
        let shown = self.tool("ssh-keygen", &["-l", "-f", &format!("{comment}.pub")]);
        shown.split(' ').nth(1).unwrap().to_owned()
    }
}

#[test]
fn a_repository_whose_offline_keys_are_in_an_agent_is_made_rotated_and_verified() {
    let agent = Agent::new();
    let home = &agent.home;
    agent.add(&["ed25519"], "root", &[]);
    let targets = agent.add(&["ecdsa", "-b", "256"], "targets", &[]);
    let (root, targets, online) =
        ("ssh-agent:root".to_owned(), format!("ssh-agent:{targets}"), shown(&example("online")));
    let keys = ["--root-key", &root, "--targets-key", &targets, "--online-key", &online];
    home.run(&[&["init", "--repo", "repo", "--bins", "2"], &keys[..]].concat()).fine();
    agent.add(&["ecdsa", "-b", "256"], "root-2", &[]);
    home.run(&["role", "rotate", "root", "--repo", "repo", "--key", &root, "--to", "ssh-agent:root-2"])
        .fine();
    home.run(&["add", "--repo", "repo", &home.wheel("alpha", "1.0")]).fine();
    home.run(&["check", "--repo", "repo"]).fine();
    assert!(home.run(&["key", "show", &targets]).fine().contains("ECDSA P-256"));
}

#[test]
fn online_keys_in_an_agent_sign_many_bins_at_once() {
    let agent = Agent::new();
    let home = &agent.home;
    agent.add(&["ed25519"], "online", &[]);
    let [root, targets] = ["root-1", "targets-1"].map(|name| shown(&example(name)));
    let keys = ["--root-key", &root, "--targets-key", &targets, "--online-key", "ssh-agent:online"];
    home.run(&[&["init", "--repo", "repo", "--bins", "256"], &keys[..]].concat()).fine();
    home.run(&["bump", "--repo", "repo", "--all"]).fine();
    home.run(&["check", "--repo", "repo"]).fine();
}

#[test]
fn keys_that_cannot_sign_here_or_are_not_there_are_named() {
    let mut agent = Agent::new();
    let refused = |agent: &Agent, name: &str, texts: &[&str]| {
        agent.home.run(&["key", "show", &format!("ssh-agent:{name}")]).refused(1, texts);
    };
    refused(
        &agent,
        "none",
        &["0 keys of the ssh agent fit, expected one; it has: none", "hint: `ssh-add -l`"],
    );
    let one = agent.add(&["ed25519"], "one", &[]);
    agent.add(&["rsa", "-b", "2048"], "old", &[]);
    refused(&agent, "none", &[&format!("it has: {one} \"one\", SHA256:")]);
    refused(
        &agent,
        "old",
        &["it is a \"ssh-rsa\" key, expected ssh-ed25519 or ecdsa-sha2-nistp256", "hint: make one"],
    );
    agent.tool("ssh-keygen", &["-q", "-N", "", "-f", "two", "-C", "one", "-t", "ed25519"]);
    agent.tool("ssh-add", &["-q", "two"]);
    refused(&agent, "one", &["2 keys of the ssh agent fit"]);
    agent.home.run(&["key", "show", &format!("ssh-agent:{one}")]).fine();
    agent.home.run(&["key", "gen", "ssh-agent:new"]).refused(1, &["a key cannot be made as ssh-agent:new"]);
    agent.home.set("SSH_AUTH_SOCK", "/nowhere/agent");
    refused(&agent, "one", &["the ssh agent does not answer: ", "hint: check with `ssh-add -l`"]);
    agent.home.set("SSH_AUTH_SOCK", "");
    refused(&agent, "one", &["there is no ssh agent: SSH_AUTH_SOCK is not set"]);
}

/// The agent asks before each use of the key, and there is nobody to say yes.
#[test]
fn a_signature_that_nobody_confirms_leaves_the_repository_as_it_was() {
    let agent = Agent::new();
    let home = &agent.home;
    agent.add(&["ed25519"], "root", &[]);
    let online = shown(&example("online"));
    let targets = shown(&example("targets-1"));
    let keys = ["--root-key", "ssh-agent:root", "--targets-key", &targets, "--online-key", &online];
    home.run(&[&["init", "--repo", "repo", "--bins", "2"], &keys[..]].concat()).fine();
    agent.tool("ssh-add", &["-q", "-D"]);
    agent.tool("ssh-add", &["-q", "-c", "root"]);
    let next = shown(&example("root-2"));
    let rotate = ["role", "rotate", "root", "--repo", "repo", "--key", "ssh-agent:root", "--to", &next];
    home.refuses(
        &rotate,
        1,
        &["the ssh agent refused: it is locked, the key is gone, or somebody did not confirm"],
    );
}

/// Answers the first request with `listed`, and each later one with `signed`.
fn liar(socket: &Path, listed: Vec<u8>, signed: Vec<u8>) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for (connection, answer) in
            listener.incoming().zip(std::iter::once(listed).chain(std::iter::repeat(signed)))
        {
            let mut connection = connection.unwrap();
            let mut length = [0; 4];
            connection.read_exact(&mut length).unwrap();
            let mut request = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
            connection.read_exact(&mut request).unwrap();
            connection.write_all(&answer).unwrap();
        }
    });
}

fn message(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body: Vec<u8> = [&[kind][..]].iter().chain(parts).flat_map(|part| part.to_vec()).collect();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

#[test]
fn an_agent_that_answers_wrongly_gets_nothing_signed() {
    // A public key that is one: the base point of the curve.
    let mut point = [0x66; 32];
    point[0] = 0x58;
    let blob = [string(b"ssh-ed25519"), string(&point)].concat();
    let listed = message(12, &[&1_u32.to_be_bytes(), &string(&blob), &string(b"root")]);
    let signature = string(&[string(b"ssh-ed25519"), string(&[7; 64])].concat());
    let nonsense = "the ssh agent gave an answer that makes no sense";
    for (signed, text) in [
        (message(14, &[&signature]), "what was returned as a signature does not verify with the public key"),
        (message(14, &[&signature, b"more"]), nonsense),
        (message(12, &[&signature]), nonsense),
        (u32::MAX.to_be_bytes().to_vec(), nonsense),
        (message(14, &[]), nonsense),
        (vec![0, 0, 0, 9, 14], "the ssh agent does not answer: "),
    ] {
        let mut home = Home::new();
        let socket = home.state().join("agent");
        liar(&socket, listed.clone(), signed);
        home.set("SSH_AUTH_SOCK", &shown(&socket));
        let [online, targets] = ["online", "targets-1"].map(|name| shown(&example(name)));
        let keys = ["--root-key", "ssh-agent:root", "--targets-key", &targets, "--online-key", &online];
        home.run(&[&["init", "--repo", "repo", "--bins", "2"], &keys[..]].concat()).refused(1, &[text]);
        assert!(!home.work().join("repo/metadata").exists());
    }
}
