//! The database of a million users and a million event names, created once per run.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use crate::Result;
use crate::lab::Lab;
use crate::message;
use crate::seed::Seed;

/// The number of users, and of event names of [`NAMED`].
pub const MANY: u32 = 1_000_000;
/// Users per tenant.
pub const PER_TENANT: u32 = 100;
/// The tenant of all those names.
pub const NAMED: &str = "tenant0";
/// A tenant that has few names here too, and is identical in the small database.
pub const PLAIN: &str = "tenant1";
/// The number of names of [`PLAIN`].
pub const FEW: u32 = 10;

/// The tenant of a user.
pub fn tenant_of(user: u32) -> String {
    format!("tenant{}", user / PER_TENANT)
}

/// The database's directory. The first call creates the database, which takes minutes.
pub fn database(lab: &Lab) -> Result<PathBuf> {
    let kept = lab.options.keep.as_deref().unwrap_or(lab.scratch());
    let (database, complete) = (kept.join("million"), kept.join("million-complete"));
    if !complete.exists() {
        let _ = fs::remove_dir_all(&database);
        fs::create_dir_all(&database).map_err(|error| error.to_string())?;
        let begun = Instant::now();
        eprintln!("creating a database of {MANY} users and {MANY} event names");
        make(Seed::open(&database)?)?;
        fs::write(&complete, "").map_err(|error| error.to_string())?;
        eprintln!("created in {:.0} s", begun.elapsed().as_secs_f64());
    }
    Ok(database)
}

fn make(mut seed: Seed) -> Result<()> {
    for user in 0..MANY {
        seed.user(&format!("user{user}"), &tenant_of(user))?;
    }
    add_names(&mut seed, NAMED, "user0", MANY)?;
    add_names(&mut seed, PLAIN, "user100", FEW)?;
    seed.close()
}

/// Adds this many event names, each with an event.
pub fn add_names(seed: &mut Seed, tenant: &str, user: &str, names: u32) -> Result<()> {
    let mut payload = Vec::new();
    for name in 0..names {
        payload.clear();
        message::write_payload(name, &mut payload);
        seed.event(tenant, user, &format!("name{name}"), &String::from_utf8_lossy(&payload))?;
    }
    Ok(())
}
