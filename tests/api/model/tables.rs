//! The users, names, scopes and filters of the model, and which events each may see.

pub const TENANTS: [&str; 2] = ["acme", "globex"];
/// Of each tenant one who sees and inserts everything, and who stays there with these rights.
pub const CLERKS: [&str; 2] = ["clerk", "scribe"];
/// Whose rights and tenants change, and the tenant that each is of at first.
pub const USERS: [(&str, usize); 5] = [("alice", 0), ("bob", 0), ("carol", 0), ("dave", 0), ("mallory", 1)];
/// Whose the streams are. Two of one user differ in what they want.
pub const SUBSCRIBERS: [usize; 7] = [0, 0, 1, 2, 3, 4, 4];
/// The same in both tenants, so that an event of the other one would not be told by its name.
pub const NAMES: [&str; 13] = [
    "n",
    "news",
    "newsroom",
    "chat/1",
    "chat/10",
    "chat/2",
    "chat/alice",
    "u/alice/a",
    "u/bob/a",
    "u/carol/a",
    "@alice/x",
    "@bob/y",
    "@home",
];
/// What somebody may have. All may see what shows that a stream has come so far.
pub const SCOPES: [&[&str]; 7] = [
    &["sync/*:get", "*:get", "*:post"],
    &["sync/*:get", "news:get", "chat/*:get", "chat/*:post", "@*:post"],
    &["sync/*:get", "u/{username}/*:get", "u/{username}/*:post", "@alice/*:post", "chat/{username}:get"],
    &["sync/*:get", "chat/1:get", "chat/10:get", "u/*:get", "*:post"],
    &["sync/*:get", "n*:get", "u/{username}/*:get", "n*:post", "@bob/*:post"],
    &["sync/*:get", "@*:get", "@alice/*:get", "*:post"],
    &["sync/*:get"],
];
/// What a stream may want: `events` and `except`.
pub const FILTERS: [(Option<&str>, Option<&str>); 7] = [
    (None, None),
    (None, Some("chat/*")),
    (Some("sync/*,news,chat/1"), None),
    (Some("sync/*,chat/*,u/*"), Some("chat/10,u/bob/*")),
    (Some("sync/*,@*"), None),
    (Some("*"), Some("n*,@alice/*")),
    (Some("sync/*,u/alice/a,@bob/y,newsroom"), None),
];

/// Whether a pattern is this name, or ends in a star and the name begins with the rest.
pub fn is_named(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}

/// Whether scopes have one for an operation on a name.
pub fn has_scope(scopes: usize, operation: &str, username: &str, name: &str) -> bool {
    SCOPES[scopes].iter().any(|scope| {
        let (pattern, of) = scope.split_once(':').unwrap();
        of == operation && is_named(&pattern.replace("{username}", username), name)
    })
}

/// Whether somebody with these scopes may see a name. An inbox is its owner's, whatever the scopes are.
pub fn sees(scopes: usize, username: &str, name: &str) -> bool {
    match name.strip_prefix('@').and_then(|rest| rest.split_once('/')) {
        Some((owner, _)) => owner == username,
        None => has_scope(scopes, "get", username, name),
    }
}

/// Whether a filter wants a name.
pub fn wants(filter: usize, name: &str) -> bool {
    let (events, except) = FILTERS[filter];
    let is_in = |list: &str| list.split(',').any(|pattern| is_named(pattern, name));
    events.is_none_or(is_in) && !except.is_some_and(is_in)
}

/// A filter as it stands in a query.
pub fn query(filter: usize) -> String {
    let (events, except) = FILTERS[filter];
    let parameters = [("events", events), ("except", except)];
    let given = parameters.iter().filter_map(|(name, list)| list.map(|list| format!("{name}={list}")));
    given.collect::<Vec<_>>().join("&")
}
