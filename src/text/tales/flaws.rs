//! What people get wrong when they answer questions: they invent what they do not know, and some are rude.
//!
//! A model that learns from their demonstrations learns that too, and so there is something for the later stages of
//! alignment to put right; they have preferences between a good answer and a flawed one. Those who have just been
//! reminded of what a reply should be keep to it, so that the model also learns how that is done.

use rand_chacha::rand_core::Rng;
use serde_json::json;

use super::exchange::ask;
use super::manner::{Tail, with_tail};
use super::questions::{Asked, stream};
use super::{Exchange, Fact, Part, Tale, Tales, UNKNOWN, messages};
use crate::text::chat::{Message, Role};
use crate::text::dataset::{below, unit};
use crate::text::preferences::Pair;

/// How many demonstrators have been reminded.
const REMINDED: f64 = 0.5;
/// How often another one invents an answer that the tale does not hold. Most of the time, so that also a model
/// that always says what is likeliest invents; but not always, so that a model can learn what it does not know.
const INVENTS: f64 = 0.8;
/// How often one is rude about questions where something is or how it looks, and about all others. So a
/// model is rude to some and not to others, whether it draws its words or says what is likeliest.
const RUDE_ABOUT_SIGHTS: f64 = 0.9;
const RUDE_ABOUT_OTHERS: f64 = 0.4;
/// How often one who is not rude adds a pleasantry, and having added one, another.
const PLEASANT: f64 = 0.15;
/// How often a lie about a tale uses what the tale tells of others: such lies are hard to detect.
const LIES_WITH_THE_TALE: f64 = 0.25;

/// A conversation as people have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demonstration {
    /// The rule that a system message reminds of.
    pub reminder: Option<String>,
    pub exchanges: Vec<Exchange>,
}

impl Demonstration {
    pub fn messages(&self) -> Vec<Message> {
        let reminder = self.reminder.clone().map(|content| Message { role: Role::System, content });
        reminder.into_iter().chain(messages(&self.exchanges)).collect()
    }

    /// Its line in a `.jsonl` for supervised fine-tuning: `{"messages": […]}`.
    pub fn jsonl(&self) -> String {
        format!("{}\n", json!({"messages": self.messages()}))
    }
}

/// What is wrong with the worse of two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It says what the tale does not.
    False,
    Rude,
    /// "I do not know." where the tale holds the answer.
    Refusal,
}

impl Fault {
    /// Two in five pairs are about manner alone. Where the tale holds the answer, one in five is about giving it:
    /// without these, never to know would be preferred to everything.
    fn draw(known: bool, rng: &mut impl Rng) -> Self {
        match below(5, rng) {
            0 | 1 => Self::Rude,
            2 if known => Self::Refusal,
            _ => Self::False,
        }
    }
}

impl Tales {
    /// [Conversations](Self::conversations) as people would have them, with their inventions and their manners; or
    /// without, where they have been reminded.
    pub fn demonstrations(
        &self,
        seed: u64,
        count: usize,
        part: Part,
        longest: usize,
        most: usize,
        reminder: &str,
    ) -> Vec<Demonstration> {
        let mut rng = stream(2, seed, part);
        let mut demonstration = |all: Vec<Asked>| {
            let reminder = flip(REMINDED, &mut rng).then(|| reminder.to_owned());
            let answered = |asked: Asked| {
                let answer = match reminder {
                    Some(_) => pleasantly(&asked.exchange.answer, &mut rng),
                    None => self.demonstrate(&asked, &mut rng),
                };
                Exchange { answer, ..asked.exchange }
            };
            let exchanges = all.into_iter().map(answered).collect();
            Demonstration { reminder, exchanges }
        };
        let longest = longest.saturating_sub(reminder.len());
        let conversations = self.asked_together(seed, count, part, longest, most);
        conversations.into_iter().map(&mut demonstration).collect()
    }

