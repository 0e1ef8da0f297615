//! The same attacks where a policy asks for the transparency log: what is hidden from everybody else, and what is not.
//!
//! An attack is *in public* if its entries are in the log that everybody sees, cosigned by honest witnesses. All others are in secret.

use std::fmt::Write;

use super::strategies::with_tricks;
use super::table::{suffering, told};
use super::thief::{Thief, Trick};
use super::user::{Done, Harm, Memory, harm, sees_the_newest};
use super::world::{World, steal};
use crate::simulator::run;

/// Keys in the wrong hands, all of them with the network.
struct Row {
    name: &'static str,
    keys: &'static [&'static str],
    /// What is tried beside that of the row before, all of which is possible here too.
    tricks: &'static [Trick],
    /// Whether a quorum of witnesses is among them.
    quorum: bool,
}

const ALL: [Trick; 6] =
    [Trick::None, Trick::Unnamed, Trick::OtherProof, Trick::OldCheckpoint, Trick::Forks, Trick::Appends];

static LOG: [Row; 4] = [
    Row {
        name: "the online key",
        keys: &["timestamp", "snapshot", "bin-n", "recently-claimed"],
        tricks: &ALL,
        quorum: false,
    },
    Row {
        name: "the online key and the log's key",
        keys: &["timestamp", "snapshot", "bin-n", "recently-claimed", "log"],
        tricks: &[Trick::OldCheckpoint, Trick::Forks, Trick::Appends],
        quorum: false,
    },
    Row {
        name: "the same, and one of three witnesses, of which two must cosign",
        keys: &["timestamp", "snapshot", "bin-n", "recently-claimed", "log", "witness-1"],
        tricks: &[Trick::Forks],
        quorum: false,
    },
    Row {
        name: "the same, and two of the witnesses",
        keys: &WITH_A_QUORUM,
        tricks: &[Trick::Forks],
        quorum: true,
    },
];

const WITH_A_QUORUM: [&str; 7] =
    ["timestamp", "snapshot", "bin-n", "recently-claimed", "log", "witness-1", "witness-2"];

static RECORDERS: [Row; 3] = [
    Row {
        name: "the online key, the log's key and two of three witnesses",
        keys: &WITH_A_QUORUM,
        tricks: &[Trick::None, Trick::Forks, Trick::Appends],
        quorum: true,
    },
    Row {
        name: "the same, and one recorder's key",
        keys: &[
            "timestamp",
            "snapshot",
            "bin-n",
            "recently-claimed",
            "log",
            "witness-1",
            "witness-2",
            "recorder-1",
        ],
        tricks: &[Trick::Forks],
        quorum: true,
    },
    Row {
        name: "the same, and two recorders' keys",
        keys: &[
            "timestamp",
            "snapshot",
            "bin-n",
            "recently-claimed",
            "log",
            "witness-1",
            "witness-2",
            "recorder-1",
            "recorder-2",
        ],
        tricks: &[Trick::Forks],
        quorum: true,
    },
];

static WITHOUT_LOG: [Row; 1] = [Row {
    name: "the online key",
    keys: &["timestamp", "snapshot", "bin-n", "recently-claimed"],
    tricks: &[Trick::None],
    quorum: false,
}];

/// A table: whose it is, what is above it, its rows, and whether its repository has a log.
struct Table {
    memory: Memory,
    title: &'static str,
    rows: &'static [Row],
    logged: bool,
}

static TABLES: [Table; 5] = [
    Table {
        memory: Memory::Kept,
        title: "**With the transparency log, a client that was there before:**",
        rows: &LOG,
        logged: true,
    },
    Table {
        memory: Memory::Pinned,
        title: "**With the log, a client without memory that pinned the log's policy** (`trust add --log-policy`):",
        rows: &LOG,
        logged: true,
    },
    Table {
        memory: Memory::None,
        title: "**With the log, a client without memory** that learns the policy from the repository:",
        rows: &LOG,
        logged: true,
    },
    Table {
        memory: Memory::Recorders,
        title: "**With the log pinned and 2 of 3 recorders** (`trust add --recorder`), a client without memory:",
        rows: &RECORDERS,
        logged: true,
    },
    Table {
        memory: Memory::Recorders,
        title: "**With 2 of 3 recorders, of a repository without a log**, a client without memory:",
        rows: &WITHOUT_LOG,
        logged: false,
    },
];

const HEAD: &str = "| keys | a file that nobody published | a page that nobody published | freeze | metadata inconsistency |\n|---|---|---|---|---|";

const NOTES: [&str; 7] = [
    "The log has files, and the snapshot that names versions of bins. What a bin lists is not in it, and snapshot lists bins without \
     hashes, so that clients need not fetch megabytes of hashes. So who holds the key of a bin can write a page, and with it hide a \
     release or bring back an old list; each file that is then installed was published here under that name and is in the log. It ends \
     when the newest snapshot that was logged expires: he cannot have another one logged.",
    "He names a snapshot that was logged, and that the client has not gone beyond, under a fresh timestamp, until it expires.",
    "*In public*: what he made is an entry of the log that everybody sees, for ever. Witnesses cosign it, for the log only grew. They do not \
     look at entries: the second one for a path, or one that no maintainer made, is found by who reads the log (`log verify`, `log find`, \
     recorders, maintainers).",
    "With the log's key and a quorum of witnesses he shows this client a log that nobody else sees. The client keeps what it \
     was shown, so that the fork comes to light when it is compared with what others saw.",
    "Targets as it was before it named the log's policy is signed by the offline key, and good until it expires. A client that starts anew each \
     time should pin the policy.",
    "Recorders have files, as the log has. Which of them a page offers is the word of who signs pages; each file that is then installed was seen \
     by two recorders.",
    "Two recorders are all that this client asks for.",
];

