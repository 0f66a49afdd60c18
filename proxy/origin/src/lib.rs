//! Where a site's content is pulled from.
//!
//! In the order a fill passes through:
//!
//! - [`settings`]: what a site says about its origin, parsed once ([`PoolSettings`]).
//! - [`pools`]: every site's [`Pool`], replaced on a change of configuration while health and
//!   connections of unchanged servers stay ([`Pools`]).
//! - [`pool`]: picks a server ([`Pick`]): balancing, health, the cap on use, and where to try next.
//! - [`resolve`]: addresses of a name, kept by their TTL ([`Resolver`]).
//! - [`guard`]: which addresses may be dialled at all ([`Guard`]).
//! - [`connect`]: Happy Eyeballs below Pingora's connectors ([`Network`], [`Connected`]).
//! - [`fetch`]: one GET or HEAD, and its body as a stream ([`Client`], [`Response`], [`BodyStream`]).
//! - [`error`]: what went wrong in the words of RFC 9209, and what may be done next ([`FetchError`]).

mod attempt;
mod balance;
mod body;
pub mod connect;
mod dial;
pub mod error;
mod exchange;
pub mod fetch;
pub mod guard;
mod head;
mod health;
pub mod pool;
pub mod pools;
mod race;
mod random;
mod request;
pub mod resolve;
mod server;
pub mod settings;
pub mod tls;

pub use body::BodyStream;
pub use connect::{Connected, Network};
pub use dial::{Dial, TcpDial};
pub use error::{ErrorKind, FetchError, Next};
pub use fetch::{Client, Informational, Request, Response, Timings};
pub use guard::{Guard, Prohibited};
pub use pool::{Pick, Pool, ServerStatus};
pub use pools::Pools;
pub use resolve::{Answer, Family, Lookup, LookupError, Resolver};
pub use settings::{Balance, Http2, PoolSettings, ServerSettings, ServerUrl, Timeouts};
pub use tls::{Identity, TlsSettings, Trust};
