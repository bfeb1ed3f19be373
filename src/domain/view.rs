use super::{EventFilter, EventName, Pattern, Patterns, Scope, Username, candidates, difference};

/// The placeholder for the user's own name in a scope.
const OWN_NAME: &str = "{username}";
/// The operation of scopes that allow seeing events.
const GET: &str = "get";
/// The operation of scopes that allow inserting and removing events.
const POST: &str = "post";

/// The rule that decides which events a user may see and insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorize {
    /// All events of the tenant, except for other users' inboxes.
    Open,
    /// By scopes: `pattern:get` to see, `pattern:post` to insert and remove.
    Scopes,
}

/// The events that a user may see in common with others. Inboxes are never among them: a name `@bob/…` is for bob only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rights {
    /// All events.
    All,
    /// The events that one of these patterns matches.
    Of(Patterns),
}

/// The events that one user may see and others may not: the inbox, and the events of scopes with `{username}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// The user.
    pub username: Username,
    /// The patterns in addition to the inbox; usually none.
    pub patterns: Patterns,
}

/// The events that a user or a guest may insert and remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MayInsert {
    /// All events.
    All,
    /// The events that one of these patterns matches.
    Of(Patterns),
    /// The same, for a guest: never what belongs to an inbox.
    OfGuest(GuestInsert),
}

/// The events that a guest may insert, beside inboxes, which they never may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestInsert {
    /// The events that one of these patterns matches.
    Of(Patterns),
    /// Whatever is not under the id of another: a number, a UUID or an id in hexadecimal that is followed by `_` or `/`. Under this
    /// one it may.
    NotUnderIdsBut(Box<str>),
}

impl Default for GuestInsert {
    fn default() -> Self {
        Self::Of(Patterns::default())
    }
}

impl GuestInsert {
    fn allows(&self, name: &str) -> bool {
        match self {
            Self::Of(patterns) => patterns.matches(name),
            Self::NotUnderIdsBut(own) => {
                let rest = name.strip_prefix(&**own);
                rest.is_some_and(|rest| rest.starts_with(SEPARATORS))
                    || !name.split_once(SEPARATORS).is_some_and(|(id, _)| looks_like_an_id(id))
            }
        }
    }
}

/// What stands between the id that a name is under and the rest.
const SEPARATORS: [char; 2] = ['_', '/'];

/// Whether a text is an id, as services give them to their users: a number; or at least 24 digits in hexadecimal, with or without
/// hyphens, which no word is.
fn looks_like_an_id(text: &str) -> bool {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    !text.is_empty() && (is_number || (is_hexadecimal && text.len() >= 24))
}

/// The events that a guest may see, and those that they may insert.
#[derive(Clone, Debug, Default)]
pub struct GuestRights {
    /// Names, prefixes and topic filters of events that they may see.
    pub see: Patterns,
    /// Events that they may insert.
    pub insert: GuestInsert,
}

/// The events that a reader gets: those that it wants, of those that it may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The wanted events.
    pub filter: EventFilter,
    /// The events that it may see in common with others.
    pub rights: Rights,
    /// The events that it alone may see.
    pub own: Own,
}

/// The owner of the inbox that a name belongs to: the text between the `@` and the first `/`.
pub fn inbox_owner(name: &str) -> Option<&str> {
    name.strip_prefix('@')?.split_once('/').map(|(owner, _)| owner)
}

/// The patterns of the scopes for one operation: those that are the same for all users, and the user's own.
fn patterns(scopes: &[Scope], operation: &str, username: &Username) -> (Vec<Pattern>, Vec<Pattern>) {
    let (mut shared, mut own) = (Vec::new(), Vec::new());
    for (resource, _) in scopes.iter().map(Scope::parts).filter(|(_, of)| *of == operation) {
        // A resource that cannot be an event name matches none.
        let Some(pattern) = Pattern::parse(resource) else { continue };
        if !resource.contains(OWN_NAME) {
            shared.push(pattern);
            continue;
        }
        // The placeholder stands for one segment of a path. Otherwise a user `alice/theme` of an earlier version would
        // get alice's events by `user/{username}`.
        if !username.is_one_segment() {
            continue;
        }
        // The name is inserted after the pattern is parsed, so a username that ends with a star stands for itself.
        let with_name = |text: &str| text.replace(OWN_NAME, username.as_str());
        own.extend(match pattern {
            Pattern::Prefix(prefix) => Some(Pattern::Prefix(with_name(&prefix).into())),
            name => EventName::parse(&with_name(name.text())).ok().map(Pattern::Exact),
        });
    }
    (shared, own)
}

