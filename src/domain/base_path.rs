use std::fmt;
use std::sync::Arc;

/// The maximum length, in bytes.
const MAX_BYTES: usize = 200;

/// The path below which browsers see Broker if a proxy gives it only a part of a host: `/`, or segments with a slash
/// before and after each, such as `/api/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasePath(Arc<str>);

impl BasePath {
    /// Parses a base path.
    ///
    /// # Errors
    /// The form that it must have.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Only characters that need no encoding in a URL, have no meaning in a cookie attribute or a route, and are not
        // resolved by a proxy.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let is_segment =
            |segment: &str| !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(is_plain);
        let segments = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        let is_path = text == "/" || segments.is_some_and(|segments| segments.split('/').all(is_segment));
        if is_path && text.len() <= MAX_BYTES {
            Ok(Self(text.into()))
        } else {
            Err(format!(
                "a base path is / or like /api/, with letters, digits, -, ., _ and ~ between slashes, and {MAX_BYTES} bytes at most"
            ))
        }
    }

    /// The path without its final slash; empty for `/`.
    pub fn prefix(&self) -> &str {
        self.0.strip_suffix('/').unwrap_or_default()
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_segments_between_slashes() {
        for (good, prefix) in [("/", ""), ("/api/", "/api"), ("/a/b-1_c~.d/", "/a/b-1_c~.d")] {
            let path = BasePath::parse(good).unwrap();
            assert_eq!((path.to_string().as_str(), path.prefix()), (good, prefix));
        }
        let long = format!("/{}/", "x".repeat(199));
        for bad in [
            "", "//", "api", "/api", "api/", "/a//b/", "/../", "/a/./", "/a b/", "/a;b/", "/é/", "/a?/", "/{a}/",
            "/%20/", &long,
        ] {
            assert!(BasePath::parse(bad).is_err(), "{bad}");
        }
    }
}
