//! The terminal: the alternate screen with raw keys, and what stands on it.

use std::io::{self, Write};

use crossterm::{cursor, execute, queue, terminal};

/// The alternate screen with raw keys; leaves both when it is dropped.
#[derive(Debug)]
pub(super) struct Screen {
    /// The lines that stand there.
    drawn: Vec<String>,
}

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let screen = Self { drawn: Vec::new() };
        execute!(
            io::stdout(),
            terminal::EnterAlternateScreen,
            terminal::DisableLineWrap,
            cursor::Hide
        )?;
        Ok(screen)
    }

    /// Nobody knows what stands there: the size has changed.
    pub(super) fn forget(&mut self) {
        self.drawn.clear();
    }

    /// Makes the screen show `text`, by the lines that differ from what stands there.
    pub(super) fn draw(&mut self, text: &str, (_, rows): (u16, u16)) -> io::Result<()> {
        let lines: Vec<String> = text.lines().take(usize::from(rows)).map(str::to_owned).collect();
        let mut out = Vec::new();
        write_changes(&mut out, &self.drawn, &lines)?;
        self.drawn = lines;
        let mut stdout = io::stdout().lock();
        stdout.write_all(&out)?;
        stdout.flush()
    }
}

/// Writes the lines of `now` that are not those of `before`, each at its place.
fn write_changes(out: &mut Vec<u8>, before: &[String], now: &[String]) -> io::Result<()> {
    if before.is_empty() {
        queue!(out, terminal::Clear(terminal::ClearType::All))?;
    }
    for (row, line) in (0..).zip(now) {
        if before.get(usize::from(row)) != Some(line) {
            queue!(out, cursor::MoveTo(0, row))?;
            out.write_all(line.as_bytes())?;
            queue!(out, terminal::Clear(terminal::ClearType::UntilNewLine))?;
        }
    }
    if now.len() < before.len() {
        let row = u16::try_from(now.len()).unwrap_or(u16::MAX);
        queue!(out, cursor::MoveTo(0, row), terminal::Clear(terminal::ClearType::FromCursorDown))?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(before: &[&str], now: &[&str]) -> String {
        let lines = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
        let mut out = Vec::new();
        write_changes(&mut out, &lines(before), &lines(now)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_lines_that_differ_are_sent() {
        assert_eq!(changes(&["a", "b", "c"], &["a", "x", "c"]), "\x1b[2;1Hx\x1b[K");
        assert_eq!(changes(&["a", "b"], &["a", "b"]), "");
        assert_eq!(changes(&["a", "b"], &["a"]), "\x1b[2;1H\x1b[J", "what is left over goes");
        assert!(changes(&[], &["a"]).starts_with("\x1b[2J"), "a first frame clears the screen");
    }
}
