use std::fs;

use super::super::model_file::MODEL;
use super::*;
use crate::files::FileError;
use crate::text::tokenizer::Tokenizer;

fn entry(name: &str, dims: [usize; 2]) -> Entry {
    Entry { name: name.into(), shape: dims.into() }
}

fn parameters() -> Vec<Entry> {
    vec![entry("transformer.wte.weight", [5, 2]), entry("transformer.h.0.attn.c_proj.weight", [3, 2])]
}

fn states() -> Vec<Entry> {
    vec![entry("adamw.m", [1, 16]), entry("adamw.v", [1, 16])]
}

fn mark(text: &str) -> TokenizerMark {
    TokenizerMark::of(&Tokenizer::from_name("char", text).unwrap())
}

fn progress(step: u64) -> Progress {
    Progress { step, seed: 1337, val_loss: Some(1.5), best_val_loss: None, tokenizer: mark("abcde") }
}

/// Elements that differ by tensor, step and place.
fn elements(entry: &Entry, step: u64) -> Vec<f32> {
    (0..entry.shape.len()).map(|i| (step * 1000 + entry.name.len() as u64 * 100 + i as u64) as f32).collect()
}

fn save_step(folder: &Path, step: u64) -> Result<(), TensorError> {
    let (parameters, states) = (parameters(), states());
    let tensors = Tensors {
        layout: Layout::Gpt2,
        parameters: &parameters,
        adapters: &[],
        exported: &[],
        states: &states,
    };
    save(folder, tensors, &progress(step), |entry, _, give| {
        give(&elements(entry, step));
        Ok(())
    })
}

fn restore_as(
    folder: &Path,
    parameters: &[Entry],
    states: &[Entry],
    tokenizer: &TokenizerMark,
) -> Result<u64, ModelError> {
    let mut saved = Saved::open(folder)?;
    let step = saved.progress().step;
    let mut restored = Vec::new();
    saved.restore(
        Tensors { layout: Layout::Gpt2, parameters, adapters: &[], exported: &[], states },
        tokenizer,
        |entry, data| {
            assert_eq!(data, elements(entry, step), "{}", entry.name);
            restored.push(entry.name.clone());
            Ok(())
        },
    )?;
    assert_eq!(restored.len(), parameters.len() + states.len());
    Ok(step)
}

fn restore(folder: &Path) -> Result<u64, ModelError> {
    restore_as(folder, &parameters(), &states(), &mark("abcde"))
}

#[test]
fn what_is_saved_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    for step in [250, 500] {
        save_step(folder.path(), step).unwrap();
        assert_eq!(Saved::open(folder.path()).unwrap().progress(), &progress(step));
        assert_eq!(restore(folder.path()).unwrap(), step);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left aside");
    }
}

#[test]
fn equal_checkpoints_are_equal_files() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let bytes = folders.each_ref().map(|folder| {
        save_step(folder.path(), 3).unwrap();
        [MODEL, STATE].map(|name| fs::read(folder.path().join(name)).unwrap())
    });
    assert_eq!(bytes[0], bytes[1]);
}

/// A kill can come before any of four events: each partial file is there, and each rename. Whatever of
/// the second checkpoint's files lies about, the state is one of the two, whole, and the model can be read.
#[test]
fn killed_at_any_moment_a_whole_checkpoint_is_there() {
    let new = tempfile::tempdir().unwrap();
    save_step(new.path(), 500).unwrap();
    let bytes = |name| fs::read(new.path().join(name)).unwrap();
    let (model, state) = (bytes(MODEL), bytes(STATE));
    let partial = |name: &str| format!("{name}.partial");
    type Moment<'a> = (&'a str, Vec<(String, &'a [u8])>, u64);
    let moments: [Moment; 6] = [
        ("half a model", vec![(partial(MODEL), &model[..99])], 250),
        ("a model", vec![(partial(MODEL), &model)], 250),
        ("half a state", vec![(partial(MODEL), &model), (partial(STATE), &state[..99])], 250),
        ("both", vec![(partial(MODEL), &model), (partial(STATE), &state)], 250),
        ("model renamed", vec![(MODEL.into(), &model), (partial(STATE), &state)], 250),
        ("both renamed", vec![(MODEL.into(), &model), (STATE.into(), &state)], 500),
    ];
    for (moment, files, step) in moments {
        let run = tempfile::tempdir().unwrap();
        save_step(run.path(), 250).unwrap();
        for (name, bytes) in files {
            fs::write(run.path().join(name), bytes).unwrap();
        }
        assert_eq!(restore(run.path()).unwrap(), step, "{moment}");
        let file = TensorFile::open(&run.path().join(MODEL)).unwrap();
        for parameter in parameters() {
            model_file::read(&file, Layout::Gpt2, &parameter).unwrap();
        }
        // The resumed run saves again and clears up.
        save_step(run.path(), 500).unwrap();
        assert_eq!(fs::read(run.path().join(MODEL)).unwrap(), model, "{moment}");
        assert_eq!(fs::read(run.path().join(STATE)).unwrap(), state, "{moment}");
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 2, "{moment}");
    }
}

