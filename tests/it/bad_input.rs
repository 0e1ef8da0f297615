//! Bad input to the built program: the exit code, what the error says, and a repository that is as it was, byte by byte.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "input that cannot be set up is a test that cannot run, and one that is skipped says so"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::scene::{archive, example, files_below, wheel_bytes};
use crate::shell::{Home, shown};

const ADD: [&str; 3] = ["add", "--repo", "repo"];

fn add_refused(name: &str, bytes: &[u8], code: i32, texts: &[&str]) {
    let home = Home::with_repository();
    let path = home.work().join(name);
    fs::write(&path, bytes).unwrap();
    home.refuses(&[&ADD[..], &[&shown(&path)]].concat(), code, texts);
}

// Distributions.

#[test]
fn a_wheel_whose_metadata_names_another_project_is_refused() {
    let bytes = wheel_bytes("gamma", "1.0", "x");
    add_refused("delta-1.0-py3-none-any.whl", &bytes, 3, &["delta-1.0-py3-none-any.whl: ", "gamma", "delta"]);
    add_refused("gamma-2.0-py3-none-any.whl", &bytes, 3, &["gamma-2.0-py3-none-any.whl: ", "2.0"]);
}

#[test]
fn a_wheel_with_metadata_of_another_version_is_refused() {
    let metadata = b"Metadata-Version: 2.1\nName: gamma\nVersion: 9.9\n\n";
    let bytes = archive([
        ("gamma-1.0.dist-info/METADATA", metadata.as_slice()),
        ("gamma-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\n"),
        ("gamma-1.0.dist-info/RECORD", b""),
    ]);
    add_refused("gamma-1.0-py3-none-any.whl", &bytes, 3, &["9.9", "1.0"]);
}

#[test]
fn a_zip_bomb_is_refused() {
    let metadata =
        [b"Metadata-Version: 2.1\nName: gamma\nVersion: 1.0\n\n".as_slice(), &vec![b' '; 64 << 20]].concat();
    let bytes = archive([
        ("gamma-1.0.dist-info/METADATA", metadata.as_slice()),
        ("gamma-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\n"),
        ("gamma-1.0.dist-info/RECORD", b""),
    ]);
    assert!(bytes.len() < 1 << 20, "it is a bomb");
    add_refused(
        "gamma-1.0-py3-none-any.whl",
        &bytes,
        3,
        &["gamma-1.0.dist-info/METADATA", "more than", "bytes"],
    );
}

#[test]
fn a_wheel_with_an_unsafe_name_in_it_is_refused() {
    for name in ["../../etc/evil.py", "/etc/evil.py"] {
        let bytes = archive([(name, b"x".as_slice())]);
        add_refused("gamma-1.0-py3-none-any.whl", &bytes, 3, &[name, "expected a plain relative path"]);
    }
}

#[test]
fn a_truncated_wheel_and_one_that_is_no_archive_are_refused() {
    let bytes = wheel_bytes("gamma", "1.0", "x");
    for bytes in [&bytes[..bytes.len() / 2], &bytes[..bytes.len() - 1], b"", b"not a zip file"] {
        add_refused("gamma-1.0-py3-none-any.whl", bytes, 3, &["gamma-1.0-py3-none-any.whl: the "]);
    }
    add_refused("gamma-1.0.tar.gz", b"not gzip", 3, &["gamma-1.0.tar.gz: the archive cannot be read"]);
}

#[test]
fn a_file_whose_name_is_no_distributions_is_refused() {
    for name in ["notes.txt", "gamma.whl", "gamma-1.0.exe", "gamma-1.0-py3-none-any.whl.asc"] {
        add_refused(name, b"x", 2, &[name, "expected"]);
    }
}

