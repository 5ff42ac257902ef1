//! The grammar of the Tales world as it is written in `data/tales.toml`, and its meaning.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Why a grammar is refused: which rule or slot, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum GrammarError {
    #[error("the grammar is not TOML of the expected shape: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("in {place}: {what}")]
    Bad { place: String, what: String },
}

pub(super) fn bad(place: &str, what: impl Into<String>) -> GrammarError {
    GrammarError::Bad { place: place.to_owned(), what: what.into() }
}

/// Rules over characters and mentions of what the slots hold.
#[derive(Debug)]
pub(super) struct Grammar {
    pub slots: Vec<Slot>,
    pub rules: Vec<Rule>,
    /// The rule `tale`.
    pub root: usize,
    /// What a telling starts with: the root, as a unit.
    pub start: Unit,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub name: String,
    pub kind: String,
    /// The words of its kind, each with its forms.
    pub words: Vec<BTreeMap<String, String>>,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub name: String,
    pub alternatives: Vec<Alternative>,
}

#[derive(Debug)]
pub(super) struct Alternative {
    pub probability: f64,
    pub units: Vec<Unit>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Unit {
    Char(char),
    Mention(Mention),
    Rule(usize),
    /// Subject, relation, object: becomes true after the sentence before it.
    Fact([Vec<Unit>; 3]),
}

/// A slot's word in one of its forms.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mention {
    pub slot: usize,
    pub form: Inflection,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Inflection {
    /// `{slot}` and `{slot.form}`
    Named(String),
    /// `{slot@other}`: the form called after the sex of the word in slot `other`.
    Agreeing(usize),
}

/// The form `{slot}` stands for.
pub(super) const PLAIN: &str = "is";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    slots: BTreeMap<String, String>,
    sexes: BTreeMap<String, BTreeMap<String, String>>,
    words: BTreeMap<String, Vec<SourceWord>>,
    rules: BTreeMap<String, Vec<SourceAlternative>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SourceWord {
    Plain(String),
    Forms(BTreeMap<String, String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceAlternative {
    weight: f64,
    say: String,
    #[serde(default)]
    facts: Vec<String>,
}

impl Grammar {
    /// Reads what may be a grammar: see [`check`](super::check).
    pub fn read(text: &str) -> Result<Self, GrammarError> {
        let source: Source = toml::from_str(text)?;
        let mut slots = Vec::new();
        for (name, kind) in &source.slots {
            let words =
                source.words.get(kind).ok_or_else(|| bad(name, format!("there are no words {kind:?}")))?;
            let words = words.iter().map(|word| forms(word, &source.sexes)).collect();
            slots.push(Slot { name: name.clone(), kind: kind.clone(), words });
        }
        let names: Vec<&String> = source.rules.keys().collect();
        let reader = Reader { slots: &slots, rules: &names };
        let rules = source.rules.iter().map(|(name, alternatives)| reader.rule(name, alternatives));
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        let root = reader.rule_named("tale").ok_or_else(|| bad("rules", "there is no rule \"tale\""))?;
        Ok(Self { slots, rules, root, start: Unit::Rule(root) })
    }

    /// Every text the mention can be, over all words its slots can hold (with repetition).
    pub fn spellings(&self, mention: &Mention) -> Result<Vec<&str>, GrammarError> {
        let slot = &self.slots[mention.slot];
        let spell = |word, form: &str| {
            spelling(word, form)
                .ok_or_else(|| bad(&slot.name, format!("not all its words have the form {form:?}")))
        };
        match &mention.form {
            Inflection::Named(form) => slot.words.iter().map(|word| spell(word, form)).collect(),
            Inflection::Agreeing(other) => {
                let pairs =
                    self.slots[*other].words.iter().flat_map(|o| slot.words.iter().map(move |w| (w, o)));
                pairs.map(|(word, other)| spell(word, other.get("sex").map_or("no sex", |sex| sex))).collect()
            }
        }
    }

    /// What the mention is, given the word each slot holds; empty if one it needs holds none yet.
    pub fn spell(&self, mention: &Mention, cast: &[Option<usize>]) -> &str {
        let word = |slot: usize| cast[slot].map(|word| &self.slots[slot].words[word]);
        let spelled = match &mention.form {
            Inflection::Named(form) => word(mention.slot).and_then(|word| spelling(word, form)),
            Inflection::Agreeing(other) => word(mention.slot)
                .zip(word(*other))
                .and_then(|(word, other)| spelling(word, other.get("sex")?)),
        };
        spelled.unwrap_or_default()
    }

    /// The words of `slot`'s kind that no slot holds: what a draw chooses from.
    pub fn free_words(&self, slot: usize, cast: &[Option<usize>]) -> Vec<usize> {
        let kind = &self.slots[slot].kind;
        let taken = |word: &usize| {
            self.slots.iter().zip(cast).any(|(s, &held)| s.kind == *kind && held == Some(*word))
        };
        (0..self.slots[slot].words.len()).filter(|word| !taken(word)).collect()
    }
}

/// A word that has a plain form needs no others to agree: "friend" is either sex's.
fn spelling<'w>(word: &'w BTreeMap<String, String>, form: &str) -> Option<&'w str> {
    let agreed = if form == "m" || form == "f" { word.get(PLAIN) } else { None };
    word.get(form).or(agreed).map(String::as_str)
}

fn forms(word: &SourceWord, sexes: &BTreeMap<String, BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut forms = match word {
        SourceWord::Plain(word) => BTreeMap::from([(PLAIN.to_owned(), word.clone())]),
        SourceWord::Forms(forms) => forms.clone(),
    };
    if let Some(pronouns) = forms.get("sex").and_then(|sex| sexes.get(sex)).cloned() {
        forms.extend(pronouns);
    }
    forms
}

/// Turns the text of templates into units.
struct Reader<'a> {
    slots: &'a [Slot],
    rules: &'a [&'a String],
}

