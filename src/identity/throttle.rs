//! Rate limits for guesses at passwords, codes and tokens. Only failures count. Each guess is counted before it is
//! checked, so that concurrent guesses cannot slip through together.

mod table;

use std::sync::Arc;
use std::time::Duration;

use table::{Allowance, Held, Table};

use crate::domain::{ClientAddress, Username};
use crate::error::Error;

/// Guesses at one account's password or reset code, from anywhere.
const ACCOUNT: Allowance = Allowance { burst: 20, refill: Duration::from_secs(30) };
/// Guesses at the password of one account by clients that are signed in to it.
const OWNER: Allowance = Allowance { burst: 20, refill: Duration::from_secs(30) };
/// Guesses at the code of one account, by clients that have shown its password or a sign-in.
const CODES: Allowance = Allowance { burst: 20, refill: Duration::from_secs(30) };
/// Guesses from one address, at any accounts. Many people may share one address, so this limit is wide.
const ADDRESS: Allowance = Allowance { burst: 300, refill: Duration::from_millis(200) };
/// Guesses at the admin token and at the key of the channels from one address.
const ADMIN: Allowance = Allowance { burst: 100, refill: Duration::from_secs(1) };
/// Sign-ups from one address, successful ones too. A class of pupils may share one.
const SIGN_UPS: Allowance = Allowance { burst: 60, refill: Duration::from_secs(10) };

/// About 31 MiB if all are in use. 262,144 accounts have their own allowance, and further ones share 524,288. A guess
/// at a new name counts for 30 s, so using them up takes 26,000 such guesses per second.
const SETS_OF_ACCOUNTS: usize = 16_384;
/// About 2 MiB each if all are in use. A guess counts for a second at most, a sign-up for ten.
const SETS_OF_ADDRESSES: usize = 1024;
/// About 2 MiB each if all are in use. Only whoever can sign in to an account guesses at its codes, or at its password as its owner.
const SETS_OF_CODES: usize = 1024;

/// Recent guesses. Accounts and addresses have separate tables, so that guesses at names that do not exist take no room
/// from addresses.
pub struct Throttle {
    accounts: Arc<Table>,
    owners: Arc<Table>,
    codes: Arc<Table>,
    addresses: Arc<Table>,
    admins: Arc<Table>,
    sign_ups: Arc<Table>,
}

/// A counted guess, until its result is known. Only a wrong guess stays counted.
///
/// It moves to the place where the guess is checked, a hashing thread or the writer, and is settled there. So it does
/// not matter whether the client still waits: a correct guess never counts against its user, and a wrong one always
/// counts. If it is dropped unsettled, the guess was not checked, and the client learned nothing.
#[must_use]
pub struct Attempt {
    by_address: Option<Held>,
    at_account: Option<Held>,
}

impl Throttle {
    pub fn new() -> Self {
        Self {
            accounts: Table::new(ACCOUNT, SETS_OF_ACCOUNTS),
            owners: Table::new(OWNER, SETS_OF_CODES),
            codes: Table::new(CODES, SETS_OF_CODES),
            addresses: Table::new(ADDRESS, SETS_OF_ADDRESSES),
            admins: Table::new(ADMIN, SETS_OF_ADDRESSES),
            sign_ups: Table::new(SIGN_UPS, SETS_OF_ADDRESSES),
        }
    }

