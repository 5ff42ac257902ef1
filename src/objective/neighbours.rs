//! The loss of word vectors: neighbours of a token are distinguished from other tokens (negative sampling, Mikolov et
//! al. 2013): −ln σ(w·v) of the right one, −ln σ(−w·v) of each wrong one.

use super::loss::Loss;
use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::models::Backbone;
use crate::ops::embedding::Embedding;
use crate::ops::logistic_loss::LogisticLoss;
use crate::ops::matmul::Matmul;
use crate::ops::sum::Sum;

/// Records the scores of candidates and their loss, Σ weight · logistic loss.
///
/// `candidates` are (batch, n) token ids for hidden (batch, 1, n_embd); `labels`, 1 for a neighbour and 0 for others,
/// and `weights` are (batch, 1, n).
pub fn loss(
    tape: &mut Tape,
    backbone: &Backbone,
    candidates: Var,
    [labels, weights]: [Var; 2],
    gradient: bool,
) -> Result<Loss, OpError> {
    tape.scoped("head", |tape| {
        let head = backbone.head.ok_or_else(|| OpError::new("a model without a head has no neighbours"))?;
        let vectors = tape.apply_one(Embedding, &[candidates, head])?;
        let pairwise = Matmul { batched: true, ..Matmul::LINEAR };
        let scores = tape.apply_one(pairwise, &[backbone.hidden, vectors])?;
        let outputs = tape.apply(LogisticLoss { gradient }, &[scores, labels, weights])?;
        let total = tape.apply_one(Sum { accumulate: false }, &[outputs[0]])?;
        let seeds = outputs.get(1).map(|&dscores| (scores, dscores)).into_iter().collect();
        Ok(Loss { total, seeds, outputs: Vec::new() })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::engine::device::cpu::Cpu;
    use crate::engine::device::{Device, HostData};
    use crate::engine::plan::Plan;
    use crate::engine::step::Step;
    use crate::engine::tensor::Spec;
    use crate::models::config::{Architecture, ModelConfig};
    use crate::models::{ModelInputs, backbone};
    use crate::nn::Pass;
    use crate::verify::slopes::slopes;

    const BATCH: [(&str, HostData); 4] = [
        ("tokens", HostData::U32(&[2, 0])),
        ("candidates", HostData::U32(&[1, 0, 2, 2, 1, 1])),
        ("labels", HostData::F32(&[1.0, 0.0, 0.0, 1.0, 0.0, 0.0])),
        ("weights", HostData::F32(&[1.0; 6])),
    ];

    fn recorded(tape: &mut Tape) -> Loss {
        let config = ModelConfig { architecture: Architecture::Skipgram, ..ModelConfig::gpt(3, 4, 1, 1, 2) };
        let tokens = tape.input("tokens", Spec::u32([2, 1]));
        let candidates = tape.input("candidates", Spec::u32([2, 3]));
        let others = ["labels", "weights"].map(|name| tape.input(name, Spec::f32([2, 1, 3])));
        let backbone = backbone(tape, &config, ModelInputs { tokens, segments: None }, Pass::Train).unwrap();
        loss(tape, &backbone, candidates, others, true).unwrap()
    }

    /// Words (1, 2), (0, 1), (−1, 1) and neighbours (2, 0), (1, 1), (0, −3): the scores of word 2 are 0, −2, −3,
    /// those of word 0 are −6, 3, 3.
    #[test]
    fn the_loss_is_the_paper_s_formula() {
        let mut tape = Tape::new("step");
        let total = recorded(&mut tape).total;
        let plan = Arc::new(Plan::new(&tape, &[total]).unwrap());
        let mut cpu = Cpu::<f64>::default();
        let id = cpu.load(&plan, 0).unwrap();
        cpu.write("skipgram.wte.weight", &[1.0, 2.0, 0.0, 1.0, -1.0, 1.0]).unwrap();
        cpu.write("skipgram.lm_head.weight", &[2.0, 0.0, 1.0, 1.0, 0.0, -3.0]).unwrap();
        BATCH.into_iter().for_each(|(name, data)| cpu.set_input(id, name, data).unwrap());
        cpu.run(id, 0, &Step::default()).unwrap();
        let minus_ln_sigmoid = |x: f64| (1.0 + (-x).exp()).ln();
        let want: f64 = [0.0, 2.0, 3.0, -6.0, -3.0, -3.0].map(minus_ln_sigmoid).iter().sum();
        let got = f64::from(cpu.results(true).unwrap().unwrap()[0][0]);
        assert!((got - want).abs() < 1e-6 * want, "{got} {want}");
    }

    #[test]
    fn gradients_agree_with_differences() {
        let mut tape = Tape::new("step");
        let Loss { total, seeds, .. } = recorded(&mut tape);
        let found = tape.backward(&seeds, &HashMap::new()).unwrap();
        let gradients: Vec<_> = tape.parameters().into_iter().map(|p| (p, found[&p])).collect();
        let slopes = slopes(&tape, total, &gradients, &BATCH, 1).unwrap();
        assert_eq!(slopes.len(), 12);
        let apart = slopes.iter().map(|slope| (slope.gradient - slope.difference).abs());
        assert!(apart.fold(0.0, f64::max) < 1e-7, "{slopes:?}");
        assert!(slopes.iter().any(|slope| slope.gradient.abs() > 1e-3));
    }
}
