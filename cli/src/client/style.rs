//! Text with a look, and how a terminal is told of it.

/// How a piece of text looks: any of these together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style(u8);

impl Style {
    pub(crate) const PLAIN: Self = Self(0);
    pub(crate) const BOLD: Self = Self(1);
    pub(crate) const DIM: Self = Self(1 << 1);
    pub(crate) const ITALIC: Self = Self(1 << 2);
    pub(crate) const UNDERLINED: Self = Self(1 << 3);
    pub(crate) const STRUCK: Self = Self(1 << 4);
    /// Code stands out by its colour, for a terminal has one width of letters anyway.
    pub(crate) const CODE: Self = Self(1 << 5);

    /// What each of them is in a terminal's language (ECMA-48, SGR).
    const PARAMETERS: [(Self, &'static str); 6] = [
        (Self::BOLD, "1"),
        (Self::DIM, "2"),
        (Self::ITALIC, "3"),
        (Self::UNDERLINED, "4"),
        (Self::STRUCK, "9"),
        (Self::CODE, "36"),
    ];

    /// This look and the other one together.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A piece of text that looks the same all through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) style: Style,
    pub(crate) text: String,
}

impl Span {
    pub(crate) fn new(style: Style, text: impl Into<String>) -> Self {
        Self { style, text: text.into() }
    }

    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::new(Style::PLAIN, text)
    }
}

/// Adds text to what there is, to its last span where that looks the same.
pub(crate) fn add(spans: &mut Vec<Span>, style: Style, text: &str) {
    match spans.last_mut() {
        _ if text.is_empty() => {}
        Some(last) if last.style == style => last.text.push_str(text),
        _ => spans.push(Span::new(style, text)),
    }
}

/// The bytes that show the spans in a terminal. Every span ends as it was found, so that whatever comes next
/// looks as it should, however this one is cut.
pub(crate) fn paint(spans: &[Span]) -> String {
    spans.iter().map(|span| painted(span.style, &span.text)).collect()
}

/// One piece of text in its look.
pub(crate) fn painted(style: Style, text: &str) -> String {
    if style == Style::PLAIN || text.is_empty() {
        return text.to_owned();
    }
    let parameters: Vec<&str> = Style::PARAMETERS
        .iter()
        .filter(|(part, _)| style.has(*part))
        .map(|(_, parameter)| *parameter)
        .collect();
    let begin = format!("\x1b[{}m", parameters.join(";"));
    // A look that goes on over a line's end may fill the rest of the screen.
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| if line.is_empty() { String::new() } else { format!("{begin}{line}\x1b[0m") })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_ends_with_its_text_and_with_each_line() {
        let spans = [Span::plain("a "), Span::new(Style::BOLD.and(Style::CODE), "b\n\nc"), Span::plain("d")];

        assert_eq!(paint(&spans), "a \x1b[1;36mb\x1b[0m\n\n\x1b[1;36mc\x1b[0md");
    }

    #[test]
    fn text_of_one_look_is_one_span() {
        let mut spans = Vec::new();

        for (style, text) in [(Style::PLAIN, "a"), (Style::PLAIN, "b"), (Style::BOLD, ""), (Style::BOLD, "c")]
        {
            add(&mut spans, style, text);
        }

        assert_eq!(spans, [Span::plain("ab"), Span::new(Style::BOLD, "c")]);
    }
}
