//! What earlier versions of Broker did not look at when they let somebody have a name.

use std::time::Duration;

use crate::error::Error;
use crate::store::{NamesNoted, Store};
use crate::writer::{Batch, Change, Writer};

/// How soon after it failed for want of room it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Goes through some users.
struct NoteNames;

impl Change for NoteNames {
    type Outcome = NamesNoted;

    fn decide(self, batch: &mut Batch<'_>) -> Result<NamesNoted, Error> {
        batch.note_names()
    }
}

/// Notes the names of the users and tenants that are there, once for a database, in steps: until then nobody can be given a new
/// name. Warns of names that would not be given any more.
///
/// # Errors
/// Those of [`Writer::submit`]: it can be begun again, and goes on where it was.
pub async fn note_names(store: &Store, writer: &Writer) -> Result<(), Error> {
    let mut noted = store.names_noted()?;
    while !noted.is_complete() {
        noted = writer.submit(NoteNames).await?;
    }
    if let Some(example) = &noted.example {
        tracing::warn!(
            users = noted.with_slash,
            example,
            "there are users with a / in their names: they have no inbox, and {{username}} in a scope stands for nothing"
        );
    }
    Ok(())
}

/// The same for as long as there is no room to write.
pub async fn note_names_when_there_is_room(store: Store, writer: Writer) {
    tracing::warn!("the disk is full: until there is room to note names nobody can be given a new one");
    loop {
        tokio::time::sleep(TRY_AGAIN).await;
        match note_names(&store, &writer).await {
            Ok(()) | Err(Error::ShuttingDown) => return,
            Err(Error::StorageFull | Error::Overloaded) => {}
            Err(error) => tracing::error!(%error, "names cannot be noted: nobody can be given a new one"),
        }
    }
}
