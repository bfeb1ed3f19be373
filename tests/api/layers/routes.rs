//! Guards that the tests of a route are found by its name.

use std::path::Path;

#[test]
fn every_route_has_a_test_file_of_its_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("src/transports/http/routes.rs")).unwrap();
    let tests = std::fs::read_to_string(root.join("tests/api/main.rs")).unwrap();
    let services = table.split(".service(").skip(1);
    let named = services.filter_map(|service| service.split_once("(\"/")?.1.split_once('"'));
    // What stands after the name is a parameter.
    let named = named.map(|(route, _)| route.split('/').next().unwrap().replace('.', "_"));
    // The health check has no name.
    let routes: Vec<_> = named.filter(|route| !route.is_empty()).collect();
    assert!(
        ["sse", "create_totp"].iter().all(|known| routes.iter().any(|route| route == known)),
        "the table is written otherwise now: {routes:?}"
    );
    let lacking: Vec<_> = routes
        .into_iter()
        .filter(|route| {
            let is_there = root.join(format!("tests/api/{route}.rs")).exists();
            !is_there || !tests.lines().any(|line| line == format!("mod {route};"))
        })
        .collect();
    assert!(lacking.is_empty(), "no file in tests/api is named after {lacking:?}");
}
