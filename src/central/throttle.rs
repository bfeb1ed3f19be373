//! Rate limits for guesses at passwords, codes and tokens. Only failures count. Each guess is counted before it is
//! checked, so that concurrent guesses cannot slip through together.

mod table;

use std::hash::Hash;
use std::time::Duration;

use table::{Allowance, Place, Table};

use crate::domain::ClientAddress;
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

/// A kind of limit. Accounts and addresses have separate tables, so that guesses at names that do not exist take no room from addresses.
#[derive(Clone, Copy)]
pub enum Limit {
    /// Of an account, for guesses from anywhere.
    Account,
    /// Of an account, for its owner.
    Owner,
    /// Of an account, for its code.
    Code,
    /// Of an address, for guesses at accounts.
    Address,
    /// Of an address, for guesses at the admin token.
    Admin,
    /// Of an address, for sign-ups.
    SignUp,
}

/// Recent guesses.
pub struct Throttle([(&'static str, Table); 6]);

/// Where a guess is counted, which is all that there is to say to settle it.
#[derive(Clone, Copy)]
pub struct Counted {
    limit: Limit,
    place: Place,
}

impl Throttle {
    /// All allowances are whole.
    pub fn new() -> Self {
        // In the order of the limits.
        Self([
            ("account", Table::new(ACCOUNT, SETS_OF_ACCOUNTS)),
            ("owner", Table::new(OWNER, SETS_OF_CODES)),
            ("code", Table::new(CODES, SETS_OF_CODES)),
            ("address", Table::new(ADDRESS, SETS_OF_ADDRESSES)),
            ("admin", Table::new(ADMIN, SETS_OF_ADDRESSES)),
            ("sign_up", Table::new(SIGN_UPS, SETS_OF_ADDRESSES)),
        ])
    }

    fn table(&self, limit: Limit) -> &Table {
        &self.0[limit as usize].1
    }

    /// Counts a guess at a key, as soon as there is room for it. It is counted until it is settled.
    ///
    /// # Errors
    /// Those of [`Table::take`].
    pub async fn take(&self, limit: Limit, key: impl Hash) -> Result<Counted, Error> {
        self.table(limit).take(key).await.map(|place| Counted { limit, place })
    }

    /// The same by an address, if it identifies a client.
    ///
    /// # Errors
    /// Those of [`Table::take`].
    pub async fn take_of(&self, limit: Limit, from: ClientAddress) -> Result<Option<Counted>, Error> {
        match from.counts_as() {
            None => Ok(None),
            Some(network) => self.take(limit, network).await.map(Some),
        }
    }

    /// A guess has its result. It stays counted if it was wrong.
    pub fn settle(&self, Counted { limit, place }: Counted, was_wrong: bool) {
        self.table(limit).settle(place, was_wrong);
    }

    /// How often each kind of limit refused a guess since the start.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(kind, table)| (*kind, table.refused()))
    }
}

#[cfg(test)]
mod tests {
    use super::table::SET_BYTES;
    use super::*;

    #[test]
    fn the_pages_say_how_much_memory_the_counts_take() {
        let mebibytes = ((SETS_OF_ACCOUNTS + 2 * SETS_OF_CODES + 3 * SETS_OF_ADDRESSES) * SET_BYTES).div_ceil(1 << 20);
        let [operations, accounts] = [include_str!("../../docs/operations.md"), include_str!("../../docs/accounts.md")];
        assert!(operations.contains(&format!("| counts of wrong guesses | {mebibytes} MiB |")), "{mebibytes}");
        assert!(accounts.contains(&format!("Counts are in memory ({mebibytes} MiB at most)")), "{mebibytes}");
    }
}
