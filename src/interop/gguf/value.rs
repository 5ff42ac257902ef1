//! The values of a GGUF file: numbers, texts, and arrays of them.

use serde::Serialize;

use super::header::Header;
use crate::interop::error::ContainerError;

/// What a value may be asked for as.
pub trait FromValue<'a>: Sized {
    /// What is wanted, for an error.
    const WHAT: &'static str;

    fn from_value(value: &'a Value) -> Option<Self>;
}

/// The most arrays inside each other.
const MAX_DEPTH: usize = 8;

const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Values and arrays of every type of number, each under its number in GGUF.
macro_rules! values {
    ($($id:literal $name:ident $type:ident,)*) => {
        /// A value.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum Value {
            $($name($type),)*
            Bool(bool),
            String(String),
            Array(Array),
        }

        /// Values of one type.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum Array {
            $($name(Vec<$type>),)*
            Bool(Vec<bool>),
            String(Vec<String>),
            Array(Vec<Array>),
        }

        $(
            impl From<$type> for Value {
                fn from(number: $type) -> Self {
                    Self::$name(number)
                }
            }

            impl From<Vec<$type>> for Value {
                fn from(numbers: Vec<$type>) -> Self {
                    Self::Array(Array::$name(numbers))
                }
            }

            impl<'a> FromValue<'a> for &'a [$type] {
                const WHAT: &'static str = concat!("an array of ", stringify!($type));

                fn from_value(value: &'a Value) -> Option<Self> {
                    match value {
                        Value::Array(Array::$name(numbers)) => Some(numbers),
                        _ => None,
                    }
                }
            }
        )*

        impl Value {
            pub(super) fn read(header: &mut Header, key: &str) -> Result<Self, ContainerError> {
                Ok(match u32::from_le_bytes(header.bytes(key)?) {
                    $($id => Self::$name($type::from_le_bytes(header.bytes(key)?)),)*
                    BOOL => {
                        let byte = header.bytes(key)?;
                        Self::Bool(truth(header, key, byte)?)
                    }
                    STRING => Self::String(header.text(key)?),
                    ARRAY => Self::Array(Array::read(header, key, 1)?),
                    other => return Err(header.wrong(format!("the key {key} has the unknown type {other}"))),
                })
            }

            /// Its type as in Rust: `u32`, `[str; 49152]`.
            pub fn kind(&self) -> String {
                match self {
                    $(Self::$name(_) => stringify!($type).to_owned(),)*
                    Self::Bool(_) => "bool".to_owned(),
                    Self::String(_) => "str".to_owned(),
                    Self::Array(array) => array.kind(),
                }
            }

            /// Appends its type and itself, as in a file.
            pub(in crate::interop) fn write(&self, to: &mut Vec<u8>) {
                match self {
                    $(Self::$name(number) => {
                        to.extend(u32::to_le_bytes($id));
                        to.extend(number.to_le_bytes());
                    })*
                    Self::Bool(truth) => {
                        to.extend(BOOL.to_le_bytes());
                        to.push(u8::from(*truth));
                    }
                    Self::String(text) => {
                        to.extend(STRING.to_le_bytes());
                        write_text(text, to);
                    }
                    Self::Array(array) => {
                        to.extend(ARRAY.to_le_bytes());
                        array.write(to);
                    }
                }
            }
        }

        impl Array {
            fn read(header: &mut Header, key: &str, depth: usize) -> Result<Self, ContainerError> {
                if depth > MAX_DEPTH {
                    let what = format!("the key {key} has more than {MAX_DEPTH} arrays inside each other");
                    return Err(header.wrong(what));
                }
                Ok(match u32::from_le_bytes(header.bytes(key)?) {
                    $($id => Self::$name(header.array(key, $type::from_le_bytes)?),)*
                    BOOL => {
                        let bytes = header.array(key, |byte: [u8; 1]| byte)?;
                        let truths: Result<_, _> = bytes.into_iter().map(|byte| truth(header, key, byte)).collect();
                        Self::Bool(truths?)
                    }
                    STRING => {
                        let count = header.count(key, 8)?;
                        let texts: Result<_, _> = (0..count).map(|_| header.text(key)).collect();
                        Self::String(texts?)
                    }
                    ARRAY => {
                        let count = header.count(key, 4 + 8)?;
                        let arrays: Result<_, _> =
                            (0..count).map(|_| Self::read(header, key, depth + 1)).collect();
                        Self::Array(arrays?)
                    }
                    other => {
                        return Err(header.wrong(format!("the key {key} is an array of the unknown type {other}")));
                    }
                })
            }

            pub fn len(&self) -> usize {
                match self {
                    $(Self::$name(numbers) => numbers.len(),)*
                    Self::Bool(truths) => truths.len(),
                    Self::String(texts) => texts.len(),
                    Self::Array(arrays) => arrays.len(),
                }
            }

            /// The first of its values.
            pub fn first(&self, most: usize) -> Self {
                let most = most.min(self.len());
                match self {
                    $(Self::$name(numbers) => Self::$name(numbers[..most].to_vec()),)*
                    Self::Bool(truths) => Self::Bool(truths[..most].to_vec()),
                    Self::String(texts) => Self::String(texts[..most].to_vec()),
                    Self::Array(arrays) => {
                        Self::Array(arrays[..most].iter().map(|array| array.first(most)).collect())
                    }
                }
            }

            fn kind(&self) -> String {
                let of = match self {
                    $(Self::$name(_) => stringify!($type),)*
                    Self::Bool(_) => "bool",
                    Self::String(_) => "str",
                    Self::Array(_) => "array",
                };
                format!("[{of}; {}]", self.len())
            }

            fn write(&self, to: &mut Vec<u8>) {
                let begin = |id: u32, to: &mut Vec<u8>| {
                    to.extend(id.to_le_bytes());
                    to.extend((self.len() as u64).to_le_bytes());
                };
                match self {
                    $(Self::$name(numbers) => {
                        begin($id, to);
                        to.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
                    })*
                    Self::Bool(truths) => {
                        begin(BOOL, to);
                        to.extend(truths.iter().map(|truth| u8::from(*truth)));
                    }
                    Self::String(texts) => {
                        begin(STRING, to);
                        texts.iter().for_each(|text| write_text(text, to));
                    }
                    Self::Array(arrays) => {
                        begin(ARRAY, to);
                        arrays.iter().for_each(|array| array.write(to));
                    }
                }
            }
        }
    };
}

values! {
    0 U8 u8,
    1 I8 i8,
    2 U16 u16,
    3 I16 i16,
    4 U32 u32,
    5 I32 i32,
    6 F32 f32,
    10 U64 u64,
    11 I64 i64,
    12 F64 f64,
}

fn truth(header: &Header, key: &str, [byte]: [u8; 1]) -> Result<bool, ContainerError> {
    match byte {
        0 | 1 => Ok(byte == 1),
        _ => Err(header.wrong(format!("the key {key} is {byte}, neither true nor false"))),
    }
}

/// Appends a text as in a file: its length and its bytes.
pub(in crate::interop) fn write_text(text: &str, to: &mut Vec<u8>) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

impl Array {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Self {
        Self::Array(Array::String(texts))
    }
}

impl From<Vec<bool>> for Value {
    fn from(truths: Vec<bool>) -> Self {
        Self::Array(Array::Bool(truths))
    }
}
