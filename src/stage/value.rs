//! Values of axes, and coordinates: a cell's place in a sweep.

use crate::few::Few;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt::{self, Write as _};

/// An axis value. Compares by value (numbers before strings), prints shortest (`0.0001`).
#[derive(Clone, Debug)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

/// Axis name → value, sorted by name.
pub type Coordinates = Few<String, Value>;

/// `backbone=vgg16,seed=1`, or nothing for no coordinates.
pub fn show_coordinates(coordinates: &Coordinates) -> String {
    let mut text = String::with_capacity(24 * coordinates.len());
    write_coordinates(coordinates, &mut text);
    text
}

/// The same, at the end of a text.
pub fn write_coordinates(coordinates: &Coordinates, text: &mut String) {
    for (place, (axis, value)) in coordinates.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(axis);
        text.push('=');
        match value {
            Value::Text(plain) => text.push_str(plain),
            other => drop(write!(text, "{other}")),
        }
    }
}

impl Value {
    fn number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Bool(_) | Self::Text(_) => None,
        }
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Bool(_), _) => Ordering::Less,
            (_, Self::Bool(_)) => Ordering::Greater,
            (Self::Text(_), _) => Ordering::Greater,
            (_, Self::Text(_)) => Ordering::Less,
            _ => self.number().unwrap_or_default().total_cmp(&other.number().unwrap_or_default()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

impl Value {
    /// As people write it: text in quotes, the rest without.
    pub(crate) fn quoted(&self) -> String {
        match self {
            Self::Text(text) => format!("\"{text}\""),
            other => other.to_string(),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            // Equal values write equal bytes: 1.0 is 1.
            Self::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => serializer.serialize_i64(*value as i64),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Bool(value) => Ok(Self::Bool(value)),
            serde_json::Value::String(value) => Ok(Self::Text(value)),
            serde_json::Value::Number(value) => match (value.as_i64(), value.as_f64()) {
                (Some(value), _) => Ok(Self::Int(value)),
                (None, Some(value)) => Ok(Self::Float(value)),
                (None, None) => Err(serde::de::Error::custom("a number out of range")),
            },
            _ => Err(serde::de::Error::custom("an axis value is a string, a number or true or false")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_compare_by_value_and_print_shortest() {
        assert_eq!(Value::Int(1), Value::Float(1.0));
        assert!(Value::Int(2) < Value::Int(10) && Value::Float(0.5) < Value::Int(1) && Value::Int(9) < Value::Text("1".into()));
        assert_eq!(Value::Float(1e-4).to_string(), "0.0001");
        assert_eq!(serde_json::to_string(&Value::Float(1.0)).unwrap(), serde_json::to_string(&Value::Int(1)).unwrap());
    }
}
