use super::*;
use crate::engine::tensor::Shape;
use crate::models::config::{ModelConfig, Position};
use crate::nn::mlp::FeedForward;
use crate::nn::norm::Norm;

fn entry(name: &str, shape: impl Into<Shape>) -> Entry {
    Entry { name: name.into(), shape: shape.into() }
}

fn mini() -> ModelConfig {
    ModelConfig { dropout: 0.1, ..ModelConfig::gpt(5, 4, 1, 1, 2) }
}

fn char_tokenizer(text: &str) -> Tokenizer {
    Tokenizer::from_name("char", text).unwrap()
}

fn mark(text: &str) -> TokenizerMark {
    TokenizerMark::of(&char_tokenizer(text))
}

/// 0, 1, 2, …, in parts of three.
fn counting(entry: &Entry, give: Give) -> Result<(), TensorError> {
    let elements: Vec<f32> = (0..entry.shape.len()).map(|i| i as f32).collect();
    elements.chunks(3).for_each(give);
    Ok(())
}

#[test]
fn linear_layers_turn_and_get_biases_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let parameters = [
        entry("transformer.wte.weight", [5, 2]),
        entry("transformer.h.0.ln_1.weight", [2]),
        entry("transformer.h.0.mlp.c_fc.weight", [8, 2]),
    ];
    write(folder.path(), Layout::Gpt2, &parameters, counting).unwrap().commit().unwrap();
    let file = TensorFile::open(&folder.path().join(MODEL)).unwrap();
    assert_eq!(
        file.names(),
        [
            "transformer.wte.weight",
            "transformer.h.0.ln_1.weight",
            "transformer.h.0.ln_1.bias",
            "transformer.h.0.mlp.c_fc.weight",
            "transformer.h.0.mlp.c_fc.bias",
        ]
    );
    let turned = file.read(&entry("transformer.h.0.mlp.c_fc.weight", [2, 8])).unwrap();
    assert_eq!(turned[..9], [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 1.0]);
    assert_eq!(file.read(&entry("transformer.h.0.mlp.c_fc.bias", [8])).unwrap(), [0.0; 8]);
    for parameter in &parameters {
        let mut want = Vec::new();
        counting(parameter, &mut |part| want.extend_from_slice(part)).unwrap();
        assert_eq!(read(&file, Layout::Gpt2, parameter).unwrap(), want);
    }
}

#[test]
fn biases_that_there_are_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let parameters = [entry("h.0.ln_1.weight", [2]), entry("h.0.ln_1.bias", [2])];
    write(folder.path(), Layout::Gpt2, &parameters, counting).unwrap().commit().unwrap();
    let file = TensorFile::open(&folder.path().join(MODEL)).unwrap();
    assert_eq!(read(&file, Layout::Gpt2, &parameters[1]).unwrap(), [0.0, 1.0]);
}

#[test]
fn a_configuration_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(CONFIG);
    let gpt2 = ModelConfig { bias: true, feed_forward: FeedForward::GeluTanh, ..mini() };
    let llama = ModelConfig { norm: Norm::Rms, position: Position::Rope, tied: false, ..mini() };
    let untied = ModelConfig {
        tied: false,
        n_inner: 6,
        norm_eps: 1e-3,
        feed_forward: FeedForward::Relu,
        ..ModelConfig::gpt(5, 4, 1, 1, 2)
    };
    for (config, layout) in
        [(mini(), Layout::Gpt2), (gpt2, Layout::Gpt2), (untied, Layout::Gpt2), (llama, Layout::Plain)]
    {
        std::fs::write(&path, config_json(&config, &char_tokenizer("abcde"))).unwrap();
        assert_eq!(Layout::stored(folder.path()).unwrap(), layout);
        assert_eq!(read_config(folder.path()).unwrap(), (config, Some(mark("abcde"))));
    }
    // As GPT-2 was published.
    let published = r#"{"model_type": "gpt2", "activation_function": "gelu_new", "n_embd": 768, "n_head": 12,
                        "n_layer": 12, "n_positions": 1024, "vocab_size": 50257, "resid_pdrop": 0.1}"#;
    std::fs::write(&path, published).unwrap();
    let (config, tokenizer) = read_config(folder.path()).unwrap();
    assert_eq!((config.n_parameters(), tokenizer), (124_439_808, None));
}

