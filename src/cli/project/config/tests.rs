//! Which configuration wins, and what is said of it.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

/// A home with these files and variables, and a project in it.
struct Place {
    folder: TempDir,
    variables: BTreeMap<String, String>,
}

const PYPIRC: &str = "[distutils]\nindex-servers =\n    pypi\n    ours\n\n[pypi]\nusername = __token__\npassword = no\n\n\
    # ours\n[ours]\nRepository: https://ours.example/legacy/\nusername=__token__\npassword = of-pypirc\n";
const PYPROJECT: &str = "[project]\nname = \"seal\"\n\n[[tool.uv.index]]\nname = \"theirs\"\nurl = \"https://theirs.example/simple/\"\n\
    publish-url = \"https://theirs.example/legacy/\"\n\n[[tool.uv.index]]\nurl = \"https://x.example/simple/\"\n";

impl Place {
    fn new(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("seal/deep")).unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { folder, variables: variables.collect() }
    }

    /// Address, token and configuration, or the error.
    fn means(&self, typed: Option<&str>, token: Option<&str>) -> Result<(String, String, String), String> {
        let home = self.folder.path().to_owned();
        let here = Surroundings {
            variables: self.variables.clone(),
            folder: home.join("seal/deep"),
            home: Some(home.clone()),
        };
        let token = token.map(|token| Zeroizing::new(token.to_owned()));
        let found =
            here.destination(typed, token, &|text| panic!("{text}")).map_err(|error| error.to_string())?;
        let from = found.from.unwrap_or_default().replace(&home.display().to_string(), "~");
        Ok((found.url, found.token.to_string(), from))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with results")]
fn is(url: &str, token: &str, from: &str) -> Result<(String, String, String), String> {
    Ok((url.to_owned(), token.to_owned(), from.to_owned()))
}

const OURS: &str = "https://ours.example/legacy/";
const THEIRS: &str = "https://theirs.example/legacy/";

#[test]
fn what_is_typed_wins() {
    let variables = [("TWINE_REPOSITORY_URL", "https://a.example/"), ("WHEELSEAL_TOKEN", "of-variable")];
    let place = Place::new(&[(".pypirc", PYPIRC), ("seal/pyproject.toml", PYPROJECT)], &variables);
    assert_eq!(place.means(Some("https://b.example/"), Some("typed")), is("https://b.example/", "typed", ""));
    assert_eq!(place.means(Some("https://b.example/"), None), is("https://b.example/", "of-variable", ""));
    assert_eq!(place.means(Some("ours"), Some("typed")), is(OURS, "typed", "[ours] in ~/.pypirc"));
    assert_eq!(
        place.means(Some("theirs"), None),
        is(THEIRS, "of-variable", "index theirs in ~/seal/pyproject.toml")
    );
    assert_eq!(place.means(None, None), is("https://a.example/", "of-variable", "TWINE_REPOSITORY_URL"));
}

#[test]
fn twines_configuration_is_that_of_twine() {
    let place = |variables: &[(&str, &str)]| Place::new(&[(".pypirc", PYPIRC)], variables);
    assert_eq!(place(&[]).means(None, None), is(OURS, "of-pypirc", "[ours] in ~/.pypirc"));
    assert_eq!(
        place(&[("TWINE_REPOSITORY", "ours")]).means(None, None),
        is(OURS, "of-pypirc", "[ours] in ~/.pypirc")
    );
    let by_url = [("TWINE_REPOSITORY_URL", "https://ours.example")];
    assert_eq!(
        place(&by_url).means(None, None),
        is("https://ours.example", "of-pypirc", "TWINE_REPOSITORY_URL")
    );
    assert_eq!(
        place(&[("TWINE_USERNAME", "__token__"), ("TWINE_PASSWORD", "of-twine")]).means(Some(OURS), None),
        is(OURS, "of-twine", "[ours] in ~/.pypirc and TWINE_PASSWORD")
    );
    let refused =
        place(&[("TWINE_USERNAME", "ann"), ("TWINE_PASSWORD", "x")]).means(Some("ours"), None).unwrap_err();
    assert!(refused.contains("the user is not __token__"), "{refused}");
    let unknown = place(&[]).means(Some("other"), None).unwrap_err();
    assert!(unknown.contains("no index \"other\"") && unknown.ends_with("these are: ours"), "{unknown}");
}

#[test]
fn uvs_configuration_is_that_of_uv() {
    let token = ("UV_PUBLISH_TOKEN", "of-uv");
    let place = Place::new(&[("seal/pyproject.toml", PYPROJECT)], &[token]);
    let from = "index theirs in ~/seal/pyproject.toml and UV_PUBLISH_TOKEN";
    assert_eq!(place.means(Some("theirs"), None), is(THEIRS, "of-uv", from));
    assert_eq!(place.means(None, None), is(THEIRS, "of-uv", from));
    let url = ("UV_PUBLISH_URL", "https://c.example/");
    let place = Place::new(&[("seal/pyproject.toml", PYPROJECT)], &[token, url]);
    assert_eq!(
        place.means(None, None),
        is("https://c.example/", "of-uv", "UV_PUBLISH_URL and UV_PUBLISH_TOKEN")
    );
    let place = Place::new(&[("seal/uv.toml", "publish-url = \"https://d.example/\"\n")], &[token]);
    assert_eq!(
        place.means(None, None),
        is("https://d.example/", "of-uv", "~/seal/uv.toml and UV_PUBLISH_TOKEN")
    );
    assert!(Place::new(&[("seal/uv.toml", "publish-url = 1\n")], &[]).means(None, None).is_err());
}

#[test]
fn where_several_are_meant_or_none_nothing_is_guessed() {
    let both = Place::new(&[(".pypirc", PYPIRC), ("seal/pyproject.toml", PYPROJECT)], &[]);
    assert_eq!(both.means(None, None).unwrap_err(), "which index? say --upload NAME: ours, theirs");
    let none = Place::new(&[], &[("TWINE_PASSWORD", "x")]).means(None, None).unwrap_err();
    assert!(none.starts_with("which index? say --upload URL"), "{none}");
    let tokenless = Place::new(&[], &[]).means(Some("https://b.example/"), None).unwrap_err();
    assert!(tokenless.contains("a token for https://b.example/ is needed: --token-file FILE"), "{tokenless}");
}

#[test]
fn a_password_that_others_can_read_is_told_of() {
    let place = Place::new(&[(".pypirc", PYPIRC)], &[]);
    let home = place.folder.path().to_owned();
    fs::set_permissions(home.join(".pypirc"), fs::Permissions::from_mode(0o644)).unwrap();
    let here = Surroundings { variables: BTreeMap::new(), folder: home.clone(), home: Some(home) };
    let told = RefCell::new(Vec::new());
    here.destination(Some("ours"), None, &|text| told.borrow_mut().push(text)).unwrap();
    let told = told.into_inner();
    assert!(told.len() == 1 && told[0].contains("others on this machine can read it"), "{told:?}");
}
