/// A client does not keep to the protocol. Its session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;
