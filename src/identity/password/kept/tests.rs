//! Guards that hashes of other programs are read, checked as these programs do, and refused beyond the bounds of their costs.

use super::*;

/// Firebase's own example (github.com/firebase/scrypt), of the password `user1password`.
const FIREBASE: &str = "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,\
    sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==$42xEC+ixf3L2lw==$\
    lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==";

fn is_of(hash: &str, password: &str) -> bool {
    Kept::parse(hash).unwrap_or_else(|why| panic!("{hash}: {why}")).is_of(password.as_bytes())
}

#[test]
fn a_hash_of_each_scheme_is_of_its_password_alone() {
    let of_others = [
        // Of jBCrypt and Openwall.
        ("$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", "a", Scheme::Bcrypt, 64),
        ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U", Scheme::Bcrypt, 32),
        ("$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U", Scheme::Bcrypt, 32),
        // Of Python's hashlib.
        (
            "$pbkdf2-sha256$i=1000,l=32$c2FsdHNhbHRzYWx0c2FsdA$BBs+1+PaslLtBPULUr8/lQicvVuHiEPMz0i8MjLCbzM",
            "correct horse",
            Scheme::Pbkdf2Sha256,
            1000,
        ),
        (
            "$pbkdf2-sha256$1000$c2FsdHNhbHRzYWx0c2FsdA$BBs.1.PaslLtBPULUr8/lQicvVuHiEPMz0i8MjLCbzM",
            "correct horse",
            Scheme::Pbkdf2Sha256,
            1000,
        ),
        (
            "pbkdf2_sha256$1000$seasalt$mQnueSakb748zqBAC1tmWVZsZbi2zPGZarEzTGdfmso=",
            "correct horse",
            Scheme::Pbkdf2Sha256,
            1000,
        ),
        (
            "$pbkdf2-sha512$i=1000$c2FsdHNhbHRzYWx0c2FsdA$EHLBej+uEvxlmr0QnHnceg1vM6h1wbwSP5XErh3SmizNDWZsIi28RPGARe0EssjGRoiACzxgHjNvqwJY1zxKig",
            "correct horse",
            Scheme::Pbkdf2Sha512,
            1000,
        ),
        (
            "$scrypt$ln=10,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA$A9lBa6RTbfBovWqamVIqXKovIl4Vk6OZyVojLJmYmSI",
            "correct horse",
            Scheme::Scrypt,
            8192,
        ),
        (FIREBASE, "user1password", Scheme::Scrypt, 8 << 14),
    ];
    for (hash, password, scheme, work) in of_others {
        assert!(is_of(hash, password), "{hash}");
        assert!(!is_of(hash, "wrong") && !is_of(hash, ""), "{hash}");
        let kept = Kept::parse(hash).unwrap();
        let (of, cost) = kept.cost();
        assert_eq!((of, cost.work), (scheme, work), "{hash}");
        assert!(kept.is_outdated());
    }
}

#[test]
fn of_bcrypt_everything_after_72_bytes_is_ignored() {
    let hash = "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui";
    let long = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    assert!(is_of(hash, long) && is_of(hash, &format!("{long}chars after 72 are ignored")));
    assert!(!is_of(hash, &long[..71]));
}

#[test]
fn a_hash_that_is_malformed_or_costs_too_much_or_nothing_is_refused() {
    let of_bcrypt = |cost: &str| format!("$2b${cost}$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
    let of_scrypt =
        |costs: &str| format!("$scrypt${costs}$c2FsdHNhbHRzYWx0c2FsdA$A9lBa6RTbfBovWqamVIqXKovIl4Vk6OZyVojLJmYmSI");
    let of_pbkdf2 = |costs: &str| format!("$pbkdf2-sha256${costs}$c2FsdA$BBs+1+PaslLtBPULUr8/lQicvVuHiEPMz0i8MjLCbzM");
    let of_argon2 = |costs: &str| format!("$argon2id$v=19${costs}$c29tZXNhbHQ$RdescudvJCsgt3ub+b/dWRWJTmaaJObG");
    for good in [of_bcrypt("13"), of_scrypt("ln=17,r=8,p=2"), of_pbkdf2("i=2000000"), of_argon2("m=131072,t=2,p=4")] {
        assert!(Kept::parse(&good).is_ok(), "{good}");
    }
    let too_much = [
        of_bcrypt("03"),
        of_bcrypt("14"),
        of_bcrypt("31"),
        of_scrypt("ln=9,r=8,p=1"),
        of_scrypt("ln=18,r=8,p=1"),
        of_scrypt("ln=17,r=9,p=1"),
        of_scrypt("ln=10,r=8,p=4294967295"),
        of_scrypt("ln=4294967295,r=8,p=1"),
        of_scrypt("ln=10,r=0,p=1"),
        of_pbkdf2("i=999"),
        of_pbkdf2("2000001"),
        of_argon2("m=131073,t=1,p=1"),
        of_argon2("m=131072,t=3,p=1"),
        of_argon2("m=65536,t=4294967295,p=1"),
        of_argon2("m=64,t=1,p=1"),
        FIREBASE.replace("n=14", "n=20"),
    ];
    for hash in too_much {
        assert_eq!(Kept::parse(&hash).err(), Some(COSTS), "{hash}");
    }
    let malformed = [
        "",
        "$",
        "plain text",
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "$1$abc$def",
        "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$2b$05$CCCC",
        "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyO\u{e9}",
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ",
        "$argon2d$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b/dWRWJTmaaJObG",
        "$scrypt$ln=10,r=8$c2FsdHNhbHRzYWx0c2FsdA$A9lBa6RTbfBovWqamVIqXKovIl4Vk6OZyVojLJmYmSI",
        "$scrypt$ln=10,r=8,p=1$c2FsdA$A9lBaw",
        "$pbkdf2-sha256$i=1000$c2FsdA",
        "$pbkdf2-sha256$i=-1$c2FsdA$BBs+1+PaslLtBPULUr8/lQicvVuHiEPMz0i8MjLCbzM",
        "pbkdf2_sha256$1000$seasalt$mQnueSakb748zqBAC1tmWVZsZbi2zPGZarEzTGdfmso=$more",
    ];
    for hash in malformed.map(str::to_owned).into_iter().chain([
        of_pbkdf2(&"9".repeat(40)),
        format!("$pbkdf2-sha256$i=1000${}$BBs+1+PaslLtBPULUr8/lQicvVuHiEPMz0i8MjLCbzM", "A".repeat(1000)),
        FIREBASE.replace("sk=jxsp", "sk="),
        FIREBASE.replace("v=1", "v=2"),
    ]) {
        assert!(Kept::parse(&hash).is_err(), "{hash}");
    }
}
