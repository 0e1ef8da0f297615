//! What an author works on: metadata read back and verified, or signed here a moment ago.
//!
//! An author that publishes often need not verify what it signed itself and saw committed. Clients never take this
//! type: their way in is [`super::signed::Signed::verify`] alone.

use std::ops::Deref;
use std::sync::Arc;

use super::signed::{Draft, Verified};

/// Content of role `T` that the holder read back and verified, or signed and committed itself. Cheap to clone.
#[derive(Debug)]
pub struct Held<T>(Source<T>);

#[derive(Debug)]
enum Source<T> {
    Verified(Verified<T>),
    Signed(Arc<(T, Vec<u8>)>),
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
            Source::Signed(signed) => &signed.0,
        }
    }
}

impl<T> From<Verified<T>> for Held<T> {
    fn from(verified: Verified<T>) -> Self {
        Self(Source::Verified(verified))
    }
}

impl<T> Held<T> {
    /// What the caller signed and committed itself: `bytes` are the file of `draft`.
    pub fn signed(draft: Draft<T>, bytes: Vec<u8>) -> Self {
        Self(Source::Signed(Arc::new((draft.content, bytes))))
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Source::Verified(verified) => verified.bytes(),
            Source::Signed(signed) => &signed.1,
        }
    }
}

impl<T: Clone> Held<T> {
    /// A copy to edit.
    pub fn draft(&self) -> Draft<T> {
        Draft::new((**self).clone())
    }
}
