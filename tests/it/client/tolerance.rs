//! What other repositories really serve, and must not stumble over.

use wheelseal::tuf::json::parse;

use crate::simulator::{Repo, User, below, key};

/// Changes one published file, signs it again, and expects all to work: refresh, lookup through A, download.
fn works_with(file: &str, edit: impl FnOnce(String) -> String) {
    let mut repo = Repo::new();
    repo.delegate("targets", "A", &["*"]);
    repo.add_file("A", "file", b"content");
    repo.release_role("targets");
    let role = file.trim_end_matches(".json").trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    repo.resign(file, role, |text| {
        let edited = edit(text.clone());
        assert_ne!(edited, text, "the test must change something");
        edited
    });
    let user = User::new(&repo);
    assert_eq!(user.download("file"), Ok(true), "{file}");
    assert_eq!(user.download("file"), Ok(false), "{file}");
    assert_eq!(user.cached(), "A 1, root 1, snapshot 2, targets 2, timestamp 2");
}

const FILES: [&str; 5] = ["1.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json", "1.A.json"];

/// Inserts a field before another.
fn before(field: &'static str, extra: &'static str) -> impl Fn(String) -> String {
    move |text| text.replacen(&format!("\"{field}\":"), &format!("{extra},\"{field}\":"), 1)
}

#[test]
fn unknown_fields_at_top_level() {
    for file in FILES {
        works_with(file, before("expires", "\"x-unknown\":{\"a\":[null,true,-1]}"));
    }
}

#[test]
fn unknown_fields_in_a_key() {
    for file in ["1.root.json", "2.targets.json"] {
        works_with(file, before("keytype", "\"x-unknown\":\"y\",\"keyid_hash_algorithms\":[\"sha256\"]"));
        works_with(file, before("public", "\"x-unknown\":5"));
    }
}

#[test]
fn unknown_fields_in_delegations_and_in_a_delegated_role() {
    works_with("2.targets.json", |text| text.replace("\"delegations\":{", "\"delegations\":{\"x\":1,"));
    works_with("2.targets.json", before("terminating", "\"x-unknown\":{}"));
}

#[test]
fn unknown_fields_in_entries_of_timestamp_and_snapshot() {
    works_with("timestamp.json", |text| text.replace("\"snapshot.json\":{", "\"snapshot.json\":{\"x\":1,"));
    works_with("timestamp.json", |text| {
        text.replace("\"meta\":{", "\"meta\":{\"other.json\":{\"version\":0},")
    });
    works_with("2.snapshot.json", |text| text.replace("\"targets.json\":{", "\"targets.json\":{\"x\":1,"));
}

#[test]
fn unknown_fields_in_a_role_of_root_and_in_a_target() {
    works_with("1.root.json", before("threshold", "\"x-unknown\":[]"));
    works_with("1.A.json", before("length", "\"x-unknown\":\"\""));
}

#[test]
fn unknown_fields_beside_signed_and_signatures() {
    let repo = Repo::new();
    repo.server.edit("timestamp.json", before("signatures", "\"x\":1"));
    assert_eq!(User::new(&repo).refresh(), Ok(()));
}

#[test]
fn unknown_fields_are_part_of_what_is_signed() {
    let repo = Repo::new();
    repo.resign("timestamp.json", "timestamp", before("expires", "\"x-unknown\":1"));
    repo.server.edit("timestamp.json", |text| text.replace("\"x-unknown\":1", "\"x-unknown\":2"));
    assert_eq!(User::new(&repo).refresh(), Err(below("timestamp", "root", 0, 1)));
}

#[test]
fn keys_of_unknown_type_or_scheme_or_without_readable_material() {
    for file in ["1.root.json", "2.targets.json"] {
        for key in [
            "{\"keytype\":\"dilithium\",\"keyval\":{\"public\":\"x\"},\"scheme\":\"ml-dsa-44\"}",
            "{\"keytype\":\"ed25519\",\"keyval\":{\"public\":\"not hex\"},\"scheme\":\"ed25519\"}",
            "{\"keytype\":\"ed25519\",\"keyval\":{},\"scheme\":\"ed25519ph\"}",
            "{\"keytype\":\"sigstore-oidc\",\"keyval\":{\"identity\":\"a\",\"issuer\":\"b\"},\"scheme\":\"Fulcio\"}",
            "{\"keytype\":\"rsa\",\"keyval\":{\"public\":\"-----BEGIN PUBLIC KEY-----\"},\"scheme\":\"rsassa-pss-sha256\"}",
            "{\"keytype\":\"ecdsa\",\"keyval\":{\"public\":\"04\"},\"scheme\":\"ecdsa-sha2-nistp256\"}",
        ] {
            works_with(file, |text| text.replacen("\"keys\":{", &format!("\"keys\":{{\"0\":{key},"), 1));
        }
    }
}

