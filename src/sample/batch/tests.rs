use super::*;
use crate::engine::device::cpu::{Cpu, Precision};
use crate::engine::device::initial_values;
use crate::engine::tape::Init;
use crate::models::config::Position;
use crate::sample::generator::Generator;

const VOCAB: usize = 17;
const BLOCK: usize = 11;

/// Odd sizes, heads that share keys, and, with rotary positions, a convolution.
fn config(position: Position) -> ModelConfig {
    let conv_kernel = if position == Position::Rope { 4 } else { 0 };
    ModelConfig {
        bias: true,
        position,
        n_kv_head: 2,
        conv_kernel,
        ..ModelConfig::gpt(VOCAB, BLOCK, 2, 4, 24)
    }
}

/// A device with weights so large that tokens differ in probability as those of a trained model do.
pub(crate) fn device<F: Precision>(config: &ModelConfig) -> Cpu<F> {
    let mut device = Cpu::default();
    let plan = Arc::new(batch_plan(config, 1, 1).unwrap());
    device.load(&plan, 0).unwrap();
    for (name, shape, _) in plan.parameters() {
        device.write(name, &initial_values(7, name, Init::Normal(0.4), shape.len())).unwrap();
    }
    device
}

/// Of lengths 1 to a whole block, not in order, two of them the same.
fn prompts() -> Vec<Vec<u32>> {
    let prompt = |&(first, len): &(u32, u32)| (0..len).map(|i| (first + 5 * i * i) % 17).collect();
    [(3, 4), (8, 1), (1, 9), (3, 4), (2, 11), (9, 6), (5, 2)].iter().map(prompt).collect()
}

fn drawn() -> Strategy {
    Strategy { temperature: 0.9, top_k: Some(9), repetition_penalty: 1.2, ..Strategy::default() }
}

fn greedy() -> Strategy {
    Strategy { temperature: 0.0, ..Strategy::default() }
}

/// Texts of prompts and replies, one after the other through a generator of one stream.
fn one_by_one(
    device: &mut dyn Device,
    config: &ModelConfig,
    strategy: &Strategy,
    seed: u64,
) -> Vec<Vec<u32>> {
    let mut sampler = Sampler::new(strategy.clone()).unwrap();
    let mut generator = Generator::new(config.clone());
    let reply = |(number, prompt): (usize, Vec<u32>)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number as u64);
        let mut said = Vec::new();
        let mut logits = generator.start(device, &prompt).unwrap();
        while prompt.len() + said.len() < BLOCK {
            said.push(sampler.next(&logits, &said, &mut rng).unwrap());
            logits = generator.push(device, said[said.len() - 1]).unwrap();
        }
        said.push(sampler.next(&logits, &said, &mut rng).unwrap());
        said
    };
    prompts().into_iter().enumerate().map(reply).collect()
}

fn replies(
    device: &mut dyn Device,
    config: &ModelConfig,
    batch_size: usize,
    strategy: &Strategy,
) -> Vec<Reply> {
    let mut generator = BatchGenerator::new(config.clone(), batch_size);
    generator.replies(device, &prompts(), 100, strategy, 5, None).unwrap()
}

#[test]
fn replies_are_those_of_one_stream_after_the_other() {
    for position in [Position::Learned, Position::Rope, Position::Alibi] {
        let config = config(position);
        let mut device = device::<f32>(&config);
        for strategy in [greedy(), drawn()] {
            let wanted = one_by_one(&mut device, &config, &strategy, 5);
            for batch_size in [1, 2, 3, 7, 9] {
                let got = replies(&mut device, &config, batch_size, &strategy);
                let tokens: Vec<_> = got.iter().map(|reply| reply.tokens.clone()).collect();
                assert_eq!(tokens, wanted, "{position:?}, {strategy:?}, {batch_size} at a time");
                assert!(got.iter().all(|reply| !reply.ended && reply.said() == reply.tokens));
            }
        }
    }
}

#[test]
fn what_is_no_token_is_not_sampled() {
    let config = ModelConfig { unused_tokens: 12, ..config(Position::Learned) };
    let mut device = device::<f32>(&config);
    for strategy in [greedy(), Strategy { temperature: 9.0, ..Strategy::default() }] {
        let wanted = one_by_one(&mut device, &config, &strategy, 5);
        assert!(wanted.iter().flatten().all(|&token| token < 5), "{strategy:?}: {wanted:?}");
        let got = replies(&mut device, &config, 3, &strategy);
        assert!(got.iter().map(|reply| &reply.tokens).eq(&wanted), "{strategy:?}");
    }
}