#[test]
fn other_content_under_a_published_name_is_refused_and_the_same_is_not() {
    let home = Home::with_repository();
    let path = home.work().join("alpha-1.0-py3-none-any.whl");
    fs::write(&path, wheel_bytes("alpha", "1.0", "another module")).unwrap();
    let texts = ["alpha-1.0-py3-none-any.whl is published already with SHA-256", "this one has", "hint: "];
    home.refuses(&[&ADD[..], &[&shown(&path)]].concat(), 9, &texts);
    fs::remove_file(&path).unwrap();
    let before = files_below(&home.work());
    let again = home.run(&[&ADD[..], &[&home.wheel("alpha", "1.0")]].concat());
    assert_eq!(again.fine(), "unchanged alpha-1.0-py3-none-any.whl\n");
    assert!(files_below(&home.work()) == before);
}

#[test]
fn of_many_files_with_one_bad_none_is_published() {
    let home = Home::with_repository();
    let bad = home.work().join("gamma-1.0-py3-none-any.whl");
    fs::write(&bad, "x").unwrap();
    home.refuses(&[&ADD[..], &[&home.wheel("delta", "1.0"), &shown(&bad)]].concat(), 3, &["gamma-1.0"]);
}

// Files and folders.

#[test]
fn a_symbolic_link_is_refused_in_a_folder_and_by_name() {
    let home = Home::with_repository();
    let folder = home.work().join("dists");
    fs::create_dir(&folder).unwrap();
    let link = folder.join("gamma-1.0-py3-none-any.whl");
    symlink(home.wheel("gamma", "1.0"), &link).unwrap();
    let text = "gamma-1.0-py3-none-any.whl is a symbolic link";
    home.refuses(&[&ADD[..], &[&shown(&folder)]].concat(), 2, &[text]);
    home.refuses(&[&ADD[..], &[&shown(&link)]].concat(), 1, &["it is a symbolic link"]);
}

#[test]
fn folders_without_distributions_missing_files_and_odd_kinds_are_refused() {
    let home = Home::with_repository();
    let empty = home.work().join("empty");
    fs::create_dir(&empty).unwrap();
    home.refuses(&[&ADD[..], &[&shown(&empty)]].concat(), 2, &["no wheel or sdist found"]);
    let missing = home.work().join("gamma-1.0-py3-none-any.whl");
    home.refuses(&[&ADD[..], &[&shown(&missing)]].concat(), 1, &["looking at", "No such file"]);
    if Command::new("mkfifo").arg(&missing).status().is_ok_and(|status| status.success()) {
        home.refuses(&[&ADD[..], &[&shown(&missing)]].concat(), 1, &["it is no regular file"]);
    }
}

#[test]
fn an_unreadable_file_is_refused() {
    let home = Home::with_repository();
    let folder = home.work().join("dists");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("gamma-1.0-py3-none-any.whl");
    fs::write(&path, wheel_bytes("gamma", "1.0", "x")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_err() {
        home.refuses(&[&ADD[..], &[&shown(&path)]].concat(), 1, &["opening", "Permission denied"]);
        return;
    }
    // The superuser reads everything: somebody else is to try.
    let by = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    fs::set_permissions(home.work().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = env!("CARGO_BIN_EXE_wheelseal");
    let able = Command::new(by[0]).args(&by[1..]).args([program, "--version"]).output();
    if !able.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this is the superuser, and nobody else can be");
        return;
    }
    let before = files_below(&home.work().join("repo"));
    home.run_by(&by, &[&ADD[..], &[&shown(&path)]].concat()).refused(1, &["opening", "Permission denied"]);
    assert!(files_below(&home.work().join("repo")) == before);
}

// The repository's folder.

#[test]
fn what_is_no_repository_is_refused_by_every_command() {
    let home = Home::new();
    let wheel = home.wheel("gamma", "1.0");
    fs::create_dir(home.work().join("empty")).unwrap();
    fs::write(home.work().join("file"), "x").unwrap();
    for command in commands(&wheel) {
        let at = |folder| [&[command[0], "--repo", folder], &command[1..]].concat();
        // `key` and `role` have a second word before their flags.
        let at = |folder| {
            if ["key", "role"].contains(&command[0]) {
                [&command[..2], &["--repo", folder], &command[2..]].concat()
            } else {
                at(folder)
            }
        };
        home.refuses(&at("empty"), 2, &["wheelseal.toml does not exist", "or make one: wheelseal init"]);
        home.refuses(&at("nowhere"), 2, &["nowhere does not exist", "hint: "]);
        home.refuses(&at("file"), 2, &["file does not exist", "hint: "]);
    }
}

#[test]
fn an_init_where_no_folder_can_be_made_is_refused() {
    let home = Home::new();
    fs::write(home.work().join("file"), "x").unwrap();
    let keys = ["root-1", "online"].map(|name| shown(&example(name)));
    let init = ["init", "--repo", "file/repo", "--root-key", &keys[0], "--online-key", &keys[1]];
    home.refuses(&init, 1, &["cannot make folder", "file/repo", "ot a directory"]);
}

#[test]
fn an_init_over_a_repository_is_refused() {
    let home = Home::with_repository();
    let before = files_below(&home.work());
    home.init(&[]).refused(2, &["metadata/timestamp.json exists: this is a repository already"]);
    assert!(files_below(&home.work()) == before);
}

/// In a mount namespace of its own, where the system lets anyone make one.
fn in_namespace(home: &Home, script: &str) -> Option<crate::shell::Ran> {
    let able = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    if !able.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no mount namespace can be made here");
        return None;
    }
    let wheel = home.wheel("gamma", "1.0");
    Some(home.run_by(&["unshare", "-rm", "sh", "-ec", script], &[&ADD[..], &[&wheel]].concat()))
}

