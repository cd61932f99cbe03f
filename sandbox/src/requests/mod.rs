//! The requests of OAPI as types. One file per kind of resource; what the fields mean is the region's business.

pub mod documented;
pub mod images;
pub mod keypairs;
pub mod known;
pub mod places;
pub mod public_ips;
pub mod security_groups;
pub mod snapshots;
pub mod tags;
pub mod vms;
pub mod volumes;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    error::ApiError,
    quirks::Quirks,
    requests::known::{Known, Misfit},
};

/// Reads a body, which has been parsed as JSON already, as the request of one action.
pub fn parse<R: Known + DeserializeOwned>(body: &Value, quirks: &Quirks) -> Result<R, ApiError> {
    R::shape().check(body, "").map_err(|misfit| match misfit {
        Misfit::Unknown { path } => {
            ApiError::new(quirks.unknown_field_code, format!("The parameter '{path}' is not known."))
        }
        Misfit::Missing { path } => {
            ApiError::new(quirks.missing_field_code, format!("The parameter '{path}' is required."))
        }
        Misfit::WrongType { path, wanted } => {
            ApiError::new(quirks.wrong_type_code, format!("The parameter '{path}' must be {wanted}."))
        }
    })?;
    // A shape that fits can fail here only if `Known` and serde disagree, which the tests of `known` exclude;
    // numbers beyond 64 bits are the one exception.
    R::deserialize(body).map_err(|error| ApiError::new(quirks.wrong_type_code, format!("{error}.")))
}
