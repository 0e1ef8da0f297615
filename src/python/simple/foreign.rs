//! Pages of other indexes (PEP 691): what is read of them, in whatever form they have the rest.
//!
//! Nothing here is trusted. Keys that are not used may have any value; a file whose used keys have odd values is told
//! apart from the others ([`ForeignFile::judge`]), and the page is read on.

use std::str::FromStr;

use serde::Deserialize;
use serde_json::Value;

use super::{PageError, PageFile, Yanked};
use crate::python::{
    DistributionFilename, FileUrl, FreeText, ProjectName, Sha256Hex, UploadTime, ValueError,
};

/// What every reader of JSON can count to: sizes are below 2^53.
const MAX_SIZE: u64 = (1 << 53) - 1;
/// Characters of a yank's reason that are kept, at most: all of them fit into a [`FreeText`], whatever they are.
const MAX_REASON: usize = 250;

/// The projects of an index, by any spelling, with the serials of their pages if the index tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignIndex {
    /// Names and serials, in the order of the index.
    pub projects: Vec<(String, Option<u64>)>,
}

/// A project's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignPage {
    /// The serial of the page, if it has one.
    pub serial: Option<u64>,
    /// Its files.
    pub files: Vec<ForeignFile>,
}

/// A file on such a page, not judged.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ForeignFile {
    filename: String,
    #[serde(default)]
    url: Value,
    #[serde(default)]
    hashes: Value,
    #[serde(default)]
    size: Value,
    #[serde(default)]
    upload_time: Value,
    #[serde(default)]
    requires_python: Value,
    #[serde(default)]
    yanked: Value,
    #[serde(default)]
    core_metadata: Value,
    #[serde(default)]
    dist_info_metadata: Value,
}

/// A file on such a page, for somebody who fetches and hashes it: what the page says of it, as far as it reads. Nothing of
/// it is known to be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name, which is one of the page's project.
    pub filename: DistributionFilename,
    /// Where it is, absolute or from the page, as it stands there.
    pub url: String,
    /// Its SHA-256, if the page has one.
    pub sha256: Option<Sha256Hex>,
    /// Its length in bytes, if the page has one (PEP 700).
    pub size: Option<u64>,
    /// `Requires-Python`.
    pub requires_python: Option<FreeText>,
    /// When it was uploaded.
    pub upload_time: Option<UploadTime>,
    /// Whether it is yanked.
    pub yanked: Yanked,
    /// The SHA-256 of its metadata file, if there is one and the page has its hash (PEP 658).
    pub metadata: Option<Sha256Hex>,
}

#[derive(Deserialize)]
struct WireIndex {
    meta: WireMeta,
    projects: Vec<WireProject>,
}

#[derive(Deserialize)]
struct WirePage {
    meta: WireMeta,
    files: Vec<ForeignFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WireMeta {
    api_version: String,
    #[serde(rename = "_last-serial", default)]
    serial: Value,
}

#[derive(Deserialize)]
struct WireProject {
    name: String,
    #[serde(rename = "_last-serial", default)]
    serial: Value,
}

impl WireMeta {
    /// PEP 691: a major version that is not known is not to be read.
    fn check(&self) -> Result<(), PageError> {
        match self.api_version.split_once('.') {
            Some(("1", _)) => Ok(()),
            _ => Err(PageError::ApiVersion { found: self.api_version.clone(), expected: "1.x" }),
        }
    }
}

impl ForeignIndex {
    /// Reads the list of projects.
    pub fn parse(bytes: &[u8]) -> Result<Self, PageError> {
        let wire: WireIndex = parse(bytes)?;
        wire.meta.check()?;
        let projects = wire.projects.into_iter();
        Ok(Self { projects: projects.map(|project| (project.name, project.serial.as_u64())).collect() })
    }
}

impl ForeignPage {
    /// Reads a project's page.
    pub fn parse(bytes: &[u8]) -> Result<Self, PageError> {
        let wire: WirePage = parse(bytes)?;
        wire.meta.check()?;
        Ok(Self { serial: wire.meta.serial.as_u64(), files: wire.files })
    }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, PageError> {
    serde_json::from_slice(bytes).map_err(|error| PageError::Shape { detail: error.to_string() })
}

impl ForeignFile {
    /// Its name, as the page has it.
    pub fn filename(&self) -> &str {
        &self.filename
    }

