//! A terminal of 80 columns for a program, and what stands on it at the end.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use nix::pty::{Winsize, openpty};
use vt100::Parser;

pub const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// What a program left behind on its terminal.
pub struct Shown {
    /// As they were sent.
    pub bytes: Vec<u8>,
    /// As they can be scrolled through, the last one at the bottom.
    pub lines: Vec<String>,
    pub code: Option<i32>,
}

impl Shown {
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// Whether this was sent, even if it was cleared later.
    pub fn was_sent(&self, text: &str) -> bool {
        self.bytes.windows(text.len()).any(|some| some == text.as_bytes())
    }
}

/// Starts a program whose standard streams are a terminal, and gives the other side of it.
pub fn start_on_terminal(command: &assert_cmd::Command) -> (Child, OwnedFd) {
    let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
    let pair = openpty(&size, None).unwrap();
    // The copy is not passed on to the program, which would else keep its own terminal from hanging up.
    let master = pair.master.try_clone().unwrap();
    drop(pair.master);
    let stream = || Stdio::from(pair.slave.try_clone().unwrap());
    let mut program = unguarded(command);
    program.env("TERM", "xterm").stdin(stream()).stdout(stream()).stderr(stream());
    (program.spawn().unwrap(), master)
}

/// Runs it to its end.
pub fn on_terminal(command: &assert_cmd::Command) -> Shown {
    let (mut child, master) = start_on_terminal(command);
    let bytes = all(master);
    let code = child.wait().unwrap().code();
    let mut parser = Parser::new(ROWS, COLUMNS, 10_000);
    parser.process(&bytes);
    let screen = parser.screen_mut();
    screen.set_scrollback(usize::MAX);
    let mut lines = Vec::new();
    for above in (1..=screen.scrollback()).rev() {
        screen.set_scrollback(above);
        lines.extend(screen.rows(0, COLUMNS).next());
    }
    screen.set_scrollback(0);
    lines.extend(screen.rows(0, COLUMNS));
    Shown { bytes, lines, code }
}

/// The same program without what `assert_cmd` puts around it.
pub fn unguarded(command: &assert_cmd::Command) -> Command {
    let mut program = Command::new(command.get_program());
    program.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => program.env(name, value),
            None => program.env_remove(name),
        };
    }
    program
}

/// Everything that is sent until the other side has hung up, which Linux reports as an error.
fn all(master: OwnedFd) -> Vec<u8> {
    let (mut master, mut bytes, mut some) = (File::from(master), Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = master.read(&mut some) {
        bytes.extend_from_slice(&some[..count]);
    }
    bytes
}
