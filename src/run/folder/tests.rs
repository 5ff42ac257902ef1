use super::super::model_file::TokenizerMark;
use super::*;
use crate::run::presets;

fn run() -> (tempfile::TempDir, RunFolder) {
    let outer = tempfile::tempdir().unwrap();
    let run = RunFolder::create_numbered(outer.path(), "mini", "texts/own.txt").unwrap();
    (outer, run)
}

#[test]
fn numbers_go_up_and_nothing_is_overwritten() {
    let (outer, first) = run();
    assert!(first.path().ends_with("mini-own-1"));
    let second = RunFolder::create_numbered(outer.path(), "mini", "own").unwrap();
    assert!(second.path().ends_with("mini-own-2"));
    assert_eq!(RunFolder::create(first.path()).unwrap(), first, "an empty folder may be used");
    fs::write(first.path().join(SETTINGS), "").unwrap();
    let error = RunFolder::create(first.path()).unwrap_err().to_string();
    assert!(error.contains("mini-own-1") && error.contains("--resume"), "{error}");
}

#[test]
fn a_run_describes_itself() {
    let (_outer, run) = run();
    let tokenizer = Tokenizer::from_name("char", "abc").unwrap();
    let config = presets::named("mini").unwrap();
    run.describe(&config, &config.model(3), &tokenizer).unwrap();
    assert_eq!(TrainConfig::new(&run.settings().unwrap()).unwrap(), config);
    let (gpt, mark) = model_file::read_config(run.path()).unwrap();
    assert_eq!((gpt, mark), (config.model(3), Some(TokenizerMark::of(&tokenizer))));
    let error = RunFolder::open(run.path()).unwrap_err().to_string();
    assert!(error.contains("state.safetensors is missing"), "{error}");
    fs::write(run.path().join(STATE), "").unwrap();
    assert_eq!(RunFolder::open(run.path()).unwrap(), run);
}

#[test]
fn a_place_that_cannot_be_is_named() {
    let outer = tempfile::tempdir().unwrap();
    let file = outer.path().join("file");
    fs::write(&file, "").unwrap();
    let error = RunFolder::create(&file.join("run")).unwrap_err().to_string();
    assert!(error.contains("file/run"), "{error}");
}
