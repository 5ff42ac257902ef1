//! Parts 5 to 7 of the series: the gradients of every form of model, and what the examples promise, in small.

use std::collections::HashMap;
use std::sync::Arc;

use lal::engine::device::cpu::Cpu;
use lal::engine::device::{Device, HostData};
use lal::engine::plan::Plan;
use lal::engine::step::Step;
use lal::engine::tape::Tape;
use lal::engine::tensor::Spec;
use lal::models::config::{Architecture, ModelConfig, NormPlace, Position};
use lal::models::{ModelInputs, backbone};
use lal::nn::Pass;
use lal::nn::mlp::FeedForward;
use lal::nn::norm::Norm;
use lal::objective::tokens;
use lal::train::plans::{StepShape, training};

#[allow(dead_code, reason = "only what the examples measure is wanted, not their main")]
#[path = "../examples/06_attention.rs"]
mod attention;
#[allow(dead_code, reason = "only what the examples measure is wanted, not their main")]
#[path = "../examples/05_rnn.rs"]
mod rnn;
#[allow(dead_code, reason = "only what the examples measure is wanted, not their main")]
#[path = "../examples/07_transformer.rs"]
mod transformer;

const BATCH: usize = 2;

/// Small, odd where it can be, and a form of every piece.
fn forms() -> Vec<(String, ModelConfig)> {
    let base = ModelConfig { bias: true, ..ModelConfig::gpt(11, 5, 2, 2, 8) };
    let mut forms = Vec::new();
    for position in [Position::None, Position::Sinusoidal, Position::Learned, Position::Rope, Position::Alibi]
    {
        forms.push((format!("{position:?}"), ModelConfig { position, ..base.clone() }));
    }
    for norm in [Norm::None, Norm::Layer, Norm::Rms] {
        for norm_place in [NormPlace::Pre, NormPlace::Post] {
            forms
                .push((format!("{norm:?} {norm_place:?}"), ModelConfig { norm, norm_place, ..base.clone() }));
        }
    }
    use FeedForward::{Gelu, GeluTanh, Linear, Relu, Relu2, Swiglu};
    for feed_forward in [Linear, Gelu, GeluTanh, Relu, Relu2, Swiglu] {
        forms.push((format!("{feed_forward:?}"), ModelConfig { feed_forward, ..base.clone() }));
    }
    forms.push(("shared keys".into(), ModelConfig { n_kv_head: 1, ..base.clone() }));
    forms.push(("untied".into(), ModelConfig { tied: false, ..base.clone() }));
    forms.push(("bidirectional".into(), ModelConfig { causal: false, ..base.clone() }));
    let llama = ModelConfig {
        position: Position::Rope,
        norm: Norm::Rms,
        feed_forward: Swiglu,
        n_kv_head: 1,
        bias: false,
        ..base.clone()
    };
    forms.push(("Llama".into(), llama));
    for architecture in [Architecture::Rnn, Architecture::Gru, Architecture::Lstm] {
        forms.push((format!("{architecture:?}"), ModelConfig { architecture, ..base.clone() }));
    }
    forms
}

