//! Maintainers, an index and a recorder as programs: a claimed release, an embargoed one, and one without its receipts.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::INDEX;
use crate::scene::{example, files_below};
use crate::shell::{Home, Ran, shown};

/// A program until it is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// An index with a log, and a recorder that follows it.
struct Stand {
    home: Home,
    url: String,
    _programs: [Program; 2],
}

fn key(name: &str) -> String {
    shown(&example(name))
}

/// Starts a program; what stands behind `word` in the first line that has it.
fn start(home: &Home, words: &[&str], word: &str) -> (Program, String) {
    let mut command = home.command(&["sh", "-c", "exec \"$@\" 2>&1", "sh"], words);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut before = Vec::new();
    let found = loop {
        let Some(Ok(line)) = lines.next() else { panic!("{words:?} ended: {before:?}") };
        if let Some((_, rest)) = line.split_once(word) {
            break format!("{word}{}", rest.trim());
        }
        before.push(line);
    };
    // So that it can go on writing.
    std::thread::spawn(move || lines.for_each(drop));
    (Program(child), found)
}

impl Stand {
    fn new() -> Self {
        let home = Home::with_repository();
        let targets = key("targets-1");
        home.run(&["claims", "enable", "--repo", "repo", "--key", &targets]).fine();
        let log = ["log", "init", "--repo", "repo", "--key", &key("log"), "--key", &targets];
        home.run(&[&log[..], &["--origin", "index.example/log"]].concat()).fine();
        home.run(&["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"]).fine();
        home.run(&["project", "claim", "alpha", "--key", &key("root-2"), "--out", "alpha.json"]).fine();
        home.run(&["claims", "apply", "--repo", "repo", "alpha.json"]).fine();
        let token = home.run(&["token", "create", "--tokens", "tokens.json", "--all"]).fine();
        fs::write(home.work().join("token"), token.split_whitespace().last().unwrap()).unwrap();
        let serve = [
            "serve",
            "--repo",
            "repo",
            "--listen",
            "127.0.0.1:0",
            "--tokens",
            "tokens.json",
            "--claims-for",
            INDEX,
        ];
        let (index, url) = start(&home, &serve, "http://127.0.0.1:");
        let (recorder, claims) = Self::recorder(&home, &url);
        let policy = files_below(&home.work().join("rec")).into_iter();
        let policy = policy.filter(|(path, _)| path.ends_with(".tlog-policy")).map(|(_, text)| text).next();
        let policy = String::from_utf8(policy.unwrap()).unwrap();
        let text = format!(
            "name = \"one\"\nurl = \"http://127.0.0.1:1/\"\nclaims = \"{claims}\"\npolicy = '''{policy}'''\n"
        );
        fs::write(home.work().join("one.toml"), text).unwrap();
        let down = format!("name = \"two\"\nurl = \"http://127.0.0.1:1/\"\npolicy = '''{policy}'''\n");
        fs::write(home.work().join("two.toml"), down).unwrap();
        Self { home, url, _programs: [index, recorder] }
    }

    fn recorder(home: &Home, url: &str) -> (Program, String) {
        let [root, targets, online] = ["root-1", "targets-1", "online"].map(key);
        let init = [
            "init",
            "--repo",
            "rec",
            "--root-key",
            &root,
            "--targets-key",
            &targets,
            "--online-key",
            &online,
        ];
        home.run(&[&init[..], &["--bins", "2"]].concat()).fine();
        home.run(&["key", "gen", "--no-passphrase", "rec.pem"]).fine();
        let log = [
            "log",
            "init",
            "--repo",
            "rec",
            "--key",
            "rec.pem",
            "--key",
            &targets,
            "--origin",
            "rec.example/log",
        ];
        home.run(&log).fine();
        let simple = format!("{url}simple/");
        let record = ["record", "--repo", "rec", "--index", &simple, "--allow-private", "--every", "1"];
        let claims = ["--claims", "127.0.0.1:0", "--trust", "mine", "--claims-for", INDEX];
        start(home, &[&record[..], &claims[..]].concat(), "http://127.0.0.1:")
    }

    /// `project release` of a wheel of alpha.
    fn release(&self, version: &str, more: &[&str]) -> Ran {
        let wheel = self.home.wheel("alpha", version);
        let words = ["project", "release", "alpha", &wheel, "--key", &key("root-2"), "--claim-index", INDEX];
        self.home.run(&[&words[..], more].concat())
    }

