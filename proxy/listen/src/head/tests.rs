//! Tables of heads.
