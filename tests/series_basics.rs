//! The first four parts of the series: what each example promises, in a smaller size and with a margin.

use std::fs;

use assert_cmd::Command;
use lal::engine::device::Device;
use lal::engine::device::cpu::Cpu;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::inspect::embeddings::Rule;
use lal::inspect::logits::expectation;
use lal::run::settings::Settings;
use lal::text::tales::Tales;
use lal::train::on_text::on_text;
use predicates::str::contains;

#[path = "../examples/04_backpropagation.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod backpropagation;
#[path = "../examples/02_embeddings.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod embeddings;
#[path = "../examples/03_neural_networks.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod neural_networks;
#[path = "../examples/01_next_word.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod next_word;

/// Counting gives the minimum of the loss that training lowers; what training is above it is noise of its batches and
/// rows of rare characters that few batches hold.
#[test]
fn a_trained_bigram_table_is_a_counted_one() {
    let found = next_word::run(100_000, 800).unwrap();
    let above = found.trained - found.counted;
    assert!((-1e-6..0.02).contains(&above), "trained {} counted {}", found.trained, found.counted);
    assert!(found.ngrams.windows(2).all(|pair| pair[1] < pair[0] - 0.05), "{:?}", found.ngrams);
    assert!(found.ngrams[4] > found.floor);

    let bits = |name: &str| {
        let strategies = next_word::strategies();
        let (_, strategy) = strategies.iter().find(|(other, _)| *other == name).unwrap().clone();
        let found = expectation(&found.logits, &[], strategy).unwrap();
        (f64::from(found.drawn_entropy), found.kept)
    };
    let (plain, all) = bits("as it is");
    assert_eq!(all, found.tokenizer.vocab_size());
    assert!(bits("temperature 0.5").0 < plain - 0.2 && plain < bits("temperature 2").0 - 0.2);
    assert!(bits("top-k 3").1 == 3 && bits("top-k 3").0 <= 3f64.log2());
    for cut in ["top-p 0.9", "min-p 0.1"] {
        assert!(bits(cut).1 < all / 2 && bits(cut).0 < plain, "{cut}");
    }
    assert_eq!(bits("greedy"), (0.0, 1));
}

#[test]
fn the_analogies_of_the_tales_come_out_right() {
    let found = embeddings::run(1_000_000, 4000, 1).unwrap();
    assert_eq!(found.analogies.len(), 144);
    let mistakes = found.mistakes(Rule::Product);
    assert!(mistakes.len() <= 7, "{mistakes:?}");
    // By the sum, all but those that ask for a brother or a sister.
    let [brother, sister] = embeddings::ids(&found.tokenizer, &["brother", "sister"]).unwrap();
    let others = found.mistakes(Rule::Sum);
    let others = others.iter().filter(|answer| ![brother, sister].contains(&answer.analogy[3]));
    assert!(others.count() <= 4);
    let [king, queen, man, woman] =
        embeddings::ids(&found.tokenizer, &["king", "queen", "man", "woman"]).unwrap();
    assert_eq!(found.embeddings.combination([king, man, woman], Rule::Sum, 1)[0].id, queen);
}

/// The forward pass by plain loops in f64, from the weights that the device holds.
#[test]
fn a_forward_pass_is_what_its_formulas_say() {
    let mut cpu = Cpu::<f32>::default();
    let layers = neural_networks::run(&mut cpu, [2, 0, 3]).unwrap();
    let mut read = |name: &str| -> Vec<f64> {
        cpu.read(&format!("mlp.{name}")).unwrap().into_iter().map(f64::from).collect()
    };
    let (wte, fc, fc_bias) = (read("wte.weight"), read("c_fc.weight"), read("c_fc.bias"));
    let (proj, proj_bias) = (read("c_proj.weight"), read("c_proj.bias"));
    let times = |weight: &[f64], bias: &[f64], x: &[f64]| -> Vec<f64> {
        let row = |(row, bias): (&[f64], &f64)| bias + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
        weight.chunks(x.len()).zip(bias).map(row).collect()
    };
    let embedded: Vec<f64> = [2, 0, 3].iter().flat_map(|token| wte[4 * token..][..4].to_vec()).collect();
    let hidden = times(&fc, &fc_bias, &embedded);
    let active: Vec<f64> = hidden.iter().map(|x| x.tanh()).collect();
    let out = times(&proj, &proj_bias, &active);
    let logits = times(&wte, &[0.0; 5], &out);
    let sum: f64 = logits.iter().map(|x| x.exp()).sum();
    let p: Vec<f64> = logits.iter().map(|x| x.exp() / sum).collect();

    let want = [
        ("mlp/embedding", embedded.clone()),
        ("mlp/reshape", embedded),
        ("mlp.c_fc/matmul", hidden),
        ("mlp/activation", active),
        ("mlp.c_proj/matmul", out),
        ("head/matmul", logits),
        ("head/softmax", p),
    ];
    assert_eq!(layers.len(), want.len());
    for (layer, (name, want)) in layers.iter().zip(want) {
        assert_eq!((layer.name.as_str(), layer.values.len()), (name, want.len()));
        for (got, want) in layer.values.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{name}: {got}, not {want}");
        }
    }
}

