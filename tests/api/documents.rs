//! Guards README.md and `docs/`: every command works as it stands there, its answer is the one that is shown, and every link leads
//! somewhere.

mod compare;
mod links;
mod modules;
pub mod page;
mod run;
mod shell;
mod websocket;

use std::path::{Path, PathBuf};

use page::Page;

/// One test for each page, so that they run side by side.
macro_rules! pages {
    ($($test:ident: $path:literal),* $(,)?) => {
        const PAGES: &[&str] = &[$($path),*];
        $(
            #[tokio::test]
            async fn $test() {
                run::page($path).await;
            }
        )*
    };
}

pages! {
    the_readme_works: "README.md",
    the_page_on_accounts_works: "docs/accounts.md",
    the_page_on_architecture_works: "docs/architecture.md",
    the_page_on_authorization_works: "docs/authorization.md",
    the_page_on_other_products_works: "docs/comparison.md",
    the_page_on_the_client_works: "docs/client.md",
    the_page_on_configuration_works: "docs/configuration.md",
    the_page_on_errors_works: "docs/errors.md",
    the_page_on_events_works: "docs/events.md",
    the_guide_works: "docs/guide.md",
    the_page_on_the_http_api_works: "docs/http-api.md",
    the_page_on_leaving_firebase_works: "docs/leaving-firebase.md",
    the_page_on_leaving_pocketbase_works: "docs/leaving-pocketbase.md",
    the_page_on_mqtt_works: "docs/mqtt.md",
    the_page_on_operations_works: "docs/operations.md",
    the_page_on_presence_works: "docs/presence.md",
    the_page_on_react_works: "docs/react.md",
    the_page_on_security_works: "docs/security.md",
    the_page_on_socket_io_works: "docs/socketio.md",
    the_page_on_streams_works: "docs/streams.md",
    the_page_on_upgrading_works: "docs/upgrading.md",
    the_page_on_websocket_works: "docs/websocket.md",
    the_page_for_contributors_works: "CONTRIBUTING.md",
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page that there is: the Markdown files of the repository's own folder and those of `docs/`.
fn all_pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["", "docs"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_page_is_tested() {
    // Measurements and what has changed: both tell of the past.
    let told = ["BENCHMARKS.md", "CHANGELOG.md"];
    let pages: Vec<_> = all_pages().into_iter().map(|path| path.to_str().unwrap().to_owned()).collect();
    let untested: Vec<_> =
        pages.iter().filter(|path| !PAGES.contains(&path.as_str()) && !told.contains(&path.as_str())).collect();
    assert!(untested.is_empty(), "add these to the list in this file: {untested:?}");
}

#[test]
fn every_link_between_pages_leads_to_a_file_and_a_heading() {
    let broken: Vec<_> = all_pages().iter().flat_map(|page| links::broken(root(), page)).collect();
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn the_readme_has_at_most_10_kilobytes() {
    let readme = Page::read(root(), "README.md").text;
    assert!(readme.len() <= 10 * 1024, "{} bytes", readme.len());
}
