use ratatui::style::{Color, Modifier, Style};

pub(crate) const DIM: Style = Style::new().add_modifier(Modifier::DIM);
pub(crate) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(crate) const SELECTED: Style =
    Style::new().add_modifier(Modifier::REVERSED.union(Modifier::BOLD));

/// What is coloured; without colours it is told apart by other means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Theme {
    has_colour: bool,
}

/// Grounds from weak to strong, and the ink that is read on each; of the palette of 256 colours,
/// which terminals keep whatever their theme is.
const SHADES: [(u8, u8); 4] = [(94, 231), (136, 16), (178, 16), (220, 16)];

impl Theme {
    #[cfg(test)]
    pub(crate) const COLOUR: Self = Self { has_colour: true };
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { has_colour: false };

    /// As <https://no-color.org> has it.
    pub(crate) fn from_env() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { has_colour: !refused }
    }

    fn ink(self, colour: Color) -> Style {
        if self.has_colour { Style::new().fg(colour) } else { Style::new() }
    }

    pub(crate) fn label(self) -> Style {
        self.ink(Color::Green)
    }

    pub(crate) fn value(self) -> Style {
        self.ink(Color::Yellow)
    }

    pub(crate) fn error(self) -> Style {
        self.ink(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// A token that the text beside it does not have.
    pub(crate) fn differs(self) -> Style {
        if self.has_colour {
            Style::new().fg(Color::Cyan)
        } else {
            Style::new().add_modifier(Modifier::UNDERLINED)
        }
    }

    /// A token on which a feature has `share` of its largest value.
    pub(crate) fn shade(self, share: f32) -> Style {
        if share <= 0.0 {
            return Style::new();
        }
        let level = ((share * SHADES.len() as f32) as usize).min(SHADES.len() - 1);
        if self.has_colour {
            let (ground, ink) = SHADES[level];
            return Style::new().bg(Color::Indexed(ground)).fg(Color::Indexed(ink));
        }
        Style::new().add_modifier(match level {
            0 => Modifier::ITALIC,
            1 => Modifier::BOLD,
            2 => Modifier::BOLD | Modifier::ITALIC,
            _ => Modifier::REVERSED,
        })
    }
}
