use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizerBorrowed;

/// A search for names or addresses by their beginning. It ignores case, because no two names differ in case only.
#[derive(Clone, Debug)]
pub struct NamePrefix(String);

impl NamePrefix {
    /// A search for names that begin with this text. An empty text matches every name.
    pub fn new(text: &str) -> Self {
        Self(folded(text).into_owned())
    }

    /// Whether a name begins with the text.
    pub fn begins(&self, name: &str) -> bool {
        // Most names are ASCII, and there are many of them, so this path is fast.
        if name.is_ascii() {
            let begins = |beginning: &[u8]| beginning.eq_ignore_ascii_case(self.0.as_bytes());
            return name.as_bytes().get(..self.0.len()).is_some_and(begins);
        }
        folded(name).starts_with(&self.0)
    }
}

/// A text without regard to case, and to the form in which a keyboard writes accents.
fn folded(text: &str) -> Cow<'_, str> {
    match ComposingNormalizerBorrowed::new_nfc().normalize(text) {
        Cow::Borrowed(text) => CaseMapper::new().fold_string(text),
        Cow::Owned(text) => CaseMapper::new().fold_string(&text).into_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_its_beginning_in_any_case() {
        for (prefix, name) in [
            ("", "alice"),
            ("al", "alice"),
            ("AL", "alice"),
            ("alice", "Alice"),
            ("ALICE@EX", "alice@example.com"),
            ("jose\u{301}", "José"),
            ("JOSÉ", "josé maria"),
            ("STRASSE", "straße"),
            ("ünï", "ÜNÏCÖDÉ"),
            ("日", "日本"),
        ] {
            assert!(NamePrefix::new(prefix).begins(name), "{prefix} {name}");
        }
        for (prefix, name) in [("lice", "alice"), ("alice2", "alice"), ("jose", "josé"), ("é", "e"), ("日本", "日")]
        {
            assert!(!NamePrefix::new(prefix).begins(name), "{prefix} {name}");
        }
    }
}