/// ∂loss/∂θ · d against (loss(θ + ε d) - loss(θ - ε d)) / 2ε, in f64, for a direction d through all parameters.
#[test]
fn every_form_of_model_has_the_gradient_of_its_loss() {
    for (name, model) in forms() {
        let mut tape = Tape::new("all");
        let rows = BATCH * model.block_size;
        let tokens = tape.input("tokens", Spec::u32(model.tokens_shape(BATCH, model.block_size)));
        let targets = tape.input("targets", Spec::u32([rows]));
        let weights = tape.input("weights", Spec::f32([rows]));
        let backbone =
            backbone(&mut tape, &model, ModelInputs { tokens, segments: None }, Pass::Evaluate).unwrap();
        let loss = tokens::loss(&mut tape, &backbone, targets, weights, true, &HashMap::new()).unwrap();
        let gradients = tape.backward(&loss.seeds, &HashMap::new()).unwrap();
        let parameters = tape.parameters();
        let mut results = vec![loss.total];
        results.extend(parameters.iter().map(|p| gradients[p]));
        let plan = Arc::new(Plan::new(&tape, &results).unwrap());
        let mut device = Cpu::<f64>::default();
        let id = device.load(&plan, 3).unwrap();
        let tokens: Vec<u32> = (0..rows as u32).map(|i| (i * i + 3 * i) % 11).collect();
        let targets: Vec<u32> = (0..rows as u32).map(|i| (i * 7 + 2) % 11).collect();
        device.set_input(id, "tokens", HostData::U32(&tokens)).unwrap();
        device.set_input(id, "targets", HostData::U32(&targets)).unwrap();
        // A loss of about a thousand: the results are read in f32, and a difference of them is taken.
        device.set_input(id, "weights", HostData::F32(&vec![1.0; rows])).unwrap();

        let names: Vec<_> = parameters.iter().map(|&p| tape.name(p).to_owned()).collect();
        // Larger than they begin, so that scores and gates are not all alike.
        let at: Vec<Vec<f32>> = names.iter().map(|name| device.read(name).unwrap()).collect();
        let direction = |parameter: usize, i: usize| ((parameter * 31 + i * 17) % 13) as f32 / 6.0 - 1.0;
        let mut run = |shift: f32| {
            for (p, name) in names.iter().enumerate() {
                let moved =
                    |(i, &x): (usize, &f32)| 3.0 * x + 0.05 * direction(p, i + 5) + shift * direction(p, i);
                let moved: Vec<f32> = at[p].iter().enumerate().map(moved).collect();
                device.write(name, &moved).unwrap();
            }
            device.run(id, 0, &Step::default()).unwrap();
            device.results(true).unwrap().unwrap()
        };
        let gradient = run(0.0);
        let along: f64 = (0..parameters.len())
            .flat_map(|p| gradient[p + 1].iter().enumerate().map(move |(i, &g)| (p, i, g)))
            .map(|(p, i, g)| f64::from(g) * f64::from(direction(p, i)))
            .sum();
        let step = 1.0 / 512.0;
        let [ahead, behind] = [step, -step].map(|shift| f64::from(run(shift)[0][0]));
        let slope = (ahead - behind) / f64::from(2.0 * step);
        let scale: f64 = gradient[1..].iter().flatten().map(|&g| f64::from(g).abs()).sum();
        assert!(scale > 0.1, "{name}: no gradient");
        assert!(
            (along - slope).abs() <= 2e-3 * scale,
            "{name}: {along} instead of {slope}, terms of {scale}"
        );
    }
}

/// A training step of every form can be planned: no derivative reads what was overwritten.
#[test]
fn every_form_of_model_can_be_trained() {
    let rule = lal::run::presets::named("mini").unwrap().optimizer_config();
    for (name, model) in forms() {
        for grad_accum in [1, 2] {
            let shape = StepShape::pretraining(&model, BATCH, grad_accum);
            if let Err(error) = training(&model, shape, &rule) {
                panic!("{name}: {error}");
            }
        }
    }
}

/// Vaswani et al. 2017, section 3.5: position 2 of four channels is sin 2, cos 2, sin 0.02, cos 0.02; here as large
/// as vectors whose elements have a standard deviation of 0.02.
#[test]
fn sinusoids_reach_the_model() {
    let model = ModelConfig { position: Position::Sinusoidal, ..ModelConfig::gpt(11, 5, 1, 1, 4) };
    let shape = StepShape::pretraining(&model, 1, 1);
    let rule = lal::run::presets::named("mini").unwrap().optimizer_config();
    let plan = Arc::new(training(&model, shape, &rule).unwrap());
    let mut device = Cpu::<f32>::default();
    device.load(&plan, 0).unwrap();
    let tables = plan.persistent().filter(|(name, ..)| name.contains("sinusoids"));
    let tables: Vec<_> = tables.map(|(name, ..)| device.read(name).unwrap()).collect();
    assert_eq!(tables.len(), 1);
    for (got, want) in tables[0][8..12].iter().zip([2f64.sin(), 2f64.cos(), 0.02f64.sin(), 0.02f64.cos()]) {
        let want = 0.02 * 2f64.sqrt() * want;
        assert!((f64::from(*got) - want).abs() < 1e-8, "{got} instead of {want}");
    }
}

