//! What a thief tries, whatever keys he has. Each attempt is judged for every harm and every project.

use std::collections::BTreeSet;

use super::ledger::{LOG, WITNESSES};
use super::thief::{Attack, BINS, Carrier, Goods, Trick, belongs};
use super::world::{OPEN, PROJECTS, Stolen, World};

/// Names and explanations, in the order of docs/trust.md.
pub(super) const STRATEGIES: [(&str, &str); 13] = [
    ("other bytes", "his files under the names of honest ones"),
    ("old timestamp", "any timestamp of the past, with all it names"),
    ("old snapshot", "his timestamp names any snapshot of the past"),
    ("old roles", "his timestamp and snapshot name any state of the past"),
    ("old project", "one project's role or bins from the past among new ones, and the reverse"),
    ("before the claims", "what was signed before a project was claimed or promoted, and all he can sign"),
    ("forged in place", "his file of a role under the version that the honest snapshot names"),
    ("forged snapshot", "his snapshot under the honest timestamp"),
    ("forged role", "his file of a role in his snapshot: it lists files of his own, or older pages"),
    ("forged delegation", "his file of a role delegates everything to him"),
    ("all he can sign", "his files of every role that he has keys for, together"),
    ("before the log", "targets as it was signed before it had a policy for the log, and all he can sign"),
    ("new root", "his root, that trusts him for everything"),
];

/// What he does about the log with each of them, in the order of docs/trust.md.
pub(super) const TRICKS: [(Trick, &str, &str); 6] = [
    (
        Trick::None,
        "no proof",
        "what he made is in no log; his timestamp names the newest tree, or that of the snapshot it names",
    ),
    (Trick::Unnamed, "no log", "his timestamp names no log"),
    (Trick::OtherProof, "another proof", "honest proofs of another snapshot and another file"),
    (
        Trick::OldCheckpoint,
        "old checkpoint",
        "proofs in a tree of his own, under the newest checkpoint that witnesses cosigned",
    ),
    (
        Trick::Forks,
        "forked log",
        "a tree that continues what this client saw and nobody else sees, signed with what keys he has",
    ),
    (
        Trick::Appends,
        "appended log",
        "his entries, also a second one for a path, in the log that everybody sees; the witnesses are asked",
    ),
];

/// Of every attack, what he can do about the log beside it. Without the keys for it, what is not even accepted for one content
/// is not tried for the others.
pub(super) fn with_tricks(world: &World, stolen: &Stolen, tricks: &[Trick]) -> Vec<Attack> {
    let mut all = Vec::new();
    let bases = attacks(world, stolen).into_iter().chain(before_the_log(world, stolen));
    for base in bases {
        let own = matches!(base.carrier, Carrier::Own(_) | Carrier::OwnRoot(_));
        let plain = matches!(base.name, "all he can sign" | "forged role" | "before the log");
        for trick in tricks.iter().copied() {
            let worth = match trick {
                Trick::None => true,
                Trick::Appends if stolen.roles().contains(&LOG) => own || base.has_evil(),
                // A quorum of witnesses is his.
                Trick::Forks if stolen.roles().contains(&WITNESSES[1]) => own || base.has_evil(),
                _ => plain && own || base.has_evil() && base.name == "forged in place",
            };
            if worth {
                all.push(Attack { trick, ..base.clone() });
            }
        }
    }
    all
}

/// Targets as it was signed before it had a policy, and all he can sign.
fn before_the_log(world: &World, stolen: &Stolen) -> Vec<Attack> {
    if world.log.is_none() {
        return Vec::new();
    }
    let able = forgeable().into_iter().filter(|(key, _)| stolen.roles().contains(key));
    let lists: Vec<_> = able.flat_map(|(_, roles)| roles).collect();
    let attack = |goods| Attack {
        lists: lists.iter().map(|role| (role.clone(), goods)).collect(),
        replays: vec![("targets".to_owned(), 1)],
        ..Attack::new("before the log", Carrier::Own(world.last()))
    };
    [Goods::Evil, Goods::AsOf(world.seen), Goods::But(world.last(), OPEN, world.seen)].map(attack).into()
}

/// Roles whose files he writes, with the stolen keys that sign them.
fn forgeable() -> Vec<(&'static str, Vec<String>)> {
    let named = |roles: &[&str]| roles.iter().map(|role| (*role).to_owned()).collect();
    vec![
        ("targets", named(&["targets"])),
        ("bins", named(&["bins"])),
        ("bin-n", named(&BINS)),
        ("claimed", named(&["claimed"])),
        ("claimed", named(&["claimed-0000"])),
        ("recently-claimed", named(&["recently-claimed"])),
        ("recently-claimed", named(&["recently-claimed-0000"])),
        ("project-held", named(&["project-held"])),
        ("project-fresh", named(&["project-fresh"])),
    ]
}

/// What a forged file may list: for each harm something.
fn goods(world: &World) -> Vec<Goods> {
    let (old, new) = (world.seen, world.last());
    let mut all = vec![Goods::Evil, Goods::AsOf(old)];
    for project in PROJECTS {
        all.extend([Goods::But(new, project, old), Goods::But(old, project, new)]);
    }
    all
}

