//! `fermata top`: the running data plane on one screen.
//!
//! A frame is made as text by a pure function; here it is asked for, drawn, and drawn again.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use crossterm::{cursor, execute, queue, terminal};
use fastpath::ipc::{LedgerView, Reply, Request, Status};

use crate::cli::TopArgs;
use crate::failure::{Done, Failure};
use crate::link::{Link, LinkError, ask};
use crate::output::{self, Paint};

mod frame;

/// Columns and rows where there is no terminal to ask.
const SIZE_DEFAULT: (u16, u16) = (120, 50);

/// One look at the data plane.
#[derive(Debug)]
struct Look {
    status: Status,
    ledger: LedgerView,
}

/// Shows the data plane until `q` is pressed; one frame with `--once`, and where there is no
/// terminal.
///
/// # Errors
/// When the data plane cannot be asked at first, or the terminal cannot be used.
pub fn run(socket: &Path, args: &TopArgs) -> Result<Done, Failure> {
    let look = look(socket)?;
    if args.once || !io::stdout().is_terminal() {
        output::print_text(&frame::render(&look, None, SIZE_DEFAULT, Paint::of_stdout()))?;
        return Ok(Done::Wholly);
    }
    let screen = Screen::enter().map_err(Failure::Terminal)?;
    let shown = show(socket, look, Duration::from_secs_f64(args.every));
    drop(screen);
    shown.map_err(Failure::Terminal)?;
    Ok(Done::Wholly)
}

fn look(socket: &Path) -> Result<Look, LinkError> {
    let mut link = Link::connect(socket)?;
    let status = ask(&mut link, &Request::Status, |reply| {
        if let Reply::Status(status) = reply { Some(*status) } else { None }
    })?;
    let ledger = ask(&mut link, &Request::Ledger, |reply| {
        if let Reply::Ledger(ledger) = reply { Some(*ledger) } else { None }
    })?;
    Ok(Look { status, ledger })
}

/// Draws until somebody quits. A data plane that goes away is shown as gone, and taken up again
/// when it returns.
fn show(socket: &Path, first: Look, every: Duration) -> io::Result<()> {
    let (mut before, mut now) = (None, Ok(first));
    loop {
        let size = terminal::size().unwrap_or(SIZE_DEFAULT);
        let text = match &now {
            Ok(look) => frame::render(look, before.as_ref(), size, Paint::of_stdout()),
            Err(error) => {
                format!(
                    "{}\n\nTrying again; q quits.\n",
                    crate::failure::for_people(&LinkError::reply(error))
                )
            }
        };
        draw(&text, size)?;
        if event::poll(every)? && quits(&event::read()?) {
            return Ok(());
        }
        before = now.ok();
        now = look(socket);
    }
}

fn draw(text: &str, (_, rows): (u16, u16)) -> io::Result<()> {
    let mut out = io::stdout().lock();
    queue!(out, cursor::MoveTo(0, 0))?;
    for line in text.lines().take(usize::from(rows.saturating_sub(1))) {
        out.write_all(line.as_bytes())?;
        queue!(out, terminal::Clear(terminal::ClearType::UntilNewLine))?;
        out.write_all(b"\r\n")?;
    }
    queue!(out, terminal::Clear(terminal::ClearType::FromCursorDown))?;
    out.flush()
}

fn quits(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

/// The alternate screen with raw keys; leaves both when it is dropped.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let screen = Self;
        execute!(
            io::stdout(),
            terminal::EnterAlternateScreen,
            terminal::DisableLineWrap,
            cursor::Hide
        )?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing better can be done when the terminal is gone.
        let _ = execute!(
            io::stdout(),
            cursor::Show,
            terminal::EnableLineWrap,
            terminal::LeaveAlternateScreen
        );
        let _ = terminal::disable_raw_mode();
    }
}
