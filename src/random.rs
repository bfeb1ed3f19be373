//! Unpredictable bytes.

/// Random bytes that cannot be guessed.
///
/// # Panics
/// If the operating system has no randomness.
#[expect(clippy::expect_used, reason = "without randomness nothing that Broker does would be safe")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
