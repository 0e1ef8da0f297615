//! Role names are free text: in URLs and file names they are quoted, in snapshot they are not.

use wheelseal::tuf::metadata::{DelegatedRoles, Extra, MetaFile, SuccinctRoles};
use wheelseal::tuf::path::TargetPath;

use crate::simulator::{Repo, User, key, malformed};

/// Names and how they are quoted: nothing but `_.-~` and alphanumerics is safe, digits are upper case.
const NAMES: [(&str, &str); 11] = [
    ("?", "%3F"),
    ("#", "%23"),
    ("/delegatedrole", "%2Fdelegatedrole"),
    ("../delegatedrole", "..%2Fdelegatedrole"),
    ("..", ".."),
    (".", "."),
    ("a b%20", "a%20b%2520"),
    ("safe_.-~Z9", "safe_.-~Z9"),
    ("é", "%C3%A9"),
    ("e\u{301}", "e%CC%81"),
    ("😀\\:*|\"<>", "%F0%9F%98%80%5C%3A%2A%7C%22%3C%3E"),
];

#[test]
fn role_names_are_quoted_in_urls_and_file_names_but_not_in_snapshot() {
    for (name, quoted) in NAMES {
        let mut repo = Repo::new();
        repo.delegate("targets", name, &["*"]);
        repo.add_file(name, "file", b"content");
        repo.release_role("targets");
        assert!(repo.snapshot.meta.contains_key(&format!("{name}.json")), "not quoted in snapshot");
        let user = User::new(&repo);
        assert_eq!(user.find("file"), Ok(format!("targets > {name}")));
        assert_eq!(repo.server.requests().last(), Some(&format!("1.{quoted}.json")), "{name}");
        assert!(user.cached().split(", ").any(|file| file == format!("{quoted} 1")), "{}", user.cached());
        assert_eq!(user.find("file"), Ok(format!("targets > {name}")), "and it is found there again");
        assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json"]);
    }
}

#[test]
fn a_quoted_name_in_snapshot_is_another_role() {
    let mut repo = Repo::new();
    repo.delegate("targets", "a/b", &["*"]);
    repo.targets.common.version = 2;
    repo.release();
    let entry = repo.snapshot.meta.remove("a/b.json").unwrap();
    repo.snapshot.meta.insert("a%2Fb.json", entry);
    repo.publish_snapshot();
    let user = User::new(&repo);
    assert_eq!(user.find("file").unwrap_err().to_string(), "role a/b is not in the snapshot");
    assert!(!repo.server.requests().contains(&"1.a%2Fb.json".to_owned()));
}

#[test]
fn bins_with_a_strange_prefix_are_quoted_too() {
    let mut repo = Repo::new();
    repo.signers.insert("bins".into(), vec![key(9)]);
    let prefix = "../?";
    let delegations = repo.delegations("targets");
    delegations.keys.insert(key(9).id.clone(), key(9).key.clone());
    let bins = SuccinctRoles {
        keyids: vec![key(9).id.clone()],
        threshold: 1,
        bit_length: 1,
        name_prefix: prefix.into(),
        extra: Extra::new(),
    };
    let bin = bins.role_for(&TargetPath::new("file").unwrap()).unwrap();
    delegations.roles = DelegatedRoles::Succinct(bins);
    repo.signers.insert(bin.to_string(), vec![key(9)]);
    repo.add_file(bin.as_str(), "file", b"content");
    repo.release_role("targets");
    let user = User::new(&repo);
    assert_eq!(user.find("file"), Ok(format!("targets > {bin}")));
    let number = &bin.as_str()[prefix.len()..];
    assert_eq!(repo.server.requests().last(), Some(&format!("1...%2F%3F{number}.json")));
}

#[test]
fn names_that_cannot_be_files_or_belong_to_others_are_refused() {
    let cases = [
        ("root", "it belongs to a top-level role"),
        ("timestamp", "it belongs to a top-level role"),
        ("snapshot", "it belongs to a top-level role"),
        ("targets", "it belongs to a top-level role"),
        ("", "it is empty"),
        (&"x".repeat(230), "it is too long for a file name"),
        (&"/".repeat(77), "it is too long for a file name"),
    ];
    for (name, reason) in cases {
        let mut repo = Repo::new();
        repo.delegate("targets", "innocent", &["*"]);
        repo.release_role("targets");
        repo.resign("2.targets.json", "targets", |text| {
            text.replace("\"name\":\"innocent\"", &format!("\"name\":\"{name}\""))
        });
        let user = User::new(&repo);
        let start: String = name.chars().take(60).collect();
        let shown = if start.len() < name.len() { format!("{start}…") } else { start };
        let expected = format!("targets: role name {shown:?} is refused: {reason}");
        assert_eq!(malformed(user.refresh()), Some(expected));
        assert_eq!(user.cached(), "root 1, snapshot 2, timestamp 2");
    }
}

#[test]
fn a_snapshot_may_list_roles_that_nobody_delegates_to() {
    let mut repo = Repo::new();
    repo.snapshot.meta.insert("../../../x.json", MetaFile::version(1));
    repo.snapshot.meta.insert("no suffix", MetaFile::version(1));
    repo.release();
    let user = User::new(&repo);
    assert_eq!(user.refresh(), Ok(()));
    assert_eq!(repo.server.requests().len(), 4);
}
