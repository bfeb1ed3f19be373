//! The forms of hashes that are kept: our own, and those of programs that users were imported from.

use std::num::NonZeroU32;

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordVerifier, Version};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::scheme::{Cost, Scheme};

/// Base64 with or without padding: PHC strings have none.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The bounds of what a hash may cost: no more than about a second of a core and 128 MiB, and not so little that it is none.
const BCRYPT_COST: std::ops::RangeInclusive<u32> = 4..=13;
const PBKDF2_ITERATIONS: std::ops::RangeInclusive<u32> = 1_000..=2_000_000;
const ARGON2_KIB: std::ops::RangeInclusive<u32> = 64..=128 << 10;
const ARGON2_WORK: std::ops::RangeInclusive<u64> = 1_024..=256 << 10;
const SCRYPT_LOG_N: std::ops::RangeInclusive<u8> = 10..=17;
/// In blocks of 128 bytes: N times r.
const SCRYPT_BLOCKS: u64 = 1 << 20;
/// With the parallelism, which is done one after the other.
const SCRYPT_WORK: u64 = 1 << 21;
/// How long salts and hashes may be.
const MAX_BYTES: usize = 64;
/// The shortest hash that is one.
const MIN_HASH_BYTES: usize = 16;

/// A hash that was read.
pub enum Kept<'a> {
    Argon2(Box<phc::PasswordHash>),
    Bcrypt {
        hash: &'a str,
        cost: u32,
    },
    Pbkdf2 {
        scheme: Scheme,
        iterations: NonZeroU32,
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    Scrypt {
        params: scrypt::Params,
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    /// Of Firebase: the project's key, encrypted with what scrypt makes of the password.
    Firebase {
        params: scrypt::Params,
        salt: Vec<u8>,
        signer_key: Vec<u8>,
        hash: Vec<u8>,
    },
}

const MALFORMED: &str = "it is malformed";
const COSTS: &str = "its costs are out of bounds";

impl<'a> Kept<'a> {
    /// Reads a hash: `$argon2id$…` and `$argon2i$…`, `$2a$…`, `$2b$…` and `$2y$…`, `$pbkdf2-sha256$…` and `$pbkdf2-sha512$…` as PHC
    /// strings and in passlib's form, `pbkdf2_sha256$…` of Django, `$scrypt$…`, and `$fbscrypt$…` of Firebase.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn parse(text: &'a str) -> Result<Self, &'static str> {
        if let Some(django) = text.strip_prefix("pbkdf2_sha256$") {
            return of_django(django).ok_or(MALFORMED)?;
        }
        let mut fields = text.strip_prefix('$').ok_or("its form is unknown")?.split('$');
        match fields.next().unwrap_or_default() {
            "argon2id" | "argon2i" => of_argon2(text),
            "2a" | "2b" | "2y" => of_bcrypt(text),
            "pbkdf2-sha256" => of_pbkdf2(Scheme::Pbkdf2Sha256, fields).ok_or(MALFORMED)?,
            "pbkdf2-sha512" => of_pbkdf2(Scheme::Pbkdf2Sha512, fields).ok_or(MALFORMED)?,
            "scrypt" => of_scrypt(fields).ok_or(MALFORMED)?,
            "fbscrypt" => of_firebase(fields).ok_or(MALFORMED)?,
            _ => Err("its form is unknown"),
        }
    }

    /// What a check of it costs.
    pub fn cost(&self) -> (Scheme, Cost) {
        match self {
            Self::Argon2(hash) => {
                let cost =
                    Params::try_from(&**hash).map_or_else(|_| Cost::default(), |params| Cost::of_argon2(&params));
                (Scheme::Argon2, cost)
            }
            Self::Bcrypt { cost, .. } => (Scheme::Bcrypt, Cost::of_work(1 << cost)),
            Self::Pbkdf2 { scheme, iterations, hash, .. } => {
                let block = if *scheme == Scheme::Pbkdf2Sha512 { 64 } else { 32 };
                (*scheme, Cost::of_work(u64::from(iterations.get()) * hash.len().div_ceil(block) as u64))
            }
            Self::Scrypt { params, .. } | Self::Firebase { params, .. } => (Scheme::Scrypt, Cost::of_scrypt(params)),
        }
    }

    /// Whether it is the hash of a password.
    pub fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => ours().verify_password(password, &**hash).is_ok(),
            // Everybody's bcrypt looks at 72 bytes.
            Self::Bcrypt { hash, .. } => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Pbkdf2 { scheme, iterations, salt, hash } => {
                pbkdf2::verify(scheme.pbkdf2(), *iterations, salt, password, hash).is_ok()
            }
            Self::Scrypt { params, salt, hash } => {
                let mut derived = vec![0; hash.len()];
                let is_derived = scrypt::scrypt(password, salt, params, &mut derived).is_ok();
                is_derived && verify_slices_are_equal(&derived, hash).is_ok()
            }
            Self::Firebase { params, salt, signer_key, hash } => firebase(password, params, salt, signer_key)
                .is_some_and(|derived| verify_slices_are_equal(&derived, hash).is_ok()),
        }
    }

    /// Whether it should be replaced by one of ours, once the password is known.
    pub fn is_outdated(&self) -> bool {
        let Self::Argon2(hash) = self else { return true };
        let today = Params::DEFAULT;
        hash.algorithm.as_str() != Algorithm::Argon2id.as_str()
            || hash.version != Some(Version::V0x13.into())
            || Params::try_from(&**hash)
                .is_ok_and(|kept| kept.m_cost() < today.m_cost() || kept.t_cost() < today.t_cost())
    }
}

