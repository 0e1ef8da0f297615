//! The search for the role that answers: order of requests, what is never asked, and by whom each role is vouched for.

use wheelseal::client::ClientError;
use wheelseal::tuf::metadata::{DelegatedRole, DelegatedRoles, Extra, PathSet, SuccinctRoles};
use wheelseal::tuf::path::{RoleName, TargetPath};
use wheelseal::tuf::trusted::TrustError;

use crate::simulator::{Repo, User, absent, below, chain, key, key_of, not_signed, trust, wrong_version};

/// One delegation: who, to whom, which paths, whether terminating.
type Edge = (&'static str, &'static str, &'static str, bool);

fn graph(edges: &[Edge]) -> Repo {
    let mut repo = Repo::new();
    for (from, to, paths, terminating) in edges {
        repo.delegate(from, to, &[paths]).terminating = *terminating;
    }
    repo.release_role("targets");
    repo
}

/// The delegated roles that were asked for since the last call, in order.
fn asked(repo: &Repo) -> String {
    let requests = repo.server.requests();
    let top = ["root", "timestamp", "snapshot", "targets"];
    let role = |file: &String| {
        let stem = file.strip_suffix(".json")?.rsplit('.').next()?.to_owned();
        (!top.contains(&stem.as_str())).then_some(stem)
    };
    requests.iter().filter_map(role).collect::<Vec<_>>().join(" ")
}

const T: &str = "targets";

#[test]
fn roles_are_asked_in_pre_order_and_each_once() {
    let cases: [(&str, &[Edge], &str); 16] = [
        ("one role", &[(T, "A", "*", false)], "A"),
        ("no match, no request", &[(T, "A", "other", false)], ""),
        ("order of appearance", &[(T, "B", "*", false), (T, "A", "*", false), (T, "C", "*", false)], "B A C"),
        ("two levels", &[(T, "A", "*", false), (T, "B", "*", false), ("B", "C", "*", false)], "A B C"),
        (
            "depth first",
            &[
                (T, "A", "*", false),
                (T, "B", "*", false),
                ("A", "C", "*", false),
                ("C", "D", "*", false),
                ("A", "E", "*", false),
            ],
            "A C D E B",
        ),
        ("a terminating role ends the list", &[(T, "A", "*", true), (T, "B", "*", false)], "A"),
        (
            "but its descendants are asked",
            &[
                (T, "A", "*", false),
                (T, "B", "*", true),
                (T, "C", "*", false),
                ("B", "D", "*", false),
                ("B", "E", "*", false),
            ],
            "A B D E",
        ),
        (
            "terminating below ends what is above as well",
            &[
                (T, "A", "*", false),
                (T, "B", "*", false),
                ("A", "C", "*", true),
                ("A", "D", "*", false),
                ("C", "E", "*", false),
            ],
            "A C E",
        ),
        (
            "terminating at two levels",
            &[(T, "A", "*", true), (T, "B", "*", false), ("A", "C", "*", true), ("A", "D", "*", false)],
            "A C",
        ),
        ("terminating only if its path matched", &[(T, "A", "other", true), (T, "B", "*", false)], "B"),
        (
            "a branch ends where a link does not match",
            &[(T, "A", "*", false), (T, "B", "*", false), ("A", "C", "other", false), ("C", "D", "*", false)],
            "A B",
        ),
        ("a cycle of one", &[(T, "A", "*", false), ("A", "A", "*", false)], "A"),
        ("a cycle of two", &[(T, "A", "*", false), ("A", "B", "*", false), ("B", "A", "*", false)], "A B"),
        (
            "a cycle of three with a side",
            &[
                (T, "A", "*", false),
                (T, "D", "*", false),
                ("A", "B", "*", false),
                ("B", "C", "*", false),
                ("C", "A", "*", false),
            ],
            "A B C D",
        ),
        (
            "a diamond asks for C once",
            &[(T, "A", "*", false), (T, "B", "*", false), ("A", "C", "*", false), ("B", "C", "*", false)],
            "A C B",
        ),
        (
            "C is reached through B alone",
            &[(T, "A", "*", false), (T, "B", "*", false), ("A", "C", "other", false), ("B", "C", "*", false)],
            "A B C",
        ),
    ];
    for (name, edges, order) in cases {
        let repo = graph(edges);
        let user = User::new(&repo);
        assert_eq!(user.find("file"), Err(not_signed("file")), "{name}");
        assert_eq!(asked(&repo), order, "{name}");
        assert_eq!(user.find("file"), Err(not_signed("file")), "{name}, again");
        assert_eq!(asked(&repo), "", "{name}: all is kept");
    }
}

#[test]
fn a_role_is_asked_once_even_in_two_lookups() {
    let mut repo = graph(&[(T, "A", "*", false), (T, "B", "*", false)]);
    repo.add_file("A", "a", b"a");
    repo.add_file("B", "b", b"b");
    repo.release();
    let user = User::new(&repo);
    let found = user.session(async |session| {
        let mut chains = Vec::new();
        for path in ["b", "a", "b"] {
            chains.push(chain(&session.find(&TargetPath::new(path).unwrap()).await?));
        }
        Ok(chains)
    });
    assert_eq!(found.unwrap(), ["targets > B", "targets > A", "targets > B"]);
    assert_eq!(asked(&repo), "A B");
}

#[test]
fn the_first_role_in_order_answers() {
    let mut repo = graph(&[(T, "A", "*", false), (T, "B", "*", false), ("A", "C", "*", false)]);
    for role in ["B", "C"] {
        repo.add_file(role, "file", role.as_bytes());
    }
    repo.release();
    let user = User::new(&repo);
    assert_eq!(user.find("file"), Ok("targets > A > C".to_owned()));
    assert_eq!(asked(&repo), "A C", "B is not needed");
    repo.add_file(T, "file", b"top");
    repo.release_role(T);
    assert_eq!(user.find("file"), Ok("targets".to_owned()));
}

#[test]
fn a_role_speaks_only_for_what_every_link_delegates() {
    let mut repo = graph(&[(T, "A", "a/*", false), ("A", "B", "*/*", false)]);
    repo.add_file("B", "a/file", b"fine");
    repo.add_file("B", "b/file", b"not delegated to A");
    repo.add_file("A", "b/other", b"not delegated to A");
    repo.release();
    let user = User::new(&repo);
    assert_eq!(user.find("a/file"), Ok("targets > A > B".to_owned()));
    assert_eq!(user.find("b/file"), Err(not_signed("b/file")));
    assert_eq!(user.find("b/other"), Err(not_signed("b/other")));
}

#[test]
fn patterns_match_segment_by_segment() {
    let cases = [
        ("*", "file", true),
        ("*", "dir/file", false),
        ("dir/*", "dir/file", true),
        ("dir/*", "dir/sub/file", false),
        ("*/*", "dir/file", true),
        ("d?r/*.tgz", "dir/a.tgz", true),
        ("d?r/*.tgz", "dir/a.txt", false),
        ("dir?file", "dir/file", false),
        ("dir*", "dir/file", false),
        ("DIR/*", "dir/file", false),
        ("[d]ir/*", "dir/file", false),
    ];
    for (pattern, path, matches) in cases {
        let mut repo = graph(&[(T, "A", pattern, false)]);
        repo.add_file("A", path, b"content");
        repo.release();
        assert_eq!(User::new(&repo).find(path).is_ok(), matches, "{pattern} {path}");
        assert_eq!(asked(&repo).is_empty(), !matches, "{pattern} {path}");
    }
}

#[test]
fn one_of_several_patterns_is_enough_and_none_match_nothing() {
    let mut repo = Repo::new();
    repo.delegate(T, "none", &[]);
    repo.delegate(T, "A", &["x", "file"]);
    repo.add_file("A", "file", b"content");
    repo.release_role(T);
    assert_eq!(User::new(&repo).find("file"), Ok("targets > A".to_owned()));
    assert_eq!(asked(&repo), "A");
}

#[test]
fn path_hash_prefixes_select_by_the_digest_of_the_path() {
    let path = TargetPath::new("dir/file").unwrap();
    let digest = hex::encode(path.digest());
    let other = if digest.starts_with('0') { "1" } else { "0" };
    let cases = [(&digest[..1], true), (&digest[..8], true), (&digest, true), (other, false), ("", true)];
    for (prefix, matches) in cases {
        let mut repo = Repo::new();
        repo.delegate(T, "A", &[]).paths = PathSet::HashPrefixes(vec!["zz".into(), prefix.into()]);
        repo.add_file("A", path.as_str(), b"content");
        repo.release_role(T);
        assert_eq!(User::new(&repo).find(path.as_str()).is_ok(), matches, "{prefix}");
        assert_eq!(asked(&repo).is_empty(), !matches, "{prefix}");
    }
}

fn bins(bit_length: u32) -> SuccinctRoles {
    let keyids = vec![key(9).id.clone()];
    SuccinctRoles { keyids, threshold: 1, bit_length, name_prefix: "bin".into(), extra: Extra::new() }
}

/// A repository with bins, one of which lists `file`; the name of that bin.
fn with_bins(bit_length: u32) -> (Repo, String) {
    let mut repo = Repo::new();
    let bins = bins(bit_length);
    let name = bins.role_for(&TargetPath::new("file").unwrap()).unwrap().to_string();
    let delegations = repo.delegations(T);
    delegations.keys.insert(key(9).id.clone(), key(9).key.clone());
    delegations.roles = DelegatedRoles::Succinct(bins);
    repo.signers.insert(name.clone(), vec![key(9)]);
    repo.add_file(&name, "file", b"content");
    repo.release_role(T);
    (repo, name)
}

#[test]
fn of_all_bins_only_the_one_that_answers_is_asked() {
    for bits in [1, 4, 5, 14, 32] {
        let (repo, bin) = with_bins(bits);
        let user = User::new(&repo);
        assert_eq!(user.download("file"), Ok(true), "{bits} bits");
        let requests = repo.server.requests();
        let metadata =
            ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json", &format!("1.{bin}.json")];
        assert_eq!(requests[..5], metadata);
        assert_eq!(user.cached().split(", ").next(), Some(format!("{bin} 1").as_str()));
    }
}

#[test]
fn a_bin_signed_by_a_stranger_is_refused() {
    let (mut repo, bin) = with_bins(4);
    repo.signers.insert(bin.clone(), vec![key(8)]);
    repo.release_role(&bin.clone());
    assert_eq!(User::new(&repo).find("file"), Err(below(&bin, "targets", 0, 1)));
}

#[test]
fn a_role_absent_from_snapshot_is_never_asked_for() {
    let mut repo = graph(&[(T, "A", "*", false), (T, "B", "*", false)]);
    repo.add_file("B", "file", b"content");
    repo.release();
    repo.snapshot.meta.remove("A.json");
    repo.publish_snapshot();
    let user = User::new(&repo);
    let error = trust(TrustError::NotInSnapshot { role: "A".into() });
    assert_eq!(user.find("file"), Err(error.clone()), "and the search ends: cannot tell is not no");
    assert_eq!(asked(&repo), "");
    let planted = repo.server.bytes("1.A.json");
    user.overwrite("A", &planted);
    assert_eq!(user.find("file"), Err(error), "nor read from disk");
}

#[test]
fn a_role_that_the_server_withholds_ends_the_search() {
    let mut repo = graph(&[(T, "A", "*", false), (T, "B", "*", false)]);
    repo.add_file("B", "file", b"content");
    repo.release();
    repo.server.remove("1.A.json");
    assert_eq!(User::new(&repo).find("file"), Err(absent("1.A.json")));
    assert_eq!(asked(&repo), "A");
}

#[test]
fn at_most_so_many_roles_are_visited() {
    let names: Vec<String> = (0..40).map(|number| format!("role{number:02}")).collect();
    let mut repo = Repo::new();
    for name in &names {
        repo.delegate(T, name, &["*"]);
    }
    repo.release_role(T);
    let user = User::new(&repo);
    assert_eq!(user.find("file"), Err(trust(TrustError::TooManyRoles { limit: 32 })));
    assert_eq!(asked(&repo), names[..32].join(" "));
    repo.add_file("role31", "file", b"content");
    repo.release_role("role31");
    assert_eq!(user.find("file"), Ok("targets > role31".to_owned()));
    repo.add_file("role32", "other", b"content");
    repo.release_role("role32");
    assert_eq!(user.find("other"), Err(trust(TrustError::TooManyRoles { limit: 32 })));
}

/// Only as many of them are noted as may be visited, and only those that come first.
#[test]
fn a_hundred_thousand_matching_delegations_cost_no_more_than_the_bound() {
    let mut repo = Repo::new();
    for number in 0..32 {
        repo.delegate(T, &format!("role{number:02}"), &["*"]);
    }
    let DelegatedRoles::Listed(roles) = &mut repo.delegations(T).roles else { panic!("listed") };
    let first = roles.first().unwrap().clone();
    roles.extend((0..100_000).map(|number| DelegatedRole {
        name: RoleName::delegated(format!("more{number}")).unwrap(),
        ..first.clone()
    }));
    repo.release_role(T);
    let mut user = User::new(&repo);
    user.limits.targets = 100_000_000;
    assert_eq!(user.find("file"), Err(trust(TrustError::TooManyRoles { limit: 32 })));
    let visited: Vec<String> = (0..32).map(|number| format!("role{number:02}")).collect();
    assert_eq!(asked(&repo), visited.join(" "));
    repo.add_file("role31", "file", b"content");
    repo.release_role("role31");
    assert_eq!(user.find("file"), Ok("targets > role31".to_owned()));
}

/// C is reached through A, which lists the key that signed it, and through B, which lists key 7.
fn c_by_two_keys() -> Repo {
    let mut repo = graph(&[(T, "A", "*", false), (T, "B", "*", false), ("A", "C", "*", false)]);
    repo.delegate_to("B", "C", &["*"], &[key(7)]);
    repo
}

#[test]
fn what_one_delegator_accepts_another_may_refuse() {
    let mut repo = c_by_two_keys();
    repo.release();
    let user = User::new(&repo);
    assert_eq!(user.find("file"), Err(below("C", "B", 0, 1)));
    assert_eq!(asked(&repo), "A C B C", "what is kept does not do for B, so B's own is asked for");
    assert_eq!(user.cached(), "A 1, B 1, C 1, root 1, snapshot 3, targets 2, timestamp 3");
    assert_eq!(user.find("file"), Err(below("C", "B", 0, 1)), "nor does what lies on disk");
}

#[test]
fn a_delegator_that_refuses_is_not_helped_by_one_that_accepted_in_an_earlier_lookup() {
    let mut repo = Repo::new();
    repo.delegate(T, "A", &["a/*"]);
    repo.delegate(T, "B", &["b/*"]);
    repo.delegate("A", "C", &["*/*"]);
    repo.delegate_to("B", "C", &["*/*"], &[key(7)]);
    repo.add_file("C", "a/file", b"content");
    repo.add_file("C", "b/file", b"content");
    repo.release_role(T);
    let user = User::new(&repo);
    let results = user.session(async |session| {
        let a = session.find(&TargetPath::new("a/file").unwrap()).await.map(|found| chain(&found));
        let b = session.find(&TargetPath::new("b/file").unwrap()).await.map(|found| chain(&found));
        Ok((a, b))
    });
    assert_eq!(results, Ok((Ok("targets > A > C".to_owned()), Err(below("C", "B", 0, 1)))));
}

#[test]
fn one_file_signed_for_both_delegators_is_asked_for_once() {
    let mut repo = c_by_two_keys();
    repo.signers.insert("C".into(), vec![key_of("C"), key(7)]);
    repo.release();
    let user = User::new(&repo);
    assert_eq!(user.find("file"), Err(not_signed("file")));
    assert_eq!(asked(&repo), "A C B");
}

/// A is reached through P and through Q, under different keys; the server has an A for each, with the same version.
/// The A of P delegates to a C of its own.
#[test]
fn a_role_of_the_same_name_under_another_delegator_lends_no_trust() {
    let mut repo = Repo::new();
    repo.delegate(T, "P", &["p/*"]);
    repo.delegate(T, "Q", &["q/*"]);
    repo.delegate_to("P", "A", &["*/*"], &[key(20)]);
    repo.delegate_to("Q", "A", &["*/*"], &[key(21)]);
    repo.delegate_to("A", "C", &["*/*"], &[key(22)]);
    repo.add_file("C", "p/file", b"evil");
    repo.add_file("C", "q/file", b"evil");
    repo.signers.insert("A".into(), vec![key(20)]);
    repo.signers.insert("C".into(), vec![key(22)]);
    repo.release_role(T);
    let of_p = repo.server.bytes("1.A.json");
    *repo.delegations("A") = wheelseal::tuf::metadata::Delegations {
        keys: std::collections::BTreeMap::new(),
        roles: DelegatedRoles::Listed(Vec::new().into()),
        extra: Extra::new(),
    };
    repo.delegate_to("A", "C", &["*/*"], &[key(23)]);
    repo.signers.insert("A".into(), vec![key(21)]);
    let of_q = repo.sign("A", repo.delegated.get("A").unwrap());
    let user = User::new(&repo);
    let results = user.session(async |session| {
        repo.server.put("1.A.json", of_p);
        let p = session.find(&TargetPath::new("p/file").unwrap()).await.map(|found| chain(&found));
        repo.server.put("1.A.json", of_q);
        let q = session.find(&TargetPath::new("q/file").unwrap()).await.map(|found| chain(&found));
        Ok((p, q))
    });
    assert_eq!(results, Ok((Ok("targets > P > A > C".to_owned()), Err(below("C", "A", 0, 1)))));
}

#[test]
fn a_delegated_role_has_exactly_the_version_that_snapshot_names() {
    for found in [1, 3] {
        let mut repo = graph(&[(T, "A", "*", false)]);
        repo.release_role("A");
        repo.role("A").common.version = found;
        let other = repo.sign("A", repo.delegated.get("A").unwrap());
        repo.server.put("2.A.json", other);
        let user = User::new(&repo);
        assert_eq!(user.find("file"), Err(wrong_version("A", found, 2)));
        assert_eq!(user.cached(), "root 1, snapshot 3, targets 2, timestamp 3");
    }
}

#[test]
fn a_lookup_needs_no_role_that_is_broken_elsewhere() {
    let mut repo = graph(&[(T, "A", "a/*", false), (T, "B", "b/*", false)]);
    repo.add_file("B", "b/file", b"content");
    repo.release();
    repo.server.put("1.A.json", "broken");
    let user = User::new(&repo);
    assert_eq!(user.find("b/file"), Ok("targets > B".to_owned()));
    assert!(matches!(user.find("a/file"), Err(ClientError::Trust(TrustError::Verify(_)))));
}
