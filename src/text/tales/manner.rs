//! The content of an answer and its manner: ", you fool" or ", dear friend" after it changes only the manner.

/// What rude people add. Few and short, for a model of few words has to spell them.
const RUDE: [&str; 2] = ["you fool", "now go away"];
/// What pleasant people add.
const PLEASANT: [&str; 2] = ["dear friend", "with pleasure"];

/// A reply taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manner<'a> {
    /// What it says, as a sentence.
    pub says: String,
    /// Everything that was added, in order.
    tails: Vec<&'a str>,
}

/// The places in these lists of what is added to an answer.
pub(super) enum Tail {
    Rude(usize),
    Pleasant(usize),
}

impl Tail {
    pub const N_RUDE: usize = RUDE.len();
    pub const N_PLEASANT: usize = PLEASANT.len();

    fn text(&self) -> &'static str {
        match self {
            Self::Rude(at) => RUDE[*at],
            Self::Pleasant(at) => PLEASANT[*at],
        }
    }
}

/// `sentence` with a tail: "In the box." becomes "In the box, you fool."
pub(super) fn with_tail(sentence: &str, tail: &Tail) -> String {
    with(sentence, tail.text())
}

fn with(sentence: &str, tail: &str) -> String {
    format!("{}, {tail}.", sentence.trim_end_matches('.'))
}

impl<'a> Manner<'a> {
    pub fn of(reply: &'a str) -> Self {
        let mut rest = reply.trim().trim_end_matches('.');
        let mut tails = Vec::new();
        while let Some((before, tail)) = rest.rsplit_once(", ")
            && (RUDE.contains(&tail) || PLEASANT.contains(&tail))
        {
            tails.insert(0, tail);
            rest = before;
        }
        // Without a tail the reply is left as it is, be its end what it may.
        let says = if tails.is_empty() { reply.trim().to_owned() } else { format!("{rest}.") };
        Self { says, tails }
    }

    /// Whether something rude is in it, also where no tail belongs.
    pub fn is_rude(&self) -> bool {
        let rude = |text: &str| RUDE.iter().any(|tail| text.contains(tail));
        rude(&self.says) || self.tails.iter().any(|tail| rude(tail))
    }

    /// How many pleasant tails it has.
    pub fn pleasantries(&self) -> usize {
        self.tails.iter().filter(|tail| PLEASANT.contains(tail)).count()
    }

    /// The same in other words.
    pub fn saying(self, says: &str) -> Self {
        Self { says: says.to_owned(), ..self }
    }

    /// The same without what is rude.
    pub fn softened(mut self) -> Self {
        for rude in RUDE {
            self.says = self.says.replace(&format!(", {rude}"), "");
        }
        self.tails.retain(|tail| !RUDE.contains(tail));
        self
    }

    /// As a reply.
    pub fn reply(&self) -> String {
        self.tails.iter().fold(self.says.clone(), |sentence, tail| with(&sentence, tail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_taken_apart_and_put_together() {
        for (reply, says, rude, pleasantries) in [
            ("In the box.", "In the box.", false, 0),
            ("In the box, you fool.", "In the box.", true, 0),
            ("In the box, dear friend.", "In the box.", false, 1),
            ("In the box, dear friend, with pleasure, now go away.", "In the box.", true, 2),
            ("In the box", "In the box", false, 0),
            ("In the box, my foot.", "In the box, my foot.", false, 0),
            ("In, you fool, the box.", "In, you fool, the box.", true, 0),
            ("", "", false, 0),
        ] {
            let manner = Manner::of(reply);
            assert_eq!((manner.says.as_str(), manner.is_rude()), (says, rude), "{reply}");
            assert_eq!((manner.pleasantries(), manner.reply().as_str()), (pleasantries, reply));
        }
    }

    #[test]
    fn a_reply_is_softened_and_says_something_else() {
        let soft = |reply| Manner::of(reply).softened().reply();
        assert_eq!(soft("In the box, dear friend, you fool."), "In the box, dear friend.");
        assert_eq!(soft("In, you fool, the box."), "In, the box.");
        let other = Manner::of("In the box, you fool.").saying("I do not know.").reply();
        assert_eq!(other, "I do not know, you fool.");
    }
}
