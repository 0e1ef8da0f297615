//! Finding what is logged: by path, with the help of the proof that lies beside the file; or by reading everything.

use super::growth::in_folder;
use super::reader::entries;
use super::{LogError, Prover, Reader};
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::leaf::Leaf;
use crate::tlog::merkle::Hash;
use crate::tlog::proof_file::{MAX_PROOF_LEN, ProofFile};
use crate::tlog::tile::{FULL_WIDTH, TileId};

impl Reader {
    /// The `file/v1` leaf of a target path in the tree of a checkpoint, with its number and a proof. It is looked for where
    /// the proof beside the file says; if there is none, in all entries.
    pub async fn find(
        &self,
        checkpoint: &SignedCheckpoint,
        path: &str,
    ) -> Result<Option<(u64, Leaf, ProofFile)>, LogError> {
        let tree = checkpoint.claimed();
        let mut prover = self.prover(checkpoint);
        let is_it = |leaf: &Leaf| matches!(leaf, Leaf::File(file) if file.path() == path);
        let told = self.told(path).await?.filter(|index| *index < tree.size());
        if let Some(index) = told
            && let (leaf, proof) = prover.leaf(index).await?
            && is_it(&leaf)
        {
            return Ok(Some((index, leaf, proof)));
        }
        let mut found = None;
        let mut visit = |index, leaf| {
            if is_it(&leaf) {
                found.get_or_insert(index);
            }
            Ok(())
        };
        self.leaves(tree, 0, &mut visit).await?;
        let Some(index) = found else { return Ok(None) };
        let (leaf, proof) = self.prover(checkpoint).leaf(index).await?;
        Ok(Some((index, leaf, proof)))
    }

    /// Where the proof that lies beside a file says that its leaf is.
    async fn told(&self, path: &str) -> Result<Option<u64>, LogError> {
        let max = u64::try_from(MAX_PROOF_LEN).unwrap_or(u64::MAX);
        let proof = self.files().read(&format!("targets/{path}.tlog-proof"), max).await?;
        Ok(proof.and_then(|bytes| ProofFile::parse(&bytes).ok()).map(|proof| proof.index()))
    }
}

impl Prover {
    /// A leaf of the checkpoint's tree, and the proof of it.
    pub async fn leaf(&mut self, index: u64) -> Result<(Leaf, ProofFile), LogError> {
        let found = self.leaves(index, 1).await?.pop();
        let (_, leaf, proof) = found.ok_or_else(|| LogError::Missing { path: format!("entry {index}") })?;
        Ok((leaf, proof))
    }

    /// The next leaves of the checkpoint's tree, from number `from` on, `most` at most, each with its proof. Unlike those of
    /// [`Reader::leaves`] they are verified when they are shown. None: the tree ends before.
    pub async fn leaves(&mut self, from: u64, most: u64) -> Result<Vec<(u64, Leaf, ProofFile)>, LogError> {
        let (size, width) = (self.size(), u64::from(FULL_WIDTH));
        let indices: Vec<u64> = (from..from.saturating_add(most).min(size)).collect();
        let mut found = Vec::with_capacity(indices.len());
        for part in indices.chunk_by(|one, next| one / width == next / width) {
            let id = part.first().and_then(|first| TileId::new(0, first / width, size));
            let (id, proofs) = (id.as_slice(), self.prove(part).await?);
            for (id, bundle) in id.iter().zip(self.reader().bundles(id).await?) {
                let numbered: Vec<_> = (id.index() * width..).zip(entries(*id, &bundle)?).collect();
                let wanted = numbered.into_iter().filter(|(index, _)| part.contains(index));
                for ((index, entry), proof) in wanted.zip(&proofs) {
                    if Hash::leaf(entry) != self.hash(index)? {
                        let problem = format!("entry {index} is not what the tile beside it says");
                        return Err(super::reader::damaged(&in_folder(&id.entries_path()), &problem));
                    }
                    let leaf = Leaf::parse(entry).map_err(|error| LogError::Leaf { index, error })?;
                    found.push((index, leaf, proof.clone()));
                }
            }
        }
        Ok(found)
    }
}
