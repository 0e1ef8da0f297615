//! Evidence files of a client: [`crate::tlog::evidence`] says what is in them, and checks them.

use super::LogDir;
use crate::client::CacheError;
use crate::tlog::evidence::Evidence;

/// Evidence files about one log, at most: who holds its key could make any number.
const MAX_FILES: usize = 256;

/// Writes evidence down, and says where. The same contradiction has the same name, and is written once. What a recorder's log is part of
/// is apart, so that no recorder can crowd out what is held against the index.
pub(super) fn keep(
    evidence: &Evidence,
    folder: &LogDir,
    recorder: Option<&str>,
) -> Result<String, CacheError> {
    let place = match recorder {
        Some(name) => format!("evidence/recorders/{name}"),
        None => "evidence".to_owned(),
    };
    let own = format!("{place}/{}.txt", evidence.name());
    let path = folder.path(&own);
    if path.is_file() {
        return Ok(path.display().to_string());
    }
    let count = std::fs::read_dir(folder.path(&place)).map_or(0, Iterator::count);
    let name = if count < MAX_FILES { own } else { format!("{place}/latest.txt") };
    let path = folder.write(&name, evidence.to_string().as_bytes())?;
    Ok(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{NewKey, PublicKey, Scheme, SigningKey};
    use crate::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
    use crate::tlog::key::{KeyKind, KeyName, VerifierKey};
    use crate::tlog::merkle::Hash;

    #[test]
    fn evidence_is_written_once_and_recorders_fill_their_own_folder_alone() {
        let private = SigningKey::from_pkcs8(&NewKey::Ed25519.generate().unwrap()).unwrap();
        let PublicKey::Ed25519(public) = *private.public() else { unreachable!() };
        let key = VerifierKey::new(KeyName::new("one.example").unwrap(), KeyKind::Log, public);
        let signed = |size, leaf: &[u8]| {
            let tree = Checkpoint::new("one.example", size, Hash::leaf(leaf)).unwrap();
            let signature = private.sign(Scheme::Ed25519, tree.to_string().as_bytes()).unwrap();
            SignedCheckpoint::sign(tree, &key, &signature.try_into().unwrap()).unwrap()
        };
        let fork = |size| Evidence::two_trees(signed(size, b"1"), signed(size, b"2"), None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let folder = LogDir::new(dir.path().to_owned());
        let first = keep(&fork(1), &folder, Some("one")).unwrap();
        let full = folder.path("evidence/recorders/one");
        for number in 1..MAX_FILES {
            std::fs::write(full.join(number.to_string()), "").unwrap();
        }
        assert!(keep(&fork(2), &folder, Some("one")).unwrap().ends_with("/one/latest.txt"));
        assert_eq!(keep(&fork(1), &folder, Some("one")).unwrap(), first);
        let others = [keep(&fork(2), &folder, Some("two")).unwrap(), keep(&fork(2), &folder, None).unwrap()];
        let name = format!("{}.txt", fork(2).name());
        assert!(others.iter().all(|place| place.ends_with(&name)), "{others:?}");
    }
}
