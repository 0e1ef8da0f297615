//! Work on many bins at once: signing millions of targets, signing all bins anew, sorting them into other bins.
//!
//! | file | room |
//! |---|---|
//! | `bins` | which bin a path belongs to, without a search |
//! | `reader` | bins read back and verified |
//! | `cores` | the same work on every core |
//! | `forge` | bins read, rendered, signed and written in parallel |
//! | `merge` | new targets and what a bin lists already |
//! | `input` | text read in pieces of whole lines, by many threads |
//! | `record` | a target on its way through the spill |
//! | `line` | one line of a list of files |
//! | `again` | bins signed anew |
//! | `resize` | all targets in other bins |
//! | `import` | a list of files becomes signed targets |
//! | `filler` | its lines read and judged |
//! | `listed` | a line as a file on a page |
//! | `folder` | a folder of distributions as a list |
//! | `compose` | project pages made of lines |
//! | `show` | the unsigned pages of many projects |
//!
//! ```text
//! lines ─▶ checked, hashed (all cores) ─▶ (Spill ─▶ compose: pages ─▶) Spill ─▶ forge: a bin's records + what it lists ─▶ signed (all cores)
//!                                                   ─▶ create_all, batch by batch ─▶ one commit
//! ```
//!
//! Memory is bounded by constants: the budget of the spill, a partition and a few bins for each worker, and the batches
//! on their way to the store. Until the commit nothing has happened: what a crash leaves is files that nothing refers to.

mod again;
mod bins;
mod compose;
mod cores;
mod filler;
mod folder;
mod forge;
mod import;
mod input;
mod line;
mod listed;
mod merge;
mod reader;
mod record;
mod resize;
mod show;

pub(super) use again::{Again, Correction, Overtaken, Under};
pub use folder::{Files, Folder, Hashed, MAX_NAMED, Unfit};
pub(super) use forge::require_bins;
pub use import::{ImportError, Imported, Layout, List, Run};
pub use line::LineFault;
pub(super) use resize::{bin_count, leaves_out, resized, same_bins};