#[test]
fn equal_prompts_draw_apart_and_by_their_seed() {
    let config = config(Position::Learned);
    let mut device = device::<f32>(&config);
    let mut generator = BatchGenerator::new(config, 4);
    let mut draw =
        |seed| generator.replies(&mut device, &[[3]; 6], 9, &Strategy::default(), seed, None).unwrap();
    let [first, other, again] = [1, 2, 1].map(&mut draw);
    assert!(first == again && first != other && first[0] != first[5]);
}

/// Of all tokens at once, in f64: log softmax of the logits before each token of the reply.
#[test]
fn log_probabilities_are_those_of_the_whole_text() {
    let config = config(Position::Rope);
    let (mut device, mut oracle) = (device::<f32>(&config), device::<f64>(&config));
    for (prompt, reply) in prompts().into_iter().zip(replies(&mut device, &config, 3, &drawn())) {
        let text = [prompt.as_slice(), &reply.tokens].concat();
        let read = &text[..text.len() - 1];
        let mut tape = Tape::new("logits");
        let tokens = tape.input("tokens", Spec::u32([1, read.len()]));
        let reading = ModelInputs { tokens, segments: None };
        let backbone = backbone(&mut tape, &config, reading, Pass::Evaluate).unwrap();
        let logits = backbone.logits(&mut tape, 0, read.len()).unwrap();
        let plan = oracle.load(&Arc::new(Plan::new(&tape, &[logits]).unwrap()), 0).unwrap();
        oracle.set_input(plan, "tokens", HostData::U32(read)).unwrap();
        oracle.run(plan, 0, &Step::default()).unwrap();
        let logits = oracle.results(true).unwrap().unwrap().remove(0);
        assert_eq!(reply.log_probs.len(), reply.tokens.len());
        for (i, (&got, &token)) in reply.log_probs.iter().zip(&reply.tokens).enumerate() {
            let row = logits[(prompt.len() + i - 1) * VOCAB..][..VOCAB].iter().map(|&x| f64::from(x));
            let row: Vec<f64> = row.collect();
            let wanted = row[token as usize] - row.iter().map(|x| x.exp()).sum::<f64>().ln();
            assert!(
                (f64::from(got) - wanted).abs() < 1e-5,
                "token {i} after {prompt:?}: {got}, not {wanted}"
            );
        }
    }
}

#[test]
fn a_reply_is_over_with_its_end_its_length_or_the_block() {
    let config = config(Position::Learned);
    let mut device = device::<f32>(&config);
    let full = replies(&mut device, &config, 3, &greedy());
    // A block of 11 is read; one token follows it.
    for (prompt, reply) in prompts().iter().zip(&full) {
        assert_eq!(prompt.len() + reply.tokens.len(), BLOCK + 1);
    }
    let end = full[1].tokens[3];
    let mut generator = BatchGenerator::new(config, 3);
    let ended = generator.replies(&mut device, &prompts(), 6, &greedy(), 5, Some(end)).unwrap();
    for (full, cut) in full.iter().zip(&ended) {
        let at = full.tokens.iter().take(6).position(|&token| token == end);
        let most = at.map_or(full.tokens.len().min(6), |at| at + 1);
        assert_eq!((cut.tokens.as_slice(), cut.ended), (&full.tokens[..most], at.is_some()));
        assert_eq!(cut.said().len(), most - usize::from(cut.ended));
    }
    assert!(ended[1].ended && ended.iter().any(|reply| !reply.ended));
    let none = generator.replies(&mut device, &prompts(), 0, &greedy(), 5, None).unwrap();
    assert!(none.len() == 7 && none.iter().all(|reply| *reply == Reply::default()));
    assert!(generator.replies(&mut device, &[[0; 1]; 0], 6, &greedy(), 5, None).unwrap().is_empty());
}

#[test]
fn what_cannot_be_replied_to_is_named() {
    let gpt = config(Position::Learned);
    let mut device = device::<f32>(&gpt);
    let mut error = |config: &ModelConfig, prompts: &[Vec<u32>], strategy: &Strategy| {
        let mut generator = BatchGenerator::new(config.clone(), 2);
        generator.replies(&mut device, prompts, 4, strategy, 5, None).unwrap_err().to_string()
    };
    let long = error(&gpt, &[vec![1], vec![1; 12]], &greedy());
    assert!(long.contains("prompt 2 has 12 tokens") && long.contains("11 at once"), "{long}");
    assert!(error(&gpt, &[vec![1], vec![]], &greedy()).contains("no token to start from"));
    let cold = Strategy { temperature: -1.0, ..Strategy::default() };
    assert!(error(&gpt, &[vec![1]], &cold).contains("--temperature -1"));
    let rnn = ModelConfig { architecture: Architecture::Gru, ..gpt.clone() };
    assert!(error(&rnn, &[vec![1]], &greedy()).contains("only Transformers"));
}
