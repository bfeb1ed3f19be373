//! Guards `/history`: every event of a name that is retained.

mod long;
mod pages;
mod retention;
mod unread;