/// The first choice of OWASP: 19 MiB, two passes, one lane.
pub fn ours() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

fn of_argon2(text: &str) -> Result<Kept<'_>, &'static str> {
    let hash = phc::PasswordHash::new(text).map_err(|_| MALFORMED)?;
    let params = Params::try_from(&hash).map_err(|_| MALFORMED)?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err(MALFORMED);
    }
    let fits = ARGON2_KIB.contains(&params.m_cost()) && ARGON2_WORK.contains(&Cost::of_argon2(&params).work);
    if fits { Ok(Kept::Argon2(Box::new(hash))) } else { Err(COSTS) }
}

fn of_bcrypt(text: &str) -> Result<Kept<'_>, &'static str> {
    let parts = text.parse::<bcrypt::HashParts>().map_err(|_| MALFORMED)?;
    let cost = parts.get_cost();
    if BCRYPT_COST.contains(&cost) { Ok(Kept::Bcrypt { hash: text, cost }) } else { Err(COSTS) }
}

/// `None` if the string is malformed.
type Read<'a> = Option<Result<Kept<'a>, &'static str>>;

/// `<iterations>$<salt>$<hash>`: the salt is text, and the hash has padding.
fn of_django(text: &str) -> Read<'_> {
    let mut fields = text.split('$');
    let (iterations, salt, hash) = (fields.next()?, fields.next()?, fields.next()?);
    let salt = salt.as_bytes().to_vec();
    pbkdf2_of(Scheme::Pbkdf2Sha256, iterations, salt, decode(hash)?).filter(|_| fields.next().is_none())
}

/// `i=<iterations>[,l=<length>]$<salt>$<hash>` or, of passlib, with the iterations alone and `.` for `+`.
fn of_pbkdf2<'a>(scheme: Scheme, mut fields: std::str::Split<'a, char>) -> Read<'a> {
    let (costs, salt, hash) = (fields.next()?, fields.next()?, fields.next()?);
    let iterations = costs.split(',').find_map(|cost| cost.strip_prefix("i=")).unwrap_or(costs);
    let decode = |text: &str| decode(&text.replace('.', "+"));
    pbkdf2_of(scheme, iterations, decode(salt)?, decode(hash)?).filter(|_| fields.next().is_none())
}

