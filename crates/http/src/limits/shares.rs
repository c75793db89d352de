//! Limits how many of something a holder has at the same time: requests of a key, streams of an organization, connections
//! of an address.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// How many of something a key, and all keys of an organization together, have at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OfHolders {
    /// A key.
    pub key: usize,
    /// An organization.
    pub organization: usize,
}

/// How many each holder has at present. Clones share their counts.
#[derive(Debug)]
pub struct Shares<K> {
    taken: Arc<Mutex<HashMap<K, usize>>>,
    most: usize,
}

/// One request, stream or connection of a holder. It is given back when this is dropped.
#[derive(Debug)]
pub struct Share<K: Hash + Eq> {
    shares: Shares<K>,
    holder: K,
}

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self { taken: Arc::clone(&self.taken), most: self.most }
    }
}

impl<K: Hash + Eq + Clone> Shares<K> {
    /// Each holder may have `most` at the same time.
    pub fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// Takes one more for this holder; `None` if it has as many as it may.
    pub fn take(&self, holder: &K) -> Option<Share<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(holder) {
            Some(count) if *count >= self.most => return None,
            Some(count) => *count += 1,
            None if self.most == 0 => return None,
            None => drop(taken.insert(holder.clone(), 1)),
        }
        drop(taken);
        Some(Share { shares: self.clone(), holder: holder.clone() })
    }
}

impl<K: Hash + Eq> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.holder) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Shares;

    #[test]
    fn a_holder_has_its_share_and_leaves_the_others_theirs() {
        let shares = Shares::new(2);
        let first = shares.take(&"one").unwrap();
        let second = shares.take(&"one").unwrap();
        assert!(shares.take(&"one").is_none());
        let other = shares.take(&"other").unwrap();
        drop(first);
        assert!(shares.take(&"one").is_some());
        drop((second, other));
        assert!(shares.taken.lock().unwrap().is_empty(), "who has nothing takes no memory");
    }
}
