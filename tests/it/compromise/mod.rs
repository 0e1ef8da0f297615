//! What a thief of keys can do: the tables of PEP 458 and PEP 480, measured.
//!
//! | file | room |
//! |---|---|
//! | `world` | the repository that is attacked, its history, and the only place that knows its keys |
//! | `thief` | who holds some of the keys, and the network |
//! | `ledger` | the transparency log of the world, and what stolen keys make of it |
//! | `strategies` | what he tries |
//! | `user` | the real client, and what it was made to believe |
//! | `logged` | rows where a policy asks for the log |
//! | `table` | rows, and what docs/trust.md says of them |
//!
//! Whatever the row, every strategy is tried against a client with memory and one without, and each attempt is judged
//! for each harm and each project. A cell says "no" if no attempt did that harm. Else it says when the best attempt
//! ended by itself: the clock is moved over each date on which an honest file expires.
//!
//! The tables in docs/trust.md are written anew by `INSTA_UPDATE=always cargo test --test it compromise::`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a world that cannot be made is a failed test"
)]

mod ledger;
mod logged;
mod strategies;
mod table;
mod thief;
mod user;
mod world;

use std::path::Path;

use self::table::{Measured, ROWS, Row, rendered};
use self::thief::Thief;
use self::user::{Done, Harm, Memory, harm, sees_the_newest};
use self::world::{World, steal};
use crate::simulator::run;

/// Where the tables stand, between these lines.
const DOCS: &str = "docs/trust.md";
const START: &str = "<!-- measured: start -->\n";
const END: &str = "<!-- measured: end -->\n";

/// What the thief of a row achieved.
fn measured(world: &World, row: &Row) -> Measured {
    let stolen = steal(row.keys);
    let mut best = Measured::from([(Memory::Kept, Done::new()), (Memory::None, Done::new())]);
    for attack in strategies::attacks(world, &stolen) {
        let net = Thief::performs(world, &stolen, &attack);
        for (memory, best) in &mut best {
            let done = run(harm(world, &net, *memory, &Harm::ALL, best));
            best.extend(done);
        }
    }
    best
}

#[test]
fn the_tables_of_key_compromise_are_what_an_attacker_can_do() {
    let world = run(World::new());
    for memory in [Memory::Kept, Memory::None] {
        assert!(run(sees_the_newest(&world, &Thief::idle(&world), memory)), "{memory:?}");
    }
    let log = logged::measured(&world);
    let rows: Vec<_> = std::thread::scope(|scope| {
        let rows: Vec<_> = ROWS.iter().map(|row| scope.spawn(|| measured(&world, row))).collect();
        rows.into_iter().map(|row| row.join().unwrap()).collect()
    });
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCS);
    let text = std::fs::read_to_string(&docs).unwrap();
    let (before, rest) = text.split_once(START).unwrap();
    let (told, after) = rest.split_once(END).unwrap();
    let found = rendered(&rows) + &logged::rendered(&log) + &table::tried();
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        std::fs::write(&docs, format!("{before}{START}{found}{END}{after}")).unwrap();
        return;
    }
    assert!(told == found, "{DOCS} says\n{told}\nbut the attacks come to\n{found}");
}
