//! The BGP agent: announce while the node can serve, withdraw within milliseconds, drain without
//! breaking anyone.

pub mod policy;
