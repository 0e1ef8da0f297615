//! The rows, what the PEPs expect of them, and how it is written.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::strategies::{STRATEGIES, TRICKS};
use super::user::{Done, Harm, Memory, Until};
use super::world::{FRESH, HELD, ONLINE, OPEN, PLAIN};

/// What the attacks of a row came to: how long the best lasted.
pub(super) type Measured = BTreeMap<Memory, Done>;

/// What a PEP says of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    No,
    Yes,
    /// Yes, but only of projects that `claimed` does not delegate.
    NotClaimed,
}

/// Keys in the wrong hands.
pub(super) struct Row {
    /// The PEP whose row it is.
    pep: &'static str,
    /// As it is written.
    name: &'static str,
    pub(super) keys: &'static [&'static str],
    /// The project that counts, if not all.
    only: Option<&'static str>,
    /// What the PEP says: malicious updates, freeze, inconsistency.
    says: Option<[Says; 3]>,
}

const NO: Option<[Says; 3]> = Some([Says::No; 3]);
const YES: Option<[Says; 3]> = Some([Says::Yes; 3]);
const FREEZE: Option<[Says; 3]> = Some([Says::No, Says::Yes, Says::No]);
const FREEZE_AND_MIX: Option<[Says; 3]> = Some([Says::No, Says::Yes, Says::Yes]);
const NOT_CLAIMED: Option<[Says; 3]> = Some([Says::NotClaimed, Says::Yes, Says::Yes]);

const fn row(
    pep: &'static str,
    name: &'static str,
    keys: &'static [&'static str],
    says: Option<[Says; 3]>,
) -> Row {
    Row { pep, name, keys, only: None, says }
}

/// The same for a project that `claimed` vouches for alone.
const fn row_of_held(name: &'static str, keys: &'static [&'static str]) -> Row {
    Row { pep: "", name, keys, only: Some(HELD), says: None }
}

const BIN_N: &str = "`bin-n` (480: unclaimed)";
const PROJECT: &str = "a claimed project's";
const WITH_BIN_N: &str = "`timestamp`, `snapshot` and `bin-n`";
const WITH_RECENT: &str = "`timestamp`, `snapshot` and `recently-claimed`";

pub(super) static ROWS: [Row; 23] = [
    row("", "none: a mirror", &[], None),
    row("458, 480", "`targets`", &["targets"], NO),
    row("458", "`bins`", &["bins"], NO),
    row("480", "`claimed`", &["claimed"], NO),
    row("480", "`recently-claimed`", &["recently-claimed"], NO),
    row("480", BIN_N, &["bin-n"], NO),
    row("480", PROJECT, &["project-held"], NO),
    row("480", "`timestamp`", &["timestamp"], FREEZE),
    row("480", "`snapshot`", &["snapshot"], NO),
    row("480", "`timestamp` and `snapshot`", &["timestamp", "snapshot"], FREEZE_AND_MIX),
    row(
        "480",
        "`timestamp`, `snapshot` and a claimed project's",
        &["timestamp", "snapshot", "project-held"],
        YES,
    ),
    row(
        "480",
        "`timestamp`, `snapshot` and a recently claimed project's",
        &["timestamp", "snapshot", "project-fresh"],
        YES,
    ),
    row("458, 480", WITH_BIN_N, &["timestamp", "snapshot", "bin-n"], NOT_CLAIMED),
    row("480", WITH_RECENT, &["timestamp", "snapshot", "recently-claimed"], NOT_CLAIMED),
    row("480", "`timestamp`, `snapshot` and `claimed`", &["timestamp", "snapshot", "claimed"], YES),
    row("480", "`timestamp`, `snapshot` and `targets`", &["timestamp", "snapshot", "targets"], YES),
    row("458, 480", "`root`", &["root-1", "root-2"], YES),
    row("", "`root`, below its threshold", &["root-1"], None),
    row("", "`timestamp`, `snapshot` and `bins`", &["timestamp", "snapshot", "bins"], None),
    row("", "the online key, as `init` gives it", &ONLINE, None),
    row_of_held("the online key, and a project that `claimed` vouches for", &ONLINE),
    row_of_held(
        "all but those of `root`, `targets`, `claimed` and such a project",
        &["timestamp", "snapshot", "bin-n", "recently-claimed", "bins", "project-fresh", "root-1"],
    ),
    row(
        "",
        "all but those of `root` and of projects",
        &["timestamp", "snapshot", "bin-n", "recently-claimed", "bins", "claimed", "targets"],
        None,
    ),
];

/// Why some cells differ from those of the PEPs.
struct Note {
    text: &'static str,
    cells: &'static [(Memory, &'static str, Harm)],
}

static NOTES: [Note; 2] = [
    Note {
        text: "PEP 480 says no. Snapshot lists each bin, and the role of each project, by version and without a hash, so \
               that clients need not fetch megabytes of hashes. So who holds the keys of such a role, and the network, \
               can serve a file of his own under the version that snapshot names. It ends with the timestamp once \
               these keys are replaced. As long as bins and snapshot share a key, which is the default, the price for \
               bins is nothing; for a project, the text below PEP 480's table makes the same exception.",
        cells: &[
            (Memory::Kept, BIN_N, Harm::Malicious),
            (Memory::Kept, BIN_N, Harm::Freeze),
            (Memory::Kept, BIN_N, Harm::Mixed),
            (Memory::None, BIN_N, Harm::Malicious),
            (Memory::None, BIN_N, Harm::Freeze),
            (Memory::None, BIN_N, Harm::Mixed),
            (Memory::Kept, PROJECT, Harm::Malicious),
            (Memory::Kept, PROJECT, Harm::Freeze),
            (Memory::None, PROJECT, Harm::Malicious),
            (Memory::None, PROJECT, Harm::Freeze),
        ],
    },
    Note {
        text: "PEP 480 excepts projects that `claimed` delegates. That holds for clients with memory alone: others can be \
               shown what was signed before the project was claimed or promoted, until it expires.",
        cells: &[(Memory::None, WITH_BIN_N, Harm::Malicious), (Memory::None, WITH_RECENT, Harm::Malicious)],
    },
];

