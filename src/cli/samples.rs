//! Sample distributions for `demo`: a few real, installable wheels and an sdist, made in memory.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A pure-Python project with one module that says its version.
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
}

impl Sample {
    /// Writes `NAME-VERSION-py3-none-any.whl` to `folder`.
    pub(super) fn wheel(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        self.wheel_with(folder, "")
    }

    /// The same, with more in its module.
    pub(super) fn wheel_with(&self, folder: &Path, code: &str) -> anyhow::Result<PathBuf> {
        let Self { name, version } = self;
        let info = format!("{name}-{version}.dist-info");
        let files = [
            (format!("{name}.py"), format!("__version__ = \"{version}\"\n{code}")),
            (format!("{info}/METADATA"), self.metadata()),
            (
                format!("{info}/WHEEL"),
                "Wheel-Version: 1.0\nGenerator: wheelseal demo\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
                    .to_owned(),
            ),
        ];
        let mut record = String::new();
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, text) in &files {
            archive.start_file(path, SimpleFileOptions::default())?;
            archive.write_all(text.as_bytes())?;
            record.push_str(&format!("{path},,\n"));
        }
        record.push_str(&format!("{info}/RECORD,,\n"));
        archive.start_file(format!("{info}/RECORD"), SimpleFileOptions::default())?;
        archive.write_all(record.as_bytes())?;
        let path = folder.join(format!("{name}-{version}-py3-none-any.whl"));
        std::fs::write(&path, archive.finish()?.into_inner())?;
        Ok(path)
    }

    /// Writes `NAME-VERSION.tar.gz` to `folder`.
    pub(super) fn sdist(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let Self { name, version } = self;
        let top = format!("{name}-{version}");
        let project = format!("[project]\nname = \"{name}\"\nversion = \"{version}\"\n");
        let files = [
            ("PKG-INFO", self.metadata()),
            ("pyproject.toml", project),
            ("module.py", format!("__version__ = \"{version}\"\n")),
        ];
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (file, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(text.len())?);
            header.set_mode(0o644);
            archive.append_data(&mut header, format!("{top}/{file}"), text.as_bytes())?;
        }
        let path = folder.join(format!("{top}.tar.gz"));
        std::fs::write(&path, archive.into_inner()?.finish()?)?;
        Ok(path)
    }

    fn metadata(&self) -> String {
        let Self { name, version } = self;
        format!(
            "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: a sample\nRequires-Python: >=3.8\n\n"
        )
    }
}
