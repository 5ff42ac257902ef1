//! Low-rank adapters against PEFT: its files are read with the same logits, adapters train as its do
//! (`golden/make_peft.py`), and what a run writes is read again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assert_cmd::Command;
use lal::engine::device::cpu::Cpu;
use lal::engine::device::{Device, HostData};
use lal::engine::step::Step;
use lal::interop::peft::adapter::Adapter;
use lal::interop::peft::export::factors;
use lal::models::config::ModelConfig;
use lal::ops::adamw::AdamW;
use lal::optim::{Optimizer, OptimizerConfig};
use lal::run::tensor_file::Entry;
use lal::sample::load::{Changes, Stored, load, load_with};
use lal::text::tokenizer::Tokenizer;
use lal::train::plans::{StepShape, training};
use serde_json::Value;

const ADAPTERS: [&str; 5] = ["llama", "qwen2", "phi3", "gpt_neox", "gpt2"];
const CHARACTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDE";

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// An adapter, its base with a tokenizer of as many characters, and what PEFT computes.
fn case(name: &str) -> (PathBuf, tempfile::TempDir, Value) {
    let adapter = golden("peft").join(name);
    let expected = json(&adapter.join("expected.json"));
    let base = match expected["base"].as_str().unwrap() {
        "gpt2" => golden("peft/gpt2/base"),
        family => golden("families").join(family),
    };
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(base.join(file), folder.path().join(file)).unwrap();
    }
    Tokenizer::from_name("char", CHARACTERS).unwrap().save(folder.path()).unwrap();
    (adapter, folder, expected)
}

fn near(what: &str, got: &[f32], want: &[f64], relative: f64) {
    let scale = want.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        assert!((f64::from(*got) - want).abs() <= relative * scale, "{what}: {got} and not {want}");
    }
}

#[test]
fn an_adapter_has_the_logits_of_peft() {
    for name in ADAPTERS {
        let (adapter, base, expected) = case(name);
        let tokens: Vec<u32> = serde_json::from_value(expected["tokens"].clone()).unwrap();
        let logits: Vec<Vec<f64>> = serde_json::from_value(expected["logits"].clone()).unwrap();
        let mut cpu = Cpu::<f32>::default();
        let mut model =
            load_with(&mut cpu, base.path(), Changes { adapter: Some(&adapter), ..Changes::default() })
                .unwrap();
        for (at, want) in logits.iter().enumerate() {
            let got = model.generator.start(&mut cpu, &tokens[..=at]).unwrap();
            near(&format!("{name} after {at}"), &got, want, 1e-5);
        }
        // The base without it computes something else.
        let mut cpu = Cpu::<f32>::default();
        let mut bare = load(&mut cpu, base.path()).unwrap();
        let got = bare.generator.start(&mut cpu, &tokens).unwrap();
        let apart = got.iter().zip(&logits[tokens.len() - 1]).map(|(a, b)| (f64::from(*a) - b).abs());
        assert!(apart.fold(0.0, f64::max) > 1e-2, "{name}");
    }
}

