//! Which file may import which: nothing outside `cli` imports `cli`, no command another, and no two files each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Files that import each other for a reason: an op makes cases and a case holds an op, and attention's derivative
/// records attention.
const ALLOWED: [&[&str]; 2] =
    [&["engine/case", "engine/op"], &["ops/attention", "ops/attention_backward", "ops/attention_cases"]];

/// Each file, by its module's path, and what it imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files(&entry, all);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            all.push(entry);
        }
    }
}

/// Every module of the library with its code, without comments and tests.
fn sources() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    let module = |path: &PathBuf| {
        let name = path.strip_prefix(&src).unwrap().with_extension("").to_str().unwrap().replace('\\', "/");
        let name = name.strip_suffix("/mod").unwrap_or(&name).to_owned();
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let bare = code.lines().map(|line| line.split("//").next().unwrap());
        (name, format!("\n{}", bare.collect::<Vec<_>>().join("\n")))
    };
    let library = |(name, _): &(String, String)| name != "lib" && name != "main" && !name.starts_with("bin/");
    all.iter().map(module).filter(library).filter(|(name, _)| !name.ends_with("/tests")).collect()
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d` and `a::c::e`.
fn leaves(tree: &str) -> Vec<String> {
    let Some((stem, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_owned()];
    };
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in rest[..rest.rfind('}').unwrap()].chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            c => parts.last_mut().unwrap().push(c),
        }
    }
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts.flat_map(leaves).map(|leaf| format!("{}{leaf}", stem.trim())).collect()
}

/// The longest beginning of `path` that is a file, read from inside `module`.
fn target(module: &str, path: &str, sources: &BTreeMap<String, String>) -> Option<String> {
    let mut at: Vec<&str> = module.split('/').collect();
    let mut parts = path.split("::").map(str::trim).peekable();
    match parts.next()? {
        "crate" => at.clear(),
        "self" => {}
        "super" => {
            at.pop();
            while parts.next_if_eq(&"super").is_some() {
                at.pop();
            }
        }
        _ => return None,
    }
    at.extend(parts);
    (1..=at.len()).rev().map(|n| at[..n].join("/")).find(|name| sources.contains_key(name))
}

fn imports(sources: &BTreeMap<String, String>) -> Imports {
    let of = |(module, code): (&String, &String)| {
        let mut paths: Vec<String> = Vec::new();
        for statement in code.split(';') {
            // Only attributes, other items and their bodies may precede it.
            let begins =
                ["\nuse ", "\npub use ", "\n    use "].iter().filter_map(|begin| statement.split_once(begin));
            begins.for_each(|(_, tree)| paths.extend(leaves(tree)));
        }
        // Paths in the code itself; where one begins a list, its statement was read above.
        let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let words = code.split(|c| !is_path(c)).filter(|word| word.contains("::") && !word.ends_with(':'));
        paths.extend(words.map(str::to_owned));
        let targets = paths.iter().filter_map(|path| target(module, path, sources));
        (module.clone(), targets.filter(|target| target != module).collect())
    };
    sources.iter().map(of).collect()
}

/// Whatever a file imports, directly or not.
fn reached(from: &str, imports: &Imports) -> BTreeSet<String> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = next.pop() {
        let new = imports.get(&module).into_iter().flatten().filter(|name| seen.insert((*name).clone()));
        next.extend(new.cloned().collect::<Vec<_>>());
    }
    seen
}

/// The files of each circle.
fn circles(imports: &Imports) -> BTreeSet<Vec<String>> {
    let all: BTreeMap<&String, BTreeSet<String>> =
        imports.keys().map(|module| (module, reached(module, imports))).collect();
    let circle = |module: &String| -> Vec<String> {
        all[module].iter().filter(|other| all[other].contains(module)).cloned().collect()
    };
    imports.keys().map(circle).filter(|circle| !circle.is_empty()).collect()
}

#[test]
fn only_cli_imports_cli() {
    let imports = imports(&sources());
    assert!(imports.len() > 200 && imports["cli/eval"].contains("train/evaluate"));
    for (module, imported) in imports.iter().filter(|(module, _)| !module.starts_with("cli")) {
        let upwards: Vec<_> = imported.iter().filter(|name| name.starts_with("cli")).collect();
        assert!(upwards.is_empty(), "{module} imports {upwards:?}");
    }
}

/// A command is a file of `cli` with a `run` of its arguments, or a folder of it.
#[test]
fn no_command_imports_another() {
    let sources = sources();
    let imports = imports(&sources);
    let commands: BTreeSet<&str> = sources
        .iter()
        .filter(|(_, code)| {
            ["pub fn run(args: ", "pub fn run(mut args: "].iter().any(|run| code.contains(run))
        })
        .filter_map(|(name, _)| name.strip_prefix("cli/"))
        .map(|name| name.split('/').next().unwrap())
        .collect();
    assert!(commands.len() > 8 && commands.contains("train"), "{commands:?}");
    for (module, imported) in &imports {
        let Some(own) = module.strip_prefix("cli/").map(|name| name.split('/').next().unwrap()) else {
            continue;
        };
        for name in imported.iter().filter_map(|name| name.strip_prefix("cli/")) {
            let other = name.split('/').next().unwrap();
            assert!(other == own || !commands.contains(other), "cli/{own} imports cli/{other}");
        }
    }
}

#[test]
fn no_files_import_each_other() {
    let allowed: BTreeSet<Vec<String>> =
        ALLOWED.iter().map(|circle| circle.iter().map(|name| (*name).to_owned()).collect()).collect();
    assert_eq!(circles(&imports(&sources())), allowed);
}

/// What the other tests rest on: imports are found in every form, and a circle of three files is one.
#[test]
fn circles_are_found() {
    let sources: BTreeMap<String, String> = [
        ("a", "\nuse self::b::{X, c::{Y, Z}};\nmod b;"),
        ("a/b", "fn f() -> super::super::d::W {}"),
        ("a/b/c", "\npub use crate::engine;"),
        ("d", "\nuse super::a::{self as other};"),
    ]
    .map(|(name, code)| (name.to_owned(), code.to_owned()))
    .into();
    let imports = imports(&sources);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(imports["a"], names(&["a/b", "a/b/c"]).into_iter().collect());
    assert_eq!(circles(&imports), [names(&["a", "a/b", "d"])].into());
}
