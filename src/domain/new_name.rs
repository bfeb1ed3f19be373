use std::collections::BTreeSet;

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, SoftDotted};
use icu_properties::{CodePointMapData, CodePointSetData};

use super::{TenantName, Username};
use crate::error::Error;

/// Raised whenever [`Skeleton`]s change, because of other rules or newer Unicode tables, or the rows that hold them. Then
/// the stored ones are computed again.
pub const SKELETON_VERSION: u8 = 3;

/// A username that a new user may have. Users of earlier versions may have other names.
///
/// The rules are those of [`Username`] and [`NewTenantName`]. It has no `/`, which separates the owner of an inbox, and
/// segments of a name in a scope with `{username}`, from the rest.
#[derive(Clone, Debug)]
pub struct NewUsername(Username);

/// A name that a new tenant may have. Tenants of earlier versions may have other names.
///
/// The rules are those of [`TenantName`]. It is in NFC, and has no invisible parts: no default-ignorable characters
/// (such as zero-width characters and bidirectional controls), no format, private or unassigned characters, no line
/// separators, no dot above a letter that has one already, no blanks at either end, and no two blanks in a row.
#[derive(Clone, Debug)]
pub struct NewTenantName(TenantName);

impl NewUsername {
    /// Parses a username for a new user.
    ///
    /// # Errors
    /// [`Error::UsernameInvalid`] if it breaks the rules above.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let username = Username::parse(text)?;
        if is_plainly_seen(text) && username.is_one_segment() {
            Ok(Self(username))
        } else {
            Err(Error::UsernameInvalid)
        }
    }

    /// The username.
    pub fn get(&self) -> &Username {
        &self.0
    }
}

impl NewTenantName {
    /// Parses a name for a new tenant.
    ///
    /// # Errors
    /// [`Error::TenantNameInvalid`] if it breaks the rules above.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if is_plainly_seen(text) { TenantName::parse(text).map(Self) } else { Err(Error::TenantNameInvalid) }
    }

    /// The tenant name.
    pub fn get(&self) -> &TenantName {
        &self.0
    }
}

/// Whether every part of the text is visible.
fn is_plainly_seen(text: &str) -> bool {
    // A braille cell without dots, a note without a head and two hieroglyphs look like blanks, although Unicode does
    // not count them as blanks.
    let is_blank = |c: char| c.is_whitespace() || matches!(c, '\u{2800}' | '\u{1d159}' | '\u{13441}' | '\u{13442}');
    let mut before = ' ';
    text.chars().all(|c| {
        let before = std::mem::replace(&mut before, c);
        // The first character counts as one after a blank.
        !(is_unseen(c) || is_blank(c) && is_blank(before) || c == DOT_ABOVE && is_soft_dotted(before))
    }) && !text.ends_with(is_blank)
        && ComposingNormalizerBorrowed::new_nfc().is_normalized(text)
}

/// Above an `i` or a `j`, it replaces their own dot.
const DOT_ABOVE: char = '\u{307}';

fn is_soft_dotted(c: char) -> bool {
    CodePointSetData::new::<SoftDotted>().contains(c)
}

/// A text as it looks. For example, case folding gives the `i` of a Turkish capital a second dot.
fn without_second_dots(text: &str) -> String {
    let mut before = ' ';
    let is_seen = |c: &char| {
        let before = std::mem::replace(&mut before, *c);
        *c != DOT_ABOVE || !is_soft_dotted(before)
    };
    text.chars().filter(is_seen).collect()
}

pub(super) fn is_unseen(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || matches!(
            CodePointMapData::<GeneralCategory>::new().get(c),
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::PrivateUse
                | GeneralCategory::Unassigned
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
        )
}

/// A name without the differences that a reader may overlook. Two names with a common skeleton may be mistaken for each
/// other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skeleton(String);

