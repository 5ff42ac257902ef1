//! Numbers on the command line: which ones a flag takes, and what is said of others.

use std::error::Error as _;
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};
use std::ops::RangeInclusive;

use clap::error::{ContextKind, ErrorKind};
use clap::{Command, Error, Parser};

use super::failure;
use super::help::prepared;
use crate::ops::OPS;

/// The most tokens that are written at once: weeks of them.
pub const MOST_TOKENS: u64 = 1_000_000_000;
/// The most tokens that a model sees at once.
pub const MOST_CONTEXT: u64 = 1 << 20;
/// The most of other things that are asked for by number.
pub const MOST: u64 = 1_000_000;

/// Whole numbers of this range; an error says so.
pub fn whole<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("give a whole number from {} to {}", range.start(), range.end()))
    }
}

/// The name of an op; an error lists them.
pub fn op(name: &str) -> Result<String, String> {
    if OPS.iter().any(|op| op.name == name) {
        return Ok(name.to_owned());
    }
    let names: Vec<_> = OPS.iter().map(|op| op.name).collect();
    Err(format!("there is no op {name:?}: choose one of {}", names.join(", ")))
}

/// What the program was called with.
pub fn parse<T: Parser>() -> T {
    let mut command = prepared(T::command());
    let parsed = command.try_get_matches_from_mut(std::env::args_os());
    let parsed = parsed.and_then(|mut matches| T::from_arg_matches_mut(&mut matches));
    parsed.unwrap_or_else(|error| failure::refuse(explained(error, &mut command).format(&mut command)))
}

/// What the standard library says of what is no number, in words about the flag.
fn explained(error: Error, command: &mut Command) -> Error {
    let Some(wanted) = error.source().and_then(|source| {
        let whole = source.downcast_ref::<ParseIntError>().map(|error| match error.kind() {
            IntErrorKind::PosOverflow => "the number is too great to be counted",
            _ => "give a whole number, 0 or more",
        });
        whole.or_else(|| source.is::<ParseFloatError>().then_some("give a number"))
    }) else {
        return error;
    };
    let told = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let (flag, value) = (told(ContextKind::InvalidArg), told(ContextKind::InvalidValue));
    command.error(ErrorKind::ValueValidation, format!("invalid value '{value}' for '{flag}': {wanted}"))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[arg(long, value_parser = whole::<usize>(1..=9))]
        few: Option<usize>,
        #[arg(long)]
        many: Option<u64>,
        #[arg(long)]
        share: Option<f32>,
    }

    fn parsed(flag: &str, value: &str) -> Result<Flags, String> {
        let mut command = prepared(Flags::command());
        let matches = command.try_get_matches_from_mut(["program", flag, value]);
        matches
            .and_then(|matches| Flags::from_arg_matches(&matches))
            .map_err(|error| explained(error, &mut command).to_string())
    }

    #[test]
    fn what_is_no_number_of_a_flag_is_told_what_is() {
        assert_eq!(parsed("--few", "9").unwrap().few, Some(9));
        for (flag, value, wanted) in [
            ("--few", "0", "from 1 to 9"),
            ("--few", "-1", "from 1 to 9"),
            ("--few", "18446744073709551616", "from 1 to 9"),
            ("--many", "-1", "a whole number, 0 or more"),
            ("--many", "x", "a whole number, 0 or more"),
            ("--many", "", "a whole number, 0 or more"),
            ("--many", "18446744073709551616", "too great"),
            ("--share", "x", "give a number"),
        ] {
            let error = parsed(flag, value).unwrap_err();
            assert!(error.contains(wanted) && error.contains(&format!("'{value}' for '{flag}")), "{error}");
        }
    }

    /// `-1` is a share that a check of shares refuses, not a flag of its own.
    #[test]
    fn a_number_below_0_is_a_value() {
        assert_eq!(parsed("--share", "-1").unwrap().share, Some(-1.0));
    }
}
