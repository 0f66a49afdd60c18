//! x
pub mod observe;
