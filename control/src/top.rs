//! `fermata top`: the running data plane on one screen.
//!
//! A frame is made as text by a pure function; here it is asked for, drawn, and drawn again. Of a
//! frame only the lines that have changed are sent, so that a slow connection keeps up.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use crossterm::event::{self, Event, KeyEventKind};
use crossterm::terminal;

use crate::cli::TopArgs;
use crate::export::Snapshot;
use crate::failure::{Done, Failure};
use crate::link::{Link, LinkError};
use crate::output::{self, Paint};
use screen::Screen;
use state::{Next, State};

mod frame;
mod screen;
mod state;
mod view;

/// Columns and rows where there is no terminal to ask.
const SIZE_DEFAULT: (u16, u16) = (160, 50);

/// Shows the data plane until `q` is pressed; one frame with `--once`, and where there is no
/// terminal.
///
/// # Errors
/// When the data plane cannot be asked at first, or the terminal cannot be used.
pub fn run(socket: &Path, args: &TopArgs) -> Result<Done, Failure> {
    let look = look(socket)?;
    let mut state = State::default();
    if args.once || !io::stdout().is_terminal() {
        let text = frame::render(&look, None, &state, SIZE_DEFAULT, Paint::of_stdout());
        output::print_text(&text)?;
        return Ok(Done::Wholly);
    }
    let mut screen = Screen::enter().map_err(Failure::Terminal)?;
    let every = Duration::from_secs_f64(args.every);
    let shown = show(socket, look, &mut state, &mut screen, every);
    drop(screen);
    shown.map_err(Failure::Terminal)?;
    Ok(Done::Wholly)
}

fn look(socket: &Path) -> Result<Snapshot, LinkError> {
    Snapshot::take(&mut Link::connect(socket)?)
}

/// Draws until somebody quits. A data plane that goes away is shown as gone, and taken up again
/// when it returns.
fn show(
    socket: &Path,
    first: Snapshot,
    state: &mut State,
    screen: &mut Screen,
    every: Duration,
) -> io::Result<()> {
    let (mut before, mut now) = (None, Ok(first));
    loop {
        draw(&now, before.as_ref(), state, screen)?;
        // Each key is answered at once, from what was told last.
        while event::poll(every)? {
            let next = match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => state.press(key),
                Event::Resize(..) => {
                    screen.forget();
                    Next::Draw
                }
                _ => Next::Nothing,
            };
            match next {
                Next::Quit => return Ok(()),
                Next::Ask => break,
                Next::Draw => draw(&now, before.as_ref(), state, screen)?,
                Next::Nothing => {}
            }
        }
        if !state.paused {
            before = now.ok();
            now = look(socket);
        }
    }
}

fn draw(
    now: &Result<Snapshot, LinkError>,
    before: Option<&Snapshot>,
    state: &State,
    screen: &mut Screen,
) -> io::Result<()> {
    let size = terminal::size().unwrap_or(SIZE_DEFAULT);
    let text = match now {
        Ok(look) => frame::render(look, before, state, size, Paint::of_stdout()),
        Err(error) => {
            let said = crate::failure::for_people(&error.reply());
            format!("{said}\n\nTrying again; q quits.\n")
        }
    };
    screen.draw(&text, size)
}
