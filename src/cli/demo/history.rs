//! `demo --log`: an index that turns bad, and everybody who notices.
//!
//! Twelve machines, each a folder. What is typed is what their people would type; docs/operating.md explains it ("All of it on one
//! machine"). The bad index has all online keys and the key of its log, and witnesses that do their work: what it does is
//! signed, logged and cosigned. One client alone is shown it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use super::town::{Said, Town, word_after};
use crate::cli::Context;
use crate::cli::exit::POLICY;
use crate::cli::output::{GOOD, styled};
use crate::cli::samples::Sample;

/// Who cosigns, with the names of their keys.
const WITNESSES: [&str; 3] = ["w1", "w2", "w3"];
/// Who records.
const RECORDERS: [&str; 3] = ["one", "two", "three"];
/// Who does what the first of them was seen doing.
const UNSEEN: [&str; 4] = ["w2", "w3", "two", "three"];
/// The file that the index swaps.
const WHEEL: &str = "seal-1.1-py3-none-any.whl";

/// What is known of a running cast.
struct Cast<'a> {
    town: Town<'a>,
    /// `--witness …` for each witness, and the quorum.
    witnesses: String,
    /// Where the index answers everybody.
    index: String,
    /// Where it answers the client it has picked out.
    lair: String,
    /// Where recorders take claims.
    desks: Vec<String>,
}

/// What may stand around a path in a sentence.
const PUNCTUATION: &[char] = &['.', ',', ';', ')', '(', ':', '\'', '`'];

pub(super) async fn play(context: &Context, home: &Path) -> anyhow::Result<()> {
    let town = Town::new(context, home, &UNSEEN)?;
    let (witnesses, index, lair) = (String::new(), String::new(), String::new());
    let mut cast = Cast { town, witnesses, index, lair, desks: Vec::new() };
    cast.witnesses().await?;
    cast.index().await?;
    cast.recorders().await?;
    cast.maintainer().await?;
    cast.release().await?;
    cast.client().await?;
    cast.swap().await?;
    let evidence = cast.verdicts().await?;
    cast.third_person(&evidence).await?;
    context.out.line("");
    context.out.line(format_args!(
        "{} client, recorders and monitor each refused or raised the alarm, and the evidence holds",
        styled(GOOD, "done")
    ));
    Ok(())
}

