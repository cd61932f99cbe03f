//! Types: what `type = …` says, and how values are converted to them.

use std::{cmp::Ordering, collections::BTreeMap, fmt, sync::Arc};

use super::{
    Data, Number, SequenceKind, Value,
    ast::{Expr, Kind},
    eval::Diagnostic,
};

/// A type constraint.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// `any`
    Any,
    /// `bool`
    Bool,
    /// `number`
    Number,
    /// `string`
    Text,
    /// `list(T)`
    List(Box<Type>),
    /// `set(T)`
    Set(Box<Type>),
    /// `map(T)`
    Map(Box<Type>),
    /// `object({ name = T, … })`
    Object(BTreeMap<String, ObjectAttribute>),
    /// `tuple([T, …])`
    Tuple(Vec<Type>),
}

/// An attribute of an object type.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectAttribute {
    /// Its type.
    pub of: Type,
    /// `optional(T)`, `optional(T, default)`: the value of an absent one.
    pub optional: Option<Value>,
}

impl Type {
    /// Reads a type from the expression that stands for it; `constant` evaluates the defaults in it.
    ///
    /// # Errors
    /// The expression is no type.
    pub fn of_expression(
        expr: &Expr,
        constant: &dyn Fn(&Expr) -> Result<Value, Diagnostic>,
    ) -> Result<Self, Diagnostic> {
        let wrong = |message: String| Diagnostic { span: expr.span, message };
        match &expr.kind {
            Kind::Name(name) => match name.as_ref() {
                "any" => Ok(Self::Any),
                "bool" => Ok(Self::Bool),
                "number" => Ok(Self::Number),
                "string" => Ok(Self::Text),
                // Without a type of their items these take any, as in Terraform of old.
                "list" => Ok(Self::List(Box::new(Self::Any))),
                "set" => Ok(Self::Set(Box::new(Self::Any))),
                "map" => Ok(Self::Map(Box::new(Self::Any))),
                other => Err(wrong(format!(
                    "there is no type `{other}`; known are `string`, `number`, `bool`, `any`, `list(…)`, `set(…)`, `map(…)`, `object({{…}})` and `tuple([…])`"
                ))),
            },
            // The oldest templates put the name in quotes.
            Kind::Text(name) => {
                Self::of_expression(&Expr::new(expr.span, Kind::Name(Arc::clone(name))), constant)
            }
            Kind::Call(call) => {
                let [argument] = call.arguments.as_slice() else {
                    return Err(wrong(format!("the type `{}` takes one argument", call.name)));
                };
                let inner = || Self::of_expression(argument, constant).map(Box::new);
                match call.name.as_ref() {
                    "list" => inner().map(Self::List),
                    "set" => inner().map(Self::Set),
                    "map" => inner().map(Self::Map),
                    "object" => Self::object(argument, constant),
                    "tuple" => match &argument.kind {
                        Kind::List(items) => items
                            .iter()
                            .map(|item| Self::of_expression(item, constant))
                            .collect::<Result<_, _>>()
                            .map(Self::Tuple),
                        _ => Err(wrong("`tuple` takes a list of types in `[…]`".to_owned())),
                    },
                    "optional" => Err(wrong(
                        "`optional(…)` has a meaning only for an attribute of `object({…})`".to_owned(),
                    )),
                    other => Err(wrong(format!("there is no type `{other}(…)`"))),
                }
            }
            _ => Err(wrong("this is no type; write for example `string` or `list(string)`".to_owned())),
        }
    }

    fn object(
        argument: &Expr,
        constant: &dyn Fn(&Expr) -> Result<Value, Diagnostic>,
    ) -> Result<Self, Diagnostic> {
        let Kind::Object(members) = &argument.kind else {
            return Err(Diagnostic {
                span: argument.span,
                message: "`object` takes names and types in `{…}`".to_owned(),
            });
        };
        let mut attributes = BTreeMap::new();
        for (key, of) in members {
            let Kind::Text(name) = &key.kind else {
                return Err(Diagnostic {
                    span: key.span,
                    message: "an attribute of a type must be a plain name".to_owned(),
                });
            };
            let attribute = match &of.kind {
                Kind::Call(call) if call.name.as_ref() == "optional" => match call.arguments.as_slice() {
                    [of] => ObjectAttribute {
                        of: Self::of_expression(of, constant)?,
                        optional: Some(Value::null()),
                    },
                    [of, default] => {
                        let of = Self::of_expression(of, constant)?;
                        let value = of
                            .convert(constant(default)?)
                            .map_err(|message| Diagnostic { span: default.span, message })?;
                        ObjectAttribute { of, optional: Some(value) }
                    }
                    _ => {
                        return Err(Diagnostic {
                            span: of.span,
                            message: "`optional` takes a type and, if wanted, a default".to_owned(),
                        });
                    }
                },
                _ => ObjectAttribute { of: Self::of_expression(of, constant)?, optional: None },
            };
            attributes.insert(name.to_string(), attribute);
        }
        Ok(Self::Object(attributes))
    }

