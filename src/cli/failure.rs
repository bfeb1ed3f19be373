//! Why the program ends with a status other than 0.

/// Why the program ends with a status other than 0.
#[derive(Debug)]
pub enum Failure {
    /// The command line is invalid: status 2.
    Misused(String),
    /// What was asked for could not be done: status 1.
    Failed(String),
}
