//! How the library tells its caller what it is doing; what is shown, and when, is the caller's business.

/// Takes note of the work's progress. Called from several threads at once.
pub trait Progress: Sync {
    /// A phase such as `scan` or `write` begins; `total` is its work in bytes, or zero where it is not known.
    fn begin(&self, phase: &'static str, total: u64);
    /// `amount` more bytes of the current phase are done.
    fn advance(&self, amount: u64);
    /// The current phase is over.
    fn end(&self);
}

/// For callers that do not want to know.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _phase: &'static str, _total: u64) {}
    fn advance(&self, _amount: u64) {}
    fn end(&self) {}
}