impl Authorize {
    /// The events that a user with these scopes may see.
    pub fn to_see(self, username: &Username, scopes: &[Scope]) -> (Rights, Own) {
        let username = username.clone();
        if self == Self::Open {
            return (Rights::All, Own { username, patterns: Patterns::default() });
        }
        let (shared, own) = patterns(scopes, GET, &username);
        let is_all = shared.contains(&Pattern::all());
        let rights = if is_all { Rights::All } else { Rights::Of(Patterns::new(shared)) };
        (rights, Own { username, patterns: Patterns::new(own) })
    }

    /// The events that a user with these scopes may insert and remove.
    pub fn to_insert(self, username: &Username, scopes: &[Scope]) -> MayInsert {
        if self == Self::Open {
            return MayInsert::All;
        }
        let (mut patterns, own) = patterns(scopes, POST, username);
        patterns.extend(own);
        MayInsert::Of(Patterns::new(patterns))
    }

    /// The scope that is missing if a user may not insert an event of this name.
    pub fn scope_to_insert(name: &EventName) -> String {
        format!("{name}:{POST}")
    }
}

impl MayInsert {
    /// Whether events of this name may be inserted.
    pub fn allows(&self, name: &EventName) -> bool {
        let name = name.as_str();
        match self {
            Self::All => true,
            Self::Of(patterns) => patterns.matches(name),
            Self::OfGuest(insert) => inbox_owner(name).is_none() && insert.allows(name),
        }
    }
}

impl Rights {
    /// The same, for a reader that wants no more than a filter. Of readers that want the same and may see all of that, each may
    /// see something else beside it; here they have the same rights, and so can be given the same.
    pub fn for_filter(self, filter: &EventFilter) -> Self {
        match self {
            Self::Of(patterns) if filter.is_within(&patterns) => Self::All,
            other => other,
        }
    }

    /// Whether all users with these rights may see events of this name.
    pub fn allow(&self, name: &str) -> bool {
        inbox_owner(name).is_none()
            && match self {
                Self::All => true,
                Self::Of(patterns) => patterns.matches(name),
            }
    }
}

impl Own {
    /// Whether this user may see events of this name, whatever others may see.
    pub fn allows(&self, name: &str) -> bool {
        match inbox_owner(name) {
            Some(owner) => owner == self.username.as_str(),
            None => self.patterns.matches(name),
        }
    }
}

impl View {
    /// Whether the reader may see events of this name.
    pub fn allows(&self, name: &str) -> bool {
        self.rights.allow(name) || self.own.allows(name)
    }

    /// Whether the reader gets events of this name.
    pub fn matches(&self, name: &str) -> bool {
        self.filter.matches(name) && self.allows(name)
    }

    /// Names and prefixes that contain everything that is given by this view and not by the one before; `None` if they would not
    /// narrow anything. Of a filter to which a name was added, it is that name.
    pub fn candidates_beyond(&self, before: &Self) -> Option<Vec<Pattern>> {
        let differ_by_names_alone =
            self.rights == before.rights && self.own == before.own && self.filter.has_exceptions_of(&before.filter);
        let beyond = match (self.filter.patterns(), before.filter.patterns()) {
            (Some(wanted), Some(had)) if differ_by_names_alone => {
                candidates(&difference(wanted, had).cloned().collect::<Vec<_>>())
            }
            _ => None,
        };
        beyond.or_else(|| self.candidates())
    }

