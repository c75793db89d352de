//! How much there is of deliveries.

/// Some deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// How many.
    pub deliveries: i64,
    /// Their bytes.
    pub bytes: i64,
}

impl Amount {
    /// Adds a delivery of so many bytes.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.deliveries += 1;
        self.bytes += i64::try_from(bytes).unwrap_or(i64::MAX);
    }

    pub(crate) const fn is_within(self, limit: Self) -> bool {
        self.deliveries <= limit.deliveries && self.bytes <= limit.bytes
    }

    pub(crate) const fn has_a_tenth_of(self, limit: Self) -> bool {
        self.deliveries >= limit.deliveries / 10 || self.bytes >= limit.bytes / 10
    }
}