/// What came of a row: the best in secret, and the best of all.
#[derive(Clone, Default)]
pub(super) struct Best {
    secret: Done,
    any: Done,
}

/// By table, row by row.
pub(super) type Measured = Vec<Vec<Best>>;

/// What a thief achieved. `plain` is the world without a log.
pub(super) fn measured(plain: &World) -> Measured {
    let logged = run(World::logged());
    let world = |table: &Table| if table.logged { &logged } else { plain };
    for table in &TABLES {
        let world = world(table);
        assert!(run(sees_the_newest(world, &Thief::idle(world), table.memory)), "{}", table.title);
    }
    std::thread::scope(|scope| {
        let one = |table: &'static Table, row| {
            let world = world(table);
            scope.spawn(move || tried(world, row, table.memory))
        };
        let all: Vec<Vec<_>> =
            TABLES.iter().map(|table| table.rows.iter().map(|row| one(table, row)).collect()).collect();
        let done = |table: Vec<std::thread::ScopedJoinHandle<'_, Best>>| {
            cumulated(table.into_iter().map(|row| row.join().unwrap()).collect())
        };
        all.into_iter().map(done).collect()
    })
}

/// Who has more keys can do all that is done with fewer.
fn cumulated(mut rows: Vec<Best>) -> Vec<Best> {
    for at in 1..rows.len() {
        let before = rows[at - 1].clone();
        better(&mut rows[at].secret, &before.secret);
        better(&mut rows[at].any, &before.any);
    }
    rows
}

fn better(known: &mut Done, other: &Done) {
    for (what, until) in other {
        let best = known.entry(*what).or_insert_with(|| until.clone());
        *best = until.clone().max(best.clone());
    }
}

fn tried(world: &World, row: &Row, memory: Memory) -> Best {
    let (stolen, mut best) = (steal(row.keys), Best::default());
    let mut attacks = with_tricks(world, &stolen, row.tricks);
    if memory == Memory::Recorders {
        // They look at files. What else he does is as above; the strongest of it shows that it still can be done.
        let strongest = ["all he can sign", "before the claims", "forged in place", "other bytes"];
        attacks.retain(|attack| strongest.contains(&attack.name));
    }
    for attack in attacks {
        let net = Thief::performs(world, &stolen, &attack);
        let public = attack.trick == Trick::Appends;
        let known = if public { &best.any } else { &best.secret };
        let done = run(harm(world, &net, memory, &Harm::LOGGED, known));
        if !public {
            better(&mut best.secret, &done);
        }
        better(&mut best.any, &done);
    }
    best
}

/// The tables, and why some cells say yes.
pub(super) fn rendered(rows: &Measured) -> String {
    let mut out = String::from(
        "\nThe same attacks where the policy asks for the transparency log and two of three witnesses. Honest witnesses cosign whatever only adds to the log. \
         What a cell says without more is done in secret: nobody but this client can see it.\n\n",
    );
    for (table, measured) in TABLES.iter().zip(rows) {
        writeln!(out, "{}\n\n{HEAD}", table.title).unwrap();
        for (row, best) in table.rows.iter().zip(measured) {
            let cells = Harm::LOGGED.map(|harm| cell(row, best, table.memory, harm));
            writeln!(out, "| {} | {} |", row.name, cells.join(" | ")).unwrap();
        }
        out.push('\n');
    }
    for (at, note) in NOTES.iter().enumerate() {
        writeln!(out, "{}. {note}", at + FIRST_NOTE).unwrap();
    }
    out
}

/// The number of the first note: those of the PEPs' tables come before.
const FIRST_NOTE: usize = 3;

fn cell(row: &Row, best: &Best, memory: Memory, harm: Harm) -> String {
    let (secret, any) =
        (told(&suffering(&best.secret, harm, |_| true)), told(&suffering(&best.any, harm, |_| true)));
    let why = match (memory, harm) {
        (Memory::Recorders, Harm::File) => 6,
        (Memory::Recorders, _) => 5,
        (Memory::None, _) => 4,
        _ if row.quorum => 3,
        (_, Harm::Page | Harm::Mixed) => 0,
        _ => 1,
    };
    let number = |note: usize| format!("({})", note + FIRST_NOTE);
    match (secret.as_str(), any.as_str()) {
        ("no", "no") => "no".to_owned(),
        ("no", _) => format!("in public: {any} {}", number(2)),
        (same, _) if same == any => format!("{secret} {}", number(why)),
        _ => format!("{secret} {}; in public: {any} {}", number(why), number(2)),
    }
}
