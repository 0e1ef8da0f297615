//! The built program killed, stopped, or without room on its disk, in the middle of its work.
//!
//! Where it is hit depends on the machine, so nothing here says what was done at that moment: whatever it was, the
//! repository verifies, and what was printed is what a real client gets.

#![expect(clippy::unwrap_used, reason = "a program that does not start is a test that cannot run")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use wheelseal::repository::{Repository, Unwatched};
use wheelseal::store::DirStore;

use crate::memory::Reader;
use crate::shell::Home;

/// Names given to `add --stdin` that are not answered yet.
const WINDOW: usize = 6;

/// Seeded numbers, of which any sequence will do.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

#[expect(clippy::disallowed_methods, reason = "the program under test reads the real clock")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Waits for something that will come.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if is() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{what} did not come in a minute");
}

pub(crate) fn spawn(home: &Home, arguments: &[&str]) -> Child {
    let mut command = home.command(&[], arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// All verifies.
pub(crate) async fn verifies(root: &Path, when: &str) {
    let store = Arc::new(DirStore::open(root).await.unwrap());
    let repository = Repository::open(store).await.unwrap();
    let problems = repository.check(now(), &Unwatched).await.unwrap().problems;
    assert!(problems.is_empty(), "{when}: {problems:#?}");
}

/// Notes of unfinished pages.
pub(crate) fn notes(root: &Path) -> usize {
    fs::read_dir(root.join("staging/pages")).map_or(0, Iterator::count)
}

/// Gives names to a child for as long as it answers, and kills it some time after its answer number `answers`. Returns
/// the files it answered for.
fn add_and_kill(home: &Home, files: &[String], answers: u64, dice: &mut Dice) -> Vec<String> {
    let mut child = spawn(home, &["add", "--repo", "repo", "--stdin"]);
    let mut input: ChildStdin = child.stdin.take().unwrap();
    let mut names = files.iter();
    // A child that is gone takes no more names.
    let mut give = |input: &mut ChildStdin| names.next().map(|name| drop(writeln!(input, "{name}")));
    for _ in 0..WINDOW {
        give(&mut input);
    }
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let (mut answered, mut last, mut longest) = (Vec::new(), Instant::now(), Duration::from_millis(40));
    for _ in 0..answers {
        answered.extend(lines.next());
        longest = longest.max(last.elapsed());
        last = Instant::now();
        give(&mut input);
    }
    let most = u64::try_from(longest.as_micros()).unwrap();
    std::thread::sleep(Duration::from_micros(dice.below(most)));
    child.kill().unwrap();
    answered.extend(lines);
    child.wait().unwrap();
    let file = |line: String| {
        let rest = line.strip_prefix("published ").or_else(|| line.strip_prefix("unchanged "));
        rest.unwrap_or_else(|| panic!("{line}")).split(" (snapshot").next().unwrap().to_owned()
    };
    answered.into_iter().map(file).collect()
}

#[tokio::test]
async fn what_add_printed_before_it_was_killed_is_published() {
    let home = Home::with_repository();
    let root = home.work().join("repo");
    let versions: Vec<String> = (0..48).map(|number| format!("{}.{number}", number % 5)).collect();
    let project = |number: usize| ["gamma", "delta", "epsilon"][number % 3];
    let wheels: Vec<(String, &str, &str)> = versions
        .iter()
        .enumerate()
        .map(|(number, version)| (home.wheel(project(number), version), project(number), version.as_str()))
        .collect();
    let (reader, mut dice, mut acknowledged) = (Reader::of_folder(&root), Dice(17), BTreeSet::new());
    for round in 0..24 {
        let left = wheels.iter().map(|(file, ..)| file).filter(|file| !acknowledged.contains(*file));
        let left: Vec<String> = left.cloned().collect();
        let answers = dice.below(5).min(left.len().try_into().unwrap());
        acknowledged.extend(add_and_kill(&home, &left, answers, &mut dice));
        let when = format!("after kill {round}");
        verifies(&root, &when).await;
        let visible = wheels.iter().filter(|(file, ..)| acknowledged.contains(file));
        let visible = visible.map(|(_, project, version)| (*project, *version));
        reader.downloads(now(), visible).await.unwrap_or_else(|error| panic!("{when}: {error}"));
    }
    assert!(acknowledged.len() > 20, "{} of 48 files were answered for", acknowledged.len());
    let all: Vec<&str> = wheels.iter().map(|(file, ..)| file.as_str()).collect();
    home.run(&[&["add", "--repo", "repo"], &all[..]].concat()).fine();
    home.run(&["gc", "--repo", "repo", "--grace", "0"]).fine();
    reader.downloads(now(), wheels.iter().map(|(_, project, version)| (*project, *version))).await.unwrap();
    verifies(&root, "in the end").await;
    assert_eq!(notes(&root), 0);
}

/// Kills each of these at any time, from its start to about its end.
#[tokio::test]
async fn a_bump_or_a_gc_that_is_killed_leaves_a_repository_that_verifies() {
    let home = Home::with_repository();
    let root = home.work().join("repo");
    let reader = Reader::of_folder(&root);
    let mut dice = Dice(23);
    let jobs: [&[&str]; 2] =
        [&["bump", "--all", "--repo", "repo"], &["gc", "--repo", "repo", "--keep", "1", "--grace", "0"]];
    for round in 0..12 {
        // Something for gc to collect.
        let version = format!("2.{round}");
        home.publish("gamma", &version);
        let file = format!("gamma-{version}-py3-none-any.whl");
        home.run(&["remove", "--repo", "repo", &file]).fine();
        for job in jobs {
            let started = Instant::now();
            spawn(&home, &["status", "--repo", "repo"]).wait().unwrap();
            let start = u64::try_from(started.elapsed().as_micros()).unwrap();
            let mut child = spawn(&home, job);
            std::thread::sleep(Duration::from_micros(dice.below(3 * start)));
            child.kill().unwrap();
            child.wait().unwrap();
            verifies(&root, &format!("{job:?} killed, round {round}")).await;
            reader.downloads(now(), [("alpha", "1.0"), ("beta", "1.0")]).await.unwrap();
        }
    }
    for job in jobs {
        home.run(job).fine();
    }
    verifies(&root, "in the end").await;
    let left = |folder: &str| {
        walkdir::WalkDir::new(root.join(folder))
            .into_iter()
            .filter(|entry| entry.as_ref().unwrap().file_type().is_file())
            .count()
    };
    assert_eq!((left("staging"), left("targets/gamma"), left("targets/simple/gamma")), (0, 0, 0));
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(sent.success());
}

fn is_stopped(child: &Child) -> bool {
    let state = Command::new("ps").args(["-o", "stat=", "-p", &child.id().to_string()]).output().unwrap();
    String::from_utf8(state.stdout).unwrap().starts_with('T')
}

/// An `add` of gamma 1.0 that is stopped when all its files are written and its timestamp is not swapped: it waits for
/// the lock, which the test holds so long.
fn stopped_before_its_swap(home: &Home) -> Child {
    let root = home.work().join("repo");
    let wheel = home.wheel("gamma", "1.0");
    let lock = File::options().append(true).open(root.join(".wheelseal.lock")).unwrap();
    lock.lock().unwrap();
    let next = root.join("metadata/4.snapshot.json");
    assert!(root.join("metadata/3.snapshot.json").exists() && !next.exists());
    let child = spawn(home, &["add", "--repo", "repo", &wheel]);
    until("the new snapshot", || next.exists());
    signal(&child, "STOP");
    until("the stop", || is_stopped(&child));
    child
}

#[tokio::test]
async fn an_add_that_was_stopped_before_its_swap_while_others_published_and_collected_goes_on() {
    for grace in ["24", "0"] {
        let home = Home::with_repository();
        let root = home.work().join("repo");
        let child = stopped_before_its_swap(&home);
        home.publish("delta", "1.0");
        home.run(&["gc", "--repo", "repo", "--keep", "1", "--grace", grace]).fine();
        verifies(&root, "while one is stopped").await;
        let reader = Reader::of_folder(&root);
        let others = [("alpha", "1.0"), ("beta", "1.0"), ("delta", "1.0")];
        reader.downloads(now(), others).await.unwrap();
        signal(&child, "CONT");
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(String::from_utf8(ended.stdout).unwrap(), "published gamma-1.0-py3-none-any.whl\n");
        reader.downloads(now(), others.into_iter().chain([("gamma", "1.0")])).await.unwrap();
        verifies(&root, "after all").await;
        assert_eq!(notes(&root), 0);
    }
}

/// On a file system of 1 MB, in a mount namespace of its own, where one may be made: as root, or where users may make
/// namespaces. Says so where it may not.
#[tokio::test]
async fn a_disk_that_is_full_is_told_with_a_hint_and_works_again_with_room() {
    let script = r#"
        set -e
        mount -t tmpfs -o size=1m none "$1/disk"
        cp -r "$1/repo" "$1/disk/repo"
        wheels="$2"; program="$3"
        head -c 4m /dev/zero > "$1/disk/ballast" 2> /dev/null || true
        code=0; printf '%s\n' $wheels | "$program" add --repo "$1/disk/repo" --stdin > "$1/out" 2> "$1/err" || code=$?
        echo "$code" > "$1/code"
        code=0; "$program" add --repo "$1/disk/repo" ${wheels%% *} 2> "$1/err-one" || code=$?
        echo "$code" > "$1/code-one"
        "$program" check --repo "$1/disk/repo" > "$1/check" 2>&1
        find "$1/disk/repo" -name '.tmp-*' > "$1/left"
        rm "$1/disk/ballast"
        printf '%s\n' $wheels | "$program" add --repo "$1/disk/repo" --stdin > "$1/again"
        rm -r "$1/repo"
        cp -r "$1/disk/repo" "$1/repo"
    "#;
    let home = Home::with_repository();
    let work = home.work();
    fs::create_dir(work.join("disk")).unwrap();
    let wheels = [home.wheel("gamma", "1.0"), home.wheel("delta", "1.0")].join(" ");
    let by = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs none \"$0/disk\"",
        work.to_str().unwrap(),
    ];
    let possible = Command::new(by[0]).args(&by[1..]).output().is_ok_and(|tried| tried.status.success());
    if !possible {
        println!("no mount namespace may be made here: a full disk is tried by faults.rs alone");
        return;
    }
    // The program comes last: it is the script's third argument.
    let by =
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", work.to_str().unwrap(), &wheels];
    let ran = home.run_by(&by, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let text = |name: &str| fs::read_to_string(work.join(name)).unwrap();
    assert_eq!((text("code").trim(), text("code-one").trim()), ("1", "1"), "{}{}", text("out"), text("err"));
    assert_eq!(text("out").lines().filter(|line| line.starts_with("refused ")).count(), 2, "{}", text("out"));
    assert!(
        text("err-one").contains("No space left") && text("err-one").contains("the disk is full"),
        "{}",
        text("err-one")
    );
    assert_eq!(text("left"), "");
    assert_eq!(
        text("again").lines().filter(|line| line.starts_with("published ")).count(),
        2,
        "{}",
        text("again")
    );
    let root = work.join("repo");
    verifies(&root, "with room").await;
    let all = [("alpha", "1.0"), ("beta", "1.0"), ("gamma", "1.0"), ("delta", "1.0")];
    Reader::of_folder(&root).downloads(now(), all).await.unwrap();
}
