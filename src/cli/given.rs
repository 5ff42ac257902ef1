//! Which arguments were given, where their values do not say so because they have defaults.

use std::collections::BTreeSet;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Error, FromArgMatches};

/// Arguments, and the names of those that were given as flags or variables.
#[derive(Clone, Debug)]
pub struct Given<T> {
    pub values: T,
    /// In snake case, of all arguments of the command and the groups that they are in.
    pub names: BTreeSet<String>,
}

impl<T: clap::Args> clap::Args for Given<T> {
    fn augment_args(command: Command) -> Command {
        T::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        T::augment_args_for_update(command)
    }
}

impl<T: FromArgMatches> FromArgMatches for Given<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Self::from_arg_matches_mut(&mut matches.clone())
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        // What is parsed is taken out of the matches.
        let names = names(matches);
        Ok(Self { values: T::from_arg_matches_mut(matches)?, names })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.names.extend(names(matches));
        self.values.update_from_arg_matches(matches)
    }
}

fn names(matches: &ArgMatches) -> BTreeSet<String> {
    let was_given = |id: &&str| !matches!(matches.value_source(id), None | Some(ValueSource::DefaultValue));
    matches.ids().map(clap::Id::as_str).filter(was_given).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::finetune::stages::dpo::DpoOptions;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Given<DpoOptions>,
    }

    #[test]
    fn a_default_is_not_given_even_if_it_is_the_same() {
        let given = |args: &[&str]| Cli::parse_from(["dpo"].iter().chain(args)).options;
        assert_eq!(given(&[]).names.len(), 0);
        let default = given(&[]).values.beta.to_string();
        let options = given(&["--beta", &default, "--sft-weight=0.5"]);
        let was_given = ["beta", "sft_weight", "loss"].map(|name| options.names.contains(name));
        assert_eq!(was_given, [true, true, false]);
        assert_eq!(options.values.sft_weight, 0.5);
    }
}
