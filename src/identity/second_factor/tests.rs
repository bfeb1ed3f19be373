//! Guards that a guess which the writer checks is settled when its answer is known, whether its client still waits or not.

use super::*;
use crate::central::GuessAt;
use crate::identity::tests::{House, local};
use crate::writer::Here;

/// A change that finds a guess right, or wrong.
struct Check(bool);

impl Change for Check {
    type Outcome = Guessed<()>;
    type Reach = Here;

    fn decide(self, _: &mut Batch<'_>) -> Result<Guessed<()>, Error> {
        Ok(if self.0 { Guessed::Right(()) } else { Guessed::Wrong })
    }
}

#[tokio::test]
async fn a_wrong_guess_counts_and_a_right_one_does_not_though_nobody_waits_for_the_answer() {
    let house = House::with_password("correct horse").await;
    let Identity(inner) = &house.identity;
    // Has a guess checked, and gives up as soon as it waits for the writer.
    let give_up = async |is_right| {
        let attempt = inner.central.attempt(GuessAt::Account(&house.username), local()).await?;
        let mut guess = Box::pin(house.identity.submit_guess(Check(is_right), attempt.into()));
        let _ = futures_util::poll!(guess.as_mut());
        drop(guess);
        inner.writer.ping().await
    };
    for _ in 0..30 {
        assert_eq!(give_up(true).await, Ok(()));
    }
    for _ in 0..20 {
        assert_eq!(give_up(false).await, Ok(()));
    }
    assert!(matches!(give_up(true).await, Err(Error::TooManyAttempts(_))));
}
