//! A terminal's screen as a picture.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

/// Size of a cell in pixels.
const WIDTH: usize = 8;
const HEIGHT: usize = 16;
const GROUND: &str = "#101418";
const TEXT: &str = "#d8dee4";

/// The screen as SVG: a rectangle for each run of cells with one ground, a text for each run of one style.
pub fn svg(buffer: &Buffer) -> String {
    let (columns, rows) = (usize::from(buffer.area.width), usize::from(buffer.area.height));
    let (width, height) = (columns * WIDTH, rows * HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" \
         font-size=\"13\" fill=\"{TEXT}\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"{GROUND}\"/>\n"
    );
    for row in 0..rows {
        let cells: Vec<&Cell> = (0..columns).filter_map(|column| buffer.cell((column as u16, row as u16))).collect();
        let y = row * HEIGHT;
        runs(&cells, |cell| hex(cell.bg)).for_each(|(column, count, color)| {
            if let Some(color) = color {
                rectangle(&mut svg, column, y, count, HEIGHT, &color);
            }
        });
        // Upper halves are drawn, since fonts differ in where they begin.
        runs(&cells, |cell| (cell.symbol() == "▀").then(|| hex(cell.fg)).flatten()).for_each(
            |(column, count, color)| {
                if let Some(color) = color {
                    rectangle(&mut svg, column, y, count, HEIGHT / 2, &color);
                }
            },
        );
        let style = |cell: &Cell| {
            let blank = matches!(cell.symbol(), " " | "▀");
            (!blank).then(|| (hex(cell.fg), cell.modifier.contains(Modifier::BOLD)))
        };
        for (column, count, style) in runs(&cells, style) {
            let Some((color, bold)) = style else { continue };
            let text: String = cells[column..column + count].iter().map(|cell| cell.symbol()).collect();
            let _ = write!(svg, "<text x=\"{}\" y=\"{}\" textLength=\"{}\"", column * WIDTH, y + 12, count * WIDTH);
            if let Some(color) = color {
                let _ = write!(svg, " fill=\"{color}\"");
            }
            if bold {
                svg.push_str(" font-weight=\"bold\"");
            }
            let _ = writeln!(svg, ">{}</text>", escaped(&text));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn rectangle(svg: &mut String, column: usize, y: usize, count: usize, height: usize, color: &str) {
    let (x, width) = (column * WIDTH, count * WIDTH);
    let _ = writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{color}\"/>");
}

/// Neighbours of one kind: where, how many, which.
fn runs<'c, T: PartialEq>(
    cells: &'c [&Cell],
    kind: impl Fn(&Cell) -> T + 'c,
) -> impl Iterator<Item = (usize, usize, T)> + 'c {
    let mut begin = 0;
    std::iter::from_fn(move || {
        let first = kind(cells.get(begin)?);
        let count = cells[begin..].iter().take_while(|cell| kind(cell) == first).count();
        let run = (begin, count, first);
        begin += count;
        Some(run)
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace(' ', "\u{a0}")
}

fn hex(color: Color) -> Option<String> {
    Some(match color {
        Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
        Color::Black => "#000000".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn runs_of_one_style_are_one_text() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 9, 1));
        buffer.set_string(0, 0, "a<b", Style::new().fg(Color::Rgb(1, 2, 255)));
        buffer.set_string(5, 0, "ALARM", Style::new().bg(Color::Rgb(9, 0, 0)).add_modifier(Modifier::BOLD));
        let svg = svg(&buffer);
        assert!(svg.contains("<text x=\"0\" y=\"12\" textLength=\"24\" fill=\"#0102ff\">a&lt;b</text>"), "{svg}");
        assert!(svg.contains("<rect x=\"40\" y=\"0\" width=\"32\" height=\"16\" fill=\"#090000\"/>"), "{svg}");
        assert!(svg.contains("font-weight=\"bold\">ALAR</text>"), "{svg}");
        assert_eq!(svg.matches("<text").count(), 2);
    }
}
