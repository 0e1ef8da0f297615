//! One target: who may speak for it, and whether its stored file is what was signed.

use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::crypto::{Digests, Hasher};
use crate::repository::{Repository, RepositoryError};
use crate::store::StorePath;
use crate::tuf::lookup::Edge;
use crate::tuf::metadata::TargetFile;
use crate::tuf::path::TargetPath;

/// Bytes of a target file read at once.
const CHUNK: usize = 256 * 1024;

/// Whether every delegation on the way to the role matches the target.
pub(super) fn may_speak(edge: &Edge, target: &TargetPath) -> bool {
    let below = edge.chain().iter().skip(1).map(|(role, _)| role).chain([edge.role()]);
    edge.chain().iter().zip(below).all(|((_, delegator), role)| {
        let matching =
            delegator.delegations.as_ref().and_then(|delegations| delegations.matching(target).ok());
        matching.is_some_and(|matching| matching.iter().any(|matched| matched.role == *role))
    })
}

impl Repository {
    /// Length and hashes of a stored file against its entry.
    pub(in crate::repository) async fn measure(
        &self,
        at: &StorePath,
        file: &TargetFile,
    ) -> Result<Result<(), String>, RepositoryError> {
        let Some(stream) = self.store.open(at).await? else { return Ok(Err("is missing".to_owned())) };
        let (digests, length) = digest(stream, file.hashes.sha512.is_some(), at).await?;
        if length != file.length {
            return Ok(Err(format!("has {length} bytes, signed are {}", file.length)));
        }
        let same = file.hashes.check(&digests);
        Ok(same.map_err(|mismatch| format!("is not the file that was signed: {mismatch}")))
    }

    /// SHA-256 and length of a stored file, or `None` if there is no such file.
    pub(in crate::repository) async fn hash_if_stored(
        &self,
        at: &StorePath,
    ) -> Result<Option<([u8; 32], u64)>, RepositoryError> {
        let Some(stream) = self.store.open(at).await? else { return Ok(None) };
        let (digests, length) = digest(stream, false, at).await?;
        Ok(Some((digests.sha256, length)))
    }
}

async fn digest(
    mut stream: Pin<Box<dyn AsyncRead + Send>>,
    sha512: bool,
    at: &StorePath,
) -> Result<(Digests, u64), RepositoryError> {
    let mut hasher = Hasher::new(sha512);
    let mut buffer = vec![0; CHUNK];
    let mut length = 0_u64;
    loop {
        let count = stream.read(&mut buffer).await.map_err(|error| RepositoryError::File {
            what: "reading",
            file: at.to_string(),
            reason: error.to_string(),
        })?;
        if count == 0 {
            return Ok((hasher.finish(), length));
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        length = length.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
}
