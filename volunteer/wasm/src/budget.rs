//! The bound on what a guest may allocate.

use wasmtime::ResourceLimiter;

/// Limits all memories and tables of a store together.
///
/// The engine's own limits hold for each memory and each table by itself, so that a module with
/// ten of them could have ten times as much. A refused growth is not a trap: `memory.grow` returns
/// -1, which C libraries turn into a `malloc` that returns null.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: u64,
    used: u64,
    granted_last: u64,
}

/// A C program has one, a component two or three; each may take address space up to [`MemoryBudget::new`]'s limit or 4 GiB.
const MEMORIES: usize = 8;
/// A C program has one.
const TABLES: usize = 64;
/// The runner makes one of a module. A component is several: itself, and those that stand between it
/// and the host. Each takes some KiB.
const INSTANCES: usize = 64;
/// An entry of a table is a pointer.
const TABLE_ENTRY: u64 = size_of::<usize>() as u64;

impl MemoryBudget {
    /// Allows `limit` bytes altogether.
    pub fn new(limit: u64) -> Self {
        Self { limit, used: 0, granted_last: 0 }
    }

    fn grow(&mut self, more: u64, fits_own_maximum: bool) -> bool {
        let allowed = fits_own_maximum && more <= self.limit - self.used;
        self.granted_last = if allowed { more } else { 0 };
        self.used += self.granted_last;
        allowed
    }

    /// Takes back what was granted last, because it could not be allocated.
    fn refund(&mut self) {
        self.used -= std::mem::take(&mut self.granted_last);
    }
}

impl ResourceLimiter for MemoryBudget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = (desired - current) as u64;
        Ok(self.grow(more, maximum.is_none_or(|maximum| desired <= maximum)))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refund();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = ((desired - current) as u64).saturating_mul(TABLE_ENTRY);
        Ok(self.grow(more, maximum.is_none_or(|maximum| desired <= maximum)))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refund();
        Ok(())
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test")]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut budget = MemoryBudget::new(1000);

        assert!(budget.memory_growing(0, 600, None).unwrap());
        assert!(!budget.memory_growing(0, 401, None).unwrap());
        assert!(budget.table_growing(0, 50, None).unwrap());
        assert!(!budget.table_growing(50, 51, None).unwrap());
    }

    #[test]
    fn only_what_was_allocated_counts() {
        let mut budget = MemoryBudget::new(1000);

        assert!(!budget.memory_growing(0, 1000, Some(999)).unwrap());
        assert!(budget.memory_growing(0, 1000, None).unwrap());
        budget.memory_grow_failed(wasmtime::Error::msg("no memory left")).unwrap();
        budget.memory_grow_failed(wasmtime::Error::msg("reported twice")).unwrap();

        assert!(budget.memory_growing(0, 1000, None).unwrap());
        assert!(!budget.memory_growing(1000, 1001, None).unwrap());
    }
}
