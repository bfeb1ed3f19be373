//! Parsed values without I/O. A value of one of these types has been checked: the core takes nothing else.

mod email;
mod event;
mod filter;
mod host;
mod name;
mod name_prefix;
mod network;
mod new_name;
mod origin;
mod payload;
mod position;
mod scope;
mod secret;
mod time;
mod user;
mod view;

pub use email::Email;
pub use event::{Event, MAX_EVENT_BYTES, MAX_EXPIRES_IN, Quotas};
pub use filter::{EventFilter, Pattern, Patterns, disjoint};
pub use host::is_this_machine;
pub(crate) use name::is_blank;
pub use name::{EventName, MAX_NAME_BYTES, TenantName, Username};
pub use name_prefix::NamePrefix;
pub use network::network_of;
pub use new_name::{NewTenantName, NewUsername, SKELETON_VERSION, Skeleton};
pub use origin::OriginPattern;
pub use payload::{MAX_DEPTH, Payload, PayloadError};
pub use position::{Epoch, EventId, Position};
pub use scope::Scope;
pub use secret::{MAX_PASSWORD_BYTES, Password, PasswordHash, Secret};
pub use time::Timestamp;
pub use user::{Account, Generation, MAX_USER_BYTES, ResetChallenge, Standing, User};
pub use view::{Authorize, MayInsert, Own, Rights, View, inbox_owner};
