use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/containers").join(name)
}

fn all(container: &Container, name: &str) -> Vec<f32> {
    container.elements(container.tensor(name).unwrap()).unwrap()
}

/// The sharded model in a folder of its own, with its index changed.
fn changed(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden("sharded")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let index = folder.path().join(INDEX);
    let mut json: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    change(&mut json);
    fs::write(&index, json.to_string()).unwrap();
    folder
}

#[test]
fn shards_are_one_model() {
    for path in [golden("sharded"), golden("sharded").join(INDEX)] {
        let model = Container::open(&path).unwrap();
        let names: Vec<_> = model.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        let counted: Vec<f32> = (0..12_u8).map(f32::from).collect();
        assert_eq!(all(&model, "embedding"), counted);
        assert_eq!(all(&model, "scale"), [2.5]);
        assert_eq!(all(&model, "head"), [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]);
        assert_eq!(model.metadata().get::<&str>("format").unwrap(), "pt");
        // Integers are listed, and refused where they are read.
        let ids = model.tensor("ids").unwrap();
        assert_eq!((ids.type_name.as_str(), ids.shape.as_slice()), ("I64", &[3][..]));
        let error = model.elements(ids).unwrap_err().to_string();
        assert!(error.contains("00002") && error.contains("ids has elements of type I64"), "{error}");
        assert!(model.tensor("none").unwrap_err().to_string().contains("no tensor none"));
    }
}

#[test]
fn an_index_that_does_not_fit_is_named() {
    let [first, second] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let said = |change: &dyn Fn(&mut Value)| {
        let folder = changed(change);
        let error = Container::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("safetensors"), "{error}");
        error
    };
    let map =
        |name: &'static str, to: Value| said(&move |json: &mut Value| json["weight_map"][name] = to.clone());
    assert!(map("more", json!(first)).contains(&format!("{first} has no tensor more")));
    assert!(map("head", json!(first)).contains(&format!("{first} has no tensor head")));
    assert!(map("scale", json!(second)).contains(&format!("scale is in {first}, and should be in {second}")));
    assert!(map("more", json!("model-3.safetensors")).contains("model-3.safetensors"));
    let bad =
        ["../x.safetensors", "/x.safetensors", "a/b.safetensors", "a\\b.safetensors", "", "..", "x.bin"];
    for path in bad.into_iter().chain(["./x.safetensors", "C:x.safetensors"]) {
        assert!(map("head", json!(path)).contains("no file of this folder"), "{path}");
    }
    assert!(map("head", json!(3)).contains("invalid type"));
    let missing = said(&|json| drop(json["weight_map"].as_object_mut().unwrap().remove("scale")));
    assert!(missing.contains(&format!("{first} has a tensor scale")), "{missing}");
    assert!(said(&|json| json["weight_map"] = json!({})).contains("lists no tensor"));
    assert!(said(&|json| *json = json!({})).contains("weight_map"));

    let folder = changed(|_| {});
    let twice = format!("{{\"weight_map\": {{\"head\": {second:?}, \"head\": {second:?}}}}}");
    fs::write(folder.path().join(INDEX), twice).unwrap();
    let error = Container::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("lists head twice"), "{error}");
    // The whole file, where it is there, is the model.
    fs::copy(golden("bf16.safetensors"), folder.path().join(MODEL)).unwrap();
    assert_eq!(Container::open(folder.path()).unwrap().tensors().len(), 1);
}

#[test]
fn rows_come_in_order_and_in_bounded_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    let numbers: Vec<f32> = (0..3 * 70_001_u32).map(|i| i as f32).collect();
    let of = |shape: &[usize]| safetensors_of(&path, shape, &numbers);
    // A row is longer than a part.
    let wide = of(&[3, 70_001]);
    let (tensor, mut sizes, mut found) = (wide.tensor("t").unwrap(), Vec::new(), Vec::new());
    wide.read(tensor, 1..3, |part| {
        sizes.push(part.len());
        found.extend_from_slice(part);
    })
    .unwrap();
    assert_eq!(sizes.iter().sum::<usize>(), 2 * 70_001);
    assert!(sizes.iter().all(|&size| size <= PART), "{sizes:?}");
    assert_eq!(found, numbers[70_001..]);
    // A part is whole rows.
    let narrow = of(&[70_001, 3]);
    let tensor = narrow.tensor("t").unwrap();
    let mut found = Vec::new();
    narrow
        .read(tensor, 5..70_001, |part| {
            assert_eq!(part.len() % 3, 0);
            found.extend_from_slice(part);
        })
        .unwrap();
    assert_eq!(found, numbers[15..]);
    narrow.read(tensor, 4..4, |_| panic!("there are no rows")).unwrap();
    let mut bytes = 0;
    narrow.read_bytes(tensor, |part| bytes += part.len()).unwrap();
    assert_eq!(bytes, 4 * numbers.len());
}

fn safetensors_of(path: &Path, shape: &[usize], numbers: &[f32]) -> Container {
    let view = ::safetensors::tensor::TensorView::new(
        ::safetensors::Dtype::F32,
        shape.to_vec(),
        bytemuck::cast_slice(numbers),
    );
    ::safetensors::serialize_to_file([("t", view.unwrap())], None, path).unwrap();
    Container::open(path).unwrap()
}

#[test]
fn what_is_no_number_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    let mut numbers = vec![0.0; 2 * 3 * 70_000];
    numbers[3 * 70_000 + 70_001] = f32::NEG_INFINITY;
    let model = safetensors_of(&path, &[2, 3, 70_000], &numbers);
    let tensor = model.tensor("t").unwrap();
    let error = model.elements(tensor).unwrap_err().to_string();
    assert!(error.contains("t is -inf at [1, 1, 1]"), "{error}");
    assert!(model.read(tensor, 4..5, |_| {}).unwrap_err().to_string().contains("[1, 1, 1]"));
    model.read(tensor, 5..6, |_| {}).unwrap();
    model.read(tensor, 0..4, |_| {}).unwrap();
}

#[test]
fn a_file_that_shrinks_while_it_is_open_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    let model = safetensors_of(&path, &[1000], &[1.0; 1000]);
    fs::File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
    let error = model.elements(model.tensor("t").unwrap()).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("t.safetensors"), "{error}");
}

#[test]
fn a_file_is_known_by_its_name_and_else_by_its_first_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let blob = folder.path().join("blob");
    for (name, format) in [("types.gguf", Format::Gguf), ("bf16.safetensors", Format::Safetensors)] {
        fs::copy(golden(name), &blob).unwrap();
        assert_eq!(Container::open(&blob).unwrap().format(), format);
        assert_eq!(Container::open(&golden(name)).unwrap().format(), format);
    }
    fs::write(&blob, "GG").unwrap();
    assert!(matches!(Container::open(&blob).unwrap_err(), ContainerError::Truncated { .. }));
    let none = Container::open(&folder.path().join("none")).unwrap_err().to_string();
    assert!(none.contains("check the path"), "{none}");
    let none = Container::open(folder.path()).unwrap_err().to_string();
    assert!(none.contains(MODEL), "{none}");
}