impl Reader<'_> {
    fn rule_named(&self, name: &str) -> Option<usize> {
        self.rules.iter().position(|rule| *rule == name)
    }

    fn slot_named(&self, name: &str, place: &str) -> Result<usize, GrammarError> {
        let found = self.slots.iter().position(|slot| slot.name == name);
        found.ok_or_else(|| bad(place, format!("there is no slot {name:?}")))
    }

    fn rule(&self, name: &str, alternatives: &[SourceAlternative]) -> Result<Rule, GrammarError> {
        let total: f64 = alternatives.iter().map(|alternative| alternative.weight).sum();
        let mut read = Vec::new();
        for alternative in alternatives {
            if !(alternative.weight > 0.0 && total.is_finite()) {
                return Err(bad(name, format!("the weight {} is not above 0", alternative.weight)));
            }
            let mut units = self.units(&alternative.say, name)?;
            for fact in &alternative.facts {
                units.push(self.fact(fact, name)?);
            }
            read.push(Alternative { probability: alternative.weight / total, units });
        }
        Ok(Rule { name: name.to_owned(), alternatives: read })
    }

    fn fact(&self, text: &str, place: &str) -> Result<Unit, GrammarError> {
        let parts: Vec<_> =
            text.split(" | ").map(|part| self.units(part, place)).collect::<Result<_, _>>()?;
        let parts = <[Vec<Unit>; 3]>::try_from(parts);
        parts
            .map(Unit::Fact)
            .map_err(|_| bad(place, format!("the fact {text:?} is not \"subject | relation | object\"")))
    }

    fn units(&self, template: &str, place: &str) -> Result<Vec<Unit>, GrammarError> {
        let mut units = Vec::new();
        let mut rest = template;
        while let Some(first) = rest.chars().next() {
            let after = &rest[first.len_utf8()..];
            let close = match first {
                '{' => '}',
                '<' => '>',
                _ => {
                    units.push(Unit::Char(first));
                    rest = after;
                    continue;
                }
            };
            let unclosed = || bad(place, format!("{first:?} without {close:?} in {template:?}"));
            let (name, following) = after.split_once(close).ok_or_else(unclosed)?;
            units.push(if first == '{' {
                Unit::Mention(self.mention(name, place)?)
            } else {
                Unit::Rule(
                    self.rule_named(name).ok_or_else(|| bad(place, format!("there is no rule {name:?}")))?,
                )
            });
            rest = following;
        }
        Ok(units)
    }

    fn mention(&self, text: &str, place: &str) -> Result<Mention, GrammarError> {
        let (slot, form) = if let Some((slot, other)) = text.split_once('@') {
            (slot, Inflection::Agreeing(self.slot_named(other, place)?))
        } else {
            let (slot, form) = text.split_once('.').unwrap_or((text, PLAIN));
            (slot, Inflection::Named(form.to_owned()))
        };
        Ok(Mention { slot: self.slot_named(slot, place)?, form })
    }
}