fn pbkdf2_of(scheme: Scheme, iterations: &str, salt: Vec<u8>, hash: Vec<u8>) -> Read<'static> {
    let iterations: u32 = iterations.parse().ok()?;
    if !is_hash(&hash) || salt.len() > MAX_BYTES {
        return None;
    }
    if !PBKDF2_ITERATIONS.contains(&iterations) {
        return Some(Err(COSTS));
    }
    Some(Ok(Kept::Pbkdf2 { scheme, iterations: NonZeroU32::new(iterations)?, salt, hash }))
}

/// `ln=<log2 of N>,r=<r>,p=<p>$<salt>$<hash>`.
fn of_scrypt(mut fields: std::str::Split<'_, char>) -> Read<'_> {
    let (costs, salt, hash) = (fields.next()?, decode(fields.next()?)?, decode(fields.next()?)?);
    if fields.next().is_some() || !is_hash(&hash) || salt.len() > MAX_BYTES {
        return None;
    }
    let [log_n, r, p] = ["ln=", "r=", "p="].map(|name| cost(costs, name));
    Some(scrypt_params(log_n?, r?, p?).map(|params| Kept::Scrypt { params, salt, hash }))
}

/// `v=1,n=<mem_cost>,r=<rounds>,p=1,ss=<salt separator>,sk=<signer key>$<salt>$<hash>`, as Supabase writes it.
fn of_firebase(mut fields: std::str::Split<'_, char>) -> Read<'_> {
    let (costs, mut salt, hash) = (fields.next()?, decode(fields.next()?)?, decode(fields.next()?)?);
    let part = |name| costs.split(',').find_map(|part| part.strip_prefix(name));
    let (separator, signer_key) = (decode(part("ss=")?)?, decode(part("sk=")?)?);
    let is_sound = part("v=") == Some("1") && hash.len() == signer_key.len() && is_hash(&hash);
    salt.extend(separator);
    if fields.next().is_some() || !is_sound || salt.len() > MAX_BYTES {
        return None;
    }
    let [log_n, r, p] = ["n=", "r=", "p="].map(|name| cost(costs, name));
    Some(scrypt_params(log_n?, r?, p?).map(|params| Kept::Firebase { params, salt, signer_key, hash }))
}

fn cost(costs: &str, name: &str) -> Option<u32> {
    costs.split(',').find_map(|cost| cost.strip_prefix(name))?.parse().ok()
}

fn scrypt_params(log_n: u32, r: u32, p: u32) -> Result<scrypt::Params, &'static str> {
    let log_n = u8::try_from(log_n).ok().filter(|log_n| SCRYPT_LOG_N.contains(log_n)).ok_or(COSTS)?;
    let blocks = (1 << log_n) * u64::from(r);
    if blocks > SCRYPT_BLOCKS || blocks * u64::from(p) > SCRYPT_WORK {
        return Err(COSTS);
    }
    scrypt::Params::new(log_n, r, p).map_err(|_| COSTS)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

fn is_hash(hash: &[u8]) -> bool {
    (MIN_HASH_BYTES..=MAX_BYTES).contains(&hash.len())
}

/// Firebase's hash (github.com/firebase/scrypt): scrypt makes a key of AES-256 of the password, which encrypts the signer key in
/// counter mode from zero.
fn firebase(password: &[u8], params: &scrypt::Params, salt: &[u8], signer_key: &[u8]) -> Option<Vec<u8>> {
    let mut key = zeroize::Zeroizing::new([0; 32]);
    scrypt::scrypt(password, salt, params, &mut *key).ok()?;
    let key = EncryptingKey::ctr(UnboundCipherKey::new(&AES_256, &*key).ok()?).ok()?;
    let mut hash = signer_key.to_vec();
    key.less_safe_encrypt(&mut hash, EncryptionContext::Iv128(FixedLength::from([0; 16]))).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests;
