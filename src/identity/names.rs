//! Indexing the names of databases of earlier versions, which did not check for lookalikes.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::error::Error;
use crate::store::{NameIndexing, Store};
use crate::writer::{Anywhere, Batch, Change, Writer};

/// The time between two tries while the server lacks room, or another resource, to write.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Indexes some names.
#[derive(Serialize, Deserialize)]
pub(super) struct IndexNames;

impl Change for IndexNames {
    type Outcome = NameIndexing;
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<NameIndexing, Error> {
        batch.index_names()
    }
}

/// Indexes the names of all users and tenants, once for a database, in steps. Until then, no new names are given. It
/// warns of names that would not be allowed any more.
///
/// # Errors
/// Those of [`Writer::submit`]: it can be called again, and continues.
pub async fn index_names(store: &Store, writer: &Writer) -> Result<(), Error> {
    let mut progress = store.name_indexing()?;
    while !progress.is_complete() {
        progress = writer.submit(IndexNames).await?;
    }
    if let Some(example) = &progress.example {
        tracing::warn!(
            users = progress.with_slash,
            example,
            "there are users with a / in their names: they have no inbox, and {{username}} in a scope stands for nothing"
        );
    }
    Ok(())
}

/// The same, repeated until it succeeds.
pub async fn index_names_when_possible(store: Store, writer: Writer) {
    tracing::warn!("names cannot be noted for now: until then nobody can be given a new one");
    loop {
        tokio::time::sleep(TRY_AGAIN).await;
        match index_names(&store, &writer).await {
            Ok(()) | Err(Error::ShuttingDown) => return,
            Err(error) if error.passes() => {}
            Err(error) => tracing::error!(%error, "names cannot be noted: nobody can be given a new one"),
        }
    }
}
