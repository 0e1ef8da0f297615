//! What twine sends.

use wheelseal::crypto::sha256;

use crate::scene::{wheel_bytes, wheel_name};

/// What stands between the parts of a form.
pub(crate) const BOUNDARY: &str = "----boundary";

/// A form of the legacy API.
#[derive(Clone)]
pub(crate) struct Form {
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

impl Form {
    /// What twine sends for a wheel.
    pub(crate) fn of(project: &str, version: &str) -> Self {
        let bytes = wheel_bytes(project, version, "x = 1\n");
        let digest = hex::encode(sha256(&bytes));
        let fields = [
            (":action", "file_upload"),
            ("protocol_version", "1"),
            ("metadata_version", "2.1"),
            ("name", project),
            ("version", version),
            ("filetype", "bdist_wheel"),
            ("sha256_digest", &digest),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { fields, files: vec![(wheel_name(project, version).to_string(), bytes)] }
    }

    /// With this field instead of what it may have of that name.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As it is sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in &self.fields {
            let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend([head.as_bytes(), value.as_bytes(), b"\r\n"].concat());
        }
        for (name, bytes) in &self.files {
            let head = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"content\"; filename=\"{name}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            );
            body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
        }
        body.extend(format!("--{BOUNDARY}--\r\n").into_bytes());
        body
    }
}