impl Cast<'_> {
    async fn witnesses(&mut self) -> anyhow::Result<()> {
        self.town.heading("Three witnesses, who cosign a log as long as it only grows");
        for who in WITNESSES {
            self.key(who, "witness.pem").await?;
            let typed = format!("witness init state --name {who}.example/w --key witness.pem");
            let vkey = word_after(&self.town.types(who, &typed, 0).await?.out, "vkey")?.to_owned();
            let address = self.town.serves(who, "witness serve state --listen 127.0.0.1:PORT").await?;
            self.witnesses.push_str(&format!("--witness {vkey}={address} "));
        }
        self.witnesses.push_str("--quorum 2");
        Ok(())
    }

    /// Begins the log of a repository: its witnesses learn its key first.
    async fn log(&self, who: &str) -> anyhow::Result<()> {
        self.key(who, "log.pem").await?;
        let asked =
            format!("log init --repo repo --key log.pem --origin {who}.example/log {}", self.witnesses);
        let refused = self.town.types(who, &asked, POLICY.into()).await?;
        let vkey = word_after(&refused.notes, "the log's key:")?.to_owned();
        for witness in WITNESSES {
            self.town.types(witness, &format!("witness log add state {vkey}"), 0).await?;
        }
        self.town.types(who, "log init --repo repo --key log.pem --key root.pem", 0).await?;
        Ok(())
    }

    async fn key(&self, who: &str, file: &str) -> anyhow::Result<()> {
        self.town.types(who, &format!("key gen --no-passphrase {file}"), 0).await.map(drop)
    }

    async fn repository(&self, who: &str, more: &str) -> anyhow::Result<()> {
        self.key(who, "root.pem").await?;
        self.key(who, "online.pem").await?;
        let typed = format!("init --repo repo --root-key root.pem --online-key online.pem --bins 16{more}");
        self.town.types(who, &typed, 0).await.map(drop)
    }

    async fn index(&mut self) -> anyhow::Result<()> {
        self.town.heading("An index with a log: two of the three witnesses must have cosigned");
        self.repository("index", " --claims").await?;
        let folder = self.town.folder("index")?;
        let first = Sample { name: "seal", version: "1.0" }.wheel(&folder)?;
        self.town.types("index", &format!("add --repo repo {}", name(&first)?), 0).await?;
        self.log("index").await?;
        self.town.gives("index", "repo/metadata/1.root.json", "root.json")?;
        self.town.gives("index", "repo/targets/tlog-policy", "index.policy")?;
        let token = self.town.types("index", "token create --tokens tokens.json --project seal", 0).await?;
        fs::write(folder.join("token"), token.out.trim())?;
        self.town.gives("index", "token", "token")?;
        let serve = "serve --repo repo --tokens tokens.json --listen 127.0.0.1:PORT --public-url http://127.0.0.1:PORT/";
        self.index = self.town.serves("index", serve).await?;
        self.lair = self.town.serves("index", "serve --repo repo --listen 127.0.0.1:PORT").await?;
        Ok(())
    }

    async fn recorders(&mut self) -> anyhow::Result<()> {
        self.town.heading("Three recorders, who fetch what the index publishes and log it themselves");
        for who in RECORDERS {
            self.repository(who, "").await?;
            self.log(who).await?;
            self.town.gives(who, "repo/targets/tlog-policy", &format!("{who}.policy"))?;
            self.trusts(who, &self.index, "").await?;
            let files = self.town.serves(who, "serve --repo repo --listen 127.0.0.1:PORT").await?;
            let recording = format!("{} --every 2 --claims 127.0.0.1:PORT", self.recording());
            let desk = self.town.serves(who, &recording).await?;
            let announce = format!(
                "log announce --repo repo --name {who}.example --url {files} --claims {desk}claim/ --output ../given/{who}.toml"
            );
            self.town.types(who, &announce, 0).await?;
            self.desks.push(desk);
        }
        Ok(())
    }

    fn recording(&self) -> String {
        let Self { index, .. } = self;
        format!(
            "record --repo repo --index {index}simple/ --index-log ../given/index.policy --trust index --allow-private"
        )
    }

    async fn maintainer(&self) -> anyhow::Result<()> {
        self.town.heading("Ann claims her project: from now on her key signs its files, not the index's");
        self.trusts("ann", &self.index, "").await?;
        self.key("ann", "ann.pem").await?;
        self.town.types("ann", "project claim seal --key ann.pem --out ../given/seal.claim.json", 0).await?;
        self.town.types("index", "claims receive --repo repo ../given/seal.claim.json", 0).await?;
        self.town.types("index", "claims approve --repo repo seal", 0).await?;
        Ok(())
    }

    async fn trusts(&self, who: &str, index: &str, more: &str) -> anyhow::Result<()> {
        let typed = format!("trust add index {index} --root ../given/root.json{more}");
        self.town.types(who, &typed, 0).await.map(drop)
    }

    async fn release(&mut self) -> anyhow::Result<()> {
        self.town.heading("She releases, and tells index and recorders the hashes before any byte goes up");
        Sample { name: "seal", version: "1.1" }.wheel(&self.town.folder("ann")?)?;
        let recorders = RECORDERS.map(|who| format!("--recorder ../given/{who}.toml")).join(" ");
        let typed = format!(
            "project release seal {WHEEL} --key ann.pem --upload {} --token-file ../given/token {recorders}",
            self.index
        );
        self.town.types("ann", &typed, 0).await?;
        for desk in std::mem::take(&mut self.desks) {
            self.town.ends(&desk).await?;
        }
        for who in RECORDERS {
            self.town.types(who, &format!("{} --once", self.recording()), 0).await?;
        }
        Ok(())
    }

    async fn client(&self) -> anyhow::Result<()> {
        self.town.heading("Carl installs what two of the three recorders saw as well");
        let recorders = RECORDERS.map(|who| format!("--recorder ../given/{who}.toml")).join(" ");
        let more = format!(" {recorders} --recorders-needed 2 --log-policy ../given/index.policy");
        self.trusts("carl", &self.lair, &more).await?;
        self.town.types("carl", &format!("download {WHEEL} --to good"), 0).await?;
        self.town.types("carl", &format!("explain {WHEEL}"), 0).await?;
        self.town.types("mona", &self.monitoring(), 0).await?;
        Ok(())
    }

    fn monitoring(&self) -> String {
        format!(
            "monitor --repo {} --policy ../given/index.policy --project seal --state state --once",
            self.index
        )
    }

    async fn swap(&mut self) -> anyhow::Result<()> {
        self.town.heading(
            "The index turns bad: it swaps the wheel, signs, logs, has it cosigned, and shows it to Carl alone",
        );
        let folder = self.town.folder("index")?;
        self.town.shell("index", "cp -r repo bad");
        copy_all(&folder.join("repo"), &folder.join("bad"))?;
        Sample { name: "seal", version: "1.1" }.wheel_with(&folder, "import os  # whatever it likes\n")?;
        self.town.types("index", "claims revoke --repo bad seal", 0).await?;
        self.town.types("index", &format!("remove --repo bad {WHEEL}"), 0).await?;
        self.town.say(
            "it would refuse to publish another file under a name that is logged, so it forgets that it is",
        );
        for file in [WHEEL.to_owned(), format!("{WHEEL}.metadata")] {
            for ending in ["", ".tlog-proof"] {
                let path = format!("bad/targets/seal/{file}{ending}");
                self.town.shell("index", &format!("rm {path}"));
                fs::remove_file(folder.join(path))?;
            }
        }
        self.town.types("index", &format!("add --repo bad {WHEEL}"), 0).await?;
        self.town.say("witnesses have seen that tree of its log, so everybody must be shown it");
        self.town.shell("index", "rm -r repo/log && cp -r bad/log repo/log");
        fs::remove_dir_all(folder.join("repo/log"))?;
        copy_all(&folder.join("bad/log"), &folder.join("repo/log"))?;
        self.town.ends(&self.lair).await?;
        self.town.serves_again("index", "serve --repo bad --listen 127.0.0.1:PORT", &self.lair).await?;
        Ok(())
    }

    /// What everybody says of it. Returns who has which file of evidence.
    async fn verdicts(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        self.town.heading("Dora, who is not picked out, sees nothing wrong");
        self.trusts("dora", &self.index, "").await?;
        self.town.types("dora", &format!("download {WHEEL}"), 0).await?;
        self.town.heading("Carl's client refuses: the recorders saw other bytes");
        let refused = self.town.types("carl", &format!("download {WHEEL} --to bad"), POLICY.into()).await?;
        let mut evidence = vec![("carl", evidence_in(&refused, &self.town.folder("carl")?)?)];
        ensure!(!self.town.folder("carl")?.join("bad").join(WHEEL).exists(), "the swapped file was stored");
        self.town.heading("The recorders follow the index's log, and see it too");
        for who in RECORDERS {
            let said = self.town.types(who, &format!("{} --once", self.recording()), POLICY.into()).await?;
            let kept = word_in(&said, |word| word.starts_with("conflicts/"))?;
            let place = self.town.folder(who)?.join("repo").join(kept.trim_end_matches('*'));
            evidence.push((who, format!("{}.evidence.txt", place.display())));
        }
        self.town.heading("So does Mona, who watches the log for the project");
        let alarm = self.town.types("mona", &self.monitoring(), POLICY.into()).await?;
        evidence.push(("mona", evidence_in(&alarm, &self.town.folder("mona")?)?));
        Ok(evidence)
    }

    async fn third_person(&self, evidence: &[(&str, String)]) -> anyhow::Result<()> {
        self.town.heading("Erin was not there, and trusts none of them: she checks the evidence");
        let policies = RECORDERS.map(|who| format!("--policy ../given/{who}.policy")).join(" ");
        for (who, file) in evidence.iter().filter(|(who, _)| !UNSEEN.contains(who)) {
            fs::copy(file, self.town.folder("erin")?.join(format!("{who}.txt")))?;
            let typed = format!("log evidence {who}.txt --policy ../given/index.policy {policies}");
            self.town.types("erin", &typed, 0).await?;
        }
        Ok(())
    }
}