const TITLES: [(Memory, &str); 2] = [
    (Memory::Kept, "**A client that was there before**, on the day before a fix that the attacker hides:"),
    (Memory::None, "**A client without memory**, which starts from the first `root.json`:"),
];

const KINDS: [(&str, &[&str]); 3] =
    [("unclaimed", &[OPEN, PLAIN]), ("recently claimed", &[FRESH]), (CLAIMED, &[HELD])];

const CLAIMED: &str = "claimed";

const HEAD: &str =
    "| PEP | keys | malicious updates | freeze | metadata inconsistency |\n|---|---|---|---|---|";

/// Both tables, why they differ from the PEPs', and what was tried.
pub(super) fn rendered(rows: &[Measured]) -> String {
    let mut out = String::new();
    for (memory, title) in TITLES {
        writeln!(out, "{title}\n\n{HEAD}").unwrap();
        for (row, measured) in ROWS.iter().zip(rows) {
            let cells = Harm::ALL.map(|harm| cell(row, &measured[&memory], memory, harm));
            writeln!(out, "| {} | {} | {} |", row.pep, row.name, cells.join(" | ")).unwrap();
        }
        out.push('\n');
    }
    for (at, note) in NOTES.iter().enumerate() {
        writeln!(out, "{}. {}", at + 1, note.text).unwrap();
    }
    out
}

/// What was tried.
pub(super) fn tried() -> String {
    let mut out = String::from(
        "\nWhat was tried in each row, for each cell:\n\n| strategy | what the attacker does |\n|---|---|\n",
    );
    for (name, what) in STRATEGIES {
        writeln!(out, "| {name} | {what} |").unwrap();
    }
    out.push_str(
        "\nWhere there is a log, each of these with each of:\n\n| | what he shows of it |\n|---|---|\n",
    );
    for (_, name, what) in TRICKS {
        writeln!(out, "| {name} | {what} |").unwrap();
    }
    out
}

/// How long each kind of project suffers, if it does.
pub(super) type Kinds<'a> = Vec<(&'static str, Option<&'a Until>)>;

fn cell(row: &Row, measured: &Done, memory: Memory, harm: Harm) -> String {
    let counts = |project: &&str| row.only.is_none_or(|only| only == *project);
    let kinds = suffering(measured, harm, counts);
    let note = note(row, &kinds, memory, harm);
    format!("{}{note}", told(&kinds))
}

/// How long each kind of project suffers a harm; of the projects that count.
pub(super) fn suffering(measured: &Done, harm: Harm, counts: impl Fn(&&str) -> bool) -> Kinds<'_> {
    KINDS
        .iter()
        .filter(|(_, projects)| projects.iter().any(&counts))
        .map(|(kind, projects)| {
            (*kind, projects.iter().filter_map(|project| measured.get(&(*project, harm))).max())
        })
        .collect()
}

/// In words: `no`, or who suffers until when.
pub(super) fn told(kinds: &Kinds<'_>) -> String {
    let mut ends: Vec<_> = kinds.iter().filter_map(|(_, until)| until.map(ending)).collect();
    ends.sort();
    ends.dedup();
    let part = |end: String| {
        let suffers = |until: Option<&Until>| until.map(ending).as_ref() == Some(&end);
        let named: Vec<_> =
            kinds.iter().filter(|(_, until)| suffers(*until)).map(|(kind, _)| *kind).collect();
        let who = if named.len() == kinds.len() { "yes".to_owned() } else { named.join(", ") };
        format!("**{who}**{end}")
    };
    let parts: Vec<_> = ends.into_iter().map(part).collect();
    if parts.is_empty() { "no".to_owned() } else { parts.join("; ") }
}

/// The number of the note, if the cell differs from the PEP's. Each such cell has one, and no other has.
fn note(row: &Row, kinds: &Kinds<'_>, memory: Memory, harm: Harm) -> String {
    let at = Harm::ALL.iter().position(|other| *other == harm).unwrap();
    let any = kinds.iter().any(|(_, until)| until.is_some());
    let claimed = kinds.iter().any(|(kind, until)| *kind == CLAIMED && until.is_some());
    let differs = row.says.is_some_and(|says| match says[at] {
        Says::No => any,
        Says::Yes => !any,
        Says::NotClaimed => !any || claimed,
    });
    let noted = NOTES.iter().position(|note| note.cells.contains(&(memory, row.name, harm)));
    assert_eq!(differs, noted.is_some(), "{memory:?} {} {harm:?}: as the PEP, or with a note", row.name);
    noted.map_or_else(String::new, |at| format!(" ({})", at + 1))
}

fn ending(until: &Until) -> String {
    match until {
        Until::Never => ", without end".to_owned(),
        Until::Expires(_, role, days) => format!(", until `{role}` expires ({days} days)"),
    }
}
