//! `lal pull` and `--model org/name` against a hub on this machine: one that redirects, stalls, breaks off, lies and
//! refuses.

mod support;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use support::{base, events, lal};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong with one request for a file.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// So many bytes, and the connection ends.
    Breaks(usize),
    /// So many bytes, and nothing more for longer than the client waits.
    Stalls(usize),
    /// Another byte at the beginning.
    Lies,
    Busy,
}

#[derive(Debug)]
struct Request {
    path: String,
    range: Option<usize>,
    token: bool,
}

/// A hub with one model, `org/tiny`.
struct Hub {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
    home: tempfile::TempDir,
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn listed(folder: &Path, name: &str) -> Value {
    let bytes = fs::read(folder.join(name)).unwrap();
    let size = bytes.len();
    if name.ends_with(".safetensors") {
        let sha256 = hex(&Sha256::digest(&bytes));
        return json!({"rfilename": name, "size": size, "blobId": "0", "lfs": {"sha256": sha256, "size": size}});
    }
    let blob = [format!("blob {size}\0").as_bytes(), &bytes].concat();
    json!({"rfilename": name, "size": size, "blobId": hex(&Sha1::digest(&blob))})
}

impl Hub {
    fn of(folder: &Path, faults: &[(&'static str, &[Fault])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let faults: HashMap<_, _> = faults.iter().map(|(name, all)| (*name, all.to_vec())).collect();
        let (folder, log, faults) = (folder.to_owned(), requests.clone(), Arc::new(Mutex::new(faults)));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (folder, log, faults) = (folder.clone(), log.clone(), faults.clone());
                thread::spawn(move || answer(stream, port, &folder, &log, &faults));
            }
        });
        Self { address: format!("http://127.0.0.1:{port}"), requests, home: tempfile::tempdir().unwrap() }
    }

    fn lal(&self) -> Command {
        let mut command = lal();
        for variable in
            ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN_PATH"]
        {
            command.env_remove(variable);
        }
        for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command.env("HF_ENDPOINT", &self.address).env("HF_HOME", self.home.path());
        command.env("HF_HUB_DOWNLOAD_TIMEOUT", "1");
        command
    }

    fn snapshot(&self) -> PathBuf {
        self.home.path().join("hub/models--org--tiny/snapshots").join(COMMIT)
    }

    /// Requests for a file's content, each by where it began.
    fn downloads(&self, name: &str) -> Vec<usize> {
        let requests = self.requests.lock().unwrap();
        let of = requests.iter().filter(|request| request.path == format!("/cdn/{name}"));
        of.map(|request| request.range.unwrap_or(0)).collect()
    }
}

fn answer(
    mut stream: TcpStream,
    port: u16,
    folder: &Path,
    log: &Mutex<Vec<Request>>,
    faults: &Mutex<HashMap<&'static str, Vec<Fault>>>,
) -> Option<()> {
    let lines = BufReader::new(stream.try_clone().ok()?).lines().map_while(Result::ok);
    let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let path = lines.first()?.split(' ').nth(1)?.split('?').next()?.to_owned();
    let header = |name: &str| {
        lines.iter().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name))
    };
    let range =
        header("range").and_then(|(_, range)| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    log.lock().unwrap().push(Request { path: path.clone(), range, token: header("authorization").is_some() });
    let mut send = |status: &str, headers: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).ok()
    };
    if let Some(name) = path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/")) {
        let target = format!("Location: http://localhost:{port}/cdn/{name}\r\n");
        return send("302 Found", &target, b"");
    }
    let Some(name) = path.strip_prefix("/cdn/") else {
        if path != "/api/models/org/tiny/revision/main" {
            return send("404 Not Found", "", b"{}");
        }
        let files = fs::read_dir(folder).ok()?.flatten().filter(|file| file.path().is_file());
        let files = files.filter_map(|file| file.file_name().into_string().ok());
        let siblings: Vec<_> = files.map(|name| listed(folder, &name)).collect();
        return send("200 OK", "", json!({"sha": COMMIT, "siblings": siblings}).to_string().as_bytes());
    };
    let mut bytes = fs::read(folder.join(name)).ok()?;
    let fault = faults.lock().unwrap().get_mut(name).and_then(|all| (!all.is_empty()).then(|| all.remove(0)));
    if fault == Some(Fault::Busy) {
        return send("503 Service Unavailable", "", b"");
    }
    if fault == Some(Fault::Lies) {
        bytes[0] ^= 1;
    }
    let (start, whole) = (range.unwrap_or(0), bytes.len());
    let rest = &bytes[start..];
    let (status, header) = match range {
        Some(_) => ("206 Partial Content", format!("Content-Range: bytes {start}-{}/{whole}\r\n", whole - 1)),
        None => ("200 OK", String::new()),
    };
    let (Some(Fault::Breaks(sent)) | Some(Fault::Stalls(sent))) = fault else {
        return send(status, &header, rest);
    };
    let head = format!("HTTP/1.1 {status}\r\n{header}Content-Length: {}\r\n\r\n", rest.len());
    stream.write_all(&[head.as_bytes(), &rest[..sent]].concat()).ok()?;
    if matches!(fault, Some(Fault::Stalls(_))) {
        thread::sleep(Duration::from_secs(3));
    }
    Some(())
}