#[test]
fn a_failed_save_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    save_step(folder.path(), 250).unwrap();
    let (parameters, states) = (parameters(), states());
    let tensors = Tensors {
        layout: Layout::Gpt2,
        parameters: &parameters,
        adapters: &[],
        exported: &[],
        states: &states,
    };
    for failing in ["transformer.wte.weight", "adamw.v"] {
        let full = |entry: &Entry, _: Adapters, give: Give| {
            if entry.name != failing {
                give(&elements(entry, 500));
                return Ok(());
            }
            let source = std::io::ErrorKind::StorageFull.into();
            Err(FileError { doing: "write", path: folder.path().into(), source }.into())
        };
        let error = save(folder.path(), tensors, &progress(500), full).unwrap_err().to_string();
        assert!(error.contains("free some space"), "{error}");
        assert_eq!(restore(folder.path()).unwrap(), 250);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_is_an_error_that_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    save_step(folder.path(), 250).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let saved = save_step(folder.path(), 500);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Nothing is read-only to root.
    if let Err(error) = saved {
        let error = error.to_string();
        assert!(error.contains(MODEL) && error.contains("--out"), "{error}");
        assert_eq!(restore(folder.path()).unwrap(), 250);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = Saved::open(folder.path()).unwrap_err().to_string();
    assert!(nothing.contains(STATE) && nothing.contains("check the path"), "{nothing}");

    save_step(folder.path(), 250).unwrap();
    let complaint = |parameters: &[Entry], states: &[Entry], text| {
        restore_as(folder.path(), parameters, states, &mark(text)).unwrap_err().to_string()
    };
    let (parameters, states) = (parameters(), states());
    let tokenizer = complaint(&parameters, &states, "abcdf");
    assert!(tokenizer.contains(STATE) && tokenizer.contains("--tokenizer"), "{tokenizer}");
    let wider = [entry("transformer.wte.weight", [5, 4]), parameters[1].clone()];
    let shape = complaint(&wider, &states, "abcde");
    assert!(shape.contains("transformer.wte.weight is (5, 2)") && shape.contains("(5, 4)"), "{shape}");
    let fewer = complaint(&parameters[..1], &states, "abcde");
    assert!(fewer.contains("c_proj.weight, which this model has not"), "{fewer}");
    let more = complaint(&parameters, &[states.clone(), vec![entry("more", [1, 1])]].concat(), "abcde");
    assert!(more.contains("no tensor more"), "{more}");

    let path = folder.path().join(STATE);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let truncated = complaint(&parameters, &states, "abcde");
    assert!(truncated.contains(STATE) && truncated.contains("cut short"), "{truncated}");
}

/// Read back to other last digits, a best loss would be beaten by itself.
#[test]
fn losses_are_read_to_the_bit() {
    for i in 1..2000 {
        let loss = Some(f64::from(i).sqrt() * 1.1);
        let saved = Progress { best_val_loss: loss, ..progress(1) };
        let read: Progress = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
        assert_eq!(read.best_val_loss.map(f64::to_bits), loss.map(f64::to_bits));
    }
}
