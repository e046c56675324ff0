//! What whoever looks on has chosen, by keys.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What is shown and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) view: View,
    pub(super) order: Order,
    /// Rows that are passed over.
    pub(super) first: usize,
    pub(super) paused: bool,
    pub(super) help: bool,
}

/// What the lower part shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Overview,
    Backends,
    Clients,
    Tenants,
    Savings,
    Plane,
}

/// The order of endpoints, clients and tenants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Waste,
    Attempts,
    Name,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Quit,
    /// Ask the data plane now.
    Ask,
    /// The same figures, drawn anew.
    Draw,
    Nothing,
}

/// Rows that a page key moves by.
const PAGE: usize = 10;

impl View {
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::Overview, "overview"),
        (Self::Backends, "backends"),
        (Self::Clients, "clients"),
        (Self::Tenants, "tenants"),
        (Self::Savings, "savings"),
        (Self::Plane, "data plane"),
    ];

    fn next(self, by: usize) -> Self {
        let place = Self::ALL.iter().position(|(view, _)| *view == self).unwrap_or(0);
        Self::ALL[(place + by) % Self::ALL.len()].0
    }
}

impl Order {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Waste => "waste",
            Self::Attempts => "attempts",
            Self::Name => "name",
        }
    }
}

impl State {
    /// Enters a key.
    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Next::Quit,
                _ => Next::Nothing,
            };
        }
        let before = self.clone();
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Esc if !self.help => return Next::Quit,
            KeyCode::Esc => self.help = false,
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Char(' ' | 'r') => return Next::Ask,
            KeyCode::Char('p') => {
                self.paused = !self.paused;
                return if self.paused { Next::Draw } else { Next::Ask };
            }
            KeyCode::Char(digit @ '1'..='6') => {
                let place = digit as usize - '1' as usize;
                (self.view, self.first) = (View::ALL[place].0, 0);
            }
            KeyCode::Tab | KeyCode::Right => (self.view, self.first) = (self.view.next(1), 0),
            KeyCode::BackTab | KeyCode::Left => {
                (self.view, self.first) = (self.view.next(View::ALL.len() - 1), 0);
            }
            KeyCode::Char('s') => {
                self.order = match self.order {
                    Order::Waste => Order::Attempts,
                    Order::Attempts => Order::Name,
                    Order::Name => Order::Waste,
                };
            }
            KeyCode::Down | KeyCode::Char('j') => self.first += 1,
            KeyCode::Up | KeyCode::Char('k') => self.first = self.first.saturating_sub(1),
            KeyCode::PageDown => self.first += PAGE,
            KeyCode::PageUp => self.first = self.first.saturating_sub(PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.first = 0,
            _ => {}
        }
        if *self == before { Next::Nothing } else { Next::Draw }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(state: &mut State, code: KeyCode) -> Next {
        state.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn keys_choose_the_view_and_go_round() {
        let mut state = State::default();
        assert_eq!(pressed(&mut state, KeyCode::Char('2')), Next::Draw);
        assert_eq!(state.view, View::Backends);
        pressed(&mut state, KeyCode::Tab);
        assert_eq!(state.view, View::Clients);
        for _ in 0..4 {
            pressed(&mut state, KeyCode::Right);
        }
        assert_eq!(state.view, View::Overview);
        pressed(&mut state, KeyCode::BackTab);
        assert_eq!(state.view, View::Plane);
    }

    #[test]
    fn another_view_begins_at_its_first_row() {
        let mut state = State::default();
        assert_eq!(pressed(&mut state, KeyCode::Up), Next::Nothing, "there is nothing above");
        pressed(&mut state, KeyCode::PageDown);
        pressed(&mut state, KeyCode::Up);
        assert_eq!(state.first, 9);
        pressed(&mut state, KeyCode::Char('3'));
        assert_eq!(state.first, 0);
    }

    #[test]
    fn escape_leaves_the_help_first() {
        let mut state = State::default();
        pressed(&mut state, KeyCode::Char('?'));
        assert!(state.help);
        assert_eq!(pressed(&mut state, KeyCode::Esc), Next::Draw);
        assert_eq!(pressed(&mut state, KeyCode::Esc), Next::Quit);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(state.press(interrupt), Next::Quit);
    }

    #[test]
    fn a_pause_ends_with_fresh_figures() {
        let mut state = State::default();
        assert_eq!(pressed(&mut state, KeyCode::Char('p')), Next::Draw);
        assert!(state.paused);
        assert_eq!(pressed(&mut state, KeyCode::Char('p')), Next::Ask);
    }
}
