//! What an author works on: metadata read back and verified, or signed here a moment ago.
//!
//! An author that publishes often need not verify what it signed itself and saw committed. Clients never take this
//! type: their way in is [`super::signed::Signed::verify`] alone.

use std::ops::Deref;
use std::sync::Arc;

use super::key::KeyId;
use super::signed::{Draft, Verified};

/// Content of role `T` that the holder read back and verified, or signed and committed itself. Cheap to clone.
#[derive(Debug)]
pub struct Held<T>(Source<T>);

#[derive(Debug)]
enum Source<T> {
    Verified(Verified<T>),
    Signed(Arc<Signed<T>>),
}

#[derive(Debug)]
struct Signed<T> {
    content: T,
    bytes: Vec<u8>,
    signers: Vec<KeyId>,
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Source::Verified(verified) => Source::Verified(verified.clone()),
            Source::Signed(signed) => Source::Signed(Arc::clone(signed)),
        })
    }
}

impl<T> Deref for Held<T> {
    type Target = T;
    fn deref(&self) -> &T {
        match &self.0 {
            Source::Verified(verified) => verified,
            Source::Signed(signed) => &signed.content,
        }
    }
}

impl<T> From<Verified<T>> for Held<T> {
    fn from(verified: Verified<T>) -> Self {
        Self(Source::Verified(verified))
    }
}

impl<T> Held<T> {
    /// What the caller signed and committed itself: `bytes` are the file of `draft`, by the keys `signers`.
    pub fn signed(draft: Draft<T>, bytes: Vec<u8>, signers: Vec<KeyId>) -> Self {
        Self(Source::Signed(Arc::new(Signed { content: draft.content, bytes, signers })))
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Source::Verified(verified) => verified.bytes(),
            Source::Signed(signed) => &signed.bytes,
        }
    }

    /// The keys that signed it, as far as they count.
    pub fn signers(&self) -> &[KeyId] {
        match &self.0 {
            Source::Verified(verified) => verified.signers(),
            Source::Signed(signed) => &signed.signers,
        }
    }
}

impl<T: Clone> Held<T> {
    /// A copy to edit.
    pub fn draft(&self) -> Draft<T> {
        Draft::new((**self).clone())
    }
}
