//! Locks that the tools themselves wrote (`tests/vectors/locks`), and what they could hold.

use super::*;
use crate::python::{FileUrl, PageFile, ProjectPage, Sha256Hex, Status, StatusMarker, Yanked};

const UV: &str = include_str!("../../../tests/vectors/locks/uv.lock");
const PYLOCK: &str = include_str!("../../../tests/vectors/locks/pylock.toml");
const PIP_LOCK: &str = include_str!("../../../tests/vectors/locks/pylock.pip.toml");
const POETRY: &str = include_str!("../../../tests/vectors/locks/poetry.lock");
const PDM: &str = include_str!("../../../tests/vectors/locks/pdm.lock");
const PDM_STATIC: &str = include_str!("../../../tests/vectors/locks/pdm-static.lock.toml");
const PIPFILE: &str = include_str!("../../../tests/vectors/locks/Pipfile.lock");
const PIP_COMPILE: &str = include_str!("../../../tests/vectors/locks/pip-compile.txt");
const UV_EXPORT: &str = include_str!("../../../tests/vectors/locks/uv-export.txt");

const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222222222222222222222222222";

fn read(format: Format, text: &str) -> Lock {
    Lock::read(format, text.as_bytes()).unwrap()
}

fn refused(format: Format, text: &str) -> String {
    Lock::read(format, text.as_bytes()).unwrap_err().to_string()
}

/// Project, version and SHA-256 of everything from an index.
fn pinned(lock: &Lock) -> Vec<(String, String, String)> {
    let from_index = lock.packages.iter().filter(|package| package.origin == Origin::Index);
    let mut all: Vec<_> = from_index
        .flat_map(|package| {
            let version = package.version.as_ref().unwrap().to_string();
            let name = package.project.to_string();
            package
                .artifacts
                .iter()
                .map(move |file| (name.clone(), version.clone(), file.sha256().unwrap().to_owned()))
        })
        .collect();
    all.sort();
    all
}

fn markers(lock: &Lock) -> Vec<(&str, &str)> {
    let marked = lock.packages.iter().filter_map(|one| Some((one.project.as_str(), one.marker.as_deref()?)));
    marked.collect()
}

#[test]
fn every_tool_pins_the_same_and_it_is_read_the_same() {
    let uv = pinned(&read(Format::Uv, UV));
    assert_eq!(uv.len(), 8);
    for (format, text) in [
        (Format::Pylock, PYLOCK),
        (Format::Poetry, POETRY),
        (Format::Pdm, PDM),
        (Format::Pdm, PDM_STATIC),
        (Format::Requirements, UV_EXPORT),
    ] {
        assert_eq!(pinned(&read(format, text)), uv, "{format}");
    }
    // These two were made without the requirement for Windows.
    let without: Vec<_> = uv.into_iter().filter(|(name, ..)| name != "colorama").collect();
    for (format, text) in
        [(Format::Pylock, PIP_LOCK), (Format::Requirements, PIP_COMPILE), (Format::Pipfile, PIPFILE)]
    {
        assert_eq!(pinned(&read(format, text)), without, "{format}");
    }
}

#[test]
fn markers_come_along_whichever_way_the_tool_writes_them() {
    let windows = [("colorama", "(sys_platform == 'win32')")];
    assert_eq!(markers(&read(Format::Uv, UV)), windows);
    assert_eq!(markers(&read(Format::Pylock, PYLOCK)), [("colorama", "sys_platform == 'win32'")]);
    let poetry = read(Format::Poetry, POETRY);
    assert_eq!(markers(&poetry), [("colorama", "sys_platform == \"win32\"")]);
}

#[test]
fn the_file_name_says_the_format() {
    assert_eq!(Format::of("pylock.toml"), Ok(Format::Pylock));
    assert_eq!(Format::of("pylock.dev.toml"), Ok(Format::Pylock));
    assert_eq!(Format::of("requirements-dev.txt"), Ok(Format::Requirements));
    assert_eq!(Format::of("Pipfile.lock"), Ok(Format::Pipfile));
    assert_eq!(Format::of("Cargo.lock"), Err(LockError::Unknown("Cargo.lock".to_owned())));
}

