//! What was read, compressed or made a delta of, within a number of bytes; what was used longest ago goes first.
//!
//! Each thing is made once, however many ask for it at the same time: the others wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use tokio::sync::OnceCell;

use crate::coding::Coding;
use crate::crypto::sha256;
use crate::store::StorePath;

/// Bytes that an entry costs beside its content, roughly.
const OVERHEAD: usize = 256;

/// Which bytes. Digests are those of the plain files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A file whose content never changes.
    Object(StorePath),
    /// A file with this content, whatever its name.
    Content([u8; 32]),
    /// It, compressed.
    Coded([u8; 32], Coding),
    /// A page with the addresses that tools are told, made of its JSON: as HTML or not.
    Shown([u8; 32], bool),
    /// The first as a change of the second.
    Delta([u8; 32], [u8; 32]),
}

/// Bytes in memory.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) bytes: Bytes,
    pub(super) sha256: [u8; 32],
}

impl Kept {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let sha256 = sha256(&bytes);
        Self { bytes: bytes.into(), sha256 }
    }
}

/// Clones of its content stay good when the cache forgets them.
pub(super) struct Cache {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Key, Entry>,
    /// Keys by when they were last used.
    order: BTreeMap<u64, Key>,
    clock: u64,
    bytes: usize,
    max: usize,
}

struct Entry {
    cell: Arc<OnceCell<Arc<Kept>>>,
    used: u64,
    bytes: usize,
}

impl Cache {
    /// Holds at most `max` bytes.
    pub(super) fn new(max: usize) -> Self {
        Self { inner: Mutex::new(Inner { max, ..Inner::default() }) }
    }

    /// What is kept under `key`, or what `make` makes. Nothing is kept of failures.
    pub(super) async fn or_make<E>(
        &self,
        key: &Key,
        make: impl Future<Output = Result<Kept, E>>,
    ) -> Result<Arc<Kept>, E> {
        let cell = self.with(|inner| inner.cell(key));
        match cell.get_or_try_init(async || make.await.map(Arc::new)).await {
            Ok(kept) => {
                self.with(|inner| inner.weigh(key, kept.bytes.len()));
                Ok(Arc::clone(kept))
            }
            Err(error) => {
                self.with(|inner| inner.forget(key, &cell));
                Err(error)
            }
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    /// The cell of `key`, new or not, as the one used last.
    fn cell(&mut self, key: &Key) -> Arc<OnceCell<Arc<Kept>>> {
        self.clock += 1;
        let used = self.clock;
        let cell = if let Some(entry) = self.entries.get_mut(key) {
            self.order.remove(&entry.used);
            entry.used = used;
            Arc::clone(&entry.cell)
        } else {
            let cell = Arc::<OnceCell<Arc<Kept>>>::default();
            self.bytes += OVERHEAD;
            let entry = Entry { cell: Arc::clone(&cell), used, bytes: OVERHEAD };
            self.entries.insert(key.clone(), entry);
            cell
        };
        self.order.insert(used, key.clone());
        self.shrink();
        cell
    }

    fn weigh(&mut self, key: &Key, bytes: usize) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let bytes = bytes.saturating_add(OVERHEAD);
        self.bytes = self.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
        self.shrink();
    }

    fn forget(&mut self, key: &Key, cell: &Arc<OnceCell<Arc<Kept>>>) {
        if self.entries.get(key).is_some_and(|entry| Arc::ptr_eq(&entry.cell, cell)) {
            self.drop_entry(key);
        }
    }

    fn shrink(&mut self) {
        while self.bytes > self.max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.drop_entry(&oldest);
        }
    }

    fn drop_entry(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn key(number: u8) -> Key {
        Key::Content([number; 32])
    }

    async fn put(cache: &Cache, number: u8, length: usize) {
        let made = cache.or_make(&key(number), async { Ok::<_, ()>(Kept::new(vec![number; length])) }).await;
        assert_eq!(made.unwrap().bytes, vec![number; length]);
    }

    fn held(cache: &Cache) -> (usize, Vec<u8>) {
        cache.with(|inner| {
            assert_eq!(inner.order.len(), inner.entries.len());
            assert_eq!(inner.bytes, inner.entries.values().map(|entry| entry.bytes).sum::<usize>());
            let numbers = inner.order.values().map(|key| match key {
                Key::Content(digest) => digest[0],
                _ => 0,
            });
            (inner.bytes, numbers.collect())
        })
    }

    #[tokio::test]
    async fn what_was_used_longest_ago_goes_first() {
        let cache = Cache::new(3 * (1_000 + OVERHEAD));
        for number in [1, 2, 3] {
            put(&cache, number, 1_000).await;
        }
        put(&cache, 1, 1_000).await;
        put(&cache, 4, 1_000).await;
        assert_eq!(held(&cache), (3 * (1_000 + OVERHEAD), vec![3, 1, 4]));
    }

    #[tokio::test]
    async fn what_is_larger_than_the_cache_is_given_out_and_not_kept() {
        let cache = Cache::new(10_000);
        put(&cache, 1, 100_000).await;
        assert_eq!(held(&cache), (0, vec![]));
    }

    #[tokio::test]
    async fn failures_leave_nothing() {
        let cache = Cache::new(10_000);
        let failed = cache.or_make(&key(1), async { Err::<Kept, _>("broken") }).await;
        assert_eq!(failed.unwrap_err(), "broken");
        assert_eq!(held(&cache), (0, vec![]));
    }

    #[tokio::test]
    async fn of_many_who_ask_at_once_one_makes_it() {
        let (cache, made, asked) = (Cache::new(10_000), AtomicUsize::new(0), key(1));
        let ask = || {
            cache.or_make(&asked, async {
                made.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok::<_, ()>(Kept::new(vec![7]))
            })
        };
        let all = futures_util::future::join_all((0..10).map(|_| ask())).await;
        assert!(all.into_iter().all(|kept| *kept.unwrap().bytes == [7]));
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }
}
