//! Settings that are one of a few words: the words that serde writes an enum's variants with.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::de::value::Error;
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

/// Takes one of the words that are a `T`, an enum whose variants have no fields.
pub fn choice<T: DeserializeOwned + Clone + Send + Sync + 'static>() -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words::<T>())
        .try_map(|word| T::deserialize(IntoDeserializer::<Error>::into_deserializer(word)))
}

/// Those words, in the order of the variants.
pub fn words<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut words: &[&str] = &[];
    // Always an error: the words are all that is wanted.
    let _ = T::deserialize(Variants(&mut words));
    words
}

/// Is asked for an enum, notes its variants, and gives none.
struct Variants<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Variants<'_> {
    type Error = Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = variants;
        Err(Error::custom("no variant"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("no enum"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::config::Position;
    use crate::optim::Optimizer;

    #[test]
    fn words_are_those_of_files() {
        assert_eq!(words::<Position>(), ["none", "sinusoidal", "learned", "rope", "alibi"]);
        assert_eq!(words::<Optimizer>()[0], "adamw");
        assert_eq!(words::<String>(), [""; 0]);
        let command =
            clap::Command::new("p").arg(clap::Arg::new("position").value_parser(choice::<Position>()));
        let given = |word: &str| command.clone().try_get_matches_from(["p", word]);
        assert_eq!(given("rope").unwrap().get_one("position"), Some(&Position::Rope));
        let error = given("ropes").unwrap_err().to_string();
        assert!(error.contains("none, sinusoidal, learned, rope, alibi"), "{error}");
    }
}
