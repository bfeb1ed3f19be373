//! What must be done within one of the server's times, on a machine that may be too busy for it now and then.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{Answer, within};

/// The server keeps what belongs to a stream for a second longer after its end.
const SURELY_WITHIN_THE_GRACE: Duration = Duration::from_secs(4);

/// Tries until a try was in time. One that was not says nothing of the server.
pub async fn in_time<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..10 {
        if let Some(done) = attempt().await {
            return done;
        }
    }
    panic!("not in time, ten times: {what}");
}

/// What is done from the end of a stream on; nothing where the grace may have been over before all of it was.
pub async fn within_the_grace<T>(work: impl Future<Output = T>) -> Option<T> {
    let since = Instant::now();
    let done = timeout(SURELY_WITHIN_THE_GRACE, work).await.ok()?;
    (since.elapsed() < SURELY_WITHIN_THE_GRACE).then_some(done)
}

/// Repeats a wrong guess at an account that may have no more of them, until it must wait so long that the next guess
/// finds it waiting: a slow machine takes so long for the guesses before that one or another is allowed again.
pub async fn until_throttled(mut guess: impl AsyncFnMut() -> Answer) -> Answer {
    within("an account to be throttled", async {
        let mut allowed = 0;
        loop {
            let answer = guess().await;
            if answer.status == 401 {
                allowed += 1;
                assert!(allowed <= 5, "the guesses go on");
                continue;
            }
            let answer = answer.refused(429, "too_many_attempts");
            let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            if seconds >= 15 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
}