/// Broken off twice, stalled once and busy once: the file arrives whole, no byte of it twice.
#[test]
fn a_download_survives_what_happens_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = base(folder.path());
    let faults = [Fault::Breaks(1000), Fault::Busy, Fault::Stalls(500), Fault::Breaks(1)];
    let hub = Hub::of(&model, &[("model.safetensors", &faults)]);
    let told = events(hub.lal().args(["pull", "org/tiny"]).env("HF_TOKEN", "secret"));
    assert_eq!(told.last().unwrap()["path"], hub.snapshot().to_str().unwrap());
    assert_eq!(hub.downloads("model.safetensors"), [0, 1000, 1000, 1500, 1501]);
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert_eq!(
            fs::read(hub.snapshot().join(name)).unwrap(),
            fs::read(model.join(name)).unwrap(),
            "{name}"
        );
    }
    // What is no part of a model stays where it is.
    assert!(!hub.snapshot().join("state.safetensors").exists());
    let all = hub.requests.lock().unwrap();
    // The token is for the hub, and for no other host that it leads to.
    assert!(all.iter().all(|request| request.token != request.path.starts_with("/cdn/")), "{all:?}");
}

#[test]
fn a_name_is_a_model_wherever_a_folder_is() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = base(folder.path());
    let hub = Hub::of(&model, &[]);
    let sample = |command: &mut Command, model: &Path| {
        let flags = ["--device", "cpu", "--max-tokens", "8", "--prompt", "A"];
        let told = events(command.arg("sample").args(flags).arg("--model").arg(model));
        told[0]["text"].as_str().unwrap().to_owned()
    };
    let name = Path::new("org/tiny");
    let wanted = sample(&mut lal(), &model);
    assert_eq!(sample(&mut hub.lal(), name), wanted);
    let asked = hub.requests.lock().unwrap().len();
    // From now on no network is needed.
    assert_eq!(sample(hub.lal().env("HF_HUB_OFFLINE", "1"), name), wanted);
    events(hub.lal().args(["inspect", "tensors", "--model", "org/tiny"]));
    assert_eq!(hub.requests.lock().unwrap().len(), asked);
    let models = events(hub.lal().arg("pull"));
    assert_eq!(models[0]["name"], "org/tiny");
    let said = |command: &mut Command| {
        let output = command.assert().code(2).get_output().stderr.clone();
        String::from_utf8(output).unwrap()
    };
    let error = said(hub.lal().args(["sample", "--model", "org/other"]).env("HF_HUB_OFFLINE", "1"));
    assert!(
        error.contains("org/other is not in the cache") && error.contains("the cache holds org/tiny"),
        "{error}"
    );
    let error = said(hub.lal().args(["pull", "org/other"]));
    assert!(error.contains("has no model org/other"), "{error}");
    assert!(said(hub.lal().args(["pull", "../x"])).contains("give org/name"));
}

#[test]
fn what_is_not_the_file_is_not_used_and_what_is_half_there_neither() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = base(folder.path());
    let hub =
        Hub::of(&model, &[("model.safetensors", &[Fault::Lies]), ("tokenizer.json", &[Fault::Breaks(5); 9])]);
    // Each attempt brings something, so that nine in a row are no failure.
    let failed = hub.lal().args(["pull", "org/tiny"]).assert().code(1);
    failed.stderr(contains("not model.safetensors of org/tiny").and(contains("run the same again")));
    assert_eq!(hub.downloads("tokenizer.json"), [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]);
    assert!(!hub.snapshot().join("model.safetensors").exists());
    hub.lal().args(["sample", "--model", "org/tiny"]).env("HF_HUB_OFFLINE", "1").assert().code(2);
    hub.lal().args(["pull", "org/tiny"]).assert().success();
    assert_eq!(hub.downloads("tokenizer.json").len(), 10);
    let name = "model.safetensors";
    assert_eq!(fs::read(hub.snapshot().join(name)).unwrap(), fs::read(model.join(name)).unwrap());

    let silent = Hub::of(&model, &[("config.json", &[Fault::Busy; 5])]);
    let failed = silent.lal().args(["pull", "org/tiny"]).assert().code(1);
    failed.stderr(contains("cannot download config.json of org/tiny").and(contains("503")));
    let gone =
        silent.lal().args(["pull", "org/tiny"]).env("HF_ENDPOINT", "http://127.0.0.1:9").assert().code(1);
    gone.stderr(contains("cannot reach http://127.0.0.1:9").and(contains("the cache holds no model")));
}
