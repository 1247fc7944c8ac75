//! The view in a terminal: score against threshold, map or spectrogram, state, log.

use std::time::Duration;

use neji_link::{Levels, LogLevel, Trend};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph};

use crate::view::{View, digits, values, word};

/// What the chart shows of the past.
const SHOWN: Duration = Duration::from_secs(120);
/// How many times the level it shows of scores.
const LEVELS_SHOWN: f64 = 6.0;

const SCORE: Color = Color::Rgb(0x4c, 0x9f, 0xe0);
const LEVEL: Color = Color::Rgb(0xe0, 0xa0, 0x30);
const ALARM: Color = Color::Rgb(0xe0, 0x50, 0x50);
const GOOD: Color = Color::Rgb(0x60, 0xb8, 0x60);
const DIM: Color = Color::Rgb(0x90, 0x90, 0x90);

/// What keys do.
const KEYS: [&str; 7] =
    ["q quit", "c calibrate", "u uncalibrate", "+/- threshold", "0 its own threshold", "r reset", "s save a recording"];

/// Fewer rows than these have room for scores and a line of state, fewer columns for scores alone.
const ROWS_FOR_STATE: u16 = 20;
const COLUMNS_FOR_PICTURE: u16 = 72;
/// Columns of the state beside the log, and of both.
const STATE_COLUMNS: u16 = 38;
const COLUMNS_FOR_LOG: u16 = STATE_COLUMNS + 24;

/// Draws all of it, or as much as there is room for.
pub fn draw(frame: &mut Frame<'_>, view: &View, now: Duration) {
    let now = view.ended.unwrap_or(now);
    let area = frame.area();
    let keys = wrapped(&KEYS.join("  "), area.width.into(), "  ");
    let is_low = area.height < ROWS_FOR_STATE;
    let [head, middle, below, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(3),
        Constraint::Length(if is_low { 1 } else { 9 }),
        Constraint::Length(if is_low { 1 } else { keys.len() as u16 }),
    ])
    .areas(area);
    draw_head(frame, view, head);
    if area.width < COLUMNS_FOR_PICTURE {
        draw_scores(frame, view, now, middle);
    } else {
        let [left, right] = Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(middle);
        draw_scores(frame, view, now, left);
        if view.spectra.is_empty() {
            draw_heat(frame, view, right);
        } else {
            draw_spectra(frame, view, right);
        }
    }
    if is_low {
        draw_brief(frame, view, below);
    } else if area.width < COLUMNS_FOR_LOG {
        draw_state(frame, view, below);
    } else {
        let [state, log] = Layout::horizontal([Constraint::Length(STATE_COLUMNS), Constraint::Fill(1)]).areas(below);
        draw_state(frame, view, state);
        draw_log(frame, view, log);
    }
    let keys: Vec<Line<'_>> = keys.into_iter().map(|row| Line::styled(row, Style::new().fg(DIM))).collect();
    frame.render_widget(Paragraph::new(keys), foot);
}

/// `text` in rows of `columns` at most, broken at `gap`; a word that is longer is broken anywhere.
fn wrapped(text: &str, columns: usize, gap: &str) -> Vec<String> {
    let columns = columns.max(1);
    let mut rows = Vec::new();
    for line in text.lines() {
        let (mut row, mut length) = (String::new(), 0);
        for word in line.split(gap) {
            if length > 0 && length + gap.len() + word.chars().count() > columns {
                rows.push(std::mem::take(&mut row));
                length = 0;
            }
            if length > 0 {
                row.push_str(gap);
                length += gap.len();
            }
            for letter in word.chars() {
                if length == columns {
                    rows.push(std::mem::take(&mut row));
                    length = 0;
                }
                row.push(letter);
                length += 1;
            }
        }
        rows.push(row);
    }
    rows
}