/// The file of evidence below a folder that is named.
fn evidence_in(said: &Said, folder: &Path) -> anyhow::Result<String> {
    let all = format!("{}\n{}", said.out, said.notes);
    let folder = folder.display().to_string();
    // There may be spaces in the folder's name, and there are none below it.
    let found = all.split(&folder).skip(1).find_map(|rest| {
        let word = rest.split([' ', '\n', '"']).next()?.trim_end_matches(PUNCTUATION);
        word.contains("/evidence/").then(|| format!("{folder}{word}"))
    });
    found.with_context(|| format!("no evidence below {folder} in {all}"))
}

/// The first word that is looked for, without what stands around it in a sentence.
fn word_in(said: &Said, is_it: impl Fn(&str) -> bool) -> anyhow::Result<String> {
    let all = format!("{}\n{}", said.out, said.notes);
    let mut words = all.split([' ', '\n', '"']).map(|word| word.trim_matches(PUNCTUATION));
    let found = words.find(|word| is_it(word)).map(str::to_owned);
    found.with_context(|| format!("nothing of the kind in {all}"))
}

/// Copies a folder with all that is in it.
fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry?;
        let at = to.join(entry.path().strip_prefix(from)?);
        if entry.file_type().is_dir() {
            fs::create_dir_all(at)?;
        } else {
            fs::copy(entry.path(), at)?;
        }
    }
    Ok(())
}

/// The last part of a path.
fn name(path: &Path) -> anyhow::Result<&str> {
    path.file_name().and_then(|name| name.to_str()).context("a file name")
}