/// Losses of five steps, and the factors after them.
#[test]
fn adapters_train_as_those_of_peft() {
    for name in ADAPTERS {
        let (adapter, base, expected) = case(name);
        let mut stored = Stored::open(base.path()).unwrap();
        let modules = stored.layout().modules();
        let opened = Adapter::open(&adapter, &stored.config, modules).unwrap();
        let tokens: Vec<u32> = serde_json::from_value(expected["tokens"].clone()).unwrap();
        let time = tokens.len() - 1;
        let config =
            ModelConfig { lora: opened.lora(), dropout: 0.0, block_size: time, ..stored.config.clone() };
        let adamw = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 1.0 };
        let rule = OptimizerConfig { optimizer: Optimizer::AdamW, adamw };
        let plan = Arc::new(training(&config, StepShape::pretraining(&config, 1, 1), &rule).unwrap());
        let mut cpu = Cpu::<f64>::default();
        let id = cpu.load(&plan, 0).unwrap();
        for (parameter, shape) in stored.config.parameters().unwrap() {
            let mut entry = Entry { name: parameter, shape };
            let mut elements = stored.read(&entry).unwrap();
            if entry.name.ends_with("wpe.weight") {
                entry.shape = [time, shape.width()].into();
                elements.truncate(entry.shape.len());
            }
            cpu.write(&entry.name, &elements).unwrap();
        }
        let factors = factors(&config, modules);
        let of_file =
            lal::interop::container::Container::safetensors(&adapter.join("adapter_model.safetensors"));
        assert_eq!(factors.len(), of_file.unwrap().tensors().len(), "{name}");
        for pair in factors.chunks(2) {
            let scope = pair[0].ours.strip_suffix(".lora_a").unwrap();
            for (factor, elements) in pair.iter().zip(opened.factors(scope).unwrap().unwrap()) {
                cpu.write(&factor.ours, &elements).unwrap();
            }
        }
        for (input, data) in [
            ("tokens", HostData::U32(&tokens[..time])),
            ("targets", HostData::U32(&tokens[1..])),
            ("weights", HostData::F32(&vec![1.0 / time as f32; time])),
        ] {
            cpu.set_input(id, input, data).unwrap();
        }
        let losses: Vec<f64> = serde_json::from_value(expected["losses"].clone()).unwrap();
        for (t, want) in losses.into_iter().enumerate() {
            let step = Step {
                learning_rate: 1e-2,
                correction1: 1.0 - 0.9f32.powi(t as i32 + 1),
                correction2: 1.0 - 0.95f32.powi(t as i32 + 1),
                ..Step::default()
            };
            cpu.run(id, 0, &step).unwrap();
            let got = cpu.results(true).unwrap().unwrap()[0][0];
            near(&format!("{name}: loss of step {t}"), &[got], &[want], 1e-5);
        }
        for factor in factors {
            let stored = factor.stored(cpu.read(&factor.ours).unwrap());
            let norm = stored.iter().map(|x| x * x).sum::<f32>().sqrt();
            let cosines =
                stored.iter().enumerate().map(|(i, x)| f64::from(*x) * (i as f64 + 1.0).cos()).sum::<f64>();
            let want: [f64; 2] = serde_json::from_value(expected["after"][&factor.theirs].clone()).unwrap();
            near(&factor.theirs, &[norm, cosines as f32], &want, 1e-4);
        }
    }
}

