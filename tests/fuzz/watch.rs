//! Runs a program and says how it ended: as a program should, or in one of the ways that are findings.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// The exit codes that Lal documents.
const DOCUMENTED: [i32; 5] = [0, 1, 2, 3, 130];
/// How often the memory is looked at, and the time.
const LOOK: Duration = Duration::from_millis(10);
const COUNT: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In which it works, or waits; not while other programs have the processor.
    pub time: Duration,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a documented exit code.
    Exit(i32),
    /// A thread panicked: where, and what it said.
    Panic(String),
    /// A signal, or an exit code that means nothing.
    Crash(String),
    Hang(Duration),
    Memory(u64),
    /// What should have been passed over was not.
    Refused(String),
}

impl Ending {
    pub fn is_fine(&self) -> bool {
        matches!(self, Self::Exit(_))
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Panic(what) => write!(f, "panic: {what}"),
            Self::Crash(status) => write!(f, "crash: {status}"),
            Self::Hang(limit) => write!(f, "hang: not done after {} s", limit.as_secs()),
            Self::Memory(bytes) => write!(f, "memory: {} MB", bytes >> 20),
            Self::Refused(what) => write!(f, "refused: {what}"),
        }
    }
}

/// Runs `command` with its output in the file `said`, within `limits`.
pub fn watch(command: &mut Command, said: &Path, limits: Limits) -> Ending {
    let file = File::create(said).expect("the scratch folder can be written to");
    command.stdout(file.try_clone().expect("a file has a second handle")).stderr(file);
    let mut child = command.spawn().expect("the program is built with the tests");
    let ended = wait(&mut child, limits);
    if ended.is_err() {
        // It may have ended by itself meanwhile.
        let _ = child.kill();
        child.wait().expect("a child can be waited for");
    }
    ended.map_or_else(|finding| finding, |status| judge(status, said))
}

fn wait(child: &mut Child, limits: Limits) -> Result<ExitStatus, Ending> {
    let begun = Instant::now();
    let (mut looked, mut counted, mut time, mut worked) = (begun, begun, Duration::ZERO, 0);
    let pid = Pid::from_u32(child.id());
    let mut system = System::new().expect("the system tells of its processes");
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Ok(status);
        }
        if looked.elapsed() > LOOK {
            looked = Instant::now();
            let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
            let process = system.process(pid);
            let bytes = process.map_or(0, |process| process.memory());
            if bytes > limits.bytes {
                return Err(Ending::Memory(bytes));
            }
            if counted.elapsed() > COUNT {
                let all = process.map_or(0, |process| process.accumulated_cpu_time());
                let passed = counted.elapsed();
                time += if all > worked { passed.min(Duration::from_millis(all - worked)) } else { passed };
                (counted, worked) = (Instant::now(), all);
            }
        }
        if time > limits.time {
            return Err(Ending::Hang(limits.time));
        }
        // Most are done within 10 ms.
        sleep(Duration::from_millis(if begun.elapsed() < 4 * LOOK { 1 } else { 5 }));
    }
}

fn judge(status: ExitStatus, said: &Path) -> Ending {
    let bytes = std::fs::read(said).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let panicked = |line: &&str| line.starts_with("thread '") && line.contains("panicked at");
    let mut lines = text.lines().skip_while(|line| !panicked(line));
    match (lines.next(), status.code()) {
        (Some(first), _) => {
            let place = first.split("panicked at ").last().unwrap_or(first);
            Ending::Panic(format!("{place} {}", lines.next().unwrap_or_default()))
        }
        (None, Some(code)) if DOCUMENTED.contains(&code) => Ending::Exit(code),
        (None, _) => {
            let said = text.lines().rfind(|line| !line.starts_with("note:"));
            Ending::Crash(format!("{status} {}", said.unwrap_or_default()))
        }
    }
}
