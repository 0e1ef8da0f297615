//! Transparency logs held against what others wrote by the same texts.

mod notes;
mod trees;