    /// Names and prefixes that contain everything that is given; `None` if they would not narrow anything.
    pub fn candidates(&self) -> Option<Vec<Pattern>> {
        if let Some(wanted) = self.filter.patterns().and_then(candidates) {
            return Some(wanted);
        }
        let Rights::Of(shared) = &self.rights else { return None };
        let inbox = Pattern::Prefix(format!("@{}/", self.own.username).into());
        candidates(shared)?.into_iter().chain(candidates(&self.own.patterns)?).chain([inbox]).collect::<Vec<_>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(authorize: Authorize, scopes: &[&str], filter: &str) -> View {
        let scopes: Vec<_> = scopes.iter().map(|scope| Scope::parse(scope).unwrap()).collect();
        let (rights, own) = authorize.to_see(&Username::parse("bob").unwrap(), &scopes);
        View { filter: EventFilter::parse(filter).unwrap(), rights, own }
    }

    #[test]
    fn without_scopes_all_is_seen_but_the_inboxes_of_others() {
        let view = view(Authorize::Open, &[], "*");
        for name in ["news", "@bob/x", "@bob/", "@home", "a@alice/b"] {
            assert!(view.matches(name), "{name}");
        }
        for name in ["@alice/x", "@bobby/x", "@/x", "@bo/b/x"] {
            assert!(!view.matches(name), "{name}");
        }
        assert_eq!(view.candidates(), None);
    }

    #[test]
    fn scopes_allow_the_names_that_they_match_and_never_an_inbox() {
        let view =
            view(Authorize::Scopes, &["news:get", "chat/*:get", "u/{username}/*:get", "all:post", "@*:get"], "*");
        for name in ["news", "chat/1", "u/bob/a", "@bob/x", "@home"] {
            assert!(view.matches(name), "{name}");
        }
        for name in ["new", "all", "u/alice/a", "u/{username}/a", "@alice/x"] {
            assert!(!view.matches(name), "{name}");
        }
        let candidates = view.candidates().unwrap();
        assert!(
            ["news", "chat/1", "u/bob/a", "@bob/x"].iter().all(|name| Patterns::new(candidates.clone()).matches(name))
        );
    }

    #[test]
    fn a_guest_with_an_id_inserts_what_is_under_no_other_id() {
        let under = |own: &str| GuestInsert::NotUnderIdsBut(own.into());
        let hexadecimal = "507f1f77bcf86cd799439011";
        let uuid = "123e4567-e89b-12d3-a456-426614174000";
        for (own, name, expected) in [
            ("68946", "68946_x", true),
            ("68946", "68946/x", true),
            // The separator matters, and so does all that is before it.
            ("68946", "689461_x", false),
            ("68946", "6894_x", false),
            ("68946", "23412_x", false),
            ("68946", "23412/x/68946_x", false),
            ("68946", "68946", true),
            ("68946", "23412", true),
            ("68946", "request_contact", true),
            ("68946", "news/23412_x", true),
            ("68946", "_x", true),
            ("68946", "/x", true),
            ("68946", "abc_x", true),
            ("68946", &format!("{hexadecimal}_x"), false),
            ("68946", &format!("{uuid}/x"), false),
            (uuid, &format!("{uuid}/x"), true),
            (hexadecimal, &format!("{hexadecimal}0_x"), false),
            // One with a separator in it is its own as a whole.
            ("12_34", "12_34_x", true),
            ("12_34", "12_35_x", false),
        ] {
            assert_eq!(under(own).allows(name), expected, "{own}: {name}");
        }
    }

    #[test]
    fn what_a_view_has_beyond_another_is_found_by_the_names_that_were_added() {
        let patterns = |text: &str| -> Vec<_> { text.split_whitespace().filter_map(Pattern::parse).collect() };
        for (before, after, beyond) in
            [("a,b", "a,b,c*", "c*"), ("a,b", "a*,b", "a*"), ("a*", "a1,a2", "a1 a2"), ("a,b", "a", ""), ("a", "a", "")]
        {
            let [before, after] = [before, after].map(|filter| view(Authorize::Open, &[], filter));
            assert_eq!(after.candidates_beyond(&before), Some(patterns(beyond)), "{:?}", after.filter);
        }
        // With other rights, or other exceptions, the same names may show something else.
        let after = view(Authorize::Scopes, &["*:get"], "a,b");
        for mut before in [view(Authorize::Scopes, &["b:get"], "a"), view(Authorize::Scopes, &["*:get"], "a")] {
            if before.rights == after.rights {
                before.filter = before.filter.except("a").unwrap();
            }
            assert_eq!(after.candidates_beyond(&before), Some(patterns("a b")));
        }
    }

    #[test]
    fn rights_for_a_filter_show_the_same_of_it() {
        for filter in ["news", "news,chat/1", "chat/*,@home", "chat/*", "chat*", "*", "other", "@bob/x"] {
            let mut view = view(Authorize::Scopes, &["news:get", "chat/*:get", "@*:get"], filter);
            let names = ["news", "newsroom", "chat", "chat/1", "@home", "other", "@bob/x", "@alice/x"];
            let before = names.map(|name| view.matches(name));
            view.rights = view.rights.for_filter(&view.filter);
            assert_eq!(names.map(|name| view.matches(name)), before, "{filter}");
            assert_eq!(view.rights == Rights::All, !["chat*", "*", "other"].contains(&filter), "{filter}");
        }
    }

    #[test]
    fn the_same_scopes_in_another_order_are_the_same_rights() {
        let one = view(Authorize::Scopes, &["a:get", "b*:get", "x:post"], "*");
        assert_eq!(one.rights, view(Authorize::Scopes, &["b*:get", "a:get", "a:get"], "*").rights);
        assert_eq!(view(Authorize::Scopes, &["*:get", "a:get"], "*").rights, Rights::All);
    }

    #[test]
    fn a_name_in_a_scope_stands_for_itself_whatever_is_in_it() {
        let star = Username::parse("*").unwrap();
        let scopes = ["{username}:get", "user/{username}:get"].map(|scope| Scope::parse(scope).unwrap());
        let (rights, own) = Authorize::Scopes.to_see(&star, &scopes);
        assert!(own.allows("*") && own.allows("user/*"));
        for name in ["news", "user/alice", "**"] {
            assert!(!own.allows(name) && !rights.allow(name), "{name}");
        }
    }

    #[test]
    fn a_name_of_several_segments_stands_for_nothing_in_a_scope() {
        let odd = Username::parse("alice/theme").unwrap();
        let scopes = ["user/{username}", "user/{username}/*", "{username}*", "news"];
        for operation in ["get", "post"] {
            let scopes = scopes.map(|resource| Scope::parse(&format!("{resource}:{operation}")).unwrap());
            let (rights, own) = Authorize::Scopes.to_see(&odd, &scopes);
            for name in ["user/alice/theme", "user/alice/theme/x", "alice/theme", "alice/themes"] {
                let name = EventName::parse(name).unwrap();
                assert!(!rights.allow(name.as_str()) && !own.allows(name.as_str()), "{name}");
                assert!(!Authorize::Scopes.to_insert(&odd, &scopes).allows(&name), "{name}");
            }
            let news = EventName::parse("news").unwrap();
            assert_eq!(rights.allow("news"), operation == "get");
            assert_eq!(Authorize::Scopes.to_insert(&odd, &scopes).allows(&news), operation == "post");
        }
    }

    #[test]
    fn to_insert_takes_a_scope_that_says_post() {
        let bob = Username::parse("bob").unwrap();
        let scopes = ["news:get", "chat/*:post", "u/{username}:post", "@alice/*:post"];
        let scopes = scopes.map(|scope| Scope::parse(scope).unwrap());
        let may =
            |authorize: Authorize, name| authorize.to_insert(&bob, &scopes).allows(&EventName::parse(name).unwrap());
        for name in ["chat/1", "u/bob", "@alice/x"] {
            assert!(may(Authorize::Scopes, name), "{name}");
        }
        for name in ["news", "u/alice", "@bob/x"] {
            assert!(!may(Authorize::Scopes, name) && may(Authorize::Open, name), "{name}");
        }
    }
}
