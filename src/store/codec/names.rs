//! The names that have a skeleton in common.

use super::numbers::Decoded;

/// Each name with its length (2 bytes) before it.
pub fn encode_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let with_length = |name: &'a str| [&(name.len() as u16).to_be_bytes(), name.as_bytes()].concat();
    names.into_iter().flat_map(with_length).collect()
}

pub fn decode_names(mut value: &[u8]) -> Decoded<Vec<String>> {
    const WRONG: &str = "the names of a skeleton are not what was written";
    let mut names = Vec::new();
    while !value.is_empty() {
        let (length, rest) = value.split_first_chunk::<2>().ok_or(WRONG)?;
        let (name, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(WRONG)?;
        names.push(String::from_utf8(name.to_vec()).map_err(|_| WRONG)?);
        value = rest;
    }
    Ok(names)
}
