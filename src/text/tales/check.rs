//! Two theorems about a grammar, proved when it is loaded.
//!
//! **A text has one derivation.** Call a set of texts a code if none is a prefix of another. (1) What a mention can be,
//! with the space or mark that follows it, is a code. (2) Of two alternatives of a rule, strip the units both begin
//! with; what is left begins, however its first rules and mentions are expanded, with two different characters. By
//! induction each rule makes a code: reading from the left, every choice can be told from the text alone. So −ln p of a
//! text is the sum of −ln p of its choices, and entropies add up.
//!
//! **A rule draws the same slots whichever way it goes** (`tale`, after which nothing comes, excepted).
//! So whether a mention draws, and from how many words, does not depend on chance: see [`Mean`].

use std::collections::BTreeSet;

use super::grammar::{Grammar, GrammarError, Inflection, Mention, PLAIN, Unit, bad};

/// Expectations over all derivations of a part of the grammar.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    /// E[Σ −ln p] over its choices.
    pub nats: f64,
    /// E[characters].
    pub chars: f64,
}

/// Reads a grammar and proves that it is one.
pub(super) fn proven(text: &str) -> Result<Grammar, GrammarError> {
    let grammar = Grammar::read(text)?;
    check(&grammar)?;
    Ok(grammar)
}

fn check(grammar: &Grammar) -> Result<(), GrammarError> {
    acyclic(grammar, grammar.root, &mut Vec::new())?;
    for rule in &grammar.rules {
        for (i, one) in rule.alternatives.iter().enumerate() {
            are_codes(grammar, &told(&one.units))?;
            for (j, other) in rule.alternatives.iter().enumerate().skip(i + 1) {
                if !apart(grammar, told(&one.units), told(&other.units))? {
                    return Err(bad(
                        &rule.name,
                        format!("alternatives {} and {} can begin alike", i + 1, j + 1),
                    ));
                }
            }
        }
    }
    mean(grammar).map(drop)
}

/// No rule leads back to itself: tales end, and the recursions here do.
fn acyclic(grammar: &Grammar, rule: usize, path: &mut Vec<usize>) -> Result<(), GrammarError> {
    if path.contains(&rule) {
        return Err(bad(&grammar.rules[rule].name, "it leads back to itself"));
    }
    path.push(rule);
    for unit in grammar.rules[rule].alternatives.iter().flat_map(|alternative| &alternative.units) {
        if let Unit::Rule(next) = unit {
            acyclic(grammar, *next, path)?;
        }
    }
    path.pop();
    Ok(())
}

fn mentions(units: &[Unit]) -> impl Iterator<Item = &Mention> {
    units.iter().filter_map(|unit| if let Unit::Mention(mention) = unit { Some(mention) } else { None })
}

/// The units that make text.
fn told(units: &[Unit]) -> Vec<Unit> {
    units.iter().filter(|unit| !matches!(unit, Unit::Fact(_))).cloned().collect()
}

/// Whether every mention among `units` ends with its word: no letter follows, and no spelling goes on
/// after another where the other may end.
fn are_codes(grammar: &Grammar, units: &[Unit]) -> Result<(), GrammarError> {
    for (i, unit) in units.iter().enumerate() {
        let Unit::Mention(mention) = unit else { continue };
        let slot = &grammar.slots[mention.slot].name;
        if !matches!(units.get(i + 1), Some(Unit::Char(c)) if !c.is_alphabetic()) {
            return Err(bad(slot, "a mention of it is not followed by a space or a mark"));
        }
        let texts: BTreeSet<&str> = grammar.spellings(mention)?.into_iter().collect();
        let goes_on = |long: &str, short: &str| {
            long.strip_prefix(short).and_then(|rest| rest.chars().next()).is_some_and(|c| !c.is_alphabetic())
        };
        if let Some(short) = texts.iter().find(|short| texts.iter().any(|long| goes_on(long, short))) {
            return Err(bad(slot, format!("{short:?} is the beginning of another of its spellings")));
        }
    }
    Ok(())
}