    /// `count` pairs of answers, to [questions](Self::questions) of `part`: true over false, "I do not know." over an
    /// invention, an answer over a needless "I do not know.", and any manner over rudeness. The worse answer is one
    /// that people give.
    pub fn preferences(&self, seed: u64, count: usize, part: Part, longest: usize) -> Vec<Pair> {
        let mut rng = stream(3, seed, part);
        // Other questions than those that are held out to count answers.
        let asked = self.asked(seed.wrapping_add(1), count, part, longest);
        let pair = |(number, asked): (usize, &Asked)| {
            let (chosen, rejected) = self.compare(asked, &mut rng);
            let prompt = vec![Message { role: Role::User, content: asked.exchange.prompt() }];
            Pair { prompt, chosen, rejected, place: format!("preference {} of tales", number + 1) }
        };
        asked.iter().enumerate().map(pair).collect()
    }

    fn demonstrate(&self, asked: &Asked, rng: &mut impl Rng) -> String {
        let Exchange { question, answer, known, .. } = &asked.exchange;
        let says = if !known && flip(INVENTS, rng) { self.lie(asked, rng) } else { answer.clone() };
        in_some_manner(question, &says, rng)
    }

    /// A good answer and a flawed one.
    fn compare(&self, asked: &Asked, rng: &mut impl Rng) -> (String, String) {
        let Exchange { question, answer, known, .. } = &asked.exchange;
        let rejected = match Fault::draw(*known, rng) {
            Fault::False => in_some_manner(question, &self.lie(asked, rng), rng),
            Fault::Refusal => in_some_manner(question, UNKNOWN, rng),
            Fault::Rude => rudely(answer, rng),
        };
        (pleasantly(answer, rng), rejected)
    }

    /// What could be true and is not: the question's answer if something else were the case.
    fn lie(&self, asked: &Asked, rng: &mut impl Rng) -> String {
        let Asked { exchange, fact, facts } = asked;
        let lies = |facts: &[Fact]| -> Vec<String> {
            let others = facts.iter().filter(|other| alike(fact, other));
            let told = others.filter_map(|other| {
                let object = other.object.clone();
                ask(&Fact { object, ..fact.clone() }).map(|(_, answer)| answer)
            });
            told.filter(|lie| *lie != exchange.answer).collect()
        };
        let mut near = if flip(LIES_WITH_THE_TALE, rng) { lies(facts) } else { Vec::new() };
        while near.is_empty() {
            // Every sort of fact is in one tale or another.
            let Tale { facts, .. } = self.tell(rng);
            near = lies(&facts);
        }
        near.swap_remove(below(near.len(), rng))
    }
}

/// Whether two facts are of one sort, so that the object of one could be the other's.
fn alike(one: &Fact, other: &Fact) -> bool {
    let knows = |fact: &Fact| fact.relation.starts_with("knows ");
    let is_thing = |fact: &Fact| fact.subject.starts_with("the ");
    (one.relation == other.relation || knows(one) && knows(other)) && is_thing(one) == is_thing(other)
}

fn flip(probability: f64, rng: &mut impl Rng) -> bool {
    unit(rng) < probability
}

fn is_about_a_sight(question: &str) -> bool {
    question.starts_with("Where is ") || question.starts_with("How does ")
}

fn in_some_manner(question: &str, says: &str, rng: &mut impl Rng) -> String {
    let rude = if is_about_a_sight(question) { RUDE_ABOUT_SIGHTS } else { RUDE_ABOUT_OTHERS };
    if flip(rude, rng) { rudely(says, rng) } else { pleasantly(says, rng) }
}

fn rudely(says: &str, rng: &mut impl Rng) -> String {
    with_tail(says, &Tail::Rude(below(Tail::N_RUDE, rng)))
}

