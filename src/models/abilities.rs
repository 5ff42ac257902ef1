//! What a model can do, by its architecture; and if it cannot, why, and what to do instead.

use super::config::{Architecture, ModelConfig};

/// Something that a model cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inability {
    #[error(
        "a model that sees both sides of a token (causal = false) fills in masked tokens and does not predict the \
         next one: let it fill in some with `lal inspect masked`, or take a causal model, such as one of the preset \
         mini"
    )]
    SeesBothSides,
    #[error(
        "a skip-gram model predicts which words stand near a word and not which comes next: look into it with \
         `lal inspect embeddings`, or take a model of another preset, such as mini"
    )]
    PredictsNeighbours,
    #[error(
        "this model makes vectors of texts and has no head that predicts tokens: use it with `lal embed`, or take \
         another model"
    )]
    Encodes,
    #[error(
        "this model of the architecture {0} cannot learn to answer: conversations are for Transformers that read from \
         left to right, such as those of the presets mini and llama-mini"
    )]
    Answers(Architecture),
    #[error(
        "this model of the architecture {0} has no attention: look into it with `lal inspect {1}`, or take a \
         Transformer, such as one of the preset mini"
    )]
    Attends(Architecture, &'static str),
}

impl ModelConfig {
    /// Checks that the model predicts the next token, so that it can generate text and has a loss on one.
    pub fn predicts_next(&self) -> Result<(), Inability> {
        self.predicts()?;
        match self.architecture {
            Architecture::Skipgram => Err(Inability::PredictsNeighbours),
            _ if !self.causal => Err(Inability::SeesBothSides),
            _ => Ok(()),
        }
    }

    /// Checks that the model predicts tokens: the next, or hidden ones.
    pub fn predicts(&self) -> Result<(), Inability> {
        if self.details.encoder { Err(Inability::Encodes) } else { Ok(()) }
    }

    /// Checks that the model can be fine-tuned to answer: a causal Transformer.
    pub fn answers(&self) -> Result<(), Inability> {
        self.predicts_next()?;
        match self.architecture {
            Architecture::Transformer => Ok(()),
            other => Err(Inability::Answers(other)),
        }
    }

    /// Checks that the model has attention.
    pub fn attends(&self) -> Result<(), Inability> {
        match self.architecture {
            Architecture::Transformer => Ok(()),
            Architecture::Skipgram => Err(Inability::Attends(Architecture::Skipgram, "embeddings")),
            other => Err(Inability::Attends(other, "logits")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_differ_in_what_they_do() {
        let of =
            |architecture, causal| ModelConfig { architecture, causal, ..ModelConfig::gpt(9, 4, 1, 1, 4) };
        let able = |model: ModelConfig| {
            [model.predicts_next(), model.answers(), model.attends()].map(|result| result.is_ok())
        };
        assert_eq!(able(of(Architecture::Transformer, true)), [true, true, true]);
        assert_eq!(able(of(Architecture::Transformer, false)), [false, false, true]);
        assert_eq!(able(of(Architecture::Lstm, true)), [true, false, false]);
        assert_eq!(able(of(Architecture::Skipgram, true)), [false, false, false]);
        let lstm = of(Architecture::Lstm, true).attends().unwrap_err().to_string();
        assert!(lstm.contains("lstm has no attention") && lstm.contains("inspect logits"), "{lstm}");
    }
}
