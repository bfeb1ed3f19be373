//! Guards `/events`: the latest event of each name.

mod latest;
mod listing;