#[test]
fn versions_of_a_format_that_nobody_knows_are_refused() {
    assert_eq!(refused(Format::Uv, "version = 2"), "uv.lock of version 2; expected 1");
    assert_eq!(refused(Format::Pylock, "lock-version = '2.0'"), "pylock.toml of version 2.0; expected 1.0");
    let poetry = "[metadata]\nlock-version = '3.0'\n";
    assert_eq!(refused(Format::Poetry, poetry), "poetry.lock of version 3.0; expected 1 or 2");
    assert_eq!(
        refused(Format::Pipfile, r#"{"_meta": {"pipfile-spec": 7}}"#),
        "Pipfile.lock of version 7; expected 6"
    );
    assert!(refused(Format::Uv, "nonsense").starts_with("not uv.lock: "));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let uv = "version = 1\n[[package]]\nname = '../six'\nsource = { registry = 'x' }\n";
    assert!(refused(Format::Uv, uv).starts_with("uv.lock: ../six: the project name is"));
    let pdm = "[metadata]\nlock_version = '4.5.0'\n[[package]]\nname = 'six'\nversion = '1'\n\
               files = [{ file = '..%2Fsix-1-py3-none-any.whl', hash = 'sha256:11' }]\n";
    assert!(refused(Format::Pdm, pdm).contains("holds '/'"), "{}", refused(Format::Pdm, pdm));
    let requirements = "six==1.0 --hash=sha256:nothex";
    assert_eq!(
        refused(Format::Requirements, requirements),
        "requirements: six==1.0: \"sha256:nothex\" is no hash"
    );
}

/// What pip follows, whoever writes it in another way than we would.
#[test]
fn lines_that_only_pip_would_obey_are_refused() {
    let good = format!("six==1.0 --hash=sha256:{ONE}");
    let hidden =
        ['\u{b}', '\u{c}', '\r', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}', '\0'];
    for hidden in hidden {
        let text = format!("{good}\n# fine{hidden}evil==1\n");
        let told = format!("not requirements: line 2 has the character {hidden:?}");
        assert_eq!(refused(Format::Requirements, &text), told);
        assert_eq!(wishes(&text).unwrap_err().to_string(), told);
    }
    for option in [
        "-rother.txt",
        "-r\tother.txt",
        "--requirement\tother.txt",
        "--requirement=other.txt",
        "--requ other.txt",
        "-cother.txt",
        "--constraint\tother.txt",
        "--con=other.txt",
        "-e\t.",
        "-egit+https://files.example/evil",
        "--editable\t.",
        "--edit .",
        "--pre -r other.txt",
        "--pre \"-rother.txt\"",
        "--pre \\-rother.txt",
        "--unheard-of",
    ] {
        assert!(
            Lock::read(Format::Requirements, format!("{good}\n{option}\n").as_bytes()).is_err(),
            "{option:?}"
        );
        assert!(wishes(&format!("six\n{option}\n")).is_err(), "{option:?}");
    }
    for more in [format!("--has=sha256:{TWO}"), format!("\"--has=sha256:{TWO}\""), "-rother.txt".to_owned()] {
        let text = format!("{good} {more}");
        assert!(refused(Format::Requirements, &text).ends_with(" is no --hash"), "{text}");
    }
    let coded = format!("# coding: utf-7\n# +AAo-evil\n{good}");
    assert!(refused(Format::Requirements, &coded).contains("line 1 names an encoding"));
    let text = format!("# é\r\n-ihttps://index.example\r\n--only-binary=:all: --pre\r\n\t{good}\r\n");
    assert_eq!(read(Format::Requirements, &text).packages.len(), 1);
    assert_eq!(wishes(&text).unwrap().len(), 1);
}

#[test]
fn requirements_with_comments_continuations_and_options() {
    let text = format!(
        "# a comment \\\n--index-url https://index.example/simple\n\nSix[x] == 1.0 ; python_version > '3' \\\n  --hash=sha256:{ONE} \\\n  --hash sha256:{TWO} # why\nidna>=3\n"
    );
    let lock = read(Format::Requirements, &text);
    let [six, idna] = lock.packages.as_slice() else { panic!("{lock:?}") };
    assert_eq!((six.project.as_str(), six.version.clone().unwrap().to_string()), ("six", "1.0".to_owned()));
    assert_eq!(six.artifacts.iter().map(|file| file.sha256().unwrap()).collect::<Vec<_>>(), [ONE, TWO]);
    assert_eq!(six.marker.as_deref(), Some("python_full_version >= '3.1'"));
    assert_eq!((idna.version.as_ref(), idna.artifacts.len()), (None, 0));
    assert!(refused(Format::Requirements, "-r other.txt").contains("give each file by itself"));
    assert!(refused(Format::Requirements, "-e .").contains("not pinned by a hash"));
}

#[test]
fn variables_that_pip_replaces_are_refused_but_in_the_address_of_an_index() {
    let good = format!("six==1.0 --hash=sha256:{ONE}");
    for (line, told) in [
        ("${MORE}", "${MORE}"),
        ("six==${VERSION}", "six==${VERSION}"),
        ("six==1.0 ; sys_platform == '${X}'", "six==1.0 ; sys_platform == '${X}'"),
        ("six @ https://files.example/${X}", "six @ https://files.example/${X}"),
        ("six==1.0 --hash=sha256:${X}", "six==1.0 --hash=sha256:${X}"),
        ("six==1.0 \\\n  --hash=${X}", "six==1.0   --hash=${X}"),
        ("--pre ${X}", "${X}"),
        ("--only-binary=${X}", "--only-binary=${X}"),
        ("-i ${INDEX}", "${INDEX}"),
        ("-i${INDEX}", "-i${INDEX}"),
        ("-r ${FILE}", "${FILE}"),
    ] {
        let text = format!("{good}\n{line}\n");
        let expected =
            format!("not requirements: {told:?} names a variable of the environment: write it out");
        assert_eq!(refused(Format::Requirements, &text), expected);
        assert_eq!(wishes(&text).unwrap_err().to_string(), expected);
    }
    for line in [
        "-i https://${USER}:${PASSWORD}@index.example/simple",
        "--extra-index-url=https://${TOKEN}@index.example/",
        "-fhttp://files.example/${X}",
        "# ${X}",
    ] {
        let text = format!("{line}\n{good} # ${{X}}\n");
        assert_eq!(read(Format::Requirements, &text).packages.len(), 1, "{line}");
        assert_eq!(wishes(&text).unwrap().len(), 1, "{line}");
    }
}

#[test]
fn what_no_index_answers_for_is_named() {
    let uv = "version = 1\n[[package]]\nname = 'a'\nsource = { git = 'https://git.example/a' }\n\
              [[package]]\nname = 'b'\nsource = { editable = '.' }\n";
    let origins: Vec<_> = read(Format::Uv, uv).packages.into_iter().map(|one| one.origin).collect();
    assert_eq!(origins, [Origin::Elsewhere("https://git.example/a".to_owned()), Origin::Local]);
    let poetry = "[metadata]\nlock-version = '2.1'\n[[package]]\nname = 'a'\nversion = '1'\n\
                  source = { type = 'git', url = 'https://git.example/a' }\n";
    assert_eq!(
        read(Format::Poetry, poetry).packages[0].origin,
        Origin::Elsewhere("https://git.example/a".to_owned())
    );
    let requirement = read(Format::Requirements, "a @ https://files.example/a-1-py3-none-any.whl");
    let elsewhere = Verdict::Elsewhere { place: "https://files.example/a-1-py3-none-any.whl".to_owned() };
    assert_eq!(judge(&requirement.packages[0], None)[0].verdict, elsewhere);
}

#[test]
fn conditions_of_uv_are_carried_to_what_is_reached_by_them() {
    let uv = "version = 1\n\
        [[package]]\nname = 'top'\nsource = { virtual = '.' }\n\
        dependencies = [{ name = 'a', marker = \"m == '1'\" }, { name = 'b', marker = \"m == '2'\", extra = ['fast'] }]\n\
        [[package]]\nname = 'a'\nversion = '1'\nsource = { registry = 'x' }\n\
        dependencies = [{ name = 'c', marker = \"n == '1'\" }, { name = 'd' }]\n\
        [[package]]\nname = 'b'\nversion = '1'\nsource = { registry = 'x' }\n\
        dependencies = [{ name = 'd' }, { name = 'a' }]\n\
        [package.optional-dependencies]\nfast = [{ name = 'e' }]\nslow = [{ name = 'f' }]\n\
        [[package]]\nname = 'c'\nversion = '1'\nsource = { registry = 'x' }\ndependencies = [{ name = 'a' }]\n\
        [[package]]\nname = 'd'\nversion = '1'\nsource = { registry = 'x' }\n\
        [[package]]\nname = 'e'\nversion = '1'\nsource = { registry = 'x' }\n\
        [[package]]\nname = 'f'\nversion = '1'\nsource = { registry = 'x' }\n";
    let lock = read(Format::Uv, uv);
    assert_eq!(
        markers(&lock),
        [
            ("a", "(m == '1') or (m == '2')"),
            ("b", "(m == '2')"),
            ("c", "(m == '1') and (n == '1') or (m == '2') and (n == '1')"),
            ("d", "(m == '1') or (m == '2')"),
            ("e", "(m == '2')"),
        ]
    );
}

fn page(files: &[(&str, &str, Yanked)]) -> ProjectPage {
    let mut page = ProjectPage::new("six".parse().unwrap(), 1);
    for (name, sha256, yanked) in files {
        page.insert(PageFile {
            filename: name.parse().unwrap(),
            url: FileUrl::from_str("x").unwrap(),
            sha256: Sha256Hex::from_str(sha256).unwrap(),
            size: 7,
            upload_time: None,
            requires_python: None,
            yanked: yanked.clone(),
            core_metadata_sha256: None,
            provenance_sha256: None,
        });
    }
    page
}

fn verdicts(text: &str, page: Option<&ProjectPage>) -> Vec<Verdict> {
    let lock = read(Format::Pylock, &format!("lock-version = '1.0'\n[[packages]]\nname = 'six'\n{text}"));
    judge(&lock.packages[0], page).into_iter().map(|judged| judged.verdict).collect()
}

fn wheel(version: &str, hash: &str, more: &str) -> String {
    format!(
        "version = '1.0'\nwheels = [{{ name = 'six-{version}-py3-none-any.whl', hashes = {{ {hash} }} {more} }}]"
    )
}

#[test]
fn a_lock_is_held_to_what_is_signed() {
    let page =
        page(&[("six-1.0-py3-none-any.whl", ONE, Yanked::No), ("six-1.1-py3-none-any.whl", TWO, Yanked::No)]);
    let page = Some(&page);
    let sha256 = |hash: &str| format!("sha256 = '{hash}'");
    assert_eq!(verdicts(&wheel("1.0", &sha256(ONE), ""), page), [Verdict::Signed]);
    let changed = Verdict::Changed { locked: TWO.to_owned(), signed: ONE.to_owned() };
    assert_eq!(verdicts(&wheel("1.0", &sha256(TWO), ""), page), [changed]);
    let length = Verdict::Length { locked: 8, signed: 7 };
    assert_eq!(verdicts(&wheel("1.0", &sha256(ONE), ", size = 8"), page), [length]);
    assert_eq!(verdicts(&wheel("1.2", &sha256(ONE), ""), page), [Verdict::NotListed]);
    let of = "six 1.1".to_owned();
    assert_eq!(verdicts(&wheel("1.1", &sha256(TWO), ""), page), [Verdict::Misplaced { of }]);
    assert_eq!(verdicts(&wheel("1.0", "md5 = '11'", ""), page), [Verdict::NoHash]);
    assert_eq!(verdicts("version = '1.0'", page), [Verdict::NoHash]);
    assert_eq!(verdicts(&wheel("1.0", &sha256(ONE), ""), None), [Verdict::Unknown]);
}

#[test]
fn a_bare_hash_of_another_version_is_not_taken_for_this_one() {
    let page =
        page(&[("six-1.0-py3-none-any.whl", ONE, Yanked::No), ("six-1.1-py3-none-any.whl", TWO, Yanked::No)]);
    let verdict = |text: &str| {
        let lock = read(Format::Requirements, text);
        judge(&lock.packages[0], Some(&page)).remove(0).verdict
    };
    assert_eq!(verdict(&format!("six==1.0 --hash=sha256:{ONE}")), Verdict::Signed);
    let older = Verdict::Misplaced { of: "six 1.0".to_owned() };
    assert_eq!(verdict(&format!("six==1.1 --hash=sha256:{ONE}")), older);
    let three = "3".repeat(64);
    assert_eq!(verdict(&format!("six==1.1 --hash=sha256:{three}")), Verdict::NotListed);
    assert_eq!(verdict(&format!("six>=1.1 --hash=sha256:{TWO}")), Verdict::Unpinned);
    assert_eq!(verdict("six==1.1"), Verdict::NoHash);
}

#[test]
fn what_happened_since_is_told() {
    let yanked = ("six-1.0-py3-none-any.whl", ONE, Yanked::Yes(None));
    let mut page = page(&[yanked, ("six-1.0.tar.gz", TWO, Yanked::No)]);
    let lock = read(Format::Requirements, &format!("six==1.0 --hash=sha256:{ONE}"));
    let news: Vec<_> =
        watch(&lock.packages[0], &page).into_iter().map(|judged| (judged.file, judged.verdict)).collect();
    assert_eq!(
        news,
        [
            ("six-1.0-py3-none-any.whl".to_owned(), Verdict::Yanked),
            ("six-1.0.tar.gz".to_owned(), Verdict::New)
        ]
    );
    page.status = Some(Status { marker: StatusMarker::Quarantined, reason: None });
    assert_eq!(judge(&lock.packages[0], Some(&page))[0].verdict, Verdict::Quarantined);
}

#[test]
fn two_locks_are_compared_by_version_then_by_file() {
    let lock = |version: &str, hash: &str| {
        read(Format::Requirements, &format!("six=={version} --hash=sha256:{hash}"))
    };
    assert_eq!(differences(&lock("1.0", ONE), &lock("1.0", ONE)), []);
    let change = |old: &Lock, new: &Lock| differences(old, new).remove(0).change;
    let versions = Change::Versions { from: vec!["1.0".to_owned()], to: vec!["1.1".to_owned()] };
    assert_eq!(change(&lock("1.0", ONE), &lock("1.1", TWO)), versions);
    let files = Change::Files { gone: vec![ONE.to_owned()], added: vec![TWO.to_owned()] };
    assert_eq!(change(&lock("1.0", ONE), &lock("1.0", TWO)), files);
    let other = UV.replace("73191c47aaa79da394e8fee2dbc2ec827432cab56311122c9e47abf79e390f62", ONE);
    let hash = Change::Hash {
        file: "certifi-2026.10.18-py3-none-any.whl".to_owned(),
        from: "73191c47aaa79da394e8fee2dbc2ec827432cab56311122c9e47abf79e390f62".to_owned(),
        to: ONE.to_owned(),
    };
    assert_eq!(change(&read(Format::Uv, UV), &read(Format::Uv, &other)), hash);
    let gone = Change::Versions { from: vec!["1.0".to_owned()], to: Vec::new() };
    assert_eq!(change(&lock("1.0", ONE), &read(Format::Requirements, "")), gone);
}
