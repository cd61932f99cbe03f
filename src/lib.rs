//! fournil bakes OUTSCALE machine images as a service.

pub mod domain;
pub mod oapi;
