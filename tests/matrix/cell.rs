//! A cell of the matrix: one command in a folder of small files, and what it must come to.

use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

/// What a command must come to.
#[derive(Clone, Copy, Debug)]
pub enum Want {
    /// It ends with 0 and prints this.
    Works(&'static str),
    /// It ends with 2 and one sentence on standard error, which names the reason and the alternative.
    Refused([&'static str; 2]),
}

/// The sizes of every training: seconds for hundreds of them.
const TINY: &str = "--batch-size 4 --steps 4 --warmup-steps 1 --eval-every 2 --eval-iters 1 --save-every 2 \
                    --sample-tokens 8";

const WORDS: &str =
    "the cat saw a dog and then it ran to her home in a red wood where we all sat at noon with some tea";

/// A folder with a text, conversations and pairs, in which commands are run; and what went wrong in it.
pub struct Table {
    folder: tempfile::TempDir,
    wrong: Vec<String>,
    cells: usize,
}

impl Table {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let words: Vec<&str> = WORDS.split(' ').collect();
        let word = |at: usize| words[at % words.len()];
        let line = |i: usize| (0..9).map(|j| word(i * i + 5 * j * j + i * j)).collect::<Vec<_>>().join(" ");
        let text: String = (0..160).map(|i| format!("O {}.\n", line(i))).collect();
        let chat = |i| format!("{{\"prompt\": \"{}\", \"response\": \"it {}\"}}\n", word(i), word(7 * i));
        let pair = |i| {
            let (prompt, chosen, rejected) = (word(i), word(7 * i), word(3 * i + 1));
            format!(
                "{{\"prompt\": \"{prompt}\", \"chosen\": \"it {chosen}\", \"rejected\": \"her {rejected}\"}}\n"
            )
        };
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        write("text.txt", text);
        write("chats.jsonl", (0..40).map(chat).collect());
        write("pairs.jsonl", (0..40).map(pair).collect());
        Self { folder, wrong: Vec::new(), cells: 0 }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `lal` in the folder; to trainings it adds sizes, and to all but those that need none a device.
    pub fn run(&self, line: &str) -> Output {
        let mut args: Vec<&str> = line.split_whitespace().collect();
        let begins = matches!(args[0], "train" | "finetune") && !args.contains(&"--resume");
        if begins {
            // What the line itself says comes last.
            let verb = if args[0] == "train" { 1 } else { 2 };
            args.splice(verb..verb, TINY.split_whitespace());
        }
        if !line.starts_with("inspect embeddings") && !line.contains("--device") {
            args.extend(["--device", "cpu"]);
        }
        args.push("--quiet");
        self.exact(&args)
    }

    fn exact(&self, args: &[&str]) -> Output {
        let mut command = Command::cargo_bin("lal").expect("the program is built with the tests");
        // Nothing of the person running the tests may leak into them.
        std::env::vars().filter(|(name, _)| name.starts_with("LAL_")).for_each(|(name, _)| {
            command.env_remove(name);
        });
        command.current_dir(self.folder.path()).args(args).write_stdin("the cat\n").output().unwrap()
    }

    /// Runs a command, and notes if it comes to anything else than `want`.
    pub fn cell(&mut self, line: &str, want: Want) {
        let output = self.run(line);
        self.judge(line, want, &output);
    }

    fn judge(&mut self, line: &str, want: Want, output: &Output) {
        self.cells += 1;
        let [out, err] =
            [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let is_right = match want {
            Want::Works(part) => {
                output.status.code() == Some(0)
                    && out.contains(part)
                    && err.is_empty()
                    && (!line.contains("--json") || are_events(&out))
            }
            Want::Refused(parts) => {
                output.status.code() == Some(2)
                    && is_one_sentence(&err)
                    && parts.iter().all(|part| err.contains(part))
            }
        };
        if !is_right {
            let code = output.status.code();
            self.wrong.push(format!("lal {line}\n  should be {want:?}\n  exit {code:?}\n  {out}\n  {err}"));
        }
    }

    /// Trains, and does what the last line of that suggests.
    pub fn train(&mut self, line: &str) {
        let output = self.run(line);
        self.judge(line, Want::Works("trained 4 steps"), &output);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let suggested =
            out.lines().last().and_then(|line| line.split_once(": ")).map_or("", |(_, line)| line);
        // Every other piece between quotation marks is one word.
        let pieces = suggested.split(['"', '\'']).enumerate();
        let mut words: Vec<&str> = pieces
            .flat_map(|(i, piece)| if i % 2 == 1 { vec![piece] } else { piece.split_whitespace().collect() })
            .collect();
        if words.first() == Some(&"lal") {
            words.remove(0);
        }
        words.push("--quiet");
        let done = self.exact(&words);
        self.judge(&format!("{suggested} (as suggested)"), Want::Works(""), &done);
    }

    /// Notes what is wrong about anything else than how a command ends.
    pub fn expect(&mut self, is_right: bool, what: impl FnOnce() -> String) {
        if !is_right {
            self.wrong.push(what());
        }
    }

    /// Fails with all that went wrong.
    pub fn finish(self, least_cells: usize) {
        assert!(
            self.wrong.is_empty(),
            "{} of {} cells:\n{}",
            self.wrong.len(),
            self.cells,
            self.wrong.join("\n\n")
        );
        assert!(self.cells >= least_cells, "only {} cells", self.cells);
    }
}

/// Whether each line is an event, and the last says that it is done.
fn are_events(out: &str) -> bool {
    let events: Option<Vec<Value>> = out.lines().map(|line| serde_json::from_str(line).ok()).collect();
    events.is_some_and(|events| events.last().is_some_and(|last| last["event"] == "done"))
}

fn is_one_sentence(err: &str) -> bool {
    err.lines().count() == 1 && err.starts_with("error: ") && !err.trim_end().contains(". ")
}

/// The numbers of a run's metrics of this name, in order.
pub fn metrics(run: &Path, name: &str) -> Vec<f64> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line[name].as_f64()).collect()
}