#[test]
fn unknown_roles_in_root() {
    works_with("1.root.json", before("root", "\"mirrors\":{\"keyids\":[\"x\"],\"threshold\":1}"));
    works_with("1.root.json", before("root", "\"odd\":5"));
}

#[test]
fn an_absent_consistent_snapshot_means_no() {
    let mut repo = Repo::new();
    repo.root.consistent_snapshot = false;
    repo.publish_root();
    repo.publish();
    repo.resign("1.root.json", "root", |text| text.replace("\"consistent_snapshot\":false,", ""));
    let user = User::new(&repo);
    assert_eq!(user.refresh(), Ok(()));
    assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"]);
}

#[test]
fn empty_custom_and_expiry_with_an_offset() {
    works_with("1.A.json", before("hashes", "\"custom\":{}"));
    for file in FILES {
        works_with(file, |text| text.replace("2027-01-01T00:00:00Z", "2027-01-01T02:30:00.250+02:30"));
    }
}

#[test]
fn targets_whose_names_share_a_start() {
    let mut repo = Repo::new();
    for path in ["foo", "foo bar", "foo!", "foo-bar", "FOO", "foo\u{301}"] {
        repo.add_file("targets", path, path.as_bytes());
    }
    repo.release_role("targets");
    let user = User::new(&repo);
    for path in ["foo bar", "foo", "foo!", "foo-bar", "foo\u{301}"] {
        assert_eq!(user.download(path), Ok(true), "{path}");
    }
    assert_eq!(user.downloaded()[0], ("foo".to_owned(), "foo".to_owned()));
    assert_eq!(user.downloaded().len(), 5);
}

#[test]
fn integers_above_64_bits() {
    for file in FILES {
        works_with(file, before("expires", "\"x\":[123456789012345678901234567890,-99999999999999999999]"));
    }
}

#[test]
fn strings_that_unicode_could_normalise() {
    for file in FILES {
        works_with(
            file,
            before(
                "expires",
                "\"e\u{301}\":\"\u{1e9b}\u{323} \u{212b}\",\"\u{e9}\":\"\\u00e9\\ud83d\\ude00\"",
            ),
        );
    }
}

#[test]
fn pretty_printed_and_reordered_metadata() {
    let mut repo = Repo::new();
    repo.delegate("targets", "A", &["*"]);
    repo.add_file("A", "file", b"content");
    repo.release_role("targets");
    for file in FILES {
        let value: serde_json::Value = serde_json::from_slice(&repo.server.bytes(file)).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap().replace('\n', "\r\n\t");
        let before = parse(pretty.as_bytes()).unwrap().canonical();
        repo.server.put(file, format!("\n{pretty}\n"));
        assert_eq!(parse(&repo.server.bytes(file)).unwrap().canonical(), before);
    }
    repo.server.edit("timestamp.json", |text| {
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        format!("{{\"signed\": {}, \"signatures\": {}}}", value["signed"], value["signatures"])
    });
    let user = User::new(&repo);
    assert_eq!(user.download("file"), Ok(true));
    assert_eq!(user.cached_bytes("A"), repo.server.bytes("1.A.json"), "kept as it came");
}

#[test]
fn escapes_that_need_not_be() {
    let repo = Repo::new();
    repo.server.edit("timestamp.json", |text| text.replace("\"timestamp\"", "\"\\u0074imestam\\u0070\""));
    assert_eq!(User::new(&repo).refresh(), Ok(()));
}

#[test]
fn roles_that_list_nobody_until_they_are_needed() {
    let mut repo = Repo::new();
    repo.delegate_to("targets", "A", &["other"], &[]);
    repo.delegate_to("targets", "B", &["*"], &[key(9)]).threshold = 5;
    repo.add_file("targets", "file", b"content");
    repo.release_role("targets");
    let user = User::new(&repo);
    assert_eq!(user.download("file"), Ok(true));
    assert_eq!(user.find("absent"), Err(below("B", "targets", 0, 5)));
}