/// Of a run that an older Lal wrote: a head of its own was no GPT-2 then.
#[test]
fn the_folder_decides_the_layout() {
    let folder = tempfile::tempdir().unwrap();
    let config = ModelConfig { tied: false, ..mini() };
    let mut model = serde_json::to_value(&config).unwrap();
    model["vocab_size"] = config.vocab_size.into();
    let mark = serde_json::json!({ "name": "char", "fingerprint": mark("abcde").fingerprint });
    let own = serde_json::json!({ "version": 1, "bias": false, "tokenizer": mark });
    let json = serde_json::json!({ "model_type": "lal", "model": model, "lal": own });
    std::fs::write(folder.path().join(CONFIG), json.to_string()).unwrap();
    assert_eq!((Layout::of(&config), Layout::stored(folder.path()).unwrap()), (Layout::Gpt2, Layout::Plain));
    assert_eq!(read_config(folder.path()).unwrap().0, config);
}

/// The ids that `generate` of `transformers` begins and stops at.
#[test]
fn the_end_of_text_is_a_token_of_the_tokenizer_or_none() {
    let gpt2 = Tokenizer::from_name("gpt2", "").unwrap();
    for (tokenizer, begin, end) in [
        (char_tokenizer("abcde"), serde_json::Value::Null, serde_json::Value::Null),
        (char_tokenizer("abcde").with_mask(), serde_json::Value::Null, serde_json::Value::Null),
        (char_tokenizer("abcde").with_chat(), serde_json::Value::Null, 7.into()),
        (gpt2.clone(), 50_256.into(), 50_256.into()),
        (gpt2.with_chat(), 50_256.into(), 50_259.into()),
    ] {
        let config = ModelConfig { vocab_size: tokenizer.vocab_size(), ..mini() };
        let json: serde_json::Value = serde_json::from_str(&config_json(&config, &tokenizer)).unwrap();
        assert_eq!((&json["bos_token_id"], &json["eos_token_id"]), (&begin, &end));
    }
}

#[test]
fn another_order_of_merges_is_another_tokenizer() {
    let mark = |merges: Option<&str>| TokenizerMark {
        name: "bpe:300".into(),
        fingerprint: "ab".into(),
        merges: merges.map(str::to_owned),
    };
    let path = Path::new("model.safetensors");
    assert!(mark(Some("1")).check(&mark(Some("1")), path).is_ok());
    assert!(mark(Some("1")).check(&mark(Some("2")), path).unwrap_err().to_string().contains("merges 1"));
    // Runs from before they were kept.
    assert!(mark(None).check(&mark(Some("2")), path).is_ok());
}

#[test]
fn what_is_no_configuration_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let complaint = |json: &str| {
        std::fs::write(folder.path().join(CONFIG), json).unwrap();
        read_config(folder.path()).unwrap_err().to_string()
    };
    for (json, named) in [
        ("{", "EOF"),
        (r#"{"model_type": "llama"}"#, "llama"),
        (r#"{"model_type": "lal", "model": {}, "rope_theta": 1e6}"#, "rope_theta is 1000000.0"),
        (r#"{"model_type": "lal", "model": {"gates": 3}}"#, "gates"),
        (r#"{"model_type": "gpt2", "vocab_size": -1}"#, "vocab_size is -1"),
        (r#"{"model_type": "gpt2", "lal": {"version": 99}}"#, "newer Lal"),
    ] {
        let error = complaint(json);
        assert!(error.contains(named) && error.contains("config.json"), "{error}");
    }
}

#[test]
fn another_tokenizer_is_refused() {
    let path = Path::new("runs/a/config.json");
    assert!(mark("abc").check(&mark("cba"), path).is_ok());
    let error = mark("abc").check(&mark("abd"), path).unwrap_err().to_string();
    assert!(error.contains("runs/a/config.json") && error.contains("tokenizer.json"), "{error}");
}