    /// How often each kind of limit refused a guess since the start.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Self { accounts, owners, codes, addresses, admins, sign_ups } = self;
        let tables = [
            ("account", accounts),
            ("owner", owners),
            ("code", codes),
            ("address", addresses),
            ("admin", admins),
            ("sign_up", sign_ups),
        ];
        tables.into_iter().map(|(kind, table)| (kind, table.refused()))
    }

    /// Counts a guess at an account.
    ///
    /// # Errors
    /// [`Error::TooManyAttempts`] if there were too many for the account or the address, whether or not the account
    /// exists; [`Error::Overloaded`] if too many wait for the results of others.
    pub async fn account(&self, username: &Username, from: ClientAddress) -> Result<Attempt, Error> {
        // The address is counted first, so that an address with too many guesses takes nothing from an account. If the
        // account refuses, the guess was not made, and the address gets it back.
        let by_address = count(&self.addresses, from).await?;
        let at_account = Some(self.accounts.take(username).await?);
        Ok(Attempt { by_address, at_account })
    }

    /// Counts a guess at the password of an account by a client that is signed in to it. Strangers cannot use this allowance up: their
    /// guesses at the password do not keep its owner from changing it.
    ///
    /// # Errors
    /// As [`Throttle::account`].
    pub async fn owner(&self, username: &Username, from: ClientAddress) -> Result<Attempt, Error> {
        let by_address = count(&self.addresses, from).await?;
        let at_account = Some(self.owners.take(username).await?);
        Ok(Attempt { by_address, at_account })
    }

    /// Counts a guess that is at no account, such as a refresh token of no session.
    ///
    /// # Errors
    /// As [`Throttle::account`].
    pub async fn address(&self, from: ClientAddress) -> Result<Attempt, Error> {
        Ok(Attempt { by_address: count(&self.addresses, from).await?, at_account: None })
    }

    /// Counts a guess as one at the code of an account, by a client that has shown its password or a sign-in. The guess at the password was
    /// right, and is given back. Strangers cannot use this allowance up: their guesses at the password do not count here.
    ///
    /// # Errors
    /// As [`Throttle::account`].
    pub async fn code(&self, username: &Username, attempt: Attempt) -> Result<Attempt, Error> {
        let Attempt { by_address, at_account } = attempt;
        // Before it waits: others wait for that.
        drop(at_account);
        let at_account = Some(self.codes.take(username).await?);
        Ok(Attempt { by_address, at_account })
    }

    /// Counts a guess at the admin token or at the key of the channels.
    ///
    /// # Errors
    /// As [`Throttle::account`].
    pub async fn admin(&self, from: ClientAddress) -> Result<Attempt, Error> {
        Ok(Attempt { by_address: count(&self.admins, from).await?, at_account: None })
    }

    /// Counts a sign-up, whatever comes of it.
    ///
    /// # Errors
    /// [`Error::TooManyAttempts`] if there were too many from the address.
    pub async fn sign_up(&self, from: ClientAddress) -> Result<(), Error> {
        if let Some(held) = count(&self.sign_ups, from).await? {
            held.was_wrong();
        }
        Ok(())
    }
}

/// Counts a guess by its address, if the address identifies a client.
async fn count(addresses: &Arc<Table>, from: ClientAddress) -> Result<Option<Held>, Error> {
    match from.counts_as() {
        None => Ok(None),
        Some(network) => addresses.take(network).await.map(Some),
    }
}

impl Attempt {
    /// The guess was wrong, and stays counted.
    pub fn was_wrong(self) {
        self.by_address.into_iter().chain(self.at_account).for_each(Held::was_wrong);
    }

