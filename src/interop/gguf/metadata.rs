//! What a GGUF file says of its model: values under keys.

use std::path::{Path, PathBuf};

use super::value::{Array, FromValue, Value};
use crate::interop::error::ContainerError;

impl<'a> FromValue<'a> for &'a str {
    const WHAT: &'static str = "a string";

    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl FromValue<'_> for bool {
    const WHAT: &'static str = "true or false";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        }
    }
}

/// A whole number of any type.
fn whole(value: &Value) -> Option<i128> {
    match *value {
        Value::U8(number) => Some(number.into()),
        Value::I8(number) => Some(number.into()),
        Value::U16(number) => Some(number.into()),
        Value::I16(number) => Some(number.into()),
        Value::U32(number) => Some(number.into()),
        Value::I32(number) => Some(number.into()),
        Value::U64(number) => Some(number.into()),
        Value::I64(number) => Some(number.into()),
        _ => None,
    }
}

/// An array of them.
fn wholes(value: &Value) -> Option<Vec<i128>> {
    fn wide<T: Copy + Into<i128>>(numbers: &[T]) -> Option<Vec<i128>> {
        Some(numbers.iter().map(|&number| number.into()).collect())
    }
    let Value::Array(array) = value else { return None };
    match array {
        Array::U8(numbers) => wide(numbers),
        Array::I8(numbers) => wide(numbers),
        Array::U16(numbers) => wide(numbers),
        Array::I16(numbers) => wide(numbers),
        Array::U32(numbers) => wide(numbers),
        Array::I32(numbers) => wide(numbers),
        Array::U64(numbers) => wide(numbers),
        Array::I64(numbers) => wide(numbers),
        _ => None,
    }
}

/// Whole numbers are taken from every type of whole number that holds one.
macro_rules! whole_numbers {
    ($($type:ty)*) => {$(
        impl FromValue<'_> for $type {
            const WHAT: &'static str = concat!("a whole number (", stringify!($type), ")");

            fn from_value(value: &Value) -> Option<Self> {
                whole(value)?.try_into().ok()
            }
        }

        impl FromValue<'_> for Vec<$type> {
            const WHAT: &'static str = concat!("an array of whole numbers (", stringify!($type), ")");

            fn from_value(value: &Value) -> Option<Self> {
                wholes(value)?.into_iter().map(|number| number.try_into().ok()).collect()
            }
        }
    )*};
}

whole_numbers!(u32 usize i64);

impl FromValue<'_> for f64 {
    const WHAT: &'static str = "a number";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::F32(number) => Some((*number).into()),
            Value::F64(number) => Some(*number),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a [String] {
    const WHAT: &'static str = "an array of strings";

    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Array(Array::String(texts)) => Some(texts),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a [bool] {
    const WHAT: &'static str = "an array of true and false";

    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Array(Array::Bool(truths)) => Some(truths),
            _ => None,
        }
    }
}

/// Values under keys, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    path: PathBuf,
    entries: Vec<(String, Value)>,
}

impl Metadata {
    /// Of the file at `path`, which errors name.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), entries: Vec::new() }
    }

    /// All keys and values.
    pub fn entries(&self) -> &[(String, Value)] {
        &self.entries
    }

    /// Puts a value under a key, in place of one that is there.
    pub fn insert(&mut self, key: &str, value: impl Into<Value>) {
        match self.entries.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value.into(),
            None => self.push(key, value.into()),
        }
    }

    /// Adds a key that is not there.
    pub(in crate::interop) fn push(&mut self, key: &str, value: Value) {
        self.entries.push((key.to_owned(), value));
    }

    /// The value under a key.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// The value under a key, if there is one: `&str`, `bool`, `usize`, `f64`, `&[String]`, `&[f32]`, `Vec<usize>`, ….
    ///
    /// # Errors
    /// When it is something else; the error names the key.
    pub fn find<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, ContainerError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match T::from_value(value) {
            None => Err(self.wrong(key, format!("has a value of type {}, not {}", value.kind(), T::WHAT))),
            found => Ok(found),
        }
    }

    /// The value under a key that must be there.
    ///
    /// # Errors
    /// As [`find`](Self::find), and when there is none.
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, ContainerError> {
        self.find(key)?.ok_or_else(|| self.wrong(key, format!("is missing, which has {}", T::WHAT)))
    }

    pub(in crate::interop) fn wrong(&self, key: &str, what: String) -> ContainerError {
        ContainerError::Key { path: self.path.clone(), key: key.to_owned(), what }
    }
}
