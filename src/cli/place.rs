//! Where a repository lies: a folder, or a bucket of an object store.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::exit::Usage;
use crate::client::trust::state_home;
use crate::crypto::sha256;
use crate::repository::{Anchor, RepositoryError};
use crate::store::{DirStore, ObjectStore, Store};

/// What `--repo` names.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A path, or a `file://` URL.
    Folder(PathBuf),
    /// `s3://`, `gs://` or `az://`.
    Bucket(String),
}

impl FromStr for Place {
    type Err = Usage;

    fn from_str(text: &str) -> Result<Self, Usage> {
        if let Some(scheme) = text.split_once("://").map(|(scheme, _)| scheme)
            && scheme.chars().all(|c| c.is_ascii_alphanumeric())
        {
            return match scheme {
                "s3" | "gs" | "az" => Ok(Self::Bucket(text.trim_end_matches('/').to_owned())),
                "file" => {
                    local(text).map(Self::Folder).ok_or_else(|| Usage(format!("{text}: no local path")))
                }
                _ => Err(Usage(format!("{text}: expected a folder, file://, s3://, gs:// or az://"))),
            };
        }
        Ok(Self::Folder(text.into()))
    }
}

/// The absolute path in a `file://` URL.
fn local(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("file://").filter(|path| path.starts_with('/'))?;
    let path = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    Some(PathBuf::from(path.into_owned()))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Bucket(url) => f.write_str(url),
        }
    }
}

impl Place {
    /// The store there, which must exist already if it is a folder.
    pub(super) async fn open(&self) -> anyhow::Result<Arc<dyn Store>> {
        match self {
            Self::Folder(folder) if !folder.is_dir() => {
                Err(RepositoryError::NoRepository(self.to_string()).into())
            }
            Self::Folder(folder) => Ok(Arc::new(DirStore::open(folder).await?)),
            Self::Bucket(_) => Ok(Arc::new(self.bucket()?)),
        }
    }

    /// The store for a new repository: a folder is made, a bucket is tried out.
    pub(super) async fn create(&self) -> anyhow::Result<Arc<dyn Store>> {
        let Self::Folder(folder) = self else {
            let store = self.bucket()?;
            store.probe().await?;
            return Ok(Arc::new(store));
        };
        Ok(Arc::new(DirStore::create(folder).await?))
    }

    /// The bucket, with what the environment says of credentials and servers.
    pub(super) fn bucket(&self) -> anyhow::Result<ObjectStore> {
        let Self::Bucket(url) = self else {
            return Err(Usage(format!("{self} is a folder: there is no server to try out")).into());
        };
        let text = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let memory = state_home()?.join("stores");
        Ok(ObjectStore::open(url, &text.collect::<BTreeMap<_, _>>(), Some(&memory))?)
    }

    /// Where this machine remembers the repository.
    pub(super) fn anchor(&self) -> anyhow::Result<Anchor> {
        let name = sha256(&self.one_name()?);
        Ok(Anchor::new(state_home()?.join("repositories").join(format!("{}.json", hex::encode(name)))))
    }

    /// Where this machine remembers an import from `source`.
    pub(super) fn journal(&self, source: &[u8]) -> anyhow::Result<PathBuf> {
        let name = sha256(&[&sha256(&self.one_name()?)[..], source].concat());
        Ok(state_home()?.join("imports").join(hex::encode(name)))
    }

    /// However it was typed.
    fn one_name(&self) -> anyhow::Result<Vec<u8>> {
        Ok(match self {
            Self::Folder(folder) => std::fs::canonicalize(folder)?.as_os_str().as_encoded_bytes().to_vec(),
            Self::Bucket(url) => url.as_bytes().to_vec(),
        })
    }

    /// A file of the repository, as people name it.
    pub(super) fn file(&self, path: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(path).display().to_string(),
            Self::Bucket(url) => format!("{url}/{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_buckets_are_told_apart() {
        for (text, is) in [
            ("repo", "Folder(\"repo\")"),
            ("./s3:/x", "Folder(\"./s3:/x\")"),
            ("file:///srv/my%20repo", "Folder(\"/srv/my repo\")"),
            ("s3://bucket/a/", "Bucket(\"s3://bucket/a\")"),
            ("gs://bucket", "Bucket(\"gs://bucket\")"),
            ("az://container", "Bucket(\"az://container\")"),
        ] {
            assert_eq!(Place::from_str(text).map(|place| format!("{place:?}")).as_deref(), Ok(is));
        }
        for text in ["https://host/repo", "memory://", "S3://bucket", "file://host/repo"] {
            assert!(Place::from_str(text).is_err(), "{text}");
        }
    }
}
