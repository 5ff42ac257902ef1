use super::*;

fn entry(name: &str, shape: impl Into<Shape>) -> Entry {
    Entry { name: name.into(), shape: shape.into() }
}

/// 0, 1, 2, …, in parts of three.
fn counting(entry: &Entry, give: Give) -> Result<(), TensorError> {
    let elements: Vec<f32> = (0..entry.shape.len()).map(|i| i as f32).collect();
    elements.chunks(3).for_each(give);
    Ok(())
}

fn saved(folder: &Path) -> PathBuf {
    let path = folder.join("t.safetensors");
    let entries = [entry("b", [2, 3]), entry("a", [1])];
    write(&path, &entries, ("key", "value"), counting).unwrap().commit().unwrap();
    path
}

#[test]
fn what_is_written_is_read_by_us_and_by_the_library() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.names(), ["b", "a"]);
    assert_eq!((file.note("key"), file.note("other")), (Some("value"), None));
    assert_eq!(file.read(&entry("a", [1])).unwrap(), [0.0]);
    assert_eq!(file.read(&entry("b", [2, 3])).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let bytes = std::fs::read(&path).unwrap();
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.tensor("b").unwrap().shape(), [2, 3]);
    assert_eq!(theirs.tensor("b").unwrap().data()[4..8], 1.0_f32.to_le_bytes());
}

#[test]
fn every_way_to_cut_it_short_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 7, 8, 40, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let error = TensorFile::open(&path).unwrap_err();
        assert!(matches!(error, TensorError::Container(ContainerError::Truncated { .. })), "{error}");
        assert!(error.to_string().contains("t.safetensors"), "{error}");
    }
    std::fs::write(&path, [bytes.as_slice(), b"more"].concat()).unwrap();
    assert!(TensorFile::open(&path).unwrap_err().to_string().contains("4 bytes follow"));
    std::fs::write(&path, "To be, or not to be, that is the question").unwrap();
    let error = TensorFile::open(&path).unwrap_err();
    assert!(matches!(error, TensorError::Container(ContainerError::NotSafetensors { .. })), "{error}");
}

#[test]
fn a_tensor_that_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = TensorFile::open(&saved(folder.path())).unwrap();
    let error = file.read(&entry("b", [3, 2])).unwrap_err().to_string();
    assert!(error.contains("b is (2, 3)") && error.contains("(3, 2) in this model"), "{error}");
    let error = file.read(&entry("c", [1])).unwrap_err().to_string();
    assert!(error.contains("no tensor c"), "{error}");
}

#[test]
fn a_failing_device_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let before = std::fs::read(&path).unwrap();
    let lost = |entry: &Entry, _: Give| {
        let source = DeviceError::Gpu("lost".into());
        Err(TensorError::Device { name: entry.name.clone(), source })
    };
    let error = write(&path, &[entry("x", [1])], ("k", "v"), lost).unwrap_err().to_string();
    assert!(error.contains('x') && error.contains("lost"), "{error}");
    let short = |_: &Entry, give: Give| {
        give(&[1.0]);
        Ok(())
    };
    assert!(write(&path, &[entry("x", [2])], ("k", "v"), short).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn numbers_that_are_not_finite_replace_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let before = std::fs::read(&path).unwrap();
    for odd in [f32::NAN, f32::INFINITY] {
        let read = |_: &Entry, give: Give| {
            [&[0.0; 3][..], &[0.0, odd, 0.0]].into_iter().for_each(give);
            Ok(())
        };
        let error = write(&path, &[entry("b", [2, 3])], ("key", "value"), read).unwrap_err();
        assert!(error.to_string().contains(&format!("element 4 of b is {odd}")), "{error}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