#[test]
fn a_read_only_disk_is_told_with_what_to_do() {
    let home = Home::with_repository();
    let before = files_below(&home.work());
    let script = "mount --bind repo repo; mount -o remount,bind,ro repo; exec \"$0\" \"$@\"";
    let Some(ran) = in_namespace(&home, script) else { return };
    ran.refused(1, &["Read-only file system", "hint: the disk is mounted read-only"]);
    assert!(files_below(&home.work()) == before);
}

#[test]
fn a_full_disk_is_told_with_what_to_do_and_leaves_the_published_state() {
    let home = Home::with_repository();
    // What is left of the disk is less than any new file needs; then room is made, and the same add goes through.
    let script = "mkdir full; mount -t tmpfs -o size=1m tmpfs full; cp -r repo/. full
        cat /dev/zero > full/ballast 2>/dev/null || true
        cp full/metadata/timestamp.json before
        set -- add --repo full \"$4\"
        code=0; \"$0\" \"$@\" || code=$?
        cmp before full/metadata/timestamp.json
        test -z \"$(find full -name '.tmp-*')\"
        \"$0\" check --repo full >&2
        rm full/ballast; \"$0\" \"$@\" >&2; \"$0\" check --repo full >&2
        exit $code";
    let Some(ran) = in_namespace(&home, script) else { return };
    ran.refused(1, &["No space left on device", "hint: the disk is full"]);
}

// Damage.

/// Every admin command, on `repo` unless it says otherwise; the words after the first come after `--repo`.
fn commands(wheel: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["check"],
        vec!["status"],
        vec!["tree"],
        vec!["key", "list"],
        vec!["inspect", "targets"],
        vec!["diff", "2", "3"],
        vec!["remove", "alpha-1.0-py3-none-any.whl"],
        vec!["yank", "alpha-1.0-py3-none-any.whl"],
        vec!["add", wheel],
        vec!["bump", "--all"],
        vec!["gc", "--grace", "0", "--keep", "1"],
    ]
}

