//! Leaves: one form, and nothing in them about people.

use super::*;
use proptest::prelude::*;

const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn file() -> String {
    format!(
        r#"{{"length":1234,"path":"seal/seal-1.0-py3-none-any.whl","project":"seal","sha256":"{HASH}","type":"file/v1","version":"1.0"}}"#
    )
}

fn tuf() -> String {
    format!(r#"{{"length":1234,"role":"snapshot","sha256":"{HASH}","type":"tuf/v1","version":7}}"#)
}

fn log() -> String {
    format!(r#"{{"origin":"example.com/log","root_hash":"{HASH}","size":9,"type":"log/v1"}}"#)
}

fn conflict() -> String {
    file().replace(r#""type":"file/v1""#, r#""source":"index","type":"conflict/v1""#)
}

fn commitment() -> String {
    format!(r#"{{"sha256":"{HASH}","type":"commitment/v1"}}"#)
}

fn parse(text: &str) -> Result<Leaf, LeafError> {
    Leaf::parse(text.as_bytes())
}

#[test]
fn each_kind_reads_and_writes() {
    let hash = crate::crypto::sha256(b"");
    let expected = FileLeaf::new("seal/seal-1.0-py3-none-any.whl", "1.0", 1234, hash).unwrap();
    assert_eq!(parse(&file()), Ok(Leaf::File(expected)));
    assert_eq!(parse(&tuf()), Ok(Leaf::Tuf(TufLeaf::new(Role::Snapshot, 7, 1234, hash).unwrap())));
    assert_eq!(parse(&commitment()), Ok(Leaf::Commitment(CommitmentLeaf { sha256: hash })));
    let other = FileLeaf::new("seal/seal-1.0-py3-none-any.whl", "1.0", 1234, hash).unwrap();
    let other = ConflictLeaf { file: other, source: Source::Index };
    assert_eq!(parse(&conflict()), Ok(Leaf::Conflict(other)));
    let last = Checkpoint::new("example.com/log", 9, Hash::from_bytes(hash)).unwrap();
    assert_eq!(parse(&log()), Ok(Leaf::Log(LogLeaf::new(&last).unwrap())));
    for text in [file(), tuf(), log(), conflict(), commitment()] {
        assert_eq!(parse(&text).unwrap().to_string(), text);
    }
}

#[test]
fn of_targets_distributions_and_their_metadata_are_logged_alone() {
    let leaf = |path| FileLeaf::of_target(path, 5, [7; 32]);
    for path in ["seal/Seal-1.0.0rc1-py3-none-any.whl", "seal/Seal-1.0.0rc1-py3-none-any.whl.metadata"] {
        assert_eq!(leaf(path), FileLeaf::new(path, "1.0.0rc1", 5, [7; 32]).map(Some));
    }
    assert_eq!(leaf("simple/simple-1.0.tar.gz").unwrap().unwrap().project(), "simple");
    for path in ["simple/seal/index.json", "seal/seal-1.0.tar.gz.provenance", "tlog-policy"] {
        assert_eq!(leaf(path), Ok(None));
    }
    // Named as no distribution, or as another project's: nobody can know its version, so it cannot be logged.
    for path in ["seal/readme.txt", "seal/other-1.0.tar.gz", "seal/a/seal-1.0.tar.gz", "simple/index.json"] {
        let expected = "PROJECT/FILENAME of a distribution";
        assert_eq!(leaf(path), Err(LeafError::Field { field: "path", expected }), "{path}");
    }
}

#[test]
fn a_leaf_with_any_bit_flipped_is_refused_or_says_something_else() {
    for text in [file(), tuf(), log(), conflict(), commitment()] {
        let leaf = parse(&text).unwrap();
        for bit in 0..text.len() * 8 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Leaf::parse(&bytes) {
                assert_ne!(other, leaf);
                assert_eq!(other.to_string().as_bytes(), bytes);
            }
        }
    }
}

/// The file's leaf with `from`, which it has, in another form.
fn with(from: &str, to: &str) -> LeafError {
    assert!(file().contains(from), "{from}");
    parse(&file().replacen(from, to, 1)).unwrap_err()
}

#[test]
fn what_is_not_canonical_is_refused() {
    for (from, to) in [
        ("{", " {"),
        ("{", "{ "),
        (",", ", "),
        (":", " :"),
        (":", ": "),
        ("}", " }"),
        ("}", "} "),
        ("}", "}\n"),
        ("}", ",}"),
        ("}", ""),
        ("1234", "01234"),
        ("1234", "+1234"),
        ("1234", "-1"),
        ("1234", "1234.0"),
        ("1234", "1e3"),
        ("1234", "9007199254740992"),
        ("1234", "null"),
        ("1234", "[1234]"),
        ("1234", ""),
        ("seal/", "seal\\/"),
        ("seal/", "\\u0073eal/"),
        ("1.0-", "é-"),
        ("1.0-", "\u{7f}-"),
        ("1.0-", "\t-"),
        ("\"length\"", "\"length\":1,\"length\""),
        ("\"path\"", "\"a\":1,\"path\""),
    ] {
        let refused = with(from, to);
        assert!(matches!(refused, LeafError::Syntax { .. }), "{from:?} as {to:?}: {refused}");
    }
    assert!(matches!(parse(""), Err(LeafError::Syntax { at: 0, .. })));
    assert!(matches!(parse("{}"), Err(LeafError::Syntax { at: 1, .. })));
    assert!(matches!(parse("[]"), Err(LeafError::Syntax { at: 0, .. })));
}

#[test]
fn the_largest_integer_is_the_last_that_every_reader_keeps_exact() {
    assert!(parse(&file().replace("1234", "9007199254740991")).is_ok());
    assert!(FileLeaf::new("a/b", "1", MAX_INTEGER + 1, [0; 32]).is_err());
}

#[test]
fn keys_that_are_not_a_leafs_own_are_refused() {
    for (from, to) in [
        ("\"type\"", "\"time\":1,\"type\""),
        ("\"length\":1234,", ""),
        ("\"length\"", "\"Length\""),
        ("1234", "\"1234\""),
        ("\"1.0\"", "1"),
        ("file/v1", "file/v2"),
        ("file/v1", "tuf/v1"),
    ] {
        let refused = with(from, to);
        let own = matches!(refused, LeafError::Unknown | LeafError::Syntax { .. });
        assert!(own, "{from:?} as {to:?}: {refused}");
    }
    assert_eq!(with("file/v1", "log/v1"), LeafError::Unknown);
    let swapped = r#"{"size":1,"origin":"a"}"#;
    assert_eq!(
        parse(swapped),
        Err(LeafError::Syntax { at: 10, expected: "key that belongs behind the last" })
    );
}

#[test]
fn no_leaf_has_room_for_a_person_an_address_or_a_time() {
    for key in ["address", "author", "email", "identity", "ip", "time", "uploader", "user"] {
        for text in [file(), tuf(), log(), conflict(), commitment()] {
            let at = text.match_indices('"').map(|(at, _)| at).step_by(4).find(|at| text[at + 1..] > *key);
            let added = match at {
                Some(at) => format!("{}\"{key}\":\"x\",{}", &text[..at], &text[at..]),
                None => text.replace('}', &format!(",\"{key}\":\"x\"}}")),
            };
            assert!(parse(&added).is_err(), "{added}");
        }
    }
}

#[test]
fn fields_that_cannot_be_are_named() {
    let field = |error: LeafError| match error {
        LeafError::Field { field, .. } => field,
        other => panic!("{other}"),
    };
    let upper = HASH.to_uppercase();
    for (from, to, expected) in [
        ("seal/seal", "other/seal", "project"),
        ("\"seal\"", "\"other\"", "project"),
        ("seal/seal", "Seal/seal", "project"),
        ("seal/seal", "se--al/seal", "project"),
        ("seal/seal", "/seal", "project"),
        ("seal/seal-1.0-py3-none-any.whl", "seal", "path"),
        ("seal/seal-1.0-py3-none-any.whl", "seal/", "path"),
        ("seal/seal-1.0-py3-none-any.whl", "seal/..", "path"),
        ("seal/seal", "seal/more/seal", "path"),
        (HASH, &upper, "sha256"),
        (HASH, &HASH[1..], "sha256"),
        (HASH, &format!("{HASH}00"), "sha256"),
        ("\"1.0\"", "\"\"", "version"),
    ] {
        assert_eq!(field(with(from, to)), expected, "{from:?} as {to:?}");
    }
    assert_eq!(field(parse(&conflict().replace("\"index\"", "\"rumour\"")).unwrap_err()), "source");
    assert_eq!(field(parse(&tuf().replace("snapshot", "timestamp")).unwrap_err()), "role");
    assert_eq!(field(parse(&tuf().replace(":7", ":0")).unwrap_err()), "version");
    assert_eq!(field(parse(&log().replace("example.com/log", "")).unwrap_err()), "origin");
}

#[test]
fn texts_are_bounded_so_that_every_leaf_fits() {
    let (project, version) = ("p".repeat(MAX_PROJECT), "v".repeat(MAX_VERSION));
    let path = format!("{project}/{}", "f".repeat(MAX_PATH - MAX_PROJECT - 1));
    let longest = FileLeaf::new(&path, &version, MAX_INTEGER, [0xff; 32]).unwrap();
    let other = ConflictLeaf { file: longest.clone(), source: Source::Claim };
    for text in [Leaf::File(longest).to_string(), Leaf::Conflict(other).to_string()] {
        assert!(text.len() <= MAX_LEAF_LEN, "{}", text.len());
        assert!(parse(&text).is_ok());
    }
    for (path, version) in [
        (format!("{path}f"), version.clone()),
        (path.clone(), format!("{version}v")),
        (format!("p{path}")[..MAX_PATH].to_owned(), version),
    ] {
        assert!(FileLeaf::new(&path, &version, 1, [0; 32]).is_err());
    }
    let found = MAX_LEAF_LEN + 1;
    assert_eq!(Leaf::parse(&vec![b'{'; found]), Err(LeafError::TooLong { found }));
}

proptest! {
    #[test]
    fn a_leaf_reads_as_it_was_written(
        project in "[a-z0-9]{1,9}(-[a-z0-9]{1,9}){0,3}", file in "[ -~&&[^\"\\\\/]]{3,40}",
        version in "[!-~&&[^\"\\\\]]{1,40}", length in 0..=MAX_INTEGER, hash: [u8; 32],
    ) {
        let leaf = Leaf::File(FileLeaf::new(&format!("{project}/{file}"), &version, length, hash).unwrap());
        prop_assert_eq!(parse(&leaf.to_string()), Ok(leaf));
        let leaf = Leaf::Tuf(TufLeaf::new(Role::Root, length.max(1), length, hash).unwrap());
        prop_assert_eq!(parse(&leaf.to_string()), Ok(leaf));
        let last = Checkpoint::new(&version, length, Hash::from_bytes(hash)).unwrap();
        let leaf = Leaf::Log(LogLeaf::new(&last).unwrap());
        prop_assert_eq!(parse(&leaf.to_string()), Ok(leaf));
    }

    #[test]
    fn bytes_that_read_as_a_leaf_are_written_the_same(
        text in "\\{(\"(length|path|role|type|version)\":(\"[a-z/1]{1,7}\"|[0-9]{1,2}),?){1,6}\\}", bytes: Vec<u8>,
    ) {
        for bytes in [text.into_bytes(), bytes] {
            if let Ok(leaf) = Leaf::parse(&bytes) {
                prop_assert_eq!(leaf.to_string().into_bytes(), bytes);
            }
        }
    }
}