#[test]
fn an_adapter_of_another_model_is_named() {
    let (llama, base, _) = case("llama");
    let complaint = |adapter: &Path| {
        Stored::open_adapted(base.path(), Some(adapter))
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    let error = complaint(&golden("peft/gpt_neox"));
    assert!(error.contains("adapter_model.safetensors") && error.contains("gpt_neox.layers.0"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let error = complaint(folder.path());
    assert!(error.contains("adapter_config.json"), "{error}");
    let edited = |key: &str, value: Value| {
        let mut config = json(&llama.join("adapter_config.json"));
        config[key] = value;
        fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
        complaint(folder.path())
    };
    let error = edited("use_dora", true.into());
    assert!(error.contains("use_dora is true") && error.contains("adapter_config.json"), "{error}");
    fs::copy(llama.join("adapter_model.safetensors"), folder.path().join("adapter_model.safetensors"))
        .unwrap();
    let error = edited("r", 4.into());
    assert!(error.contains("lora_A.weight is (3, ") && error.contains("(4, "), "{error}");
    assert_eq!(edited("r", 3.into()), "");
}

fn lal(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("lal").unwrap();
    command.args(args).args(["--device", "cpu", "-q"]);
    command
}

/// The values of a run after its first checkpoint: that its adapter alone makes its model of its base, and goes on.
#[test]
fn what_a_run_writes_is_an_adapter_of_its_base() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let text: String = (0..400).map(|i| format!("say {} to {}\n", i % 7, i % 5)).collect();
    fs::write(path("text.txt"), text).unwrap();
    let chats = "{\"prompt\": \"say 1\", \"response\": \"to 2\"}\n".repeat(20);
    fs::write(path("chats.jsonl"), chats).unwrap();
    let few = ["--eval-iters", "1", "--sample-tokens", "0", "--batch-size", "2", "--warmup-steps", "0"];
    let sizes = [
        "--n-layer",
        "2",
        "--n-head",
        "2",
        "--n-kv-head",
        "1",
        "--n-embd",
        "8",
        "--block-size",
        "32",
        "--steps",
        "3",
    ];
    let [data, chats] = [path("text.txt"), path("chats.jsonl")];
    let train = ["train", "--preset", "llama-mini", "--data", &data, "--out", &path("base")];
    lal(&train).args(few).args(sizes).assert().success();
    let sft = |model: &str, out: &str| {
        let mut command =
            lal(&["finetune", "sft", "--data", &chats, "--model", &path(model), "--out", &path(out)]);
        command.args(few).args(["--steps", "4", "--lr", "1e-2"]);
        command
    };
    sft("base", "chat").assert().success();
    sft("chat", "tuned")
        .args(["--lora", "2", "--lora-alpha", "6", "--lora-targets", "v_proj,up_proj"])
        .assert()
        .success();

    let written = json(&folder.path().join("tuned/adapter/adapter_config.json"));
    for (key, value) in [
        ("r", Value::from(2)),
        ("lora_alpha", 6.0.into()),
        ("target_modules", vec!["v_proj", "up_proj"].into()),
        ("peft_type", "LORA".into()),
        ("task_type", "CAUSAL_LM".into()),
        ("fan_in_fan_out", false.into()),
        ("base_model_name_or_path", path("chat").into()),
    ] {
        assert_eq!(written[key], value, "{key}");
    }
    let logits = |model: &str, adapter: Option<&str>| {
        let mut cpu = Cpu::<f32>::default();
        let adapter = adapter.map(|name| folder.path().join(name));
        let mut model = load_with(
            &mut cpu,
            &folder.path().join(model),
            Changes { adapter: adapter.as_deref(), ..Changes::default() },
        )
        .unwrap();
        let prompt = model.tokenizer.encode("say 1").unwrap();
        model.generator.start(&mut cpu, &prompt).unwrap()
    };
    let tuned: Vec<f64> = logits("tuned", None).into_iter().map(f64::from).collect();
    near("merged", &logits("chat", Some("tuned/adapter")), &tuned, 1e-6);
    let plain: Vec<f64> = logits("chat", None).into_iter().map(f64::from).collect();
    assert!(plain.iter().zip(&tuned).any(|(a, b)| (a - b).abs() > 1e-3), "it learned nothing");

    // Its training goes on: rank, alpha and targets are the adapter's, and the first loss is the last one's.
    sft("chat", "further").args(["--lora-init", &path("tuned/adapter"), "--lr", "1e-9"]).assert().success();
    let again = logits("chat", Some("further/adapter"));
    near("further", &again, &tuned, 1e-5);
    let both =
        ["tuned", "further"].map(|run| json(&folder.path().join(run).join("adapter/adapter_config.json")));
    assert_eq!(both[0], both[1]);
    // Merged before, it is the base of another training, which no adapter of `chat` alone describes.
    sft("chat", "other")
        .args(["--adapter", &path("tuned/adapter"), "--lora", "1", "--lr", "1e-9"])
        .assert()
        .success();
    near("other", &logits("other", None), &tuned, 1e-5);
    assert!(!folder.path().join("other/adapter").exists());

    let resume = |run: &str, more: &[&str]| {
        let mut command = lal(&["finetune", "sft", "--steps", "5", "--resume", &path(run)]);
        command.args(more);
        command
    };
    for (more, named) in [
        (["--lora-alpha", "7"], "--lora-alpha is 7, not 6"),
        (["--lora-targets", "q_proj"], "--lora-targets is q_proj, not v_proj,up_proj"),
        (["--lora-dropout", "0.5"], "--lora-dropout is 0.5, not 0"),
        (["--adapter", "elsewhere"], "--adapter is elsewhere, not none"),
    ] {
        let output = resume("tuned", &more).assert().code(2).get_output().stderr.clone();
        assert!(String::from_utf8_lossy(&output).contains(named), "{}", String::from_utf8_lossy(&output));
    }
    resume("tuned", &["--lora-targets", "up_proj,v_proj", "--lora-alpha", "6"]).assert().success();
    let tuned: Vec<f64> = logits("tuned", None).into_iter().map(f64::from).collect();
    near("resumed", &logits("chat", Some("tuned/adapter")), &tuned, 1e-6);
    for (more, named) in [
        (&["--lora", "2", "--lora-targets", "c_attn"][..], "k_proj"),
        (&["--lora-alpha", "2"], "--lora-alpha is for low-rank adapters"),
        (&["--lora", "2", "--lora-dropout", "1"], "--lora-dropout 1 is outside"),
    ] {
        let output = sft("chat", "none").args(more).assert().code(2).get_output().stderr.clone();
        assert!(String::from_utf8_lossy(&output).contains(named), "{}", String::from_utf8_lossy(&output));
    }
}