fn draw_head(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::styled(" neji ", bold.fg(Color::Black).bg(SCORE)), Span::raw(" ")];
    match &view.board {
        Some(board) => {
            spans.push(Span::styled(board.name.clone(), bold));
            spans.push(Span::raw(format!(" {}", board.core)));
            if board.clock_hz > 0 {
                spans.push(Span::raw(format!(" {:.0} MHz", f64::from(board.clock_hz) / 1e6)));
            }
            spans.push(Span::raw(format!(", firmware {}", board.firmware)));
            spans.push(match &board.model {
                Ok(model) => Span::raw(format!(
                    ", model {} ({:08x}, {} kB)",
                    model.name,
                    model.crc32,
                    model.total_bytes.div_ceil(1000)
                )),
                Err(reason) => Span::styled(format!(", {reason}"), Style::new().fg(ALARM)),
            });
        }
        None => spans.push(Span::styled(format!("waiting for {}", view.line), Style::new().fg(DIM))),
    }
    let closed = match (view.is_open, view.ended, &view.closed) {
        (true, ..) => None,
        (false, Some(_), _) => Some("ENDED, q quits"),
        (false, None, Some(_)) => Some("CLOSED, opening it again"),
        (false, None, None) => None,
    };
    if let Some(closed) = closed {
        // In front, where a narrow terminal shows it.
        spans.insert(1, Span::styled(format!(" {closed} "), bold.fg(Color::Black).bg(ALARM)));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

fn draw_scores(frame: &mut Frame<'_>, view: &View, now: Duration, area: Rect) {
    let begin = now.saturating_sub(SHOWN).as_secs_f64();
    let shown = view.points.iter().filter(|point| point.at.as_secs_f64() >= begin);
    let (mut scores, mut smoothed, mut levels, mut alarms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for point in shown {
        let x = point.at.as_secs_f64();
        levels.push((x, view.score(point.score.level)));
        if let Some((score, mean)) = values(point.score.outcome) {
            scores.push((x, view.score(score)));
            smoothed.push((x, view.score(mean)));
            if point.score.alarm {
                alarms.push((x, view.score(mean)));
            }
        }
    }
    let all = || scores.iter().chain(&smoothed).chain(&levels).map(|point| point.1);
    let (low, high) = (all().fold(f64::MAX, f64::min).min(0.0), all().fold(f64::MIN, f64::max));
    // What is far above every level lies on the upper edge: it would press the others down.
    let level = levels.iter().fold(f64::MIN, |most, point| most.max(point.1));
    let most = if level > 0.0 { LEVELS_SHOWN * level } else { f64::MAX };
    let is_cut = high > most;
    let high = if is_cut { most } else { high + (high - low) * 0.05 };
    let high = if high > low { high } else { low + 1.0 };
    for point in [&mut scores, &mut smoothed, &mut alarms].into_iter().flatten() {
        point.1 = point.1.min(high);
    }
    // From the first score on, until there are as many as are shown.
    let first = scores.first().map_or(begin, |point| point.0).max(begin);
    let last = now.as_secs_f64().max(first + 1.0);
    let line = |data, color| {
        Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(Style::new().fg(color)).data(data)
    };
    let dots = |data, color| {
        Dataset::default().marker(Marker::Dot).graph_type(GraphType::Scatter).style(Style::new().fg(color)).data(data)
    };
    let datasets = vec![line(&levels, LEVEL), line(&smoothed, SCORE), dots(&scores, SCORE), dots(&alarms, ALARM)];
    let title = match view.points.back() {
        None => " no score yet ".to_owned(),
        Some(point) => match values(point.score.outcome) {
            Some((score, mean)) => {
                // The smoothed score is what is compared.
                let smoothed = if mean == score { String::new() } else { format!("smoothed {}, ", view.number(mean)) };
                let (score, level) = (view.number(score), view.number(point.score.level));
                format!(" {}: score {score}, {smoothed}level {level} ", word(point.score.outcome))
            }
            None => format!(" {} ", word(point.score.outcome)),
        },
    };
    let chart = Chart::new(datasets)
        .block(Block::bordered().title(title))
        .x_axis(Axis::default().bounds([first, last]).labels([
            Span::styled(format!("-{:.0} s", last - first), Style::new().fg(DIM)),
            Span::styled("now", Style::new().fg(DIM)),
        ]))
        .y_axis(Axis::default().bounds([low, high]).labels([
            Span::styled(digits(low), Style::new().fg(DIM)),
            Span::styled(digits((low + high) / 2.0), Style::new().fg(DIM)),
            Span::styled(format!("{}{}", if is_cut { "≥" } else { "" }, digits(high)), Style::new().fg(DIM)),
        ]));
    frame.render_widget(chart, area);
}

/// Two cells of a picture in each of the terminal's: the upper half is drawn, the lower one is its ground.
fn draw_picture(
    frame: &mut Frame<'_>,
    title: &str,
    area: Rect,
    (width, height): (usize, usize),
    color: impl Fn(usize, usize) -> Color,
) {
    let block = Block::bordered().title(title.to_owned());
    let inside = block.inner(area);
    frame.render_widget(block, area);
    if width == 0 || height == 0 || inside.area() == 0 {
        return;
    }
    let (columns, rows) = (usize::from(inside.width), 2 * usize::from(inside.height));
    // As large as fits with pixels of one shape; as it is where that would be less than a pixel.
    let scale = (columns as f64 / width as f64).min(rows as f64 / height as f64);
    let (shown_width, shown_height) =
        (((width as f64 * scale) as usize).clamp(1, columns), ((height as f64 * scale) as usize).clamp(1, rows));
    let at = |x: usize, y: usize| {
        if y < shown_height { color(x * width / shown_width, y * height / shown_height) } else { Color::Reset }
    };
    let buffer = frame.buffer_mut();
    for row in 0..shown_height.div_ceil(2) {
        for column in 0..shown_width {
            let place = (inside.x + column as u16, inside.y + row as u16);
            if let Some(cell) = buffer.cell_mut(place) {
                cell.set_symbol("▀").set_fg(at(column, 2 * row)).set_bg(at(column, 2 * row + 1));
            }
        }
    }
}

/// From dark over red and yellow to white.
fn heat(share: f64) -> Color {
    let channel = |from: f64| ((share.clamp(0.0, 1.0) * 3.0 - from).clamp(0.0, 1.0) * 255.0) as u8;
    Color::Rgb(channel(0.0), channel(1.0), channel(2.0))
}

fn draw_heat(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let map = &view.heat;
    let height = map.cells.len().checked_div(map.width).unwrap_or(0);
    let title = match height {
        0 => " no anomaly map ".to_owned(),
        _ => format!(" anomaly map, {} x {height}, up to {} ", map.width, map.full),
    };
    draw_picture(frame, &title, area, (map.width, height), |x, y| {
        heat(f64::from(map.cells.get(y * map.width + x).copied().unwrap_or(0)) / 255.0)
    });
}

fn draw_spectra(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let room = usize::from(area.width.saturating_sub(2));
    let columns: Vec<&Vec<i16>> = view.spectra.iter().rev().take(room).rev().collect();
    let bands = columns.iter().map(|column| column.len()).max().unwrap_or(0);
    let all = || columns.iter().flat_map(|column| column.iter().copied());
    let (low, high) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
    let range = (f64::from(high) - f64::from(low)).max(1.0);
    let title = format!(" features, {:.0} to {:.0} dB ", f64::from(low) / 128.0, f64::from(high) / 128.0);
    let block = Block::bordered().title(title);
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let rows = 2 * usize::from(inside.height);
    let color = |column: usize, row: usize| {
        // The lowest band at the bottom; as many rows as there are, whatever the bands.
        let band = (rows - 1 - row) * bands / rows.max(1);
        match columns.get(column).and_then(|column| column.get(band)) {
            Some(&feature) => heat((f64::from(feature) - f64::from(low)) / range),
            None => Color::Reset,
        }
    };
    let buffer = frame.buffer_mut();
    for row in 0..usize::from(inside.height) {
        for column in 0..columns.len().min(usize::from(inside.width)) {
            if let Some(cell) = buffer.cell_mut((inside.x + column as u16, inside.y + row as u16)) {
                cell.set_symbol("▀").set_fg(color(column, 2 * row)).set_bg(color(column, 2 * row + 1));
            }
        }
    }
}

/// The state in a row.
fn draw_brief(frame: &mut Frame<'_>, view: &View, area: Rect) {
    if let Some(state) = &view.state {
        let line = Line::from(vec![
            alarm(state.alarm),
            Span::raw(format!("  threshold {} ({})", view.number(state.threshold), origin(state.levels))),
        ]);
        frame.render_widget(Paragraph::new(line), area);
    }
}

fn alarm(is_on: bool) -> Span<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    match is_on {
        true => Span::styled("ALARM", bold.fg(Color::Black).bg(ALARM)),
        false => Span::styled("no alarm", bold.fg(GOOD)),
    }
}

/// Where levels come from.
fn origin(levels: Levels) -> String {
    match levels {
        Levels::Blob => "the model's".to_owned(),
        Levels::Learning { left } => format!("learning, {left} left"),
        Levels::Learned { .. } => "calibrated".to_owned(),
        Levels::Set => "set by hand".to_owned(),
    }
}

fn draw_state(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let mut lines = Vec::new();
    if let Some(state) = &view.state {
        lines.push(Line::from(alarm(state.alarm)));
        lines.push(Line::raw(format!("threshold {} ({})", view.number(state.threshold), origin(state.levels))));
        lines.push(Line::raw(format!("release   {}", view.number(state.release))));
        lines.push(match state.drift {
            Trend::Steady => Line::raw("drift     none"),
            Trend::Higher => Line::styled("drift     scores have risen", Style::new().fg(LEVEL)),
            Trend::Lower => Line::styled("drift     scores have fallen", Style::new().fg(LEVEL)),
        });
        lines.push(Line::raw(format!("verdicts  {}, alarms {}", state.verdicts, view.alarms)));
        let (lost, broken) = view.lost;
        let style = if state.dropped + state.unsent + lost > 0 { Style::new().fg(LEVEL) } else { Style::new() };
        lines.push(Line::styled(
            format!("lost      {} samples, {} events", state.dropped, u64::from(state.unsent) + u64::from(lost)),
            style,
        ));
        lines.push(Line::raw(format!("garbled   {broken} from the board, {} to it", state.broken)));
    }
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" state ")), area);
}