/// Every attempt. What needs keys that he has not is tried once for each strategy, signed with those that he has.
pub(super) fn attacks(world: &World, stolen: &Stolen) -> Vec<Attack> {
    let mut all = vec![Attack { swaps: true, ..Attack::new("other bytes", Carrier::Honest) }];
    for at in 0..world.moments.len() {
        all.push(Attack::new("old timestamp", Carrier::OldTimestamp(at)));
        all.push(Attack::new("old snapshot", Carrier::OwnTimestamp(at)));
        all.push(Attack::new("old roles", Carrier::Own(at)));
    }
    all.extend(old_projects(world));
    for goods in goods(world) {
        all.extend(forged(world, stolen, goods));
        all.extend(together(world, stolen, goods));
    }
    let mut tried = BTreeSet::new();
    all.retain(|attack| able(attack.carrier, stolen) || tried.insert(attack.name));
    assert!(all.iter().all(|attack| STRATEGIES.iter().any(|(name, _)| *name == attack.name)));
    all
}

/// Whether he has the keys for what carries his files.
fn able(carrier: Carrier, stolen: &Stolen) -> bool {
    let has = |role| stolen.roles().contains(&role);
    match carrier {
        Carrier::Honest | Carrier::OldTimestamp(_) => true,
        Carrier::OwnTimestamp(_) => has("timestamp"),
        Carrier::OwnSnapshot => has("snapshot"),
        Carrier::Own(_) => has("timestamp") && has("snapshot"),
        Carrier::OwnRoot(_) => has("root-1"),
    }
}

/// One project as it was at a moment, and the rest as at another.
fn old_projects(world: &World) -> Vec<Attack> {
    let (new, mut all) = (world.last(), Vec::new());
    for project in PROJECTS {
        let mut tried = BTreeSet::new();
        // With an older rest, a client with memory would refuse, and one without be fooled no longer.
        let newer = (world.seen..new).map(|rest| (rest, new));
        for (rest, at) in (0..new).map(|at| (new, at)).chain(newer) {
            let mut attack = Attack::new("old project", Carrier::Own(rest));
            let there = &world.moments[at].snapshot;
            let roles = roles_of(world, project, at);
            attack.replays = roles
                .into_iter()
                .filter_map(|role| Some((role.clone(), there.role(&role)?.version)))
                .collect();
            if tried.insert((rest, attack.replays.clone())) {
                all.push(attack);
            }
        }
    }
    all
}

/// One role forged. Without its keys, only in the hope to have something of his own installed.
fn forged(world: &World, stolen: &Stolen, goods: Goods) -> Vec<Attack> {
    let (new, mut all) = (world.last(), Vec::new());
    for (key, roles) in forgeable() {
        let lists: Vec<_> = roles.iter().map(|role| (role.clone(), goods)).collect();
        if !stolen.roles().contains(&key) {
            if matches!(goods, Goods::Evil) {
                all.push(Attack { lists: lists.clone(), ..Attack::new("forged in place", Carrier::Honest) });
                all.push(Attack { lists, ..Attack::new("forged role", Carrier::Own(new)) });
            }
            continue;
        }
        for (name, carrier) in [
            ("forged in place", Carrier::Honest),
            ("forged in place", Carrier::OldTimestamp(new)),
            ("forged in place", Carrier::OwnTimestamp(new)),
            ("forged snapshot", Carrier::OwnSnapshot),
            ("forged role", Carrier::Own(new)),
        ] {
            all.push(Attack { lists: lists.clone(), ..Attack::new(name, carrier) });
        }
        for role in roles.into_iter().filter(|_| matches!(goods, Goods::Evil | Goods::AsOf(_))) {
            let delegates = Some((role, goods));
            all.push(Attack {
                delegates: delegates.clone(),
                ..Attack::new("forged delegation", Carrier::Honest)
            });
            all.push(Attack { delegates, ..Attack::new("forged delegation", Carrier::Own(new)) });
        }
    }
    let lists = vec![("targets".to_owned(), goods)];
    all.push(Attack { lists, ..Attack::new("new root", Carrier::OwnRoot(new)) });
    all
}

/// All he can sign, with what `claimed` and `recently-claimed` said at each moment, and what they say now.
fn together(world: &World, stolen: &Stolen, goods: Goods) -> Vec<Attack> {
    let (new, mut all) = (world.last(), Vec::new());
    let able = forgeable().into_iter().filter(|(key, _)| stolen.roles().contains(key));
    let lists: Vec<_> = able.flat_map(|(_, roles)| roles).map(|role| (role, goods)).collect();
    all.push(Attack { lists: lists.clone(), ..Attack::new("all he can sign", Carrier::Own(new)) });
    let mut tried = BTreeSet::new();
    let plain = matches!(goods, Goods::Evil | Goods::AsOf(_));
    for at in (0..new).filter(|_| plain) {
        let there = &world.moments[at].snapshot;
        for families in [&["claimed"][..], &["recently-claimed"], &["claimed", "recently-claimed"]] {
            let roles = families.iter().flat_map(|role| [(*role).to_owned(), format!("{role}-0000")]);
            let roles = roles.filter(|role| lists.iter().all(|(forged, _)| forged != role));
            let replays: Vec<_> =
                roles.filter_map(|role| Some((role.clone(), there.role(&role)?.version))).collect();
            if !replays.is_empty() && tried.insert(replays.clone()) {
                let base = Attack::new("before the claims", Carrier::Own(new));
                all.push(Attack { lists: lists.clone(), replays, ..base });
            }
        }
    }
    all
}

/// The bins that list something of a project at a moment, and its own role.
fn roles_of(world: &World, project: &str, at: usize) -> Vec<String> {
    let there = &world.moments[at].snapshot;
    let lists = |bin: &&str| {
        let version = there.role(bin).map_or(0, |entry| entry.version);
        let content = world.contents.get(&((**bin).to_owned(), version));
        content.is_some_and(|content| content.targets.keys().any(|path| belongs(path, project)))
    };
    let bins = BINS.into_iter().filter(lists).map(str::to_owned);
    bins.chain([format!("project-{project}")]).collect()
}