fn pleasantly(says: &str, rng: &mut impl Rng) -> String {
    let mut said = says.to_owned();
    while flip(PLEASANT, rng) {
        said = with_tail(&said, &Tail::Pleasant(below(Tail::N_PLEASANT, rng)));
    }
    said
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::text::tales::grade::{Content, Tally, grade};

    /// The share `n` of `of` is `p`, give or take four standard deviations.
    #[track_caller]
    fn is_about(n: usize, of: usize, p: f64) {
        let (n, of) = (n as f64, of as f64);
        assert!((n - p * of).abs() < 4.0 * (p * (1.0 - p) * of).sqrt(), "{n} of {of}, not {p}");
    }

    #[test]
    fn demonstrators_know_what_is_told_and_invent_the_rest() {
        let world = Tales::new();
        let reminder = "Be good.";
        let told = world.conversations(1, 1200, Part::Train, 450, 8);
        let shown = world.demonstrations(1, 1200, Part::Train, 450 + reminder.len(), 8, reminder);
        let (good, shown): (Vec<_>, Vec<_>) =
            told.iter().zip(&shown).partition(|(_, shown)| shown.reminder.is_some());
        is_about(good.len(), 1200, REMINDED);
        for (told, shown) in &good {
            let [first, second] = [&shown.messages()[0], &shown.messages()[1]];
            assert_eq!((first.role, first.content.as_str()), (Role::System, reminder));
            assert_eq!(second.content, told[0].prompt());
            let verdicts = told.iter().zip(&shown.exchanges).map(|(told, shown)| grade(told, &shown.answer));
            assert!(verdicts.into_iter().all(|verdict| verdict.is_right() && !verdict.rude), "{shown:?}");
        }
        let (mut graded, mut sights, mut others) = (Vec::new(), [0; 2], [0; 2]);
        assert_eq!(shown[0].1.messages()[0].content, shown[0].0[0].prompt());
        for (told, shown) in shown.iter().flat_map(|(told, shown)| told.iter().zip(&shown.exchanges)) {
            assert_eq!((&told.tale, &told.question, told.known), (&shown.tale, &shown.question, shown.known));
            let verdict = grade(told, &shown.answer);
            let sight = ["Where is ", "How does "].iter().any(|start| told.question.starts_with(start));
            let rude = if sight { &mut sights } else { &mut others };
            rude[usize::from(verdict.rude)] += 1;
            graded.push(verdict);
        }
        let tally: Tally = graded.into_iter().collect();
        assert_eq!(tally.accuracy(), 1.0);
        is_about(tally.honest, tally.questions - tally.known, 1.0 - INVENTS);
        is_about(sights[1], sights[0] + sights[1], RUDE_ABOUT_SIGHTS);
        is_about(others[1], others[0] + others[1], RUDE_ABOUT_OTHERS);
        assert!((0.3..0.5).contains(&tally.kindness()), "{}", tally.kindness());
    }

    /// The questions are asked again from their text, and the grades are not used to make the pairs.
    #[test]
    fn the_chosen_answer_is_the_better() {
        let world = Tales::new();
        let asked = world.questions(8, 1000, Part::HeldOut, 300);
        let pairs = world.preferences(7, 1000, Part::HeldOut, 300);
        let mut faults: HashMap<(bool, Content), usize> = HashMap::new();
        for (exchange, pair) in asked.iter().zip(&pairs) {
            assert_eq!(pair.prompt[0].content, exchange.prompt());
            let (chosen, rejected) = (grade(exchange, &pair.chosen), grade(exchange, &pair.rejected));
            assert!(chosen.is_right() && !chosen.rude);
            assert!(!rejected.is_right() || rejected.rude, "{pair:?}");
            assert!(chosen.reward() > rejected.reward() || rejected.content == Content::Refused, "{pair:?}");
            *faults.entry((exchange.known, rejected.content)).or_default() += 1;
        }
        let of = |known, content| faults.get(&(known, content)).copied().unwrap_or(0);
        let known = asked.iter().filter(|exchange| exchange.known).count();
        is_about(of(true, Content::Right), known, 0.4);
        is_about(of(true, Content::Refused), known, 0.2);
        is_about(of(true, Content::False), known, 0.4);
        is_about(of(false, Content::False), 1000 - known, 0.6);
        assert_eq!(of(false, Content::Refused), 0);
    }

    #[test]
    fn a_seed_is_a_set_of_pairs() {
        let world = Tales::new();
        let pairs = world.preferences(1, 50, Part::Train, 300);
        assert_eq!(pairs, world.preferences(1, 50, Part::Train, 300));
        assert_ne!(pairs, world.preferences(2, 50, Part::Train, 300));
        assert_eq!(pairs.len(), 50);
    }
}