fn draw_log(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let (room, columns) = (usize::from(area.height.saturating_sub(2)), usize::from(area.width.saturating_sub(2)));
    // From the newest line up, in as many rows as each takes.
    let mut rows = Vec::new();
    for (at, level, text) in view.log.iter().rev() {
        let color = match level {
            LogLevel::Error => ALARM,
            LogLevel::Warning => LEVEL,
            LogLevel::Info => Color::Reset,
            LogLevel::Debug => DIM,
        };
        let seconds = at.as_secs();
        let mut time = format!("{:02}:{:02} ", seconds / 60, seconds % 60);
        let mut line = Vec::new();
        for row in wrapped(text, columns.saturating_sub(time.len()), " ") {
            let clock = std::mem::replace(&mut time, "      ".to_owned());
            line.push(Line::from(vec![
                Span::styled(clock, Style::new().fg(DIM)),
                Span::styled(row, Style::new().fg(color)),
            ]));
        }
        rows.extend(line.into_iter().rev());
        if rows.len() >= room {
            break;
        }
    }
    rows.truncate(room);
    rows.reverse();
    frame.render_widget(Paragraph::new(rows).block(Block::bordered().title(" log ")), area);
}

#[cfg(test)]
mod tests {
    use neji_link::{Event, Outcome, Score};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::client::Heard;

