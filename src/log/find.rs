//! Finding what is logged: by path, with the help of the proof that lies beside the file; or by reading everything.

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
        let mut proofs = self.prove(&[index]).await?;
        let missing = || LogError::Missing { path: format!("entry {index}") };
        let (proof, size) = (proofs.pop().ok_or_else(missing)?, self.size());
        let id = TileId::new(0, index / u64::from(FULL_WIDTH), size).ok_or_else(missing)?;
        let number = usize::try_from(index % u64::from(FULL_WIDTH)).unwrap_or(usize::MAX);
        let bundle = self.reader().bundles(&[id]).await?.pop().ok_or_else(missing)?;
        let entry = *entries(id, &bundle)?.get(number).ok_or_else(missing)?;
        if Hash::leaf(entry) != self.hash(index)? {
            let problem = format!("entry {index} is not what the tile beside it says");
            return Err(super::reader::damaged(&id.entries_path(), &problem));
        }
        let leaf = Leaf::parse(entry).map_err(|error| LogError::Leaf { index, error })?;
        Ok((leaf, proof))
    }
}
