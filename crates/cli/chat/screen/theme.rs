//! Colours and text styles.

use ratatui::style::{Color, Modifier, Style};

pub(crate) const DIM: Style = Style::new().add_modifier(Modifier::DIM);
pub(crate) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(crate) const SELECTED: Style =
    Style::new().add_modifier(Modifier::REVERSED.union(Modifier::BOLD));

/// The styles of the screen. Without colours, other attributes replace them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Theme {
    has_colour: bool,
}

/// Background colours from weak to strong, with a readable foreground for each. They are from the
/// 256-colour palette, which is the same in every terminal theme.
const SHADES: [(u8, u8); 4] = [(94, 231), (136, 16), (178, 16), (220, 16)];

impl Theme {
    #[cfg(test)]
    pub(crate) const COLOUR: Self = Self { has_colour: true };
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { has_colour: false };

    /// Reads `NO_COLOR`; see <https://no-color.org>.
    pub(crate) fn from_env() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { has_colour: !refused }
    }

    fn foreground(self, colour: Color) -> Style {
        if self.has_colour { Style::new().fg(colour) } else { Style::new() }
    }

    pub(crate) fn label(self) -> Style {
        self.foreground(Color::Green)
    }

    pub(crate) fn value(self) -> Style {
        self.foreground(Color::Yellow)
    }

    pub(crate) fn error(self) -> Style {
        self.foreground(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// A token that differs from the text beside it.
    pub(crate) fn differs(self) -> Style {
        if self.has_colour {
            Style::new().fg(Color::Cyan)
        } else {
            Style::new().add_modifier(Modifier::UNDERLINED)
        }
    }

    /// A token on which a feature has the fraction `share` of its max activation.
    pub(crate) fn shade(self, share: f32) -> Style {
        if share <= 0.0 {
            return Style::new();
        }
        let level = ((share * SHADES.len() as f32) as usize).min(SHADES.len() - 1);
        if self.has_colour {
            let (background, foreground) = SHADES[level];
            return Style::new().bg(Color::Indexed(background)).fg(Color::Indexed(foreground));
        }
        Style::new().add_modifier(match level {
            0 => Modifier::ITALIC,
            1 => Modifier::BOLD,
            2 => Modifier::BOLD | Modifier::ITALIC,
            _ => Modifier::REVERSED,
        })
    }
}
