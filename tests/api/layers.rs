//! Guards the layers of the code: imports point one way, without a cycle, and each library is named where it belongs.

mod cycles;
mod imports;
mod routes;
mod tokens;

use std::path::{Path, PathBuf};

/// The rooms, lowest first. A room may use itself and the rooms on lower floors.
const FLOORS: &[(&str, u8)] = &[
    ("random", 0),
    ("error", 1),
    ("domain", 1),
    ("clock", 2),
    ("config", 2),
    ("fair", 2),
    ("metrics", 2),
    ("central", 3),
    ("log", 3),
    ("store", 3),
    ("writer", 4),
    ("events", 5),
    ("identity", 5),
    ("app", 6),
    ("transports", 7),
    ("tls", 7),
    ("server", 8),
    ("cli", 9),
    ("main", 10),
];
/// Pairs of one floor that know each other: a name's rules and the refusal it gives.
const NEIGHBOURS: &[(&str, &str)] = &[("domain", "error"), ("error", "domain")];
/// Which rooms may name a library.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("actix_web", &["main", "transports"]),
    ("actix_http", &["transports"]),
    ("actix_server", &["server", "transports"]),
    ("actix_service", &["transports"]),
    ("tokio_rustls", &["transports"]),
    ("h2", &["transports"]),
    ("sled", &["store"]),
    ("clap", &["cli", "config"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("ureq", &["cli"]),
    ("tar", &["store", "cli"]),
    ("toml", &["config"]),
    ("arc_swap", &["config", "identity", "store"]),
    ("argon2", &["identity"]),
    ("bcrypt", &["identity"]),
    ("scrypt", &["identity"]),
    ("rmp_serde", &["writer"]),
    ("jsonwebtoken", &["identity"]),
    ("biscuit_auth", &["identity"]),
    ("sntpc", &["clock"]),
    ("rustls_acme", &["tls", "config"]),
    ("sd_notify", &["server"]),
    ("prometheus_client", &["metrics"]),
    ("listenfd", &["server"]),
    ("x509_parser", &["tls"]),
    ("tracing_subscriber", &["log"]),
    ("tracing_appender", &["log"]),
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The room that a file is in: the first part of its path below `src`.
fn room(source: &Path, root: &Path) -> String {
    let below = source.strip_prefix(root).unwrap().iter().next().unwrap().to_str().unwrap();
    below.trim_end_matches(".rs").to_owned()
}

fn floor(room: &str) -> u8 {
    FLOORS.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("{room} has no floor: add it")).1
}

/// The code of a file without comments.
fn code(source: &Path) -> String {
    let text = std::fs::read_to_string(source).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every room that code names, by `crate::room` or, from the program, `broker::room`.
fn named_rooms(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for prefix in ["crate::", "broker::"] {
        for (at, _) in code.match_indices(prefix) {
            // Neither the end of another name, nor a text: the log's targets look like that.
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '"')) {
                continue;
            }
            let name: String =
                code[at + prefix.len()..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            rooms.push(name);
        }
    }
    rooms
}

#[test]
fn imports_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for source in sources(&root) {
        let from = room(&source, &root);
        if from == "lib" {
            continue;
        }
        for to in named_rooms(&code(&source)) {
            let allowed = from == to || floor(&to) < floor(&from) || NEIGHBOURS.contains(&(from.as_str(), to.as_str()));
            assert!(allowed, "{} ({from}) must not use {to}", source.display());
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} imports were found");
}

#[test]
fn each_library_is_named_only_where_it_belongs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for source in sources(&root) {
        let (from, code) = (room(&source, &root), code(&source));
        for (library, rooms) in LIBRARIES {
            let named = code
                .match_indices(&format!("{library}::"))
                .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
            assert!(!named || rooms.contains(&from.as_str()), "{} must not name {library}", source.display());
        }
    }
}

#[test]
fn transports_reach_events_and_the_database_only_through_their_entry_points() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/transports");
    for source in sources(&root) {
        let code = code(&source);
        let mut names = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        let core = names.find(|name| matches!(*name, "Hub" | "Store"));
        assert_eq!(core, None, "{} must not name it: see app::Events", source.display());
        let below = named_rooms(&code).into_iter().find(|room| matches!(room.as_str(), "store" | "writer"));
        assert_eq!(below, None, "{} must not import it: see app::Events", source.display());
    }
}

/// Folders that know nothing of Broker, and what of the crate they may name all the same.
const STRANGERS: &[(&str, &[&str])] = &[
    ("transports/ws", &["transports/ws"]),
    ("transports/socket_io", &["transports/ws", "transports/ranked"]),
    ("transports/mqtt/packet", &["transports/mqtt/packet"]),
];

#[test]
fn protocols_know_nothing_of_broker_nor_of_http() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (folder, may_name) in STRANGERS {
        for source in sources(&root.join(folder)) {
            let code = code(&source);
            for (at, _) in code.match_indices("crate::") {
                let named = code[at + "crate::".len()..].replace("::", "/");
                let may = may_name.iter().any(|may| named.starts_with(may));
                assert!(may, "{} must not name {}", source.display(), named.lines().next().unwrap_or_default());
            }
            for library in ["actix_web", "actix_http", "http"] {
                assert!(!code.contains(&format!("use {library}::")), "{} must not name {library}", source.display());
            }
        }
    }
}

#[test]
fn no_test_leaves_itself_out_but_by_the_one_way_that_can_be_forbidden() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Where something else is asked of the environment: the configuration, the way itself, what a server must not be given, where pictures go,
    // which steps of the model are tried again, and which program an image has.
    let asks = [
        "src/config.rs",
        "tests/api/support/left_out.rs",
        "tests/api/support/server.rs",
        "tests/api/clients/program.rs",
        "tests/api/mqtt/model.rs",
        "tests/api/container.rs",
    ];
    for source in sources(&root.join("tests")).into_iter().chain(sources(&root.join("src"))) {
        let (code, name) = (code(&source), source.strip_prefix(root).unwrap().to_str().unwrap());
        for (sign, may) in [(concat!("env", "::var"), &asks[..]), (concat!("#[", "ignore"), &[])] {
            assert!(!code.contains(sign) || may.contains(&name), "{name} must not have {sign}");
        }
    }
}
