//! Addresses that may not upload for a while, by their hashes.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::values::{AddressHash, Minute};
use super::{BlockChange, Deed, Event, Journal, JournalError, Origin};

/// The file of blocks.
const NAME: &str = "blocks.json";
const FORMAT: &str = "wheelseal-blocks-1";
/// Blocks at once, at most: each is looked at for each upload.
const MAX_BLOCKS: usize = 10_000;
/// Bytes of the file, at most: some 100 for each block.
const MAX_FILE: u64 = 2 * 1_024 * 1_024;

/// An address that is shut out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Whose.
    pub address: AddressHash,
    /// Until then.
    pub until: Minute,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    blocks: Vec<WireBlock>,
    format: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireBlock {
    address: String,
    until: String,
}

impl Journal {
    /// All blocks, also those that are over.
    pub fn blocks(&self) -> Result<Vec<Block>, JournalError> {
        let Some(bytes) = self.folder.read(NAME, MAX_FILE)? else { return Ok(Vec::new()) };
        let malformed = |reason: &dyn std::fmt::Display| JournalError::Malformed {
            path: self.path().join(NAME).display().to_string(),
            reason: reason.to_string(),
        };
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|error| malformed(&error))?;
        if wire.format != FORMAT {
            return Err(malformed(&format_args!("it is no {FORMAT} file")));
        }
        let block =
            |wire: &WireBlock| Ok(Block { address: wire.address.parse()?, until: wire.until.parse()? });
        wire.blocks.iter().map(block).collect()
    }

    /// Shuts an address out until a time, in place of an earlier block of it.
    pub fn block(&self, block: Block, now: DateTime<Utc>) -> Result<(), JournalError> {
        let deed = Deed::Block { what: BlockChange::Blocked, until: Some(block.until) };
        let event = Event::new(Minute::of(now), from(&block.address), deed);
        self.change(|blocks| {
            blocks.retain(|known| known.address != block.address && known.until.time() > now);
            if blocks.len() >= MAX_BLOCKS {
                return Err(JournalError::TooMany { what: "blocks", max: MAX_BLOCKS });
            }
            blocks.push(block);
            Ok(())
        })?;
        self.append(&[event]).map(drop)
    }

    /// Lets it in again.
    pub fn unblock(&self, address: &AddressHash, now: DateTime<Utc>) -> Result<(), JournalError> {
        self.change(|blocks| {
            let before = blocks.len();
            blocks.retain(|known| known.address != *address);
            let unknown = || JournalError::Unknown { what: "block of", name: address.to_string() };
            if blocks.len() == before { Err(unknown()) } else { Ok(()) }
        })?;
        let deed = Deed::Block { what: BlockChange::Unblocked, until: None };
        self.append(&[Event::new(Minute::of(now), from(address), deed)]).map(drop)
    }

    /// Those that last.
    pub(super) fn drop_old_blocks(&self, now: DateTime<Utc>) -> Result<Vec<Block>, JournalError> {
        if self.blocks()?.iter().any(|block| block.until.time() <= now) {
            self.change(|blocks| {
                blocks.retain(|block| block.until.time() > now);
                Ok(())
            })?;
        }
        self.blocks()
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Vec<Block>) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let locked = self.folder.lock()?;
        let mut blocks = self.blocks()?;
        change(&mut blocks)?;
        let wire =
            |block: &Block| WireBlock { address: block.address.to_string(), until: block.until.to_string() };
        let wire = Wire { blocks: blocks.iter().map(wire).collect(), format: FORMAT.to_owned() };
        // Strings alone: there is nothing that JSON cannot write.
        locked.replace(NAME, serde_json::to_string(&wire).unwrap_or_default().as_bytes())
    }
}

fn from(address: &AddressHash) -> Origin {
    Origin { address: Some(address.clone()), ..Origin::default() }
}
