use super::*;
use crate::models::config::Position;
use crate::nn::norm::Norm;

fn entry(name: &str, shape: impl Into<Shape>) -> Entry {
    Entry { name: name.into(), shape: shape.into() }
}

fn mini() -> ModelConfig {
    ModelConfig { dropout: 0.1, ..ModelConfig::gpt(5, 4, 1, 1, 2) }
}

fn mark(text: &str) -> TokenizerMark {
    TokenizerMark::of(&Tokenizer::from_name("char", text).unwrap())
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
    let mut file = TensorFile::open(&folder.path().join(MODEL)).unwrap();
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
        assert_eq!(read(&mut file, Layout::Gpt2, parameter).unwrap(), want);
    }
}

#[test]
fn biases_that_there_are_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let parameters = [entry("h.0.ln_1.weight", [2]), entry("h.0.ln_1.bias", [2])];
    write(folder.path(), Layout::Gpt2, &parameters, counting).unwrap().commit().unwrap();
    let mut file = TensorFile::open(&folder.path().join(MODEL)).unwrap();
    assert_eq!(read(&mut file, Layout::Gpt2, &parameters[1]).unwrap(), [0.0, 1.0]);
}

#[test]
fn a_configuration_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(CONFIG);
    let gpt2 = ModelConfig { bias: true, feed_forward: FeedForward::GeluTanh, ..mini() };
    let llama = ModelConfig { norm: Norm::Rms, position: Position::Rope, tied: false, ..mini() };
    for config in [mini(), gpt2, llama] {
        std::fs::write(&path, config_json(&config, &mark("abcde"))).unwrap();
        assert_eq!(read_config(folder.path()).unwrap(), (config, Some(mark("abcde"))));
    }
    // As GPT-2 was published.
    let published = r#"{"model_type": "gpt2", "activation_function": "gelu_new", "n_embd": 768, "n_head": 12,
                        "n_layer": 12, "n_positions": 1024, "vocab_size": 50257, "resid_pdrop": 0.1}"#;
    std::fs::write(&path, published).unwrap();
    let (config, tokenizer) = read_config(folder.path()).unwrap();
    assert_eq!((config.n_parameters(), tokenizer), (124_439_808, None));
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
