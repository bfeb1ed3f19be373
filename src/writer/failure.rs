//! The end of the writer.

use tokio::sync::oneshot;

use crate::error::Fault;

/// Tells when the writer had to give up.
pub struct Failure(pub(super) Option<oneshot::Receiver<Fault>>);

impl Failure {
    /// Returns after the thread has ended, whether it failed or not, and has dropped its end of the store.
    pub async fn ended(self) {
        if let Some(failure) = self.0 {
            let _ = failure.await;
        }
    }

    /// Resolves with the reason when the writer had to give up; never otherwise.
    pub async fn reason(&mut self) -> Fault {
        let Some(failure) = &mut self.0 else { return std::future::pending().await };
        let reason = failure.await;
        self.0 = None;
        // It ended without a reason: it panicked.
        reason.unwrap_or_else(|_| Fault::Internal("the writer panicked".to_owned()))
    }
}
