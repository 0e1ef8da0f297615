//! Evidence files of a client: [`crate::tlog::evidence`] says what is in them, and checks them.

use super::LogDir;
use crate::client::CacheError;
use crate::tlog::evidence::Evidence;

/// Evidence files of one repository, at most: who holds a log's key could make any number.
const MAX_FILES: usize = 256;

/// Writes evidence down, and says where. The same contradiction has the same name.
pub(super) fn keep(evidence: &Evidence, folder: &LogDir) -> Result<String, CacheError> {
    let count = std::fs::read_dir(folder.evidence()).map_or(0, Iterator::count);
    let name = if count < MAX_FILES { evidence.name() } else { "latest".to_owned() };
    let path = folder.write(&format!("evidence/{name}.txt"), evidence.to_string().as_bytes())?;
    Ok(path.display().to_string())
}