/// Whatever file is damaged, however: nothing panics, and what refuses changes nothing.
fn damaged(damage: impl Fn(&[u8]) -> Vec<u8>) {
    let home = Home::with_repository();
    let wheel = home.wheel("gamma", "1.0");
    let golden = files_below(&home.work());
    let of_a_state = |path: &&String| path.starts_with("repo/metadata/") || path.ends_with("wheelseal.toml");
    for path in golden.keys().filter(of_a_state) {
        for command in commands(&wheel) {
            let repo = ["--repo", "repo"];
            let words = if command[0] == "key" { 2 } else { 1 };
            let line = [&command[..words], &repo, &command[words..]].concat();
            fs::write(home.work().join(path), damage(&golden[path])).unwrap();
            let before = files_below(&home.work());
            let ran = home.run(&line);
            if ran.code == 0 {
                restore(&home, &golden);
                continue;
            }
            let about_state = [1, 2, 3, 5, 6].contains(&ran.code);
            assert!(about_state && ran.stderr.contains("error: "), "{path}, {line:?}: {ran:?}");
            assert!(files_below(&home.work()) == before, "{path}, {line:?} changed the repository");
        }
        let current =
            !["repo/metadata/1.snapshot.json", "repo/metadata/2.snapshot.json"].contains(&path.as_str());
        let superseded = path.contains("bins-") && superseded(path, &golden);
        fs::write(home.work().join(path), damage(&golden[path])).unwrap();
        let check = home.run(&["check", "--repo", "repo"]);
        assert!(
            check.code != 0 || !current || superseded || path.ends_with("/root.json"),
            "{path}: {check:?}"
        );
        restore(&home, &golden);
    }
}

/// Whether a bin of a higher version is there.
fn superseded(path: &str, files: &std::collections::BTreeMap<String, Vec<u8>>) -> bool {
    let parts = |path: &str| {
        let (version, stem) = Path::new(path).file_name()?.to_str()?.split_once('.')?;
        Some((version.parse::<u64>().ok()?, stem.to_owned()))
    };
    let Some((version, stem)) = parts(path) else { return false };
    files.keys().filter_map(|other| parts(other)).any(|(other, name)| name == stem && other > version)
}

fn restore(home: &Home, golden: &std::collections::BTreeMap<String, Vec<u8>>) {
    for path in files_below(&home.work()).keys().filter(|path| !golden.contains_key(*path)) {
        fs::remove_file(home.work().join(path)).unwrap();
    }
    for (path, bytes) in golden {
        fs::write(home.work().join(path), bytes).unwrap();
    }
}

#[test]
fn metadata_with_a_flipped_byte_is_refused_by_every_command_without_a_panic() {
    damaged(|bytes| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x15;
        bytes
    });
}

#[test]
fn truncated_metadata_is_refused_by_every_command_without_a_panic() {
    damaged(|bytes| bytes[..bytes.len() / 3].to_vec());
}

#[test]
fn empty_metadata_is_refused_by_every_command_without_a_panic() {
    damaged(|_| Vec::new());
}

// Keys.

#[test]
fn a_wrong_key_is_refused_with_the_keys_that_would_do() {
    let mut home = Home::with_repository();
    home.set("WHEELSEAL_KEYS", &format!("file:{}", shown(&example("online-2"))));
    let wheel = home.wheel("gamma", "1.0");
    let texts = [
        "timestamp needs 1 signature(s), the keys at hand can make 0",
        "hint: give them with --key URI; accepted are the keys 02523b31",
    ];
    home.refuses(&[&ADD[..], &[&wheel]].concat(), 6, &texts);
    home.refuses(&["yank", "--repo", "repo", "alpha-1.0-py3-none-any.whl"], 6, &texts);
    home.refuses(&["remove", "--repo", "repo", "alpha-1.0-py3-none-any.whl"], 6, &texts);
    home.refuses(&["bump", "--repo", "repo", "--all"], 6, &["needs 1 signature(s)"]);
}