#[test]
fn slopes_are_what_moving_a_weight_shows() {
    let slopes = backpropagation::check(1).unwrap();
    assert_eq!(slopes.len(), 33);
    for slope in &slopes {
        assert!((slope.gradient - slope.difference).abs() < 1e-6, "{slope:?}");
    }
    assert!(slopes.iter().filter(|slope| slope.gradient.abs() > 1e-3).count() > 20);
}

/// All of 20 seeds, with each optimiser.
#[test]
fn two_layers_learn_xor() {
    for (name, rule, rate) in backpropagation::optimisers() {
        for seed in 0..20 {
            let (right, loss) = backpropagation::learn(rule, rate, seed, 1000).unwrap();
            assert!(right == 4 && loss < 0.1, "{name}, seed {seed}: {right} of 4 right, loss {loss}");
        }
    }
}

#[test]
fn a_window_predicts_better_than_any_bigram() {
    let (loss, floor) = backpropagation::predict(100_000, 250).unwrap();
    assert!(loss < floor - 0.1, "{loss} is not below {floor}");
}

/// Five steps on the GPU and on the CPU.
#[test]
fn word_vectors_learn_alike_on_every_device() {
    let mut gpu = match Gpu::open(GpuOptions::default()) {
        Ok(gpu) => gpu,
        Err(_) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => return,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the tests without one."),
    };
    let settings = Settings {
        preset: Some("skipgram".into()),
        n_embd: Some(12),
        batch_size: Some(7),
        warmup_steps: Some(1),
        ..Settings::default()
    };
    let text = Tales::new().corpus(3, 20_000).text;
    let losses = |device: &mut dyn Device| {
        let (mut trainer, _) = on_text(device, &settings, "tales", &text).unwrap();
        trainer.train_to(device, 5).unwrap()
    };
    let (got, want) = (losses(&mut gpu), losses(&mut Cpu::<f32>::default()));
    assert!((want[0] - std::f32::consts::LN_2).abs() < 1e-3, "{want:?}");
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() < 1e-4 * want, "{got} instead of {want}");
    }
}

fn program() -> Command {
    let mut command = Command::cargo_bin("lal").expect("the program is built with the tests");
    for variable in
        ["LAL_DEVICE", "LAL_PRESET", "LAL_DATA", "LAL_DATA_DIR", "LAL_OUT", "LAL_CONFIG", "LAL_MODEL"]
    {
        command.env_remove(variable);
    }
    command
}

/// Steps 10 to 20 of a resumed run are those of an unbroken one, to the bit, and what it leaves can be looked into.
#[test]
fn word_vectors_are_a_run_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("tales.txt"), Tales::new().corpus(3, 60_000).text).unwrap();
    let train = |out: &str, steps: &str| {
        let mut command = program();
        command.args([
            "train",
            "--preset",
            "skipgram",
            "--device",
            "cpu",
            "--n-embd",
            "8",
            "--batch-size",
            "32",
        ]);
        // A schedule that does not depend on how many steps are asked for.
        command.args(["--schedule", "constant", "--warmup-steps", "0", "--eval-every", "10", "--quiet"]);
        command.args(["--steps", steps, "--data"]).arg(path("tales.txt")).arg("--out").arg(path(out));
        command.assert().success();
    };
    train("whole", "20");
    train("broken", "10");
    let mut resume = program();
    resume.args(["train", "--device", "cpu", "--quiet", "--steps", "20", "--resume"]).arg(path("broken"));
    resume.assert().success();
    let model = |name: &str| fs::read(path(name).join("model.safetensors")).unwrap();
    assert!(model("whole") == model("broken"), "the resumed run has other weights");

    let inspect = |args: &[&str]| {
        let mut command = program();
        command.args(["inspect", "embeddings", "--model"]).arg(path("whole")).args(args).assert()
    };
    let json =
        inspect(&["--word", "king,queen", "--top", "3", "--json"]).success().get_output().stdout.clone();
    let events: Vec<serde_json::Value> =
        String::from_utf8(json).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 7);
    assert!(events[0]["of"] == "king" && events[3]["of"] == "queen" && events[6]["width"] == 8, "{events:?}");
    let picture = path("picture.svg");
    let svg = picture.display().to_string();
    inspect(&["--analogies", "--svg", &svg]).success().stdout(contains("of 144 analogies"));
    assert!(fs::read_to_string(&picture).unwrap().contains("grandmother"));
    inspect(&[]).code(2).stderr(contains("--word WORD"));
    inspect(&["--word", "dragon"]).code(2).stderr(contains("\"dragon\" is not among"));
    inspect(&["--analogy", "king,man"]).code(2).stderr(contains("three words"));
}
