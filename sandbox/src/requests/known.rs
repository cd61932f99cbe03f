//! Which fields a request may have, and of which type: the closed schemas of OAPI. A request is checked against
//! its shape before serde reads it, because OAPI's refusal names the field and serde's message does not.

use serde_json::{Map, Value, json};

/// What a value of a request has to look like.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Text,
    Integer,
    Number,
    Boolean,
    List(Box<Shape>),
    Object(Vec<Field>),
}

/// One member of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    pub required: bool,
    pub shape: Shape,
}

/// A type that can be part of a request.
pub trait Known {
    fn shape() -> Shape;
}

impl Known for String {
    fn shape() -> Shape {
        Shape::Text
    }
}

impl Known for i64 {
    fn shape() -> Shape {
        Shape::Integer
    }
}

impl Known for f64 {
    fn shape() -> Shape {
        Shape::Number
    }
}

impl Known for bool {
    fn shape() -> Shape {
        Shape::Boolean
    }
}

impl<T: Known> Known for Vec<T> {
    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }
}

/// Why a body does not fit; `path` is the field as the client wrote it, `Filters.VmIds[0]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    Unknown { path: String },
    Missing { path: String },
    WrongType { path: String, wanted: &'static str },
}

impl Shape {
    /// Compares a value with the shape, and names the first field that does not fit.
    pub fn check(&self, value: &Value, path: &str) -> Result<(), Misfit> {
        let wrong = |wanted| Err(Misfit::WrongType { path: path.to_owned(), wanted });
        match (self, value) {
            (Self::Text, Value::String(_)) | (Self::Boolean, Value::Bool(_)) => Ok(()),
            (Self::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(()),
            (Self::Number, Value::Number(_)) => Ok(()),
            (Self::List(inner), Value::Array(items)) => items
                .iter()
                .enumerate()
                .try_for_each(|(index, item)| inner.check(item, &format!("{path}[{index}]"))),
            (Self::Object(fields), Value::Object(members)) => check_members(fields, members, path),
            (Self::Text, _) => wrong("a string"),
            (Self::Integer, _) => wrong("an integer"),
            (Self::Number, _) => wrong("a number"),
            (Self::Boolean, _) => wrong("a boolean"),
            (Self::List(_), _) => wrong("a list"),
            (Self::Object(_), _) => wrong("an object"),
        }
    }

    /// The shape as JSON, for `oapi-sandbox schema`: objects with a list of required fields.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Text => json!("string"),
            Self::Integer => json!("integer"),
            Self::Number => json!("number"),
            Self::Boolean => json!("boolean"),
            Self::List(inner) => json!([inner.to_json()]),
            Self::Object(fields) => {
                let required: Vec<&str> =
                    fields.iter().filter(|field| field.required).map(|field| field.name.as_str()).collect();
                let properties: Map<String, Value> =
                    fields.iter().map(|field| (field.name.clone(), field.shape.to_json())).collect();
                json!({ "properties": properties, "required": required })
            }
        }
    }
}

fn check_members(fields: &[Field], members: &Map<String, Value>, path: &str) -> Result<(), Misfit> {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, value) in members {
        match fields.iter().find(|field| field.name == *name) {
            Some(field) => field.shape.check(value, &below(name))?,
            None => return Err(Misfit::Unknown { path: below(name) }),
        }
    }
    match fields.iter().find(|field| field.required && !members.contains_key(&field.name)) {
        Some(field) => Err(Misfit::Missing { path: below(&field.name) }),
        None => Ok(()),
    }
}

/// `security_group_ids` → `SecurityGroupIds`, as serde's `PascalCase` does.
pub fn pascal_case(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut upper = true;
    for letter in name.chars() {
        if letter == '_' {
            upper = true;
        } else if upper {
            text.push(letter.to_ascii_uppercase());
            upper = false;
        } else {
            text.push(letter);
        }
    }
    text
}

/// Writes a request structure and its [`Shape`] from one list of fields. A field in brackets is required; all
/// others become `Option`s.
macro_rules! object {
    ($(#[$meta:meta])* $name:ident { $($rest:tt)* }) => {
        $crate::requests::known::object!(@fields [$(#[$meta])* $name] [] [] $($rest)*);
    };
    (@fields $head:tt [$($structure:tt)*] [$($shape:tt)*] [$field:ident : $type:ty] $(, $($rest:tt)*)?) => {
        $crate::requests::known::object!(@fields $head
            [$($structure)* pub $field: $type,]
            [$($shape)* (stringify!($field), true, <$type as $crate::requests::known::Known>::shape()),]
            $($($rest)*)?);
    };
    (@fields $head:tt [$($structure:tt)*] [$($shape:tt)*] $field:ident : $type:ty $(, $($rest:tt)*)?) => {
        $crate::requests::known::object!(@fields $head
            [$($structure)* #[serde(default, skip_serializing_if = "Option::is_none")] pub $field: Option<$type>,]
            [$($shape)* (stringify!($field), false, <$type as $crate::requests::known::Known>::shape()),]
            $($($rest)*)?);
    };
    (@fields [$(#[$meta:meta])* $name:ident] [$($structure:tt)*] [$($shape:tt)*]) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", deny_unknown_fields)]
        pub struct $name { $($structure)* }

        impl $crate::requests::known::Known for $name {
            fn shape() -> $crate::requests::known::Shape {
                let fields: Vec<(&str, bool, $crate::requests::known::Shape)> = vec![$($shape)*];
                $crate::requests::known::Shape::Object(fields.into_iter().map(|(name, required, shape)| {
                    let name = $crate::requests::known::pascal_case(name);
                    $crate::requests::known::Field { name, required, shape }
                }).collect())
            }
        }
    };
}
pub(crate) use object;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::vms::{CreateVmsRequest, StopVmsRequest};

    #[test]
    fn a_request_with_every_required_field_fits() {
        let body = json!({ "VmIds": ["i-12345678"], "ForceStop": true });
        assert_eq!(StopVmsRequest::shape().check(&body, ""), Ok(()));
        let request: StopVmsRequest = serde_json::from_value(body).unwrap();
        assert_eq!(request.force_stop, Some(true));
    }

    #[test]
    fn misfits_name_the_field_by_its_path() {
        let check = |body: Value| CreateVmsRequest::shape().check(&body, "").unwrap_err();
        assert_eq!(check(json!({})), Misfit::Missing { path: "ImageId".into() });
        assert_eq!(check(json!({ "ImageId": "x", "Foo": 1 })), Misfit::Unknown { path: "Foo".into() });
        assert_eq!(
            check(json!({ "ImageId": "x", "BlockDeviceMappings": [{ "Bsu": { "VolumeSize": "10" } }] })),
            Misfit::WrongType { path: "BlockDeviceMappings[0].Bsu.VolumeSize".into(), wanted: "an integer" }
        );
        assert_eq!(
            check(json!({ "ImageId": null })),
            Misfit::WrongType { path: "ImageId".into(), wanted: "a string" }
        );
    }
}
