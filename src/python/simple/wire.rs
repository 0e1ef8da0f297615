//! Pages and the project list as JSON (PEP 691, with the keys of PEP 592, 700, 714, 740 and 792).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    API_VERSION, FileUrl, FreeText, Insertion, PageFile, ProjectName, ProjectPage, Sha256Hex, Status,
    StatusMarker, UploadTime, Yanked,
};
use crate::python::{filename::FilenameError, name::NameError};

/// Most bytes of a page that is read back: 64 MiB. The largest public pages, of projects with nightly builds,
/// have some 10 MB.
const PAGE_BYTES: usize = 64 << 20;

/// Why a page could not be read back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// More bytes than a page may have.
    #[error("the page has {found} bytes; expected at most {limit}")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not JSON of the shape a page has.
    #[error("the page is not as wheelseal writes it: {detail}")]
    Shape {
        /// What is amiss, with line and column.
        detail: String,
    },
    /// An API version that is not written here, or not the one for a page with or without a status.
    #[error("the page has API version {found:?}; expected {expected:?}")]
    ApiVersion {
        /// The version found.
        found: String,
        /// The version such a page has.
        expected: &'static str,
    },
    /// The name of the project is refused.
    #[error("in the page: {0}")]
    Name(#[from] NameError),
    /// The name of a file is refused.
    #[error("in the page: {0}")]
    Filename(#[from] FilenameError),
    /// A file is listed twice, or is of another project.
    #[error("the page of {project} lists {filename:?}, which is of another project or listed twice")]
    File {
        /// The project of the page.
        project: ProjectName,
        /// The file.
        filename: String,
    },
    /// The versions are not those of the files.
    #[error("the page lists the versions {found:?}; its files are of {expected:?}")]
    Versions {
        /// The versions listed.
        found: Vec<String>,
        /// The versions of the files.
        expected: Vec<String>,
    },
    /// The two keys for the metadata digest differ, where PEP 714 wants them equal.
    #[error("the file {filename:?} has a core-metadata that is not its dist-info-metadata")]
    CoreMetadata {
        /// The file.
        filename: String,
    },
    /// Files are withheld although the project is not quarantined, or offered although it is.
    #[error("the page of {project} withholds files without a quarantine, or offers files in spite of one")]
    Quarantine {
        /// The project of the page.
        project: ProjectName,
    },
}

impl ProjectPage {
    /// The page as JSON, on one line. Equal pages give equal text.
    pub fn to_json(&self) -> String {
        json!(self.wire()).to_string()
    }

    /// The same for tools: without what a quarantine withholds, with the absolute URLs of provenance objects as far as
    /// `provenance` knows them (PEP 740). This is not what is signed, and it is not read back.
    pub fn to_json_for_tools(&self, provenance: impl Fn(&PageFile) -> Option<FileUrl>) -> String {
        let mut wire = self.wire();
        wire.withheld_files.clear();
        for (wire, file) in wire.files.iter_mut().zip(self.offered()) {
            wire.provenance = file.provenance_at(&provenance);
        }
        json!(wire).to_string()
    }

    fn wire(&self) -> WirePage {
        WirePage {
            meta: WireMeta { api_version: self.api_version().to_owned(), last_serial: self.serial },
            project_status: self.status.clone().map(WireStatus::from),
            name: self.name.to_string(),
            versions: self.versions(),
            files: self.offered().iter().map(WireFile::from).collect(),
            withheld_files: self.withheld().iter().map(WireFile::from).collect(),
            log: self.log.clone().map(|origin| WireLog { origin }),
        }
    }

    /// Reads a page that [`to_json`](Self::to_json) wrote. The order of the files may differ.
    pub fn from_json(bytes: &[u8]) -> Result<Self, PageError> {
        if bytes.len() > PAGE_BYTES {
            return Err(PageError::TooLong { found: bytes.len(), limit: PAGE_BYTES });
        }
        let wire: WirePage =
            serde_json::from_slice(bytes).map_err(|error| PageError::Shape { detail: error.to_string() })?;
        let mut page = Self::new(ProjectName::from_normalised(&wire.name)?, wire.meta.last_serial);
        page.status = wire.project_status.map(Status::from);
        page.log = wire.log.map(|log| log.origin);
        let misplaced = if page.is_quarantined() { &wire.files } else { &wire.withheld_files };
        if !misplaced.is_empty() {
            return Err(PageError::Quarantine { project: page.name });
        }
        for file in wire.files.into_iter().chain(wire.withheld_files) {
            page.insert_once(file.try_into()?)?;
        }
        if wire.meta.api_version != page.api_version() {
            return Err(PageError::ApiVersion { found: wire.meta.api_version, expected: page.api_version() });
        }
        if wire.versions == page.versions() {
            Ok(page)
        } else {
            Err(PageError::Versions { found: wire.versions, expected: page.versions() })
        }
    }

    fn insert_once(&mut self, file: PageFile) -> Result<(), PageError> {
        let filename = file.filename.to_string();
        match self.insert(file) {
            Insertion::Inserted => Ok(()),
            _ => Err(PageError::File { project: self.name.clone(), filename }),
        }
    }
}

/// The list of projects as JSON (PEP 691 "Project List"): sorted, each once.
pub fn index_json<'a>(names: impl IntoIterator<Item = &'a ProjectName>) -> String {
    let names: BTreeSet<&str> = names.into_iter().map(ProjectName::as_str).collect();
    let mut text = json!({ "meta": { "api-version": API_VERSION } }).to_string();
    text.truncate(text.len().saturating_sub(1));
    text.push_str(",\"projects\":[");
    for (at, name) in names.into_iter().enumerate() {
        // A normalised name has no character that JSON escapes.
        text.extend([if at == 0 { "{\"name\":\"" } else { ",{\"name\":\"" }, name, "\"}"]);
    }
    text.push_str("]}");
    text
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct WirePage {
    meta: WireMeta,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    project_status: Option<WireStatus>,
    name: String,
    versions: Vec<String>,
    files: Vec<WireFile>,
    #[serde(rename = "_withheld-files", default, skip_serializing_if = "Vec::is_empty")]
    withheld_files: Vec<WireFile>,
    #[serde(rename = "_tlog", default, skip_serializing_if = "Option::is_none")]
    log: Option<WireLog>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLog {
    origin: FreeText,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct WireMeta {
    api_version: String,
    #[serde(rename = "_last-serial")]
    last_serial: u64,
}

/// PEP 792 calls the first key `state` in its text and `status` in its example; clients go by the example.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireStatus {
    status: StatusMarker,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<FreeText>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct WireFile {
    filename: String,
    url: FileUrl,
    hashes: WireHashes,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upload_time: Option<UploadTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requires_python: Option<FreeText>,
    yanked: WireYanked,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    core_metadata: Option<WireHashes>,
    /// Read in pages of old, and not written: pip 22.3 and 23.0 end in an error when they meet it in JSON (PEP 714).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dist_info_metadata: Option<WireHashes>,
    #[serde(rename = "_provenance", default, skip_serializing_if = "Option::is_none")]
    own_provenance: Option<WireHashes>,
    /// Written for tools alone: a page that is read back does not have it.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    provenance: Option<FileUrl>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHashes {
    sha256: Sha256Hex,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WireYanked {
    Flag(bool),
    Reason(FreeText),
}

impl From<Status> for WireStatus {
    fn from(status: Status) -> Self {
        Self { status: status.marker, reason: status.reason }
    }
}

impl From<WireStatus> for Status {
    fn from(wire: WireStatus) -> Self {
        Self { marker: wire.status, reason: wire.reason }
    }
}

impl PageFile {
    /// Where its provenance object is, if it has one.
    pub(super) fn provenance_at(&self, url: impl Fn(&Self) -> Option<FileUrl>) -> Option<FileUrl> {
        self.provenance_sha256.as_ref().and_then(|_| url(self))
    }
}

impl From<&PageFile> for WireFile {
    fn from(file: &PageFile) -> Self {
        let core_metadata = file.core_metadata_sha256.clone().map(|sha256| WireHashes { sha256 });
        Self {
            filename: file.filename.to_string(),
            url: file.url.clone(),
            hashes: WireHashes { sha256: file.sha256.clone() },
            size: file.size,
            upload_time: file.upload_time.clone(),
            requires_python: file.requires_python.clone(),
            yanked: match &file.yanked {
                Yanked::No => WireYanked::Flag(false),
                Yanked::Yes(None) => WireYanked::Flag(true),
                Yanked::Yes(Some(reason)) => WireYanked::Reason(reason.clone()),
            },
            core_metadata,
            dist_info_metadata: None,
            own_provenance: file.provenance_sha256.clone().map(|sha256| WireHashes { sha256 }),
            provenance: None,
        }
    }
}

impl TryFrom<WireFile> for PageFile {
    type Error = PageError;

    fn try_from(wire: WireFile) -> Result<Self, PageError> {
        if wire.dist_info_metadata.is_some() && wire.core_metadata != wire.dist_info_metadata {
            return Err(PageError::CoreMetadata { filename: wire.filename });
        }
        Ok(Self {
            filename: wire.filename.parse()?,
            url: wire.url,
            sha256: wire.hashes.sha256,
            size: wire.size,
            upload_time: wire.upload_time,
            requires_python: wire.requires_python,
            yanked: match wire.yanked {
                WireYanked::Flag(false) => Yanked::No,
                WireYanked::Flag(true) => Yanked::Yes(None),
                WireYanked::Reason(reason) => Yanked::Yes(Some(reason)),
            },
            core_metadata_sha256: wire.core_metadata.map(|hashes| hashes.sha256),
            provenance_sha256: wire.own_provenance.map(|hashes| hashes.sha256),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = concat!(
        r#"{"meta":{"api-version":"1.1","_last-serial":7},"name":"foo","versions":["1.0"],"files":["#,
        r#"{"filename":"foo-1.0.tar.gz","url":"../f/foo-1.0.tar.gz","hashes":{"sha256":"#,
        r#""aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},"size":18446744073709551615,"#,
        r#""upload-time":"2024-01-02T03:04:05.678Z","requires-python":">=3.8","yanked":"\"><script>","#,
        r#""core-metadata":{"sha256":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}}]}"#,
    );

    fn read(json: &str) -> Result<ProjectPage, PageError> {
        ProjectPage::from_json(json.as_bytes())
    }

    #[test]
    fn a_page_is_written_as_it_was_read() {
        let page = read(PLAIN).unwrap();
        assert_eq!(page.serial, 7);
        assert_eq!(page.to_json(), PLAIN);
    }

    /// Every combination of the optional parts of a file and of the status.
    #[test]
    fn every_page_survives_the_round_trip() {
        let text = |text: &str| -> FreeText { text.parse().unwrap() };
        let plain = read(PLAIN).unwrap().file("foo-1.0.tar.gz").unwrap().clone();
        let yanks = [
            Yanked::No,
            Yanked::Yes(None),
            Yanked::Yes(Some(text("true"))),
            Yanked::Yes(Some(text("é\u{2028}\\\""))),
        ];
        let mut statuses = vec![None];
        for marker in [
            StatusMarker::Active,
            StatusMarker::Archived,
            StatusMarker::Quarantined,
            StatusMarker::Deprecated,
        ] {
            statuses.push(Some(Status { marker, reason: None }));
            statuses.push(Some(Status { marker, reason: Some(text("haunted </script>")) }));
        }
        for status in statuses {
            let mut page = ProjectPage::new("foo".parse().unwrap(), u64::MAX);
            page.status = status;
            assert_eq!(read(&page.to_json()).unwrap(), page);
            for (number, yanked) in (0_u32..).zip(yanks.iter().flat_map(|yanked| vec![yanked; 16])) {
                let mut file = plain.clone();
                file.filename = format!("foo-{number}.0.tar.gz").parse().unwrap();
                file.yanked = yanked.clone();
                file.upload_time = file.upload_time.filter(|_| number & 1 == 0);
                file.requires_python = file.requires_python.filter(|_| number & 2 == 0);
                file.core_metadata_sha256 = file.core_metadata_sha256.filter(|_| number & 4 == 0);
                file.provenance_sha256 = Some(file.sha256.clone()).filter(|_| number & 8 == 0);
                assert_eq!(page.insert(file), Insertion::Inserted);
            }
            let json = page.to_json();
            assert_eq!(read(&json).unwrap(), page);
            assert_eq!(read(&json).unwrap().to_json(), json);
        }
    }

    #[test]
    fn a_quarantined_project_offers_nothing_and_loses_nothing() {
        let mut page = read(PLAIN).unwrap();
        page.status = Some(Status { marker: StatusMarker::Quarantined, reason: None });
        let json: serde_json::Value = serde_json::from_str(&page.to_json()).unwrap();
        assert_eq!(json.pointer("/files"), Some(&json!([])));
        assert_eq!(json.pointer("/versions"), Some(&json!(["1.0"])));
        assert_eq!(json.pointer("/meta/api-version"), Some(&json!("1.4")));
        assert_eq!(json.pointer("/project-status"), Some(&json!({"status": "quarantined"})));
        let mut restored = read(&page.to_json()).unwrap();
        restored.status = None;
        assert_eq!(restored.to_json(), PLAIN);
    }

    #[test]
    fn tools_are_not_shown_what_they_stumble_over_or_should_not_have() {
        let mut page = read(PLAIN).unwrap();
        let text = page.to_json_for_tools(|_| None);
        assert!(text.contains("\"core-metadata\":{") && !text.contains("dist-info-metadata"), "{text}");
        page.status = Some(Status { marker: StatusMarker::Quarantined, reason: None });
        let text = page.to_json_for_tools(|_| None);
        assert!(text.contains("\"files\":[]") && !text.contains("foo-1.0.tar.gz"), "{text}");
    }

    #[test]
    fn provenance_is_signed_as_a_digest_and_shown_as_an_absolute_url() {
        let mut page = read(PLAIN).unwrap();
        let mut file = page.file("foo-1.0.tar.gz").unwrap().clone();
        file.filename = "foo-1.1.tar.gz".parse().unwrap();
        file.provenance_sha256 = Some("c".repeat(64).parse().unwrap());
        page.insert(file);
        let signed = page.to_json();
        assert!(signed.starts_with(r#"{"meta":{"api-version":"1.3","#), "{signed}");
        assert!(signed.contains(&format!(r#""_provenance":{{"sha256":"{}"}}"#, "c".repeat(64))), "{signed}");
        assert!(!signed.contains(r#""provenance""#) && !page.to_html().contains("provenance"), "{signed}");
        assert_eq!(read(&signed).unwrap(), page);
        let url = |file: &PageFile| format!("https://i.example/{}.provenance", file.filename).parse().ok();
        let shown: serde_json::Value = serde_json::from_str(&page.to_json_for_tools(url)).unwrap();
        let at = json!("https://i.example/foo-1.1.tar.gz.provenance");
        assert_eq!(shown.pointer("/files/1/provenance"), Some(&at));
        assert_eq!(shown.pointer("/files/0/provenance"), None);
        let attribute = r#"data-provenance="https://i.example/foo-1.1.tar.gz.provenance""#;
        assert_eq!(page.to_html_for_tools(url).matches("data-provenance").count(), 1);
        assert!(page.to_html_for_tools(url).contains(attribute));
        assert!(read(&page.to_json_for_tools(url)).is_err(), "what is shown was taken for what is signed");
    }

    #[test]
    fn what_was_not_written_here_is_refused() {
        for (from, to) in [
            (r#""size":"#, r#""provenance":"https://i.example/","size":"#),
            (r#""size":"#, r#""gpg-sig":true,"size":"#),
            (r#""size":18446744073709551615,"#, ""),
            (r#""size":18446744073709551615"#, r#""size":18446744073709551616"#),
            (r#""size":18446744073709551615"#, r#""size":-1"#),
            (r#""size":"#, r#""size":1,"size":"#),
            ("2024-01-02T", "2024-01-02 "),
            ("../f/foo", "javascript:foo"),
            (r#""sha256":"aa"#, r#""sha256":"AA"#),
            (r#""sha256":"aa"#, r#""md5":"aa"#),
            (r#""yanked":"\"><script>""#, r#""yanked":"""#),
            (r#""yanked":"\"><script>""#, r#""yanked":null"#),
            ("}]}", "}]}x"),
            ("}]}", "}]"),
        ] {
            let changed = PLAIN.replacen(from, to, 1);
            assert_ne!(changed, PLAIN);
            assert!(matches!(read(&changed), Err(PageError::Shape { .. })), "{changed}");
        }
    }

    #[test]
    fn a_page_that_contradicts_itself_is_refused() {
        let changed = |from: &str, to: &str| read(&PLAIN.replacen(from, to, 1)).unwrap_err();
        let foo: ProjectName = "foo".parse().unwrap();
        assert_eq!(
            changed(r#"["1.0"]"#, r#"["1.0","1.1"]"#),
            PageError::Versions {
                found: vec!["1.0".to_owned(), "1.1".to_owned()],
                expected: vec!["1.0".to_owned()]
            }
        );
        assert_eq!(
            changed("\"1.1\"", "\"1.4\""),
            PageError::ApiVersion { found: "1.4".to_owned(), expected: "1.1" }
        );
        assert_eq!(
            changed(r#""name":"foo""#, r#""name":"Foo""#),
            PageError::Name(NameError::NotNormalised { name: "Foo".to_owned(), normalised: foo.clone() })
        );
        assert_eq!(
            changed(r#""name":"foo""#, r#""name":"bar""#),
            PageError::File { project: "bar".parse().unwrap(), filename: "foo-1.0.tar.gz".to_owned() }
        );
        assert_eq!(
            changed(r#""filename":"foo-1.0.tar.gz""#, r#""filename":"../foo-1.0.tar.gz""#).to_string(),
            "in the page: the file name \"../foo-1.0.tar.gz\" holds '/'; \
             expected ASCII letters, digits, '.', '_', '-', '+' and '!'"
        );
        let other =
            format!("\"dist-info-metadata\":{{\"sha256\":\"{}\"}},\"core-metadata\":{{", "c".repeat(64));
        assert_eq!(
            changed(r#""core-metadata":{"#, &other),
            PageError::CoreMetadata { filename: "foo-1.0.tar.gz".to_owned() }
        );
        assert_eq!(
            changed(r#""files":["#, r#""_withheld-files":["#),
            PageError::Shape { detail: "missing field `files` at line 1 column 456".to_owned() }
        );
        assert_eq!(
            changed(r#""files":["#, r#""files":[],"_withheld-files":["#),
            PageError::Quarantine { project: foo }
        );
    }

    #[test]
    fn a_file_listed_twice_is_refused() {
        let (head, file) = PLAIN.strip_suffix("]}").unwrap().split_once(r#""files":["#).unwrap();
        assert_eq!(
            read(&format!(r#"{head}"files":[{file},{file}]}}"#)),
            Err(PageError::File { project: "foo".parse().unwrap(), filename: "foo-1.0.tar.gz".to_owned() })
        );
    }

    #[test]
    fn any_prefix_of_a_page_is_refused() {
        for length in 0..PLAIN.len() {
            assert!(ProjectPage::from_json(PLAIN.as_bytes().get(..length).unwrap()).is_err());
        }
        assert_eq!(
            ProjectPage::from_json(&vec![b' '; PAGE_BYTES + 1]),
            Err(PageError::TooLong { found: PAGE_BYTES + 1, limit: PAGE_BYTES })
        );
    }

    #[test]
    fn the_project_list_is_sorted() {
        let names: Vec<ProjectName> = ["b", "a-b", "a", "B"].map(|name| name.parse().unwrap()).into();
        assert_eq!(
            index_json(&names),
            r#"{"meta":{"api-version":"1.1"},"projects":[{"name":"a"},{"name":"a-b"},{"name":"b"}]}"#
        );
    }
}
