//! How much work it is to check a password, so that a check takes the same time whoever it is for.
//!
//! Hashes that were imported are of other schemes than ours, and take another time. So every check does as much work of each scheme as
//! the costliest hash of it takes that is in use: it checks the password against the hash of the user, and does the rest for nothing.
//! Otherwise the time of an answer would tell whether there is such a user, and where they came from.

use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwap;
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::pbkdf2;
use serde::{Deserialize, Serialize};

/// A kind of hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Argon2,
    Bcrypt,
    Pbkdf2Sha256,
    Pbkdf2Sha512,
    Scrypt,
}

/// All of them, in the order of [`Scheme::number`].
const ALL: [Scheme; 5] = [Scheme::Argon2, Scheme::Bcrypt, Scheme::Pbkdf2Sha256, Scheme::Pbkdf2Sha512, Scheme::Scrypt];

/// The block size of scrypt that everybody uses.
const SCRYPT_R: u64 = 8;

/// What is hashed where nobody looks at the result.
const NOTHING: [u8; 32] = [0; 32];

impl Scheme {
    fn number(self) -> usize {
        self as usize
    }

    /// Does so much work, with as much memory as a hash takes that costs so much.
    fn burn(self, work: u64, like: Cost) {
        if work == 0 {
            return;
        }
        let mut out = [0; 32];
        match self {
            Self::Argon2 => {
                // At least what Argon2 takes.
                let passes = work.div_ceil(like.memory.max(8));
                let params = Params::new((work / passes).max(8) as u32, passes as u32, 1, None);
                if let Ok(params) = params {
                    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                    // Whatever comes of it.
                    let _ = hasher.hash_password_into(&NOTHING, &NOTHING, &mut out);
                }
            }
            // The rounds of a cost are a power of two.
            Self::Bcrypt => powers(work).filter(|power| *power >= 4).for_each(|cost| {
                let _ = bcrypt::hash_with_salt(NOTHING, cost, [0; 16]);
            }),
            Self::Pbkdf2Sha256 | Self::Pbkdf2Sha512 => {
                if let Some(iterations) = u32::try_from(work).ok().and_then(NonZeroU32::new) {
                    pbkdf2::derive(self.pbkdf2(), iterations, &NOTHING, &NOTHING, &mut out);
                }
            }
            // As often as its memory is passed over, and the rest with less.
            Self::Scrypt => {
                let at_once = (like.memory.max(SCRYPT_R << 1) / SCRYPT_R).ilog2();
                let blocks = work / SCRYPT_R;
                let whole = std::iter::repeat_n(at_once, (blocks >> at_once) as usize);
                let rest = powers(blocks & ((1 << at_once) - 1)).filter(|power| *power > 0);
                whole.chain(rest).for_each(|log_n| {
                    if let Ok(params) = scrypt::Params::new(log_n as u8, SCRYPT_R as u32, 1) {
                        let _ = scrypt::scrypt(&NOTHING, &NOTHING, &params, &mut out);
                    }
                });
            }
        }
    }

    /// The algorithm of PBKDF2.
    pub fn pbkdf2(self) -> pbkdf2::Algorithm {
        if self == Self::Pbkdf2Sha512 { pbkdf2::PBKDF2_HMAC_SHA512 } else { pbkdf2::PBKDF2_HMAC_SHA256 }
    }
}

/// The powers of two that a number is the sum of.
fn powers(number: u64) -> impl Iterator<Item = u32> {
    (0..u64::BITS).filter(move |power| number & 1 << power != 0)
}

/// What a check of a hash costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cost {
    /// How much work it is, in the unit of the scheme: KiB that are passed over (Argon2), rounds (bcrypt), iterations (PBKDF2), blocks of
    /// 128 bytes (scrypt).
    pub work: u64,
    /// How much memory it takes, in the same unit: the same work is faster in less. 0 where it takes next to none.
    pub memory: u64,
}

impl Cost {
    /// That of our own hashes.
    pub fn ours() -> Self {
        Self::of_argon2(&Params::DEFAULT)
    }

    /// That of one of Argon2.
    pub fn of_argon2(params: &Params) -> Self {
        let memory = u64::from(params.m_cost());
        Self { work: memory * u64::from(params.t_cost()), memory }
    }

    /// That of one of scrypt, whose lanes are passed over one after the other.
    pub fn of_scrypt(params: &scrypt::Params) -> Self {
        let memory = params.n() * u64::from(params.r());
        Self { work: memory * u64::from(params.p()), memory }
    }

    /// That of a hash which takes next to no memory.
    pub fn of_work(work: u64) -> Self {
        Self { work, memory: 0 }
    }
}

/// What the costliest hash in use costs, by scheme. As JSON it is a setting of the database, so that it is known before the
/// first check after a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Work([Cost; ALL.len()]);

impl Work {
    /// That of one hash.
    pub fn of(scheme: Scheme, cost: Cost) -> Self {
        let mut all = Self::default();
        all.0[scheme.number()] = cost;
        all
    }

    /// That of both.
    pub fn and(self, other: Self) -> Self {
        let mut most = self;
        most.0.iter_mut().zip(other.0).for_each(|(most, other)| *most = other.max(*most));
        most
    }
}