impl Skeleton {
    /// The skeletons of a name, one to four: of the name as written (UTS 39, section 4), of its case-folded form, and
    /// of the case-folded form of its look, in which a capital I looks like an l or is an i. So `Ian` may be mistaken
    /// for `ian` and for `lan`, but those two not for each other.
    pub fn all_of(name: &str) -> BTreeSet<Self> {
        let skeleton = |text: &str| unicode_security::skeleton(text).collect::<String>();
        let fold = |text: &str| CaseMapper::new().fold_string(text).into_owned();
        let folded = |text: &str| skeleton(&without_second_dots(&fold(text)));
        let as_written = skeleton(name);
        // A Cyrillic М beside a Latin I: the former is an m only if it is read as an M, and then the latter would be an
        // l.
        let capitals = name.split('I').map(skeleton).collect::<Vec<_>>().join("i");
        [folded(name), folded(&as_written), folded(&capitals), as_written].map(Self).into()
    }

    /// The skeleton as text. It is nobody's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_alike(one: &str, other: &str) -> bool {
        !Skeleton::all_of(one).is_disjoint(&Skeleton::all_of(other))
    }

    #[test]
    fn no_new_name_contains_invisible_characters() {
        for bad in [
            "bo\u{200b}b",
            "bob\u{200d}",
            "\u{feff}bob",
            "b\u{ad}ob",
            "bob\u{202e}",
            "\u{2066}bob",
            "bob\u{200e}",
            "bob\u{e0041}",
            "bob\u{fe0f}",
            "\u{3164}",
            " bob",
            "bob\u{a0}",
            "\u{3000}bob",
            " ",
            "\u{2800}",
            "a\u{2028}b",
            "a\u{2029}b",
            "jose\u{301}",
            "\u{212b}",
            "ali\u{307}ce",
            "Jane  Doe",
            "alice\u{fff9}",
            "alice\u{1d159}",
            "alice\u{13441}",
            "alice\u{fffe}",
            "alice\u{378}",
            "alice\u{e000}",
        ] {
            assert!(NewUsername::parse(bad).is_err() && NewTenantName::parse(bad).is_err(), "{bad:?}");
            assert!(Username::parse(bad).is_ok(), "users of earlier versions keep their names: {bad:?}");
        }
        for good in ["bob", "Bob Smith", "josé", "日本", "Ünïcödé", "o'neil", "علی", "*", "a@b.example", "👍"]
        {
            assert!(NewUsername::parse(good).is_ok() && NewTenantName::parse(good).is_ok(), "{good:?}");
        }
        assert!(NewUsername::parse("alice/theme").is_err() && NewTenantName::parse("acme/emea").is_ok());
        assert!(NewUsername::parse("a:b").is_err() && NewUsername::parse("").is_err());
    }

    #[test]
    fn names_that_may_be_taken_for_each_other_have_a_skeleton_in_common() {
        for (one, other) in [
            ("alice", "ａlice"),
            ("alice", "Alice"),
            ("alice", "ALICE"),
            ("alice", "аlice"),
            ("alice", "ΑLICE"),
            ("alice", "aIice"),
            ("bob", "bo\u{200b}b"),
            ("bob", "𝐁ob"),
            ("josé", "jose\u{301}"),
            ("straße", "STRASSE"),
            ("Ian", "ian"),
            ("Ian", "lan"),
            ("modern", "modem"),
            ("paypal", "раураl"),
            ("a b", "a\u{a0}b"),
            ("user10", "userlO"),
            ("mike", "\u{41c}IKE"),
            ("bill", "\u{412}ILL"),
            ("Nick", "\u{39d}ICK"),
            ("alice", "al\u{130}ce"),
            ("jill", "j\u{307}ill"),
        ] {
            assert!(look_alike(one, other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn names_that_differ_to_a_reader_do_not() {
        for (one, other) in [("ian", "lan"), ("alice", "alicia"), ("jose", "josé"), ("user1", "user2"), ("anna", "ana")]
        {
            assert!(!look_alike(one, other), "{one:?} {other:?}");
        }
        let many = (0..2000).flat_map(|number| Skeleton::all_of(&format!("user{number}"))).count();
        let different: BTreeSet<_> = (0..2000).flat_map(|number| Skeleton::all_of(&format!("user{number}"))).collect();
        assert_eq!(many, different.len(), "none of these is taken for another");
    }
}
