//! The form of the legacy upload API, read as a stream: the file goes to the disk and is hashed on the way.

use std::io::Write;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::body::Body;
use futures_util::StreamExt;
use multer::{Constraints, Field, Multipart, SizeLimit};
use tempfile::NamedTempFile;
use tokio::time::timeout;

use super::refusal::Refused;
use super::{DRAIN, DRAIN_PAUSE, OVERHEAD, UploadLimits};
use crate::crypto::Hasher;
use crate::python::DistributionFilename;
use crate::web::Pace;

/// Bytes of one text field, at most: descriptions are the longest, PyPI's own have some 200,000.
const MAX_FIELD: usize = 4 * 1024 * 1024;
/// Bytes of all text fields together, at most.
const MAX_FIELDS: usize = 8 * 1024 * 1024;
/// Bytes in which the next field must begin: what comes before it is held in memory and looked through again each time. The
/// parser takes some megabytes ahead of what it is asked for.
const MAX_BEFORE_FIELD: usize = 8 * 1024 * 1024;
/// Fields, at most: classifiers and requirements come one by one.
const MAX_COUNT: usize = 10_000;

/// What the stream of such a form says.
const ENDLESS: &str = "no field begins";
/// What that of one says which comes by drops.
const TOO_SLOW: &str = "too few bytes came in a minute";

/// A form whose file was hashed and lies on the disk.
pub(super) struct Form {
    /// The text fields that mean something here.
    pub(super) fields: Fields,
    pub(super) file: Spooled,
}

/// Text fields, as twine and uv call them.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) action: String,
    pub(super) protocol_version: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) filetype: String,
    pub(super) sha256_digest: String,
    /// A JSON array (PEP 740).
    pub(super) attestations: String,
}

/// A file as it came.
pub(super) struct Spooled {
    pub(super) filename: DistributionFilename,
    pub(super) copy: NamedTempFile,
    pub(super) sha256: [u8; 32],
    pub(super) size: u64,
}

impl Form {
    /// Reads one. `admit` is asked about the file's name before its bytes are kept.
    pub(super) async fn read(
        body: Body,
        boundary: &str,
        spool: &Path,
        limits: UploadLimits,
        admit: impl Fn(&DistributionFilename) -> Result<(), Refused>,
    ) -> Result<Self, Refused> {
        // Bytes that came since the field before it was read.
        let came = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&came);
        let slow = Arc::new(AtomicBool::new(false));
        let (mut pace, noted) = (Pace::new(), Arc::clone(&slow));
        let stream = body.into_data_stream().map(move |chunk| {
            let chunk = chunk.map_err(std::io::Error::other)?;
            if !pace.holds(chunk.len()) {
                noted.store(true, Ordering::Relaxed);
                return Err(std::io::Error::other(TOO_SLOW));
            }
            let before = counter.fetch_add(chunk.len(), Ordering::Relaxed);
            if before > MAX_BEFORE_FIELD { Err(std::io::Error::other(ENDLESS)) } else { Ok(chunk) }
        });
        let whole = SizeLimit::new().whole_stream(limits.file.saturating_add(OVERHEAD));
        let mut parts = Multipart::with_constraints(stream, boundary, Constraints::new().size_limit(whole));
        let form = Self::parts(&mut parts, &came, spool, limits, admit).await;
        if form.is_err() {
            // So that the uploader reads the answer instead of a broken pipe.
            drop(timeout(DRAIN, drain(&mut parts)).await);
        }
        if slow.load(Ordering::Relaxed) { Err(Refused::Stalled) } else { form }
    }

    async fn parts(
        parts: &mut Multipart<'_>,
        came: &AtomicUsize,
        spool: &Path,
        limits: UploadLimits,
        admit: impl Fn(&DistributionFilename) -> Result<(), Refused>,
    ) -> Result<Self, Refused> {
        let (mut fields, mut file, mut text_bytes) = (Fields::default(), None, 0_usize);
        for _ in 0..MAX_COUNT {
            came.store(0, Ordering::Relaxed);
            let next = timeout(limits.stall, parts.next_field()).await.map_err(|_| Refused::Stalled)?;
            let Some(mut part) = next? else {
                return Ok(Self { fields, file: file.ok_or(Refused::Missing("content"))? });
            };
            match part.name().unwrap_or_default() {
                "content" if file.is_some() => {
                    return Err(Refused::Form("there are two files in the form".to_owned()));
                }
                "content" => {
                    let filename = part.file_name().unwrap_or_default();
                    let filename = DistributionFilename::from_str(filename)
                        .map_err(|error| Refused::Form(error.to_string()))?;
                    admit(&filename)?;
                    file = Some(Spooled::read(&mut part, came, filename, spool, limits).await?);
                }
                name => {
                    let name = name.to_owned();
                    let text = text(&mut part, came, limits).await?;
                    text_bytes = text_bytes.saturating_add(text.len());
                    if text_bytes > MAX_FIELDS {
                        return Err(Refused::Form(format!("the fields have more than {MAX_FIELDS} bytes")));
                    }
                    fields.take(&name, text)?;
                }
            }
        }
        Err(Refused::Form(format!("the form has more than {MAX_COUNT} fields")))
    }
}

