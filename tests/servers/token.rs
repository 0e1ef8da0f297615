//! Keys on tokens, by SoftHSM: a real PKCS#11 module whose tokens are files. What it cannot be made to do (to be pulled
//! out in the middle, to be near its lock) is done by `between.c`, a module that stands before it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::scene::{example, files_below};
use crate::shell::{Home, shown};

const PIN: &str = "31415926";

/// A home with a token of its own.
struct Token {
    home: Home,
}

impl Token {
    fn new() -> Self {
        let mut home = Home::new();
        let folder = home.state().join("softhsm");
        fs::create_dir_all(folder.join("tokens")).unwrap();
        let settings = folder.join("softhsm2.conf");
        let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", shown(&folder.join("tokens")));
        fs::write(&settings, text).unwrap();
        home.set("SOFTHSM2_CONF", &shown(&settings));
        home.set("WHEELSEAL_PKCS11_MODULE", &module());
        home.set("WHEELSEAL_PIN", PIN);
        let token = Self { home };
        token.label("hsm");
        token
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> String {
        let settings = self.home.state().join("softhsm/softhsm2.conf");
        let output = Command::new(program).args(arguments).env("SOFTHSM2_CONF", settings).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn label(&self, label: &str) {
        let make = ["--init-token", "--free", "--label", label, "--so-pin", "2718281828", "--pin", PIN];
        self.tool("softhsm2-util", &make);
    }

    /// The tool that comes with smart cards, logged in.
    fn opensc(&self, arguments: &[&str]) -> String {
        let module = module();
        let login = ["--module", &module, "--token-label", "hsm", "--login", "--pin", PIN];
        self.tool("pkcs11-tool", &[&login, arguments].concat())
    }

    fn make(&self, name: &str, kind: &str) -> String {
        let uri = format!("pkcs11:token=hsm;object={name}");
        match kind {
            "rsa" => {
                drop(self.opensc(&["--keypairgen", "--key-type", "rsa:2048", "--label", name, "--id", "0a"]))
            }
            kind => drop(self.home.run(&["key", "gen", "--type", kind, &uri]).fine()),
        }
        uri
    }

    /// `init` with offline keys on the token, and an online key in a file.
    fn init(&self, root: &str, targets: &str) {
        let online = shown(&example("online"));
        let keys = ["--root-key", root, "--targets-key", targets, "--online-key", &online];
        self.home.run(&[&["init", "--repo", "repo", "--bins", "2"], &keys[..]].concat()).fine();
    }

    /// From now on the module in between is used. Gives its log.
    fn between(&mut self) -> PathBuf {
        let (library, log) = (self.home.state().join("between.so"), self.home.state().join("log"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/between.c");
        let library_text = shown(&library);
        let build =
            Command::new("cc").args(["-shared", "-fPIC", "-o", &library_text, source, "-ldl"]).status();
        assert!(build.unwrap().success());
        self.home.set("WHEELSEAL_PKCS11_MODULE", &library_text);
        self.home.set("BETWEEN_MODULE", &module());
        self.home.set("BETWEEN_LOG", &shown(&log));
        log
    }
}

fn module() -> String {
    std::env::var("WHEELSEAL_TEST_PKCS11")
        .expect("WHEELSEAL_TEST_PKCS11 names no module: run this by tests/servers/with")
}

fn count(log: &PathBuf, line: &str) -> usize {
    fs::read_to_string(log).unwrap_or_default().lines().filter(|one| *one == line).count()
}

#[test]
fn a_repository_whose_offline_keys_are_on_a_token_is_made_rotated_and_verified() {
    let token = Token::new();
    let [first, second, targets, third] =
        [("root-1", "ed25519"), ("root-2", "ecdsa"), ("targets-1", "rsa"), ("targets-2", "ed25519")]
            .map(|(name, kind)| token.make(name, kind));
    let home = &token.home;
    token.init(&first, &targets);
    fs::copy(home.work().join("repo/metadata/1.root.json"), home.work().join("root.json")).unwrap();
    home.run(&["add", "--repo", "repo", &home.wheel("alpha", "1.0")]).fine();

    let rotate = ["role", "rotate", "root", "--repo", "repo", "--key", &first, "--to", &second];
    home.run(&rotate).fine();
    let rotate =
        ["role", "rotate", "targets", "--repo", "repo", "--key", &second, "--key", &targets, "--to", &third];
    home.run(&rotate).fine();
    home.run(&["check", "--repo", "repo"]).fine();

    // The client knows the very first root, and follows it to the new keys.
    let repo = format!("file://{}", shown(&home.work().join("repo")));
    home.run(&["trust", "add", "hsm", &repo, "--root", "root.json"]).fine();
    home.run(&["download", "--trust", "hsm", "alpha/alpha-1.0-py3-none-any.whl"]).fine();
}

#[test]
fn online_keys_on_a_token_sign_many_bins_at_once() {
    let token = Token::new();
    let home = &token.home;
    let online = token.make("online", "ecdsa");
    let [root, targets] = ["root-1", "targets-1"].map(|name| shown(&example(name)));
    let keys = ["--root-key", &root, "--targets-key", &targets, "--online-key", &online];
    home.run(&[&["init", "--repo", "repo", "--bins", "256"], &keys[..]].concat()).fine();
    home.run(&["add", "--repo", "repo", &home.wheel("alpha", "1.0")]).fine();
    home.run(&["bump", "--repo", "repo", "--all"]).fine();
    home.run(&["check", "--repo", "repo"]).fine();
}

#[test]
fn a_key_made_on_a_token_cannot_leave_it_and_is_never_made_twice() {
    let token = Token::new();
    let home = &token.home;
    let uri = token.make("root-1", "ed25519");
    let listed = token.opensc(&["--list-objects", "--type", "privkey"]);
    assert!(listed.contains("sensitive, always sensitive, never extractable, local"), "{listed}");
    let again = "the token has a key with this label or id, and a key is never overwritten";
    home.run(&["key", "gen", &uri]).refused(1, &[&uri, again]);
    home.run(&["key", "gen", "pkcs11:token=hsm"]).refused(1, &["a new key needs object=LABEL"]);
    home.run(&["key", "gen", "--no-passphrase", &uri]).refused(2, &["--no-passphrase is for key files"]);
}

#[test]
fn the_public_half_needs_no_pin_and_is_what_other_tools_read() {
    let mut token = Token::new();
    let uri = token.make("root-1", "ecdsa");
    token.home.set("WHEELSEAL_PIN", "");
    let shown = token.home.run(&["key", "show", &uri]).fine();
    assert!(shown.contains("ECDSA P-256"), "{shown}");
    let pem = token.home.run(&["key", "export", &uri]).fine();
    fs::write(token.home.work().join("root.pub"), &pem).unwrap();
    assert_eq!(token.home.run(&["key", "show", "root.pub"]).fine(), shown);
    let der = token.home.work().join("their.der");
    let read = ["--read-object", "--type", "pubkey", "--label", "root-1", "-o", der.to_str().unwrap()];
    token.opensc(&read);
    let openssl = token.tool("openssl", &["pkey", "-pubin", "-inform", "DER", "-in", der.to_str().unwrap()]);
    assert_eq!(openssl, pem);
    let public = "pkcs11:token=hsm;object=root-1;type=public";
    token.home.run(&["key", "show", public]).fine();
    token.home.run(&["bump", "--repo", "none", "--key", public]).refused(2, &[]);
}

#[test]
fn a_wrong_pin_is_tried_once_for_all_keys_of_the_token() {
    let mut token = Token::new();
    let [root, targets] =
        [("root-1", "ed25519"), ("targets-1", "ecdsa")].map(|(name, kind)| token.make(name, kind));
    token.init(&root, &targets);
    let log = token.between();
    token.home.set("WHEELSEAL_PIN", "00000000");
    let rotate =
        ["role", "rotate", "root", "--repo", "repo", "--key", &root, "--key", &targets, "--to", &targets];
    token.home.refuses(&rotate, 1, &["the PIN is wrong; it was tried once", "hint: check the PIN first"]);
    assert_eq!((count(&log, "login"), count(&log, "signature")), (1, 0));
    assert!(!token.home.run(&rotate).stderr.contains("00000000"));
}

/// The settings name two keys; the first one's refusal is a note, and the second must not cost another try.
#[test]
fn a_refused_pin_is_not_tried_again_by_the_same_command() {
    let mut token = Token::new();
    let home = &token.home;
    let [one, two] = [("one", "ed25519"), ("two", "ecdsa")].map(|(name, kind)| token.make(name, kind));
    let [root, targets] = ["root-1", "targets-1"].map(|name| shown(&example(name)));
    let keys = ["--root-key", &root, "--targets-key", &targets, "--online-key", &one, "--online-key", &two];
    home.run(&[&["init", "--repo", "repo", "--bins", "2"], &keys[..]].concat()).fine();
    let log = token.between();
    token.home.set("WHEELSEAL_PIN", "00000000");
    let texts = ["the PIN is wrong; it was tried once", "was refused before; it is not tried again"];
    token.home.refuses(&["bump", "--repo", "repo", "--all"], 6, &texts);
    assert_eq!(count(&log, "login"), 1);
}

#[test]
fn a_token_near_its_lock_or_locked_is_left_alone() {
    let mut token = Token::new();
    let uri = token.make("root-1", "ed25519");
    let log = token.between();
    // CKF_USER_PIN_FINAL_TRY and CKF_USER_PIN_LOCKED.
    for (flags, text) in
        [("20000", "one more try of its PIN before it locks"), ("40000", "is locked after too many")]
    {
        token.home.set("BETWEEN_FLAGS", flags);
        token.home.run(&["key", "gen", &uri]).refused(1, &[text, "hint: "]);
        assert_eq!(count(&log, "login"), 0);
    }
}

#[test]
fn a_token_pulled_out_before_a_signature_leaves_the_repository_as_it_was() {
    let mut token = Token::new();
    let [root, targets, next] = ["root-1", "targets-1", "root-2"].map(|name| token.make(name, "ecdsa"));
    token.init(&root, &targets);
    let log = token.between();
    // Two keys are opened, with one signature each; then one of the new root is made, and the token is gone.
    let rotate = ["role", "rotate", "root", "--repo", "repo", "--key", &root, "--to", &next];
    for allowed in 0..4 {
        fs::write(&log, "").unwrap();
        token.home.set("BETWEEN_SIGNATURES", &allowed.to_string());
        let texts =
            ["the token was removed, or has ended the session", "DeviceRemoved", "hint: put the token back"];
        token.home.refuses(&rotate, 1, &texts);
        assert_eq!(count(&log, "signature"), allowed);
    }
    token.home.set("BETWEEN_SIGNATURES", "4");
    token.home.run(&rotate).fine();
    token.home.run(&["check", "--repo", "repo"]).fine();
}

/// Two roles are signed by two keys of one token, which is pulled out at each point in turn: nothing half-signed is kept, and
/// the same command goes on when the token is back.
#[test]
fn a_token_pulled_out_in_the_middle_of_a_ceremony_leaves_its_file_as_it_was() {
    let mut token = Token::new();
    let [root, targets] = ["root-1", "targets-1"].map(|name| token.make(name, "ecdsa"));
    token.init(&root, &targets);
    let start = ["ceremony", "start", "both", "--repo", "repo", "--renew", "targets", "--expiry", "root=400"];
    token.home.run(&start).fine();
    let log = token.between();
    let sign = ["ceremony", "sign", "both", "--repo", "repo", "--key", &root, "--key", &targets, "--yes"];
    let mut allowed = 0;
    loop {
        fs::write(&log, "").unwrap();
        token.home.set("BETWEEN_SIGNATURES", &allowed.to_string());
        let before = files_below(&token.home.work());
        let ran = token.home.run(&sign);
        if ran.code == 0 {
            break;
        }
        ran.refused(1, &["the token was removed, or has ended the session", "hint: put the token back"]);
        assert_eq!(count(&log, "signature"), allowed);
        assert!(files_below(&token.home.work()) == before, "after {allowed} signatures");
        allowed += 1;
    }
    assert!(allowed >= 2, "it was pulled out before each of the two signatures at least: {allowed}");
    token.home.run(&["ceremony", "finish", "both", "--repo", "repo"]).fine();
    token.home.run(&["check", "--repo", "repo"]).fine();
}

/// The first key finds the token gone; by the time of the second it is back, and wants a login of its own.
#[test]
fn a_token_that_was_put_back_is_logged_in_to_again() {
    let mut token = Token::new();
    let home = &token.home;
    let [one, two] = [("one", "ed25519"), ("two", "ecdsa")].map(|(name, kind)| token.make(name, kind));
    let [root, targets] = ["root-1", "targets-1"].map(|name| shown(&example(name)));
    let keys = ["--root-key", &root, "--targets-key", &targets, "--online-key", &one, "--online-key", &two];
    home.run(&[&["init", "--repo", "repo", "--bins", "2"], &keys[..]].concat()).fine();
    let log = token.between();
    token.home.set("BETWEEN_LOST", "1");
    let ran = token.home.run(&["bump", "--repo", "repo", "--all"]);
    let note = format!("not using online key {one}: {one}: the token was removed");
    assert!(ran.code == 0 && ran.stderr.contains(&note), "{ran:?}");
    assert_eq!(count(&log, "login"), 2);
    token.home.run(&["check", "--repo", "repo"]).fine();
}

#[test]
fn a_token_that_is_not_there_is_named_and_those_that_are() {
    let token = Token::new();
    token.label("other");
    let refused = |uri: &str, texts: &[&str]| token.home.run(&["key", "show", uri]).refused(1, texts);
    refused(
        "pkcs11:token=none;object=a",
        &["0 tokens fit, expected one; there are: ", "\"hsm\" (serial ", "\"other\""],
    );
    refused("pkcs11:object=a", &["2 tokens fit, expected one"]);
    refused("pkcs11:token=hsm;object=a", &["0 public keys on the token fit, expected one: none"]);
    refused("pkcs11:token=hsm?module-path=/no/such.so", &["cannot load the module /no/such.so", "hint: "]);
    refused("pkcs11:token=hsm?module-path=/bin/sh", &["cannot load the module /"]);
    refused("pkcs11:token=hsm?module-name=no-such", &["looked for libno-such.so"]);
    refused("pkcs11:token=hsm?pin-value=1234", &["process lists"]);
    token.make("a", "ed25519");
    token.make("b", "ed25519");
    refused("pkcs11:token=hsm", &["2 public keys on the token fit, expected one: ", "\"a\" id "]);
    token.home.run(&["key", "show", "pkcs11:token=hsm;object=a?module-name=softhsm2"]).fine();
}

#[test]
fn a_public_half_that_belongs_to_another_key_is_found_out() {
    let token = Token::new();
    let uri = token.make("root-1", "ecdsa");
    let home = &token.home;
    // Another P-256 key, in the place of the right one.
    home.run(&["key", "gen", "--type", "ecdsa", "--no-passphrase", "other.pem"]).fine();
    let der = home.work().join("other.der");
    let public = shown(&home.work().join("other.pem.pub"));
    token.tool(
        "openssl",
        &["pkey", "-pubin", "-in", &public, "-outform", "DER", "-out", der.to_str().unwrap()],
    );
    let listed = token.opensc(&["--list-objects", "--type", "pubkey"]);
    let id = listed.lines().find_map(|line| line.trim().strip_prefix("ID:")).unwrap().trim().to_owned();
    token.opensc(&["--delete-object", "--type", "pubkey", "--id", &id]);
    let write =
        ["--write-object", der.to_str().unwrap(), "--type", "pubkey", "--id", &id, "--label", "root-1"];
    token.opensc(&write);
    let online = shown(&example("online"));
    let init = ["init", "--repo", "repo", "--root-key", &uri, "--online-key", &online];
    let text = "what was returned as a signature does not verify with the public key";
    token.home.run(&init).refused(1, &[text]);
    assert!(!token.home.work().join("repo").exists());
}

#[test]
fn a_pin_is_taken_from_a_closed_file_or_a_variable() {
    use std::os::unix::fs::PermissionsExt;
    let mut token = Token::new();
    token.home.set("WHEELSEAL_PIN", "");
    token
        .home
        .run(&["key", "gen", "pkcs11:token=hsm;object=a"])
        .refused(1, &["needs a PIN: WHEELSEAL_PIN is not set"]);
    let file = token.home.work().join("pin");
    let mode = |mode: u32| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    fs::write(&file, format!("{PIN}\n")).unwrap();
    let uri = "pkcs11:token=hsm;object=a?pin-source=file:pin";
    mode(0o644);
    token.home.run(&["key", "gen", uri]).refused(1, &["is open to other users (mode 644)"]);
    mode(0o600);
    token.home.run(&["key", "gen", uri]).fine();
    fs::write(&file, format!("{PIN}\nmore\n")).unwrap();
    token
        .home
        .run(&["key", "gen", "pkcs11:token=hsm;object=b?pin-source=file:pin"])
        .refused(1, &["does not hold one line"]);
    let uri = "pkcs11:token=hsm;object=c?pin-source=env:THE_PIN";
    token.home.run(&["key", "gen", uri]).refused(1, &["the environment variable THE_PIN is not set"]);
    token.home.set("THE_PIN", PIN);
    token.home.run(&["key", "gen", uri]).fine();
}

/// Whoever can write to the store must not get code to run on the machines that sign.
#[test]
fn a_library_named_in_the_settings_is_not_loaded() {
    let token = Token::new();
    let home = &token.home;
    let uri = format!("{}?module-path={}", token.make("online", "ed25519"), module());
    let [root, targets] = ["root-1", "targets-1"].map(|name| shown(&example(name)));
    let keys = ["--root-key", &root, "--targets-key", &targets, "--online-key", &uri];
    home.run(&[&["init", "--repo", "repo", "--bins", "2"], &keys[..]].concat()).fine();
    let settings = home.work().join("repo/wheelseal.toml");
    let text = fs::read_to_string(&settings).unwrap();
    assert!(text.contains("\"pkcs11:token=hsm;object=online\""), "{text}");
    home.run(&["bump", "--repo", "repo", "--all"]).fine();

    let library = home.state().join("evil.so");
    let code = home.state().join("evil.c");
    let ran = home.state().join("ran");
    let evil = format!(
        "#include <stdio.h>\n__attribute__((constructor)) static void run(void) {{ fclose(fopen(\"{}\", \"w\")); }}\n",
        shown(&ran)
    );
    fs::write(&code, evil).unwrap();
    let build = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &code]).status();
    assert!(build.unwrap().success());
    let named = format!("object=online?module-path={}\"", shown(&library));
    fs::write(&settings, text.replace("object=online\"", &named)).unwrap();
    let before = files_below(&home.work());
    let texts =
        ["not using online key pkcs11:", "names code to run, which the settings of a repository may not"];
    home.run(&["bump", "--repo", "repo", "--all"]).refused(6, &texts);
    assert!(files_below(&home.work()) == before && !ran.exists());
    // A rotation reads the settings too, to see which keys sign something still.
    let [root, new] = ["root-1", "online-2"].map(|name| shown(&example(name)));
    let uri = "pkcs11:token=hsm;object=online";
    let rotate =
        ["role", "rotate", "timestamp", "--repo", "repo", "--key", &root, "--key", uri, "--to", &new];
    home.run(&rotate).fine();
    assert!(!ran.exists());
    // The same from whoever runs the program is loaded, which shows that the trap works.
    home.run(&["key", "show", &format!("pkcs11:{named}").replace('"', "")])
        .refused(1, &["cannot load the module"]);
    assert!(ran.exists());
}
