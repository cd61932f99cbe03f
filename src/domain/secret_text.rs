//! Serialises secrets of a plan. The result is only ever given to the vault, which seals it before it is stored;
//! no other code may serialise a plan.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes the secret out.
///
/// # Errors
/// Those of the serialiser.
pub fn serialize<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    secret.expose_secret().serialize(serializer)
}

/// Reads it back.
///
/// # Errors
/// Those of the deserialiser.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

/// The same for a secret that may be absent.
pub mod option {
    use super::{Deserialize, Deserializer, ExposeSecret, SecretString, Serialize, Serializer};

    /// Writes the secret out, if there is one.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(ExposeSecret::expose_secret).serialize(serializer)
    }

    /// Reads it back.
    ///
    /// # Errors
    /// Those of the deserialiser.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
    }
}

/// The same for a list.
pub mod list {
    use super::{Deserialize, Deserializer, ExposeSecret, SecretString, Serialize, Serializer};

    /// Writes the secrets out.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(secrets: &[SecretString], serializer: S) -> Result<S::Ok, S::Error> {
        secrets.iter().map(ExposeSecret::expose_secret).collect::<Vec<_>>().serialize(serializer)
    }

    /// Reads them back.
    ///
    /// # Errors
    /// Those of the deserialiser.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SecretString>, D::Error> {
        Ok(Vec::<String>::deserialize(deserializer)?.into_iter().map(SecretString::from).collect())
    }
}
