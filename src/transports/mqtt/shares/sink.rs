use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::app::Share;
use crate::events::{Ending, Format, Sink, Written};
use crate::transports::mqtt::record::Record;
use crate::transports::mqtt::records::Records;

/// Where the stream of a share writes: each record goes to a member.
pub struct ShareSink(Arc<Share>);

impl ShareSink {
    /// For a share.
    pub fn new(share: &Arc<Share>) -> Self {
        Self(Arc::clone(share))
    }
}

impl Sink for ShareSink {
    fn format(&self) -> &'static dyn Format {
        &Records
    }

    fn write(&self, records: &Bytes) -> Written {
        let mut taken = 0;
        while let Some((record, length)) = Record::first(&records[taken..]) {
            // A copy, so that a member which takes its time does not hold all the others in memory.
            let copy = || Bytes::copy_from_slice(record.bytes);
            if !self.0.take(record.position, record.topic, copy) {
                return Written::Whole(taken);
            }
            taken += length;
        }
        Written::All
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_ready(context)
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_gone(context)
    }

    fn finish(&self, ending: Ending) {
        self.0.end(ending);
    }
}