    /// The type of a value.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        match &value.data {
            Data::Null | Data::Unknown(_) => Self::Any,
            Data::Bool(_) => Self::Bool,
            Data::Number(_) => Self::Number,
            Data::Text(_) => Self::Text,
            Data::Sequence(SequenceKind::Tuple, items) => Self::Tuple(items.iter().map(Self::of).collect()),
            Data::Sequence(kind, items) => {
                let of = Box::new(items.first().map_or(Self::Any, Self::of));
                if *kind == SequenceKind::List { Self::List(of) } else { Self::Set(of) }
            }
            Data::Map(true, members) => {
                Self::Map(Box::new(members.values().next().map_or(Self::Any, Self::of)))
            }
            Data::Map(false, members) => Self::Object(
                members
                    .iter()
                    .map(|(name, value)| {
                        (name.clone(), ObjectAttribute { of: Self::of(value), optional: None })
                    })
                    .collect(),
            ),
        }
    }

    /// Converts a value. `null` and what is not known stay what they are; marks stay.
    ///
    /// # Errors
    /// A sentence that says why that cannot be. It does not repeat the value, which may be sensitive.
    pub fn convert(&self, value: Value) -> Result<Value, String> {
        if matches!(value.data, Data::Null | Data::Unknown(_)) {
            return Ok(value);
        }
        let sensitive = value.sensitive;
        let converted: Value = match (self, value.data) {
            (Self::Any, data) => data.into(),
            (Self::Bool, data @ Data::Bool(_))
            | (Self::Number, data @ Data::Number(_))
            | (Self::Text, data @ Data::Text(_)) => data.into(),
            (Self::Text, Data::Number(number)) => number.to_string().into(),
            (Self::Text, Data::Bool(value)) => if value { "true" } else { "false" }.into(),
            (Self::Number, Data::Text(text)) => text
                .trim()
                .parse::<Number>()
                .map_err(|()| "a number is needed, and this text is none".to_owned())?
                .into(),
            (Self::Bool, Data::Text(text)) => match text.as_ref() {
                "true" | "1" => true.into(),
                "false" | "0" => false.into(),
                _ => return Err("`true` or `false` is needed, and this text is neither".to_owned()),
            },
            (Self::List(of), Data::Sequence(_, items)) => Value::list(convert_all(of, &items)?),
            (Self::Set(of), Data::Sequence(_, items)) => Value::set(convert_all(of, &items)?),
            (Self::Tuple(types), Data::Sequence(kind, items)) if kind != SequenceKind::Set => {
                if types.len() != items.len() {
                    return Err(format!("{} items are needed, there are {}", types.len(), items.len()));
                }
                let items = types.iter().zip(items.iter()).enumerate();
                Value::tuple(
                    items
                        .map(|(index, (of, item))| at(&format!("[{index}]"), of.convert(item.clone())))
                        .collect::<Result<_, _>>()?,
                )
            }
            (Self::Map(of), Data::Map(_, members)) => {
                let values: Vec<Value> = members.values().cloned().collect();
                let of = if **of == Self::Any { unify(&values) } else { (**of).clone() };
                Value::map(
                    members
                        .iter()
                        .map(|(name, value)| {
                            Ok((name.clone(), at(&format!(".{name}"), of.convert(value.clone()))?))
                        })
                        .collect::<Result<_, String>>()?,
                )
            }
            (Self::Object(attributes), Data::Map(_, members)) => {
                let mut object = BTreeMap::new();
                for (name, attribute) in attributes {
                    let value = match (members.get(name), &attribute.optional) {
                        (Some(given), optional) => {
                            let value = at(&format!(".{name}"), attribute.of.convert(given.clone()))?;
                            optional.as_ref().filter(|_| value.is_null()).cloned().unwrap_or(value)
                        }
                        (None, Some(default)) => default.clone(),
                        (None, None) => return Err(format!("the attribute `{name}` is missing")),
                    };
                    object.insert(name.clone(), value);
                }
                Value::object(object)
            }
            (wanted, data) => {
                return Err(format!("{} is needed, not {}", wanted.noun(), Value::from(data).kind_name()));
            }
        };
        Ok(converted.marked(sensitive))
    }

    /// `a text`, `a list` … for messages.
    fn noun(&self) -> String {
        match self {
            Self::Any => "a value".to_owned(),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Text => "a text".to_owned(),
            other => format!("a value of the type `{other}`"),
        }
    }
}