/// By chance one of eight symbols is named; 256 questions leave a standard error of 2%.
#[test]
fn an_lstm_recalls_where_an_rnn_guesses_and_attention_four_times_as_far() {
    let distances = [1, 64, 256];
    let measure = |net: usize, steps| rnn::measure(rnn::NETS[net], 64, steps, &distances).unwrap();
    let [rnn, lstm, attention] = [(0, 350), (2, 350), (3, 150)].map(|(net, steps)| measure(net, steps));
    let right = [&rnn, &lstm, &attention].map(|net| net.accuracy.clone());
    assert!(rnn.accuracy[1] < 0.22 && rnn.accuracy[0] > 0.3, "{right:?}");
    assert!(lstm.accuracy[..2].iter().all(|&share| share >= 0.95), "{right:?}");
    assert!(attention.accuracy.iter().all(|&share| share >= 0.95), "{right:?}");
    // Untrained, an RNN's gradient halves with every step, or worse; attention's is the same at every distance, but
    // that rows of 257 tokens are shared by four times as many as those of 65.
    let [of_rnn, of_attention] = [&rnn, &attention].map(|net| net.gradients[0].clone());
    assert!(of_rnn[1] < 1e-10 * of_rnn[0] && of_rnn[0] > 1e-3, "{of_rnn:?}");
    assert!(of_attention[1] > 0.8 * of_attention[0], "{of_attention:?}");
    assert!(of_attention[2] > 0.2 * of_attention[0], "{of_attention:?}");
    // An LSTM that has learned holds open the way back.
    assert!(lstm.gradients[1][1] > 1e3 * lstm.gradients[0][1], "{:?}", lstm.gradients);
}

#[test]
fn attention_looks_where_the_symbol_stands() {
    for way in attention::WAYS {
        let measured = attention::measure(way, 33, 150, &[1, 32, 128]).unwrap();
        assert!(
            measured.accuracy.iter().all(|&share| share >= 0.95),
            "{}: {:?}",
            way.name,
            measured.accuracy
        );
        assert_eq!(measured.on_symbol.len(), way.n_head);
        // One of 23 tokens: 4% if it looked at all alike.
        let most = measured.on_symbol.iter().copied().fold(0.0, f64::max);
        assert!(most > 0.7, "{}: {:?}", way.name, measured.on_symbol);
        let (tokens, heads) = measured.map;
        assert_eq!((tokens.len(), heads.len(), tokens[23].as_str()), (24, way.n_head, "?"));
        // Where the future is seen, the first token looks beyond itself.
        let ahead: f64 = heads[0].row(0)[1..].iter().sum();
        assert!(if way.causal { ahead == 0.0 } else { ahead > 0.05 }, "{}: {ahead}", way.name);
    }
}

/// The pieces whose loss shows, in a run of seconds: without positions or with a linear feed-forward half a GPT is
/// worse; nothing is below what the grammar allows.
#[test]
fn pieces_are_worth_what_the_table_says() {
    let run = transformer::smaller("mini", 120).unwrap();
    let world = transformer::world(&run, 60_000).unwrap();
    let loss = |piece: &str, to: &str| {
        let named = |change: &&lal::train::ablation::Change| (change.piece, change.to) == (piece, to);
        let change = lal::train::ablation::CHANGES.iter().find(named).unwrap();
        transformer::ablate(change, &run, &world).unwrap().val_loss
    };
    let [whole, bare, llama] = [("GPT", "as it is"), ("norm", "none"), ("all of Llama's", "at once")]
        .map(|(piece, to)| loss(piece, to));
    assert!(whole > world.floor && llama > world.floor, "{whole} {llama} {}", world.floor);
    assert!(whole < 2.6 && llama < whole - 0.1 && bare > whole, "{whole} {bare} {llama}");
}

#[test]
fn a_bert_restores_what_is_hidden_and_no_more_than_can_be() {
    let run = transformer::smaller("bert-mini", 150).unwrap();
    let restored = transformer::fill_in(run, 60_000, 80).unwrap();
    // A space everywhere would restore a fifth.
    assert!(
        restored.asked > 200 && restored.model > 0.32 && restored.model < restored.optimum,
        "{restored:?}"
    );
    assert!((0.9..=1.0).contains(&restored.optimum), "{restored:?}");
}
