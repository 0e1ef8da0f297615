//! The tree of buckets: what is found in it, how it splits, what it refuses.

use std::str::FromStr;

use chrono::DateTime;
use proptest::prelude::*;

use super::*;
use crate::crypto::{PublicKey, Scheme, sha256};
use crate::tuf::metadata::{Common, Table};
use crate::tuf::path::TargetPath;
use crate::tuf::signed::Draft;

pub(in crate::repository::claims) fn key(text: &str) -> Key {
    Key::new(PublicKey::Ed25519(sha256(text.as_bytes())), Scheme::Ed25519).unwrap()
}

pub(in crate::repository::claims) fn owners(names: &[&str], threshold: u64) -> Owners {
    Owners::new(names.iter().map(|name| key(name)), threshold)
}

pub(in crate::repository::claims) fn name(text: &str) -> ProjectName {
    ProjectName::from_str(text).unwrap()
}

pub(in crate::repository::claims) fn content(delegations: Option<Delegations>) -> Targets {
    Targets { common: Common::new(1, DateTime::UNIX_EPOCH), targets: Table::new(), delegations }
}

fn new_tree() -> Tree {
    Tree::read(Family::Claimed, &content(None), owners(&["offline"], 1), 0).unwrap()
}

/// The same tree, as it is read back from what was signed.
fn read_back(tree: &Tree) -> Tree {
    let delegator = content(Some(tree.delegations()));
    let mut back = Tree::read(tree.family, &delegator, tree.signers.clone(), tree.next).unwrap();
    for (name, bucket) in &tree.buckets {
        back.load(name, &content(Some(bucket.delegations().unwrap()))).unwrap();
    }
    back
}

/// What a client finds: the first bucket that matches delegates to the project, and to no other.
fn finds(tree: &Tree, project: &ProjectName) -> bool {
    let buckets = tree.buckets.iter().map(|(name, bucket)| (name.clone(), bucket.delegations().unwrap()));
    finds_in(&tree.delegations(), &buckets.collect(), project)
}

fn finds_in(top: &Delegations, buckets: &BTreeMap<RoleName, Delegations>, project: &ProjectName) -> bool {
    [format!("{project}/{project}-1.tar.gz"), format!("simple/{project}/index.json")].iter().all(|path| {
        let path = TargetPath::new(path.clone()).unwrap();
        let first = &top.matching(&path).unwrap()[0];
        let found = buckets[&first.role].matching(&path).unwrap();
        found.len() == 1 && found[0].terminating && found[0].role == project_role(project).unwrap()
    })
}

#[test]
fn the_first_project_makes_the_first_bucket() {
    let mut tree = new_tree();
    assert_eq!(tree.bucket_of(&name("six")), None);
    tree.put_all([(name("six"), owners(&["ann"], 1))]).unwrap();
    let changes = tree.changes().unwrap();
    assert_eq!(changes.buckets[0].0.as_str(), "claimed-0000");
    assert!(changes.delegator);
    let DelegatedRoles::Listed(roles) = changes.delegations.roles else { panic!() };
    assert_eq!(roles[0].paths, PathSet::Patterns(vec!["*/*".into(), "simple/*/*".into()]));
    assert!(!roles[0].terminating && finds(&tree, &name("six")));
    let again = read_back(&tree);
    let changes = again.changes().unwrap();
    assert_eq!((changes.delegator, changes.buckets), (false, Vec::new()));
}

#[test]
fn a_change_of_keys_leaves_the_delegator_alone() {
    let mut tree = new_tree();
    tree.put_all([(name("six"), owners(&["ann"], 1)), (name("ten"), owners(&["ann"], 1))]).unwrap();
    let mut tree = read_back(&tree);
    tree.put_all([(name("six"), owners(&["bob", "eve"], 2))]).unwrap();
    let changes = tree.changes().unwrap();
    assert_eq!((changes.delegator, changes.buckets.len()), (false, 1));
    assert!(tree.projects().any(|known| known == (&name("six"), &owners(&["bob", "eve"], 2))));
}

#[test]
fn shared_keys_are_listed_once_and_dropped_with_the_last_project() {
    let mut tree = new_tree();
    let both = [(name("six"), owners(&["ann"], 1)), (name("ten"), owners(&["ann", "bob"], 1))];
    tree.put_all(both).unwrap();
    let keys = |tree: &Tree| tree.changes().unwrap().buckets[0].1.keys.len();
    assert_eq!(keys(&tree), 2);
    assert!(tree.remove(&name("ten")) && !tree.remove(&name("ten")));
    assert_eq!(keys(&tree), 1);
    assert!(tree.remove(&name("six")));
    assert_eq!(keys(&tree), 0);
}

