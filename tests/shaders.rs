//! Every shader is valid WGSL and translates to the language of every backend.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lal::engine::device::gpu::shader::{parse, text};
use lal::engine::dispatch::{Dispatch, Shader};
use lal::ops::OPS;
use lal::ops::dispatched::dispatched;
use lal::profile::probes::PROBES;
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

/// One dispatch for each shader and set of constants; the probes' shaders belong to no op of the registry.
fn dispatches() -> BTreeMap<String, Dispatch> {
    dispatched(OPS.iter().copied().chain(PROBES)).unwrap_or_else(|e| panic!("{e}"))
}

fn wgsl_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files = Vec::new();
    for path in entries.map(|e| e.expect("a folder that opens can be listed").path()) {
        if path.is_dir() {
            files.extend(wgsl_files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_shader_is_valid_and_translates_to_every_backend() {
    for (name, dispatch) in dispatches() {
        let parsed = parse(&dispatch.shader, &dispatch.constants).unwrap_or_else(|e| panic!("{e}"));
        parsed.interface.pack(&dispatch).unwrap_or_else(|e| panic!("{name}: {e}"));
        let text = text(&dispatch.shader, &dispatch.constants).unwrap_or_else(|e| panic!("{e}"));
        let needed = extensions(&text);
        let info = Validator::new(ValidationFlags::all(), needed)
            .validate(&parsed.module)
            .unwrap_or_else(|e| panic!("{name}: {:?}", e.into_inner()));
        translate(&name, &parsed.module, &info, needed);
    }
}

/// What a shader needs beyond WebGPU's core, by its words.
fn extensions(text: &str) -> Capabilities {
    let words = [
        ("enable f16;", Capabilities::SHADER_FLOAT16),
        ("subgroup", Capabilities::SUBGROUP),
        ("enable wgpu_cooperative_matrix;", Capabilities::COOPERATIVE_MATRIX),
    ];
    let code: String = text.lines().filter_map(|line| line.split("//").next()).collect();
    words.into_iter().filter(|(word, _)| code.contains(word)).map(|(_, capability)| capability).collect()
}

fn translate(name: &str, module: &naga::Module, info: &ModuleInfo, needed: Capabilities) {
    spv::write_vec(module, info, &spv::Options::default(), None)
        .unwrap_or_else(|e| panic!("{name} to SPIR-V: {e}"));
    let mut metal = msl::Options::default();
    let mut direct = hlsl::Options::default();
    if !needed.is_empty() {
        metal.lang_version = (2, 4);
        direct.shader_model = hlsl::ShaderModel::V6_2;
    }
    msl::write_string(module, info, &metal, &msl::PipelineOptions::default())
        .unwrap_or_else(|e| panic!("{name} to MSL: {e}"));
    if needed.contains(Capabilities::COOPERATIVE_MATRIX) {
        // Direct3D has none.
        return;
    }
    let (options, pipeline) = (direct, hlsl::PipelineOptions::default());
    hlsl::Writer::new(&mut String::new(), &options, &pipeline)
        .write(module, info, None)
        .unwrap_or_else(|e| panic!("{name} to HLSL: {e}"));
}

#[test]
fn every_shader_file_is_used_by_some_case() {
    let used: Vec<_> = dispatches().into_values().map(|dispatch| dispatch.shader).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    for file in wgsl_files(&folder) {
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let uses =
            |s: &Shader| s.source == text || s.common.contains(&text.as_str()) || s.frame.contains(&text);
        let in_use = used.iter().any(uses);
        assert!(in_use, "no case of any op uses {}", file.display());
    }
}

#[test]
fn the_shaders_written_are_those_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let mut lal = assert_cmd::Command::cargo_bin("lal").unwrap();
    lal.args(["ops", "--wgsl"]).arg(folder.path()).assert().success();
    let all = dispatches();
    assert_eq!(wgsl_files(folder.path()).len(), all.len());
    assert!(all.keys().any(|name| name.starts_with("matmul/tiled,") && name.contains(",TRANSPOSE_A=1")));
    for (name, dispatch) in all {
        let written = fs::read_to_string(folder.path().join(format!("{name}.wgsl"))).unwrap();
        assert_eq!(written, text(&dispatch.shader, &dispatch.constants).unwrap(), "{name}");
    }
    // What is there is not overwritten, nor left among the new.
    let mut again = assert_cmd::Command::cargo_bin("lal").unwrap();
    again.args(["ops", "--wgsl"]).arg(folder.path()).assert().code(2);
}

/// Binary operators between two parentheses, commas or statements: `a * b < c` has `*` and `<`.
fn operators(text: &str) -> Vec<Vec<&str>> {
    const ALL: [&str; 18] =
        ["&&", "||", "&", "|", "^", "<<", ">>", "<", ">", "<=", ">=", "==", "!=", "+", "-", "*", "/", "%"];
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let apart = |c: char| if "()[]{},;".contains(c) { format!(" {c} ") } else { c.to_string() };
    let code: String = code.flat_map(|line| line.chars().chain(['\n'])).map(apart).collect();
    let (mut done, mut open) = (Vec::new(), vec![Vec::new()]);
    for word in code.split_whitespace() {
        let of_text = ALL.iter().find(|operator| **operator == word);
        match (word, of_text) {
            (_, Some(operator)) => open.last_mut().unwrap().push(*operator),
            ("(" | "[", _) => open.push(Vec::new()),
            (")" | "]", _) => done.extend(open.pop()),
            ("," | ";" | "{" | "}" | "=", _) => done.push(std::mem::take(open.last_mut().unwrap())),
            _ => {}
        }
    }
    done
}

/// Whether WGSL's grammar takes these operators without parentheses: operands of `&`, `|` and `^` are unary, or joined
/// by the same; those of shifts are unary; relations do not follow each other, and `&&` and `||` do not mix.
fn is_unambiguous(operators: &[&str]) -> bool {
    let is = |all: &'static [&'static str]| move |operator: &&&str| all.contains(*operator);
    let (logical, relations) = (is(&["&&", "||"]), is(&["<", ">", "<=", ">=", "==", "!="]));
    if operators.iter().any(|operator| ["&", "|", "^"].contains(operator)) {
        return operators.iter().all(|operator| *operator == operators[0]);
    }
    let mut logicals = operators.iter().filter(logical);
    let unmixed = logicals.next().is_none_or(|first| logicals.all(|other| other == first));
    unmixed
        && operators.split(|operator| logical(&operator)).all(|part| {
            part.iter().filter(relations).count() <= 1
                && part.split(|operator| relations(&operator)).all(|side| {
                    side.len() <= 1 || !side.iter().any(|operator| ["<<", ">>"].contains(operator))
                })
        })
}

/// naga takes more than the language has: Tint, Chrome's compiler, does not.
#[test]
fn every_shader_has_the_parentheses_that_the_grammar_asks_for() {
    for (expression, is_good) in [
        ("(a < b) & (c == d)", true),
        ("vec4<f32>(a & b & c)", true),
        ("a * b < c << 2u && d == e", true),
        ("a < b & c == d", false),
        ("a + b & c", false),
        ("x[a & b | c]", false),
        ("a << b + c", false),
        ("a && b || c", false),
        ("a < b == c", false),
    ] {
        let text = format!("let x = {expression};");
        assert_eq!(operators(&text).iter().all(|group| is_unambiguous(group)), is_good, "{expression}");
    }
    for file in wgsl_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders")) {
        let text = fs::read_to_string(&file).unwrap();
        for group in operators(&text) {
            assert!(is_unambiguous(&group), "{}: parentheses are missing around {group:?}", file.display());
        }
    }
}