    /// Counts the guess if it was wrong, but not if it was correct or failed for another reason. It also counts if the
    /// user cannot be read, because the answer reveals that. After a correct guess, the attempt is returned for further
    /// checks.
    ///
    /// # Errors
    /// The error of the outcome.
    pub fn settle<T>(self, outcome: Result<T, Error>) -> Result<(T, Self), Error> {
        match outcome {
            Ok(value) => Ok((value, self)),
            Err(error) => {
                if matches!(
                    error,
                    Error::Unauthorized
                        | Error::AdminTokenIncorrect
                        | Error::AuthKeyIncorrect
                        | Error::SessionEnded
                        | Error::Damaged(_)
                ) {
                    self.was_wrong();
                }
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::table::SET_BYTES;
    use super::*;

    /// Not an address that is counted.
    const LOCAL: [u8; 4] = [127, 0, 0, 1];

    fn at(ip: impl Into<IpAddr>) -> ClientAddress {
        ClientAddress::of(ip.into())
    }

    fn user(name: &str) -> Username {
        Username::parse(name).unwrap()
    }

    /// Makes wrong guesses one after another. Returns how many were refused.
    async fn refused(throttle: &Throttle, guesses: u16, who: impl Fn(u16) -> (Username, ClientAddress)) -> u16 {
        let mut refused = 0;
        for guess in 0..guesses {
            let (username, from) = who(guess);
            match throttle.account(&username, from).await {
                Ok(attempt) => attempt.was_wrong(),
                Err(_) => refused += 1,
            }
        }
        refused
    }

    #[tokio::test]
    async fn failures_are_counted_and_successes_are_not() {
        let throttle = Throttle::new();
        for _ in 0..1000 {
            let attempt = throttle.account(&user("good"), at(LOCAL)).await.unwrap();
            assert!(attempt.settle(Ok(())).is_ok());
            let attempt = throttle.account(&user("good"), at(LOCAL)).await.unwrap();
            assert!(attempt.settle::<()>(Err(Error::Overloaded)).is_err());
        }
        assert_eq!(refused(&throttle, 100, |_| (user("bad"), at(LOCAL))).await, 80);
        assert!(throttle.account(&user("good"), at(LOCAL)).await.is_ok());
    }

    #[tokio::test]
    async fn a_guess_counts_before_it_is_known_to_be_wrong() {
        let throttle = Arc::new(Throttle::new());
        let mut under_way = Vec::new();
        for _ in 0..20 {
            under_way.push(throttle.account(&user("x"), at(LOCAL)).await.unwrap());
        }
        let next = tokio::spawn({
            let throttle = Arc::clone(&throttle);
            async move { throttle.account(&user("x"), at(LOCAL)).await.map(Attempt::was_wrong) }
        });
        // All but one were wrong. The waiting guess takes the room of the correct one, and no other has room.
        drop(under_way.pop().unwrap().settle(Ok(())));
        under_way.into_iter().for_each(Attempt::was_wrong);
        assert_eq!(next.await.unwrap(), Ok(()));
        assert!(throttle.account(&user("x"), at(LOCAL)).await.is_err());
    }

    #[tokio::test]
    async fn a_guess_that_is_given_up_before_it_is_checked_does_not_count() {
        let throttle = Throttle::new();
        let from = at([192, 0, 2, 1]);
        for _ in 0..1000 {
            drop(throttle.account(&user("x"), from).await.unwrap());
        }
        assert_eq!(refused(&throttle, 100, |_| (user("x"), from)).await, 80);
    }

    #[tokio::test]
    async fn a_guess_that_its_address_may_not_make_does_not_count_for_the_account() {
        let throttle = Throttle::new();
        let from = at([192, 0, 2, 1]);
        assert!(refused(&throttle, 400, |n| (user(&format!("user{n}")), from)).await > 80);
        for _ in 0..30 {
            assert!(throttle.account(&user("x"), from).await.is_err());
        }
        assert!(throttle.account(&user("x"), at(LOCAL)).await.is_ok());
    }

    #[tokio::test]
    async fn strangers_use_up_no_guess_at_the_code_nor_does_a_wrong_code_one_at_the_password() {
        let throttle = Throttle::new();
        assert_eq!(refused(&throttle, 100, |_| (user("zoe"), at(LOCAL))).await, 80);
        let code = async || {
            let attempt = throttle.address(at(LOCAL)).await?;
            throttle.code(&user("zoe"), attempt).await
        };
        for _ in 0..20 {
            code().await.unwrap().was_wrong();
        }
        assert!(matches!(code().await.err(), Some(Error::TooManyAttempts(1..=30))));

        let throttle = Throttle::new();
        for _ in 0..20 {
            let attempt = throttle.account(&user("max"), at(LOCAL)).await.unwrap();
            throttle.code(&user("max"), attempt).await.unwrap().was_wrong();
        }
        assert_eq!(refused(&throttle, 20, |_| (user("max"), at(LOCAL))).await, 0);
    }

    #[tokio::test]
    async fn strangers_do_not_keep_the_owner_from_acts_that_take_the_password() {
        let throttle = Throttle::new();
        assert_eq!(refused(&throttle, 100, |_| (user("zoe"), at(LOCAL))).await, 80);
        for _ in 0..20 {
            throttle.owner(&user("zoe"), at(LOCAL)).await.unwrap().was_wrong();
        }
        assert!(matches!(throttle.owner(&user("zoe"), at(LOCAL)).await.err(), Some(Error::TooManyAttempts(1..=30))));
    }

    #[tokio::test]
    async fn one_address_cannot_try_every_account_and_one_ipv6_network_is_one_address() {
        let throttle = Throttle::new();
        let refused = refused(&throttle, 400, |n| (user(&format!("user{n}")), at([0x2001, 0xdb8, 0, 0, 0, 0, 0, n])));
        let refused = refused.await;
        assert!(refused > 80, "{refused}");
    }

    #[tokio::test]
    async fn behind_a_proxy_on_this_machine_one_guessing_client_does_not_lock_out_others() {
        let throttle = Throttle::new();
        let from = at(LOCAL);
        assert_eq!(refused(&throttle, 2000, |n| (user(&format!("user{n}")), from)).await, 0);
        for _ in 0..2000 {
            throttle.admin(from).await.unwrap().was_wrong();
        }
    }

    #[tokio::test]
    async fn guesses_at_the_admin_token_are_counted_by_address() {
        let throttle = Throttle::new();
        let mut refused = 0;
        for _ in 0..200 {
            match throttle.admin(at([192, 0, 2, 1])).await {
                Ok(attempt) => assert!(attempt.settle::<()>(Err(Error::AdminTokenIncorrect)).is_err()),
                Err(_) => refused += 1,
            }
        }
        assert!((95..=100).contains(&refused), "{refused}");
        assert!(throttle.admin(at([192, 0, 2, 2])).await.is_ok());
    }

    #[tokio::test]
    async fn the_refusal_tells_how_long_to_wait() {
        let throttle = Throttle::new();
        refused(&throttle, 20, |_| (user("x"), at(LOCAL))).await;
        let refused = throttle.account(&user("x"), at(LOCAL)).await.err();
        assert!(matches!(refused, Some(Error::TooManyAttempts(1..=30))), "{refused:?}");
    }

    #[tokio::test]
    async fn made_up_names_give_nobody_fresh_guesses_at_an_account() {
        let throttle = Throttle::new();
        refused(&throttle, 20, |_| (user("zoe"), at(LOCAL))).await;
        for name in 0..110_000 {
            throttle.account(&user(&format!("user{name}")), at(LOCAL)).await.unwrap().was_wrong();
        }
        assert_eq!(refused(&throttle, 20, |_| (user("zoe"), at(LOCAL))).await, 20);
        // Users that are not attacked sign in as always.
        for name in 0..1000 {
            assert!(throttle.account(&user(&format!("honest{name}")), at(LOCAL)).await.is_ok());
        }
    }

    #[tokio::test]
    async fn an_address_that_has_had_too_many_takes_no_room_of_accounts_nor_of_the_admin_token() {
        let throttle = Throttle::new();
        let from = at([192, 0, 2, 1]);
        assert!(refused(&throttle, 1000, |n| (user(&format!("user{n}")), from)).await > 600);
        assert!(throttle.admin(from).await.is_ok());
        assert!(throttle.account(&user("zoe"), at([192, 0, 2, 2])).await.is_ok());
    }

    #[test]
    fn the_pages_say_how_much_memory_the_counts_take() {
        let mebibytes = ((SETS_OF_ACCOUNTS + 2 * SETS_OF_CODES + 3 * SETS_OF_ADDRESSES) * SET_BYTES).div_ceil(1 << 20);
        let [operations, accounts] = [include_str!("../../docs/operations.md"), include_str!("../../docs/accounts.md")];
        assert!(operations.contains(&format!("| counts of wrong guesses | {mebibytes} MiB |")), "{mebibytes}");
        assert!(accounts.contains(&format!("Counts are in memory ({mebibytes} MiB at most)")), "{mebibytes}");
    }
}