    /// The file as a page here may have it, if it is one of `project` and its values are what they should be; else the
    /// reason. Where the page says it is fetched from does not matter and is not looked at.
    pub fn judge(&self, project: &ProjectName) -> Result<PageFile, String> {
        let filename = self.name_in(project)?;
        let sha256 = self.hashes.get("sha256").and_then(Value::as_str);
        let sha256 = sha256.ok_or("the page has no SHA-256 for it")?;
        let size = self.size.as_u64().filter(|size| *size <= MAX_SIZE);
        let digest = |text: &str| digest(text).map_err(|error| error.to_string());
        let requires = filled(&self.requires_python).map(FreeText::from_str).transpose();
        let uploaded = filled(&self.upload_time).map(UploadTime::from_str).transpose();
        Ok(PageFile {
            url: FileUrl::from_str(&self.filename.replace('!', "%21")).map_err(|error| error.to_string())?,
            sha256: digest(sha256)?,
            size: size.ok_or("the page has no size for it (PEP 700)")?,
            upload_time: uploaded.map_err(|error| error.to_string())?,
            requires_python: requires.map_err(|error| format!("requires-python: {error}"))?,
            yanked: yanked(&self.yanked),
            core_metadata_sha256: self.metadata().map(digest).transpose()?,
            // It would have to be fetched, and judged, before it could be said.
            provenance_sha256: None,
            filename,
        })
    }

    /// What the page says of the file, if it is one of `project`; else the reason. Whatever else of it does not read is as if
    /// the page had not said it.
    pub fn offer(&self, project: &ProjectName) -> Result<Offer, String> {
        let filename = self.name_in(project)?;
        let url = filled(&self.url).ok_or("the page does not say where it is")?.to_owned();
        let sha256 = self.hashes.get("sha256").and_then(Value::as_str);
        Ok(Offer {
            filename,
            url,
            sha256: sha256.and_then(|text| digest(text).ok()),
            size: self.size.as_u64().filter(|size| *size <= MAX_SIZE),
            requires_python: filled(&self.requires_python).and_then(|text| text.parse().ok()),
            upload_time: filled(&self.upload_time).and_then(|text| text.parse().ok()),
            yanked: yanked(&self.yanked),
            metadata: self.metadata().and_then(|text| digest(text).ok()),
        })
    }

    fn name_in(&self, project: &ProjectName) -> Result<DistributionFilename, String> {
        let filename = DistributionFilename::from_str(&self.filename).map_err(|error| error.to_string())?;
        if filename.project() != project {
            return Err(format!("it is on the page of {project} and belongs to {}", filename.project()));
        }
        Ok(filename)
    }

