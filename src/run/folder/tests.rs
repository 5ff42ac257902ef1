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
    let path = first.path().to_owned();
    let held = RunFolder::create(&path).unwrap_err().to_string();
    assert!(held.contains("mini-own-1 is in use by"), "{held}");
    drop(first);
    assert_eq!(RunFolder::create(&path).unwrap().path(), path, "an empty folder may be used");
    fs::write(path.join(SETTINGS), "").unwrap();
    let error = RunFolder::create(&path).unwrap_err().to_string();
    assert!(error.contains("mini-own-1") && error.contains("--resume"), "{error}");
}

#[test]
fn a_run_describes_itself() {
    let (_outer, run) = run();
    let tokenizer = Tokenizer::from_name("char", "abc").unwrap();
    let config = presets::named("mini").unwrap();
    run.describe(&config, &config.model(3), &tokenizer).unwrap();
    assert_eq!(run.settings().unwrap().resolve().unwrap(), config);
    let (gpt, mark) = model_file::read_config(run.path()).unwrap();
    assert_eq!((gpt, mark), (config.model(3), Some(TokenizerMark::of(&tokenizer))));
    assert!(!RunFolder::open(run.path()).unwrap().has_checkpoint());
    fs::write(run.path().join(STATE), "").unwrap();
    let path = run.path().to_owned();
    assert!(matches!(RunFolder::resume(&path), Err(FolderError::Lock(_))));
    drop(run);
    assert!(RunFolder::resume(&path).unwrap().has_checkpoint());
    fs::remove_file(path.join(SETTINGS)).unwrap();
    let error = RunFolder::resume(&path).unwrap_err().to_string();
    assert!(error.contains("config.toml is missing"), "{error}");
}

/// As a process leaves it that is killed after each of the files that it writes before `config.toml`.
#[test]
fn what_died_before_it_began_leaves_a_free_folder() {
    let (_outer, whole) = run();
    let tokenizer = Tokenizer::from_name("char", "abc").unwrap();
    let config = presets::named("mini").unwrap();
    whole.describe(&config, &config.model(3), &tokenizer).unwrap();
    let (_outer, dead) = run();
    let path = dead.path().to_owned();
    drop(dead);
    fs::write(path.join(STAGE), "lora_rank = 1").unwrap();
    fs::write(path.join("config.toml.partial"), "n_layer =").unwrap();
    for name in [CONFIG, TOKENIZER[0], TOKENIZER[1]] {
        fs::copy(whole.path().join(name), path.join(name)).unwrap();
    }
    assert!(matches!(RunFolder::resume(&path), Err(FolderError::NoRun(_, SETTINGS))));
    let again = RunFolder::create(&path).unwrap();
    again.describe(&config, &config.model(3), &tokenizer).unwrap();
    assert!(!path.join(STAGE).exists() && !path.join("config.toml.partial").exists());
}

#[test]
fn what_others_keep_there_is_not_written_over() {
    let outer = tempfile::tempdir().unwrap();
    for (name, text) in
        [(MODEL, "weights"), (METRICS, ""), (CONFIG, "{\"model_type\": \"bert\"}"), (CONFIG, "half")]
    {
        let path = outer.path().join("other");
        fs::create_dir(&path).unwrap();
        fs::write(path.join(name), text).unwrap();
        let error = RunFolder::create(&path).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("--out"), "{error}");
        assert_eq!(fs::read_to_string(path.join(name)).unwrap(), text);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn a_place_that_cannot_be_is_named() {
    let outer = tempfile::tempdir().unwrap();
    let file = outer.path().join("file");
    fs::write(&file, "").unwrap();
    let error = RunFolder::create(&file.join("run")).unwrap_err().to_string();
    assert!(error.contains("file/run"), "{error}");
}