/// Whether no text of `a` is a prefix of one of `b` or the other way round.
///
/// The words that slots hold are forgotten on the way, so this may say no where the truth is yes, never
/// the reverse.
fn apart(grammar: &Grammar, a: Vec<Unit>, b: Vec<Unit>) -> Result<bool, GrammarError> {
    let common = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[common..], &b[common..]);
    match (a.first(), b.first()) {
        (None, _) | (_, None) => Ok(false),
        (Some(Unit::Char(_)), Some(Unit::Char(_))) => Ok(true),
        (Some(Unit::Char(_)), Some(other)) => all_apart(grammar, other, &b[1..], a),
        (Some(other), Some(_)) => all_apart(grammar, other, &a[1..], b),
    }
}

fn all_apart(grammar: &Grammar, first: &Unit, rest: &[Unit], other: &[Unit]) -> Result<bool, GrammarError> {
    let expansions: Vec<Vec<Unit>> = match first {
        Unit::Rule(rule) => grammar.rules[*rule].alternatives.iter().map(|a| told(&a.units)).collect(),
        Unit::Mention(mention) => {
            let texts: BTreeSet<&str> = grammar.spellings(mention)?.into_iter().collect();
            texts.into_iter().map(|text| text.chars().map(Unit::Char).collect()).collect()
        }
        Unit::Char(_) | Unit::Fact(_) => Vec::new(),
    };
    for mut expansion in expansions {
        expansion.extend_from_slice(rest);
        if !apart(grammar, expansion, other.to_vec())? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The expectations of a whole tale.
///
/// Drawing without replacement leaves each slot's word uniform over its kind, and no rule's probabilities
/// depend on words; so a mention's expected length is the plain mean over its spellings, and with
/// linearity one pass over the grammar gives all.
pub(super) fn mean(grammar: &Grammar) -> Result<Mean, GrammarError> {
    let mut total = Mean::default();
    for alternative in &grammar.rules[grammar.root].alternatives {
        let mean = mean_of(grammar, &alternative.units, &mut BTreeSet::new())?;
        total.nats += alternative.probability * (mean.nats - alternative.probability.ln());
        total.chars += alternative.probability * mean.chars;
    }
    Ok(total)
}

/// The expectations of `units` when the slots of `drawn` hold words already; adds those it draws.
fn mean_of(grammar: &Grammar, units: &[Unit], drawn: &mut BTreeSet<usize>) -> Result<Mean, GrammarError> {
    let mut mean = Mean::default();
    for unit in units {
        match unit {
            Unit::Char(_) => mean.chars += 1.0,
            Unit::Mention(mention) => {
                mean.nats += draw(grammar, mention, drawn)?;
                let texts = grammar.spellings(mention)?;
                let total: usize = texts.iter().map(|text| text.chars().count()).sum();
                mean.chars += total as f64 / texts.len() as f64;
            }
            Unit::Rule(rule) => {
                let rule = &grammar.rules[*rule];
                let mut after: Option<BTreeSet<usize>> = None;
                for alternative in &rule.alternatives {
                    let mut here = drawn.clone();
                    let inner = mean_of(grammar, &alternative.units, &mut here)?;
                    mean.nats += alternative.probability * (inner.nats - alternative.probability.ln());
                    mean.chars += alternative.probability * inner.chars;
                    if after.get_or_insert_with(|| here.clone()) != &here {
                        return Err(bad(&rule.name, "its alternatives do not draw the same slots"));
                    }
                }
                *drawn = after.unwrap_or_default();
            }
            Unit::Fact(parts) => {
                if let Some(mention) =
                    parts.iter().flat_map(|p| mentions(p)).find(|m| !drawn.contains(&m.slot))
                {
                    return Err(bad(
                        &grammar.slots[mention.slot].name,
                        "a fact names it before the text does",
                    ));
                }
            }
        }
    }
    Ok(mean)
}

/// −ln p of what `mention` draws: 0 if its slot is in `drawn`, else ln of the number of words still free.
fn draw(grammar: &Grammar, mention: &Mention, drawn: &mut BTreeSet<usize>) -> Result<f64, GrammarError> {
    let slot = &grammar.slots[mention.slot];
    if let Inflection::Agreeing(other) = mention.form
        && !drawn.contains(&other)
    {
        return Err(bad(
            &slot.name,
            format!("it agrees with {} before that is drawn", grammar.slots[other].name),
        ));
    }
    if drawn.contains(&mention.slot) {
        return Ok(0.0);
    }
    let tells_words_apart = match &mention.form {
        Inflection::Named(form) => form == PLAIN && distinct(grammar.spellings(mention)?),
        // All words in the form of one sex, then all in that of the next.
        Inflection::Agreeing(_) => {
            grammar.spellings(mention)?.chunks(slot.words.len()).all(|one| distinct(one.to_vec()))
        }
    };
    if !tells_words_apart {
        return Err(bad(&slot.name, "its first mention does not show which word it holds"));
    }
    let taken = drawn.iter().filter(|&&other| grammar.slots[other].kind == slot.kind).count();
    if taken >= slot.words.len() {
        return Err(bad(&slot.name, "no word of its kind is left"));
    }
    drawn.insert(mention.slot);
    Ok(((slot.words.len() - taken) as f64).ln())
}

fn distinct(texts: Vec<&str>) -> bool {
    texts.iter().collect::<BTreeSet<_>>().len() == texts.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(rules: &str) -> Result<Grammar, GrammarError> {
        let head =
            "[slots]\na = \"name\"\nb = \"name\"\n[sexes]\n[words]\nname = [\"Jo\", \"Max\"]\n[rules]\n";
        proven(&format!("{head}{rules}"))
    }

    #[track_caller]
    fn refuses(rules: &str, reason: &str) {
        let error = load(rules).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    /// Two fair names and a coin of 1 to 3: ln 2 + ln 1 + H(1/4).
    #[test]
    fn a_small_entropy_by_hand() {
        let rules = r#"tale = [{ weight = 1, say = "{a} <met> {b}." }]
                       met = [{ weight = 1, say = "saw" }, { weight = 3, say = "knew" }]"#;
        let mean = mean(&load(rules).unwrap()).unwrap();
        let entropy = std::f64::consts::LN_2 + 0.25 * 4f64.ln() + 0.75 * (4.0f64 / 3.0).ln();
        assert!((mean.nats - entropy).abs() < 1e-12);
        assert!((mean.chars - (2.5 + 1.0 + 3.75 + 1.0 + 2.5 + 1.0)).abs() < 1e-12);
    }

    #[test]
    fn ambiguity_is_refused() {
        refuses(r#"tale = [{ weight = 1, say = "once" }, { weight = 1, say = "once more" }]"#, "begin alike");
        refuses(r#"tale = [{ weight = 1, say = "{a} sat" }, { weight = 1, say = "Jo sat" }]"#, "begin alike");
        refuses(
            r#"tale = [{ weight = 1, say = "{a} met {b}." }, { weight = 1, say = "{b} met {a}." }]"#,
            "begin alike",
        );
        refuses(
            r#"tale = [{ weight = 1, say = "<x> end" }, { weight = 1, say = "it end" }]
               x = [{ weight = 1, say = "it" }, { weight = 1, say = "she" }]"#,
            "begin alike",
        );
    }

    #[test]
    fn what_cannot_be_told_or_counted_is_refused() {
        refuses(r#"tale = [{ weight = 1, say = "a <tale>" }]"#, "leads back");
        refuses(r#"tale = [{ weight = 1, say = "{a}s" }]"#, "not followed");
        refuses(r#"tale = [{ weight = 1, say = "{c}" }]"#, "no slot \"c\"");
        refuses(r#"tale = [{ weight = 0, say = "x" }]"#, "weight 0");
        refuses(r#"tale = [{ weight = 1, say = "x", facts = ["{a} | is | big"] }]"#, "before the text");
        refuses(
            r#"tale = [{ weight = 1, say = "<x>." }]
               x = [{ weight = 1, say = "it" }, { weight = 1, say = "so {a}," }]"#,
            "same slots",
        );
    }
}