/// Reads on, and keeps nothing.
async fn drain(parts: &mut Multipart<'_>) {
    while let Ok(Ok(Some(mut part))) = timeout(DRAIN_PAUSE, parts.next_field()).await {
        while let Ok(Ok(Some(_))) = timeout(DRAIN_PAUSE, part.chunk()).await {}
    }
}

impl Fields {
    fn take(&mut self, name: &str, text: String) -> Result<(), Refused> {
        let place = match name {
            ":action" => &mut self.action,
            "protocol_version" => &mut self.protocol_version,
            "name" => &mut self.name,
            "version" => &mut self.version,
            "filetype" => &mut self.filetype,
            "sha256_digest" => &mut self.sha256_digest,
            "attestations" => &mut self.attestations,
            _ => return Ok(()),
        };
        if !place.is_empty() {
            return Err(Refused::Form(format!("the field {name} is there twice")));
        }
        *place = text;
        Ok(())
    }
}

async fn chunk(
    part: &mut Field<'_>,
    came: &AtomicUsize,
    limits: UploadLimits,
) -> Result<Option<axum::body::Bytes>, Refused> {
    came.store(0, Ordering::Relaxed);
    Ok(timeout(limits.stall, part.chunk()).await.map_err(|_| Refused::Stalled)??)
}

async fn text(part: &mut Field<'_>, came: &AtomicUsize, limits: UploadLimits) -> Result<String, Refused> {
    let mut bytes = Vec::new();
    while let Some(chunk) = chunk(part, came, limits).await? {
        if bytes.len().saturating_add(chunk.len()) > MAX_FIELD {
            return Err(Refused::Form(format!("a field has more than {MAX_FIELD} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Refused::Form("a field is not UTF-8".to_owned()))
}

impl Spooled {
    async fn read(
        part: &mut Field<'_>,
        came: &AtomicUsize,
        filename: DistributionFilename,
        spool: &Path,
        limits: UploadLimits,
    ) -> Result<Self, Refused> {
        let mut copy = NamedTempFile::new_in(spool).map_err(|error| Refused::Disk(error.to_string()))?;
        let (mut hasher, mut size) = (Hasher::new(false), 0_u64);
        while let Some(chunk) = chunk(part, came, limits).await? {
            size = size.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if size > limits.file {
                return Err(Refused::TooLarge(limits.file));
            }
            // The page cache takes it; a thread of its own for each 64 kB would cost more than it saves.
            copy.write_all(&chunk).map_err(|error| Refused::Disk(error.to_string()))?;
            hasher.update(&chunk);
        }
        Ok(Self { filename, copy, sha256: hasher.finish().sha256, size })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream;
    use tokio::time::sleep;

    use super::*;

    /// A form with a wheel of so many bytes, of which some come each second.
    async fn read(size: usize, at_once: usize) -> Result<u64, Refused> {
        let head =
            "--x\r\nContent-Disposition: form-data; name=\"content\"; filename=\"a-1.0.tar.gz\"\r\n\r\n";
        let bytes = [head.as_bytes(), &vec![b'a'; size], b"\r\n--x--\r\n"].concat();
        let chunks: Vec<Vec<u8>> = bytes.chunks(at_once).map(<[u8]>::to_vec).collect();
        let body = stream::iter(chunks).then(async |chunk| {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, std::io::Error>(chunk)
        });
        let spool = tempfile::tempdir().unwrap();
        let limits = UploadLimits::default();
        let form = Form::read(Body::from_stream(body), "x", spool.path(), limits, |_| Ok(())).await;
        form.map(|form| form.file.size)
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_drops_loses_the_place_and_who_is_slow_does_not() {
        assert_eq!(read(300_000, 1_500).await, Ok(300_000));
        assert_eq!(read(300_000, 900).await, Err(Refused::Stalled));
        assert_eq!(read(20_000, 500).await, Ok(20_000), "what takes less than a minute is not measured");
    }
}