    #[test]
    fn rows_are_broken_at_gaps_and_long_words_anywhere() {
        assert_eq!(wrapped("ab cd ef", 5, " "), ["ab cd", "ef"]);
        assert_eq!(wrapped("abcdefg h", 3, " "), ["abc", "def", "g h"]);
        assert_eq!(wrapped("q quit  c calibrate", 12, "  "), ["q quit", "c calibrate"]);
        assert_eq!(wrapped("one\n two", 9, " "), ["one", "two"]);
        assert_eq!(wrapped("äöü", 0, " "), ["ä", "ö", "ü"]);
    }

    fn screen(view: &View, (columns, rows): (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| draw(frame, view, Duration::from_secs(1))).unwrap();
        terminal.backend().buffer().content.iter().map(|cell| cell.symbol()).collect()
    }

    #[test]
    fn a_score_far_above_the_level_does_not_hide_it() {
        let mut view = View::new("a line".to_owned(), 16);
        let mut hear = |score, smoothed| {
            let outcome = Outcome::Scored { score, smoothed, class: None, abnormal: smoothed > 10 };
            let score =
                Score { verdict: 0, samples: 0, outcome, alarm: false, drift: Trend::Steady, level: 10, dropped: 0 };
            view.hear(Duration::ZERO, &Heard::Event(&Event::Score(score)));
            screen(&view, (90, 24))
        };
        let shown = hear(20, 20);
        assert!(shown.contains(" abnormal: score 20.0, level 10.0 ") && shown.contains("21.0"), "{shown}");
        let shown = hear(1000, 9);
        assert!(
            shown.contains(" normal: score 1000, smoothed 9.00, level 10.0 ") && shown.contains("≥60.0"),
            "{shown}"
        );
    }

    #[test]
    fn any_terminal_is_large_enough_to_draw_in() {
        let mut view = View::new("a line".to_owned(), 16);
        view.say(Duration::ZERO, LogLevel::Error, "a line that is longer than some terminals are wide".to_owned());
        view.closed = Some("gone".to_owned());
        for size in [(1, 1), (2, 30), (300, 2), (40, 10), (71, 20), (72, 19), (61, 40), (300, 100)] {
            let shown = screen(&view, size);
            assert!(shown.contains("CLOSED") || size.0 < 40 || size.1 < 10, "{size:?}: {shown}");
        }
    }
}