/// How much work a check does.
#[derive(Default)]
pub struct WorkOfChecks(ArcSwap<Work>);

impl WorkOfChecks {
    /// Has checks do so much, and not less than our own hashes take.
    pub fn set(&self, work: Work) {
        self.0.store(Arc::new(work.and(Work::of(Scheme::Argon2, Cost::ours()))));
    }

    /// Checks a hash, or none, with the work that every check does. `check` checks it, which costs `kept` by its scheme.
    pub fn around(&self, kept: Option<(Scheme, Cost)>, check: impl FnOnce() -> bool) -> bool {
        let matches = kept.is_some() && check();
        let Work(of_all) = **self.0.load();
        for (scheme, most) in ALL.into_iter().zip(of_all) {
            let done = kept.filter(|(its, _)| *its == scheme).map_or(0, |(_, cost)| cost.work);
            scheme.burn(most.work.saturating_sub(done), most);
        }
        matches
    }
}

#[cfg(test)]
mod tests {
    //! Guards that the work which is done for nothing takes as long as the same work of a check.

    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    /// How long something takes of the processor, in nanoseconds. It is more on a busy machine, now and then.
    fn time(what: impl Fn()) -> f64 {
        let now = || {
            let now = clock_gettime(ClockId::ThreadCPUTime);
            now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
        };
        let once = || {
            let begin = now();
            what();
            now() - begin
        };
        (0..5).map(|_| once()).fold(f64::MAX, f64::min)
    }

    #[test]
    fn work_in_parts_takes_as_long_as_the_same_work_at_once() {
        // Enough that it can be measured, and little enough without optimisation.
        let of_all = [
            (Scheme::Argon2, 38_912),
            (Scheme::Bcrypt, 256),
            (Scheme::Pbkdf2Sha256, 20_000),
            (Scheme::Pbkdf2Sha512, 20_000),
            (Scheme::Scrypt, 1 << 17),
        ];
        for (scheme, work) in of_all {
            let like = Cost { work, memory: work };
            let [whole, part, rest] = [work, work / 4, work - work / 4].map(|work| time(|| scheme.burn(work, like)));
            let ratio = (part + rest) / whole;
            // Less memory is faster, a little.
            assert!((0.4..1.7).contains(&ratio), "{scheme:?}: {part} and {rest}, {whole}");
            assert!(part < 0.5 * whole, "{scheme:?}: {part}, {whole}");
        }
    }

    #[test]
    fn a_check_takes_as_long_for_nobody_as_for_a_user_with_a_hash_of_any_scheme() {
        let checks = WorkOfChecks::default();
        let of_check = |kept: Option<(Scheme, Cost)>| {
            time(|| {
                checks.around(kept, || {
                    kept.into_iter().for_each(|(scheme, cost)| scheme.burn(cost.work, cost));
                    true
                });
            })
        };
        let (bcrypt, scrypt) =
            (|work| (Scheme::Bcrypt, Cost::of_work(work)), |work, memory| (Scheme::Scrypt, Cost { work, memory }));
        checks.set(Work::default());
        let before = of_check(None);
        let of = |(scheme, cost)| Work::of(scheme, cost);
        checks.set(of(bcrypt(1 << 9)).and(of(scrypt(1 << 17, 1 << 15))));
        let nobody = of_check(None);
        assert!(nobody > 1.5 * before, "{nobody}, {before}");
        for kept in [
            (Scheme::Argon2, Cost::ours()),
            bcrypt(1 << 9),
            bcrypt(1 << 5),
            scrypt(1 << 17, 1 << 15),
            scrypt(1 << 16, 1 << 16),
        ] {
            let ratio = of_check(Some(kept)) / nobody;
            assert!((0.7..1.4).contains(&ratio), "{kept:?}: {ratio}");
        }
        assert!(!checks.around(None, || true), "nobody's password is right");
    }

    #[test]
    fn work_for_nothing_takes_the_memory_of_the_hash_that_it_is_like_and_no_more() {
        // Of the same work: the lanes of scrypt one after the other, and Argon2 of PHP.
        for (memory, work) in [(1 << 10, 1 << 18), (1 << 17, 1 << 18)] {
            let params = scrypt::Params::new((memory / 8_u64).ilog2() as u8, 8, (work / memory) as u32).unwrap();
            assert_eq!(Cost::of_scrypt(&params), Cost { work, memory });
            let like = time(|| {
                let _ = scrypt::scrypt(&NOTHING, &NOTHING, &params, &mut [0; 32]);
            });
            let ratio = time(|| Scheme::Scrypt.burn(work, Cost { work, memory })) / like;
            assert!((0.7..1.4).contains(&ratio), "{memory}: {ratio}");
        }
        let params = Params::new(65_536, 4, 1, None).unwrap();
        let cost = Cost::of_argon2(&params);
        assert_eq!(cost, Cost { work: 262_144, memory: 65_536 });
        let like = time(|| {
            let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
            let _ = hasher.hash_password_into(&NOTHING, &NOTHING, &mut [0; 32]);
        });
        let ratio = time(|| Scheme::Argon2.burn(cost.work, cost)) / like;
        assert!((0.7..1.4).contains(&ratio), "{ratio}");
    }
}
