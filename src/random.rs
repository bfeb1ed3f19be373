//! Unpredictable bytes.

/// Bytes that nobody can guess.
///
/// # Panics
/// Where the operating system has no randomness to give: nothing that Broker does would be safe then.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