    /// The SHA-256 of its metadata file, as it stands.
    fn metadata(&self) -> Option<&str> {
        let sha256 = |value: &'_ Value| value.get("sha256").and_then(Value::as_str).is_some();
        let said = [&self.core_metadata, &self.dist_info_metadata].into_iter().find(|value| sha256(value))?;
        said.get("sha256")?.as_str()
    }
}

fn digest(text: &str) -> Result<Sha256Hex, ValueError> {
    Sha256Hex::from_str(&text.to_ascii_lowercase())
}

fn filled(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// A reason loses its control characters and its end, rather than the yank.
fn yanked(value: &Value) -> Yanked {
    match value {
        Value::Null | Value::Bool(false) => Yanked::No,
        Value::String(reason) => {
            let clean = |c: char| if c.is_control() { ' ' } else { c };
            let reason: String = reason.chars().map(clean).take(MAX_REASON).collect();
            Yanked::Yes(FreeText::from_str(reason.trim()).ok())
        }
        _ => Yanked::Yes(None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(changes: &Value) -> Result<PageFile, String> {
        let mut file = json!({
            "filename": "foo-1.0.tar.gz", "url": "javascript:../../../etc/passwd", "size": 7,
            "hashes": {"md5": "0", "sha256": "A".repeat(64)}, "gpg-sig": [1],
        });
        for (name, value) in changes.as_object().unwrap() {
            file[name] = value.clone();
        }
        let page =
            json!({"meta": {"api-version": "1.9", "_last-serial": 5, "tracks": 1}, "files": [file], "x": {}});
        let page = ForeignPage::parse(page.to_string().as_bytes()).unwrap();
        assert_eq!(page.serial, Some(5));
        page.files.first().unwrap().judge(&"foo".parse().unwrap())
    }

    #[test]
    fn a_file_is_read_with_all_that_a_page_here_says() {
        let core = json!({"sha256": "b".repeat(64)});
        let full = file(&json!({
            "requires-python": ">=3.9", "upload-time": "2026-01-02T03:04:05.678Z", "yanked": "bad\nidea",
            "dist-info-metadata": core,
        }))
        .unwrap();
        assert_eq!(full.sha256.as_str(), "a".repeat(64));
        assert_eq!(full.requires_python.unwrap().as_str(), ">=3.9");
        assert_eq!(full.upload_time.unwrap().as_str(), "2026-01-02T03:04:05.678Z");
        assert_eq!(full.yanked, Yanked::Yes(Some("bad idea".parse().unwrap())));
        assert_eq!(full.core_metadata_sha256.unwrap().as_str(), "b".repeat(64));
        let least = file(&json!({"core-metadata": true, "requires-python": null, "yanked": false})).unwrap();
        assert_eq!(
            (least.yanked, least.core_metadata_sha256, least.requires_python),
            (Yanked::No, None, None)
        );
        for yes in [json!(true), json!(""), json!("\n"), json!(7)] {
            assert_eq!(file(&json!({"yanked": yes})).unwrap().yanked, Yanked::Yes(None));
        }
        let long = file(&json!({"yanked": "é".repeat(5_000)})).unwrap();
        assert_eq!(long.yanked, Yanked::Yes(Some("é".repeat(MAX_REASON).parse().unwrap())));
    }

    #[test]
    fn a_file_that_cannot_be_listed_says_why() {
        for (changes, why) in [
            (json!({"filename": "../foo-1.0.tar.gz"}), "holds '/'"),
            (json!({"filename": "bar-1.0.tar.gz"}), "belongs to bar"),
            (json!({"filename": "foo-1.0.exe"}), "expected it to end in"),
            (json!({"hashes": {}}), "no SHA-256"),
            (json!({"hashes": "sha256"}), "no SHA-256"),
            (json!({"hashes": {"sha256": "../x"}}), "SHA-256 digest"),
            (json!({"size": null}), "no size"),
            (json!({"size": -1}), "no size"),
            (json!({"size": 9_007_199_254_740_992_u64}), "no size"),
            (json!({"upload-time": "yesterday"}), "upload time"),
            (json!({"requires-python": "x".repeat(1_025)}), "requires-python"),
            (json!({"core-metadata": {"sha256": "x"}}), "SHA-256 digest"),
        ] {
            let refused = file(&changes).unwrap_err();
            assert!(refused.contains(why), "{changes}: {refused}");
        }
    }

    #[test]
    fn an_offer_is_what_reads_of_it_and_another_projects_file_is_none() {
        let offer = |changes: &Value, project: &str| {
            let mut file = json!({"filename": "foo-1.0.tar.gz", "url": "../x#sha256=1"});
            for (name, value) in changes.as_object().unwrap() {
                file[name] = value.clone();
            }
            let page = json!({"meta": {"api-version": "1.0"}, "files": [file]});
            let page = ForeignPage::parse(page.to_string().as_bytes()).unwrap();
            page.files.first().unwrap().offer(&project.parse().unwrap())
        };
        let least = Offer {
            filename: "foo-1.0.tar.gz".parse().unwrap(),
            url: "../x#sha256=1".to_owned(),
            sha256: None,
            size: None,
            requires_python: None,
            upload_time: None,
            yanked: Yanked::No,
            metadata: None,
        };
        let odd = json!({"size": -1, "hashes": {"sha256": "x"}, "upload-time": "y", "core-metadata": {"sha256": 1}});
        assert_eq!(offer(&json!({}), "foo"), Ok(least.clone()));
        assert_eq!(offer(&odd, "foo"), Ok(least.clone()));
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let said = json!({"size": 7, "hashes": {"sha256": a}, "core-metadata": true, "dist-info-metadata": {"sha256": b}});
        let full = Offer { size: Some(7), sha256: a.parse().ok(), metadata: b.parse().ok(), ..least };
        assert_eq!(offer(&said, "foo"), Ok(full));
        assert!(offer(&json!({}), "bar").unwrap_err().contains("belongs to foo"));
        assert!(offer(&json!({"filename": "../foo-1.0.zip"}), "foo").is_err());
        for url in [json!(null), json!(""), json!(7)] {
            assert!(offer(&json!({"url": url}), "foo").unwrap_err().contains("where it is"));
        }
    }

    #[test]
    fn an_index_gives_names_and_serials_and_other_versions_are_not_read() {
        let index = r#"{"meta":{"api-version":"1.4","_last-serial":9},"projects":[{"name":"A.b","_last-serial":3},{"name":"c"}]}"#;
        let read = ForeignIndex::parse(index.as_bytes()).unwrap();
        assert_eq!(read.projects, [("A.b".to_owned(), Some(3)), ("c".to_owned(), None)]);
        for version in ["2.0", "1", "", "11.0"] {
            let other = index.replace("1.4", version);
            assert!(matches!(ForeignIndex::parse(other.as_bytes()), Err(PageError::ApiVersion { .. })));
        }
        for odd in ["", "[]", "{}", "<html>", &index.replace("[{", "{")] {
            assert!(matches!(ForeignIndex::parse(odd.as_bytes()), Err(PageError::Shape { .. })), "{odd}");
        }
    }
}