#[test]
fn nobody_owns_a_project_without_keys_or_with_a_threshold_that_cannot_be_met() {
    let many: Vec<String> = (0..=MAX_KEYS).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for wrong in [owners(&[], 0), owners(&["ann"], 0), owners(&["ann"], 2), owners(&many, 1)] {
        assert!(new_tree().put_all([(name("six"), wrong)]).is_err());
    }
}

#[test]
fn delegations_that_this_program_never_writes_are_refused() {
    let mut tree = new_tree();
    tree.put_all([(name("six"), owners(&["ann"], 1))]).unwrap();
    let (bucket, good) = tree.changes().unwrap().buckets.remove(0);
    let refused = |edit: fn(&mut DelegatedRole)| {
        let mut wrong = good.clone();
        let DelegatedRoles::Listed(roles) = &mut wrong.roles else { panic!() };
        edit(&mut roles[0]);
        read_back(&tree).load(&bucket, &content(Some(wrong))).is_err()
    };
    assert!(refused(|role| role.terminating = false));
    assert!(refused(|role| role.paths = PathSet::Patterns(vec!["six/*".into()])));
    assert!(refused(|role| role.name = RoleName::delegated("project-ten").unwrap()));
    assert!(refused(|role| role.name = RoleName::delegated("bins-00").unwrap()));
    assert!(refused(|role| role.keyids.clear()));
    assert!(!refused(|_| {}));
}

#[test]
fn names_with_one_long_prefix_are_split_one_character_after_another() {
    let mut tree = new_tree();
    let projects = (0..2_000).map(|number| name(&format!("company-service-{number:04}")));
    let projects: Vec<_> = projects.chain([name("company-service"), name("zope")]).collect();
    tree.put_all(projects.iter().map(|project| (project.clone(), owners(&[project.as_str()], 1)))).unwrap();
    assert!(tree.buckets.len() >= 3);
    assert!(tree.buckets.values().all(|bucket| bucket.bytes <= MAX_BUCKET));
    assert!(projects.iter().step_by(97).chain(&projects[2_000..]).all(|project| finds(&tree, project)));
    assert!(!tree.buckets.contains_key(&Family::Claimed.bucket(0).unwrap()), "the split one is gone");
}

#[test]
fn the_size_of_a_bucket_is_known_to_the_byte() {
    let mut tree = new_tree();
    tree.put_all([(name("six"), owners(&["ann", "bob", "eve"], 2)), (name("a-b"), owners(&["ann"], 1))])
        .unwrap();
    let bytes = |tree: &Tree| {
        let (_, delegations) = tree.changes().unwrap().buckets.remove(0);
        Draft::new(content(Some(delegations))).payload().to_sign().len()
    };
    let (before, counted) = (bytes(&tree), tree.buckets.values().next().unwrap().bytes);
    tree.put_all([(name("requests"), owners(&["ann", "kim"], 2))]).unwrap();
    assert_eq!(bytes(&tree) - before, tree.buckets.values().next().unwrap().bytes - counted);
    assert!(bytes(&tree) < tree.buckets.values().next().unwrap().bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Names over a small alphabet, so that prefixes are long and shared; keys so large that buckets split early.
    #[test]
    fn whatever_comes_and_goes_each_claimed_project_is_found_in_the_first_bucket_that_matches(
        rounds in prop::collection::vec(
            prop::collection::vec(("[ab]{1,7}", prop::bool::weighted(0.8)), 1..150), 1..5),
    ) {
        let wide: Vec<String> = (0..MAX_KEYS).map(|number| number.to_string()).collect();
        let (mut tree, mut model, mut born) = (new_tree(), BTreeMap::new(), BTreeMap::new());
        for round in rounds {
            tree = read_back(&tree);
            let (mut put, mut gone) = (BTreeMap::new(), BTreeSet::new());
            for (project, keep) in round {
                if keep { put.insert(name(&project), project); } else { gone.insert(name(&project)); }
            }
            let team = |project: &String| Owners::new(wide.iter().map(|n| key(&format!("{project}{n}"))), 1);
            tree.put_all(put.iter().map(|(project, text)| (project.clone(), team(text)))).unwrap();
            model.extend(put);
            for project in gone {
                prop_assert_eq!(tree.remove(&project), model.remove(&project).is_some());
            }
            let top = tree.delegations();
            let buckets = tree.buckets.iter().map(|(name, bucket)| (name.clone(), bucket.delegations().unwrap()));
            let buckets = buckets.collect();
            for project in model.keys() {
                prop_assert!(finds_in(&top, &buckets, project), "{}", project);
            }
            prop_assert_eq!(tree.projects().count(), model.len());
            for (bucket, content) in &tree.buckets {
                prop_assert!(content.bytes <= MAX_BUCKET);
                let prefixes = born.entry(bucket.clone()).or_insert_with(|| content.prefixes.clone());
                prefixes.sort();
                let mut now = content.prefixes.clone();
                now.sort();
                prop_assert_eq!(&now, prefixes, "a bucket never gets another meaning");
            }
        }
    }
}
