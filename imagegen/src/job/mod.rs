//! How work is done: on how many threads, with or without verification, and who is told of its progress.

mod threads;

use std::num::NonZeroUsize;

use crate::progress::{Progress, Silent};

/// How an operation does its work. The bytes of an image do not depend on it.
///
/// ```
/// use imagegen::job::Job;
///
/// let job = Job::default().threads(std::num::NonZeroUsize::new(2)).verify(false);
/// ```
#[derive(Clone, Copy)]
pub struct Job<'p> {
    threads: Option<NonZeroUsize>,
    pub(crate) verify: bool,
    pub(crate) progress: &'p dyn Progress,
}

impl Default for Job<'_> {
    /// A thread for each processor, with verification; nobody is told of the progress.
    fn default() -> Self {
        Self { threads: None, verify: true, progress: &Silent }
    }
}

impl<'p> Job<'p> {
    /// The number of threads; none stands for one for each processor. There are fewer where there is less to do, and where
    /// a limit on processes or memory lets fewer start.
    #[must_use]
    pub const fn threads(mut self, threads: Option<NonZeroUsize>) -> Self {
        self.threads = threads;
        self
    }

    /// Whether store paths are compared with the sizes and hashes of their registration.
    #[must_use]
    pub const fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Who is told of the progress.
    #[must_use]
    pub const fn progress<'q>(self, progress: &'q dyn Progress) -> Job<'q>
    where
        'p: 'q,
    {
        Job { progress, ..self }
    }
}
