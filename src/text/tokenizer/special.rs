//! Tokens that no text contains: the roles of a chat, the end of a message, the mask.
//!
//! They get the ids after a tokenizer's own vocabulary, so that a model which was trained without them keeps every
//! id it knows and only grows its embedding table by as many rows.

use super::bpe::END_OF_TEXT;
use super::published::Role;
use super::{Published, Tokenizer};
use crate::text::template::Template;

/// A special token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Begins a user message.
    User,
    /// Begins an assistant message.
    Assistant,
    /// A message ends.
    End,
    /// A token is hidden here.
    Mask,
}

impl Special {
    pub const ALL: [Self; 4] = [Self::User, Self::Assistant, Self::End, Self::Mask];
    /// What a chat needs.
    pub const CHAT: [Self; 3] = [Self::User, Self::Assistant, Self::End];

    /// How it is printed. In a text this is nothing but its characters.
    pub fn content(self) -> &'static str {
        match self {
            Self::User => "<|user|>",
            Self::Assistant => "<|assistant|>",
            Self::End => "<|end|>",
            Self::Mask => "<|mask|>",
        }
    }
}

/// A tokenizer and the special tokens after its vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extended {
    base: Box<Tokenizer>,
    specials: Vec<Special>,
}

impl Extended {
    /// The tokenizer without its special tokens.
    pub fn base(&self) -> &Tokenizer {
        &self.base
    }

    /// In order of id: the first has id `base().vocab_size()`.
    pub fn specials(&self) -> &[Special] {
        &self.specials
    }

    pub(super) fn token_bytes(&self, id: u32) -> Vec<u8> {
        let place = (id as usize).checked_sub(self.base.vocab_size());
        match place.and_then(|place| self.specials.get(place)) {
            Some(special) => special.content().into(),
            None => self.base.token_bytes(id),
        }
    }
}

impl Tokenizer {
    /// This tokenizer with those of `specials` it lacks, after all ids it has.
    pub fn with_specials(self, specials: &[Special]) -> Self {
        let Extended { base, specials: mut all } = match self {
            Self::Extended(extended) => extended,
            base => Extended { base: Box::new(base), specials: Vec::new() },
        };
        for special in specials {
            if !all.contains(special) {
                all.push(*special);
            }
        }
        if all.is_empty() { *base } else { Self::Extended(Extended { base, specials: all }) }
    }

    /// This tokenizer with the tokens of a [chat](crate::text::chat), unless its conversations have a form of their
    /// own.
    pub fn with_chat(self) -> Self {
        if self.template().is_some() { self } else { self.with_specials(&Special::CHAT) }
    }

    /// Whether it has what a conversation needs: a form of its own, or the tokens of a [chat](crate::text::chat).
    pub fn has_chat(&self) -> bool {
        self.template().is_some() || Special::CHAT.iter().all(|&special| self.special(special).is_some())
    }

    /// The tokens any of which ends a message of the assistant.
    pub fn stops(&self) -> Vec<u32> {
        match (self.special(Special::End), self.published()) {
            (Some(end), _) => vec![end],
            (None, Some(published)) => published.settings().stops().to_vec(),
            (None, None) => Vec::new(),
        }
    }

    /// The one of them that ends an answer to learn from.
    pub fn answer_end(&self) -> Option<u32> {
        let stops = self.stops();
        self.end().filter(|end| stops.contains(end)).or(stops.first().copied())
    }

    /// The published tokenizer that it is, or that it extends.
    pub fn published(&self) -> Option<&Published> {
        match self {
            Self::Published(published) => Some(published),
            Self::Extended(extended) => extended.base().published(),
            _ => None,
        }
    }

    /// The form of conversations that was published with it.
    pub fn template(&self) -> Option<&Template> {
        match self {
            Self::Published(published) => published.template(),
            _ => None,
        }
    }

    /// Whether tokens may reach from one word into the next, so that a text can be cut nowhere.
    pub fn joins_words(&self) -> bool {
        self.published().is_some()
    }

    /// This tokenizer with the token that hides others.
    pub fn with_mask(self) -> Self {
        self.with_specials(&[Special::Mask])
    }

    /// The special tokens, in order of id.
    pub fn specials(&self) -> &[Special] {
        match self {
            Self::Extended(extended) => extended.specials(),
            _ => &[],
        }
    }

    /// The id of the token that ends what a model writes: a message, or else a document of GPT-2's; `None` where text
    /// has no end.
    pub fn end(&self) -> Option<u32> {
        let published = |published: &Published| published.settings().id(Role::End);
        self.special(Special::End).or_else(|| match self.published() {
            Some(tokenizer) => published(tokenizer),
            None => self.begin(),
        })
    }

    /// The id of the token between two documents to learn from: the one that ends a text, or else begins one.
    pub fn end_of_document(&self) -> Option<u32> {
        self.end().or_else(|| self.begin())
    }

    /// This tokenizer with a token between documents.
    pub fn with_end_of_document(self) -> Self {
        if self.end_of_document().is_some() { self } else { self.with_specials(&[Special::End]) }
    }

    /// The id of the token that documents begin with: GPT-2's, or that of a published tokenizer.
    pub fn begin(&self) -> Option<u32> {
        match self {
            Self::Gpt2(_) => Some(END_OF_TEXT),
            Self::Published(published) => published.settings().id(Role::Begin),
            Self::Extended(extended) => extended.base().begin(),
            _ => None,
        }
    }

    /// The id of a special token; `None` if this tokenizer lacks it.
    pub fn special(&self, special: Special) -> Option<u32> {
        let place = self.specials().iter().position(|&one| one == special)?;
        Some((self.vocab_size() - self.specials().len() + place) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_tokens_follow_the_vocabulary_and_are_no_text() {
        let plain = Tokenizer::from_name("char", "<|end>").unwrap();
        assert_eq!((plain.vocab_size(), plain.special(Special::End)), (6, None));
        let chat = plain.clone().with_chat();
        let ids = Special::ALL.map(|special| chat.special(special));
        assert_eq!((chat.vocab_size(), ids), (9, [Some(6), Some(7), Some(8), None]));
        // The characters are themselves, in the order of their code points: < > d e n |.
        assert_eq!(chat.encode("<|end|>").unwrap(), [0, 5, 3, 4, 2, 5, 1]);
        assert_eq!(chat.decode(&[6, 3, 8]), "<|user|>e<|end|>");
        assert_eq!(chat.decode(&[9]), "\u{FFFD}");
        assert_eq!((chat.name(), chat.fingerprint() == plain.fingerprint()), ("char".into(), false));
    }

    #[test]
    fn extending_twice_adds_only_what_is_missing() {
        let byte = || Tokenizer::from_name("byte", "").unwrap();
        let both = byte().with_mask().with_chat().with_mask();
        assert_eq!(both.specials(), [Special::Mask, Special::User, Special::Assistant, Special::End]);
        assert_eq!((both.special(Special::Mask), both.vocab_size()), (Some(256), 260));
        assert_eq!(byte().with_specials(&[]), byte());
    }
}