    fn upload<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["--upload", &self.url, "--token-file", "token"][..], more].concat()
    }

    fn is_published(&self, version: &str) -> bool {
        let wheel = self.home.wheel("alpha", version);
        self.home.run(&["verify", &wheel]).code == 0
    }

    /// What the recorder says, once it knows the release by more than its claim.
    fn standing(&self, version: &str) -> String {
        for _ in 0..600 {
            let ran = self.home.run(&["project", "standing", "alpha", version, "--recorder", "one.toml"]);
            if !ran.stdout.contains("claim-only") {
                return ran.fine();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the recorder never recorded it");
    }
}

#[test]
fn a_release_is_claimed_at_the_index_and_at_recorders_before_its_files_go_up() {
    let stand = Stand::new();
    let ran = stand.release("2.0", &stand.upload(&["--recorder", "one.toml"]));
    assert!(
        ran.stderr.contains("receipt of index: entry ") && ran.stderr.contains("receipt of one: entry "),
        "{ran:?}"
    );
    ran.fine();
    assert!(stand.is_published("2.0"));
    assert!(stand.standing("2.0").contains("agree"), "the recorder saw what was claimed");
    let receipts = stand.home.work().join("alpha-2.0.receipts");
    let mut names: Vec<_> = files_below(&receipts).into_keys().collect();
    names.sort();
    assert_eq!(names, ["claim.json", "index.policy", "index.tlog-proof", "one.tlog-proof"]);
    assert!(!stand.home.work().join("alpha.release").exists());
    let at = |name: &str| format!("alpha-2.0.receipts/{name}");
    let verify =
        ["log", "verify", &at("index.tlog-proof"), &at("claim.json"), "--policy", &at("index.policy")];
    assert!(stand.home.run(&verify).fine().starts_with("logged a claim of alpha: entry "));
    let other =
        fs::read_to_string(receipts.join("claim.json")).unwrap().replace("\"length\":", "\"length\":1");
    fs::write(receipts.join("other.json"), other).unwrap();
    let forged = ["log", "verify", verify[2], &at("other.json"), "--policy", verify[5]];
    stand.home.run(&forged).refused(9, &["is not proved to be logged"]);

    // Without a receipt that must come no file goes up, unless fewer are asked for.
    let both = ["--recorder", "one.toml", "--recorder", "two.toml"];
    stand
        .release("2.1", &stand.upload(&both))
        .refused(9, &["2 of 3 receipts came, none of two: no file was sent"]);
    assert!(!stand.is_published("2.1"));
    let staged = stand.home.run(&["claims", "staged", "--repo", "repo"]).fine();
    assert!(!staged.contains("alpha-2.1"), "{staged}");
    let again =
        ["project", "send", "alpha.release", "--to", &stand.url, "--token-file", "token", "--receipts", "2"];
    stand.home.run(&[&again[..], &both].concat()).fine();
    assert!(stand.is_published("2.1"));
}

#[test]
fn an_embargoed_release_is_known_to_nobody_before_it_is_sent() {
    let stand = Stand::new();
    let work = stand.home.work();
    let ran = stand.release("3.7", &stand.upload(&["--recorder", "one.toml", "--embargo", "--out", "rel"]));
    assert!(ran.stderr.contains("receipt of index") && ran.stderr.contains("receipt of one"), "{ran:?}");
    let claim = work.join("rel/receipts/claim.json");
    let salt = fs::read_to_string(&claim).unwrap();
    let salt = salt.rsplit('"').nth(1).unwrap().to_owned();
    assert_eq!(salt.len(), 64);
    assert!(!ran.stderr.contains(&salt) && !ran.stdout.contains(&salt), "the salt was printed");
    ran.fine();
    for name in ["claim.json", "embargo.json"] {
        let mode = fs::metadata(work.join("rel/receipts").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    for repository in ["repo", "rec"] {
        for (path, bytes) in files_below(&work.join(repository)) {
            let text = String::from_utf8_lossy(&bytes);
            assert!(
                !path.contains("3.7") && !text.contains("3.7") && !text.contains(&salt),
                "{repository}/{path}"
            );
        }
    }
    let receipt = fs::read(work.join("rel/receipts/one.tlog-proof")).unwrap();
    // With twine's configuration, by name.
    let pypirc = format!(
        "[ours]\nrepository = {}\nusername = __token__\npassword = {}\n",
        stand.url,
        fs::read_to_string(work.join("token")).unwrap()
    );
    fs::write(work.parent().unwrap().join(".pypirc"), pypirc).unwrap();
    let sent = stand.home.run(&["project", "send", "rel", "--to", "ours", "--recorder", "one.toml"]);
    assert!(sent.stderr.contains("by [ours] in ") && !sent.stderr.contains("wheelseal-"), "{sent:?}");
    sent.fine();
    assert_eq!(
        fs::read(work.join("rel/receipts/one.tlog-proof")).unwrap(),
        receipt,
        "the receipt from before it was told"
    );
    assert!(stand.is_published("3.7"));
    assert!(stand.standing("3.7").contains("agree"));
}

#[test]
fn a_claim_beside_a_release_is_cosigned_with_it_and_must_be_of_it() {
    let home = Home::with_repository();
    home.run(&["claims", "enable", "--repo", "repo", "--key", &key("targets-1")]).fine();
    home.run(&["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    let claim = [
        "project",
        "claim",
        "alpha",
        "--key",
        &key("root-2"),
        "--key",
        &key("root-3"),
        "--threshold",
        "2",
        "--out",
        "a.json",
    ];
    home.run(&claim).fine();
    home.run(&["claims", "apply", "--repo", "repo", "a.json"]).fine();
    let wheel = home.wheel("alpha", "2.0");
    let release = ["project", "release", "alpha", &wheel, "--key", &key("root-2"), "--claim-index", INDEX];
    let release = [&release[..], &["--claim-to", "https://rec.example/claim/", "--out", "rel"]].concat();
    home.run(&release).fine();
    let file = home.work().join("rel/receipts/claim.json");
    let one = fs::read_to_string(&file).unwrap();
    assert_eq!(one.matches("keyid").count(), 1);
    let cosign = ["project", "cosign", "rel", "--key", &key("root-3")];
    fs::write(&file, one.replace("\"length\":", "\"length\":1")).unwrap();
    home.run(&cosign).refused(2, &["the claim beside the release has another alpha/alpha-2.0"]);
    fs::write(&file, &one).unwrap();
    home.run(&cosign).fine();
    assert_eq!(fs::read_to_string(&file).unwrap().matches("keyid").count(), 2);
}