fn convert_all(of: &Type, items: &[Value]) -> Result<Vec<Value>, String> {
    let of = if *of == Type::Any { unify(items) } else { of.clone() };
    items
        .iter()
        .enumerate()
        .map(|(index, item)| at(&format!("[{index}]"), of.convert(item.clone())))
        .collect()
}

fn at<T>(place: &str, result: Result<T, String>) -> Result<T, String> {
    result.map_err(|message| format!("{place}: {message}"))
}

/// The type that all these values can have: their own if they share it, text if some of several simple ones are texts,
/// else `any`.
#[must_use]
pub fn unify(values: &[Value]) -> Type {
    let mut simple: Vec<Type> = Vec::new();
    for value in values.iter().filter(|value| !value.is_null() && !value.is_unknown()) {
        let of = match &value.data {
            Data::Bool(_) => Type::Bool,
            Data::Number(_) => Type::Number,
            Data::Text(_) => Type::Text,
            _ => return Type::Any,
        };
        if !simple.contains(&of) {
            simple.push(of);
        }
    }
    match simple.as_slice() {
        [only] => only.clone(),
        several if several.contains(&Type::Text) => Type::Text,
        _ => Type::Any,
    }
}

/// Whether two values are equal in the sense of `==`: of the same type and with the same content.
#[must_use]
pub fn equal(left: &Value, right: &Value) -> bool {
    match (&left.data, &right.data) {
        (Data::Null, Data::Null) => true,
        (Data::Bool(left), Data::Bool(right)) => left == right,
        (Data::Number(left), Data::Number(right)) => left == right,
        (Data::Text(left), Data::Text(right)) => left == right,
        (Data::Sequence(left_kind, left), Data::Sequence(right_kind, right)) => {
            left_kind == right_kind
                && left.len() == right.len()
                && left.iter().zip(right.iter()).all(|(left, right)| equal(left, right))
        }
        (Data::Map(left_kind, left), Data::Map(right_kind, right)) => {
            left_kind == right_kind
                && left.len() == right.len()
                && left.iter().zip(right.iter()).all(|((left_name, left), (right_name, right))| {
                    left_name == right_name && equal(left, right)
                })
        }
        _ => false,
    }
}

/// An order of all values, for sets.
#[must_use]
pub fn order(left: &Value, right: &Value) -> Ordering {
    let rank = |value: &Value| match &value.data {
        Data::Null => 0,
        Data::Bool(_) => 1,
        Data::Number(_) => 2,
        Data::Text(_) => 3,
        Data::Sequence(SequenceKind::Tuple, _) => 4,
        Data::Sequence(SequenceKind::List, _) => 5,
        Data::Sequence(SequenceKind::Set, _) => 6,
        Data::Map(false, _) => 7,
        Data::Map(true, _) => 8,
        Data::Unknown(_) => 9,
    };
    match (&left.data, &right.data) {
        (Data::Bool(left), Data::Bool(right)) => left.cmp(right),
        (Data::Number(left), Data::Number(right)) => left.cmp(right),
        (Data::Text(left), Data::Text(right)) => left.cmp(right),
        (Data::Sequence(left_kind, left), Data::Sequence(right_kind, right)) if left_kind == right_kind => {
            let differs = left.iter().zip(right.iter()).map(|(left, right)| order(left, right));
            differs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| left.len().cmp(&right.len()))
        }
        (Data::Map(left_kind, left), Data::Map(right_kind, right)) if left_kind == right_kind => {
            let differs = left.iter().zip(right.iter()).map(|((left_name, left), (right_name, right))| {
                left_name.cmp(right_name).then_with(|| order(left, right))
            });
            differs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| left.len().cmp(&right.len()))
        }
        _ => rank(left).cmp(&rank(right)),
    }
}

impl fmt::Display for Type {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("any"),
            Self::Bool => formatter.write_str("bool"),
            Self::Number => formatter.write_str("number"),
            Self::Text => formatter.write_str("string"),
            Self::List(of) => write!(formatter, "list({of})"),
            Self::Set(of) => write!(formatter, "set({of})"),
            Self::Map(of) => write!(formatter, "map({of})"),
            Self::Object(attributes) => {
                let attributes: Vec<String> =
                    attributes.iter().map(|(name, attribute)| format!("{name} = {}", attribute.of)).collect();
                write!(formatter, "object({{{}}})", attributes.join(", "))
            }
            Self::Tuple(types) => {
                let types: Vec<String> = types.iter().map(ToString::to_string).collect();
                write!(formatter, "tuple([{}])", types.join(", "))
            }
        }
    }
}