#[test]
fn an_encrypted_key_without_terminal_and_variable_names_the_variable() {
    let mut home = Home::with_repository();
    let key = format!("file:{}", shown(&example("encrypted")));
    let wheel = home.wheel("gamma", "1.0");
    let add = [&ADD[..], &["--key", &key, &wheel]].concat();
    home.refuses(
        &add,
        1,
        &["needs a passphrase: WHEELSEAL_PASSPHRASE is not set and there is no terminal", "hint: set"],
    );
    home.set("WHEELSEAL_PASSPHRASE", "not the one");
    home.refuses(&add, 1, &["wrong passphrase for file:"]);
    home.set("WHEELSEAL_PASSPHRASE", "worthless");
    home.run(&add).fine();
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let home = Home::with_repository();
    let path = home.work().join("real.pem");
    fs::copy(example("online"), &path).unwrap();
    let (uri, wheel) = (format!("file:{}", shown(&path)), home.wheel("gamma", "1.0"));
    let add = [&ADD[..], &["--key", &uri, &wheel]].concat();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    home.refuses(&add, 1, &["is open to other users (mode 644)", "hint: run `chmod 600`"]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    home.run(&add).fine();
}

#[test]
fn keys_that_cannot_be_opened_are_refused() {
    let home = Home::with_repository();
    let wheel = home.wheel("gamma", "1.0");
    fs::write(home.work().join("worthless.txt"), "no key").unwrap();
    let cases = [
        ("file:nowhere.pem", "cannot open the key nowhere.pem"),
        ("file:worthless.txt", "is not a PEM key"),
        ("env:NO_SUCH_KEY", "the environment variable NO_SUCH_KEY is not set to text"),
        ("gcpkms:alias", "unknown key scheme \"gcpkms:\", expected one of file:PATH"),
        ("pkcs11:object=a", "names no module-path, and WHEELSEAL_PKCS11_MODULE is not set"),
        ("file:", "not a usable file: key URI"),
    ];
    for (uri, text) in cases {
        home.refuses(&[&ADD[..], &["--key", uri, &wheel]].concat(), 1, &[text]);
    }
}

#[test]
fn a_key_is_never_overwritten() {
    let home = Home::new();
    fs::write(home.work().join("root.pem"), "precious").unwrap();
    home.refuses(
        &["key", "gen", "root.pem", "--no-passphrase"],
        2,
        &["root.pem exists; a key is never overwritten"],
    );
    home.run(&["key", "gen", "new.pem", "--no-passphrase"]).fine();
    home.refuses(&["key", "gen", "new.pem", "--no-passphrase"], 2, &["new.pem exists"]);
}

// Usage.

#[test]
fn wrong_usage_is_told_and_changes_nothing() {
    let home = Home::with_repository();
    let repo =
        |words: &[&'static str]| -> Vec<&str> { [&words[..1], &["--repo", "repo"], &words[1..]].concat() };
    home.refuses(&repo(&["remove", "nosuch-1.0.tar.gz"]), 2, &["nosuch-1.0.tar.gz is not published"]);
    home.refuses(&repo(&["yank", "notes.txt"]), 2, &["notes.txt", "expected"]);
    home.refuses(
        &repo(&["yank", "--reason", "two\nlines", "alpha-1.0-py3-none-any.whl"]),
        2,
        &["--reason: "],
    );
    home.refuses(
        &repo(&["inspect", "nosuch"]),
        2,
        &["\"nosuch\" is neither a file nor a role of the repository"],
    );
    home.refuses(&repo(&["diff", "1", "99"]), 2, &["there is no snapshot 99"]);
    home.refuses(&["help", "nosuch"], 2, &["no command or topic \"nosuch\""]);
    for words in [&["gc", "--keep", "0"][..], &["bump", "--watch", "0"], &["add"], &["nosuch"], &[]] {
        assert_eq!(home.run(words).code, 2, "{words:?}");
    }
}

#[test]
fn plans_for_a_new_repository_that_make_no_sense_are_refused_and_leave_nothing() {
    let cases: [(&[&str], &str); 3] = [
        (&["--bins", "3"], "3 bins: it must be a power of two from 2 to 65,536"),
        (&["--root-threshold", "2"], "root has 1 key(s), so its threshold cannot be 2"),
        (&["--online-threshold", "0"], "timestamp has 1 key(s), so its threshold cannot be 0"),
    ];
    for (more, text) in cases {
        let home = Home::new();
        home.init(more).refused(2, &[text]);
        assert!(files_below(&home.work()).is_empty());
    }
    let home = Home::new();
    let key = shown(&example("root-1"));
    home.refuses(
        &["init", "--repo", "repo", "--root-key", &key, "--online-key", &key],
        2,
        &["root is an offline role, but its key bdab7eb2 is online"],
    );
    let public_only = ["init", "--repo", "repo", "--root-key", "pub:nowhere.pub", "--online-key", &key];
    home.refuses(&public_only, 1, &["nowhere.pub"]);
}
