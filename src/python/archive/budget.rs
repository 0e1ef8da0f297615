//! A reader that may be read so far and no further.

use std::{
    cell::Cell,
    io::{self, Read, Seek, SeekFrom},
};

/// The bytes that may still be read. Kept apart from the reader, so that the caller can look at it while a
/// decoder owns the reader.
pub(super) struct Budget {
    left: Cell<u64>,
    exceeded: Cell<bool>,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self { left: Cell::new(bytes), exceeded: Cell::new(false) }
    }

    /// Whether a read was refused. Decoders wrap errors beyond recognition; this stays.
    pub(super) fn is_exceeded(&self) -> bool {
        self.exceeded.get()
    }

    /// Ends the metering: from here on other limits hold.
    pub(super) fn lift(&self) {
        self.left.set(u64::MAX);
    }
}

/// A reader whose reads are charged to a [`Budget`], and fail once it is spent.
pub(super) struct Metered<'a, R> {
    inner: R,
    budget: &'a Budget,
}

impl<'a, R> Metered<'a, R> {
    pub(super) fn new(inner: R, budget: &'a Budget) -> Self {
        Self { inner, budget }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let left = u64::try_from(read).ok().and_then(|read| self.budget.left.get().checked_sub(read));
        let Some(left) = left else {
            self.budget.exceeded.set(true);
            return Err(io::Error::other("read more than allowed"));
        };
        self.budget.left.set(left);
        Ok(read)
    }
}

impl<R: Seek> Seek for Metered<'_, R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_allowed_is_read_and_the_next_is_not() {
        let budget = Budget::new(4);
        let mut all = Vec::new();
        Metered::new(&b"four"[..], &budget).read_to_end(&mut all).unwrap();
        assert!(!budget.is_exceeded());
        assert!(Metered::new(&b"x"[..], &budget).read_to_end(&mut all).is_err());
        assert!(budget.is_exceeded());
        assert_eq!(all, b"four");
    }
}
