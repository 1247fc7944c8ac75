//! The view in a terminal: score against threshold, map or spectrogram, state, log.

use std::time::Duration;

use neji_link::{Levels, LogLevel, Trend};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph};

use crate::view::{View, values, word};

/// What the chart shows of the past.
const SHOWN: Duration = Duration::from_secs(120);

const SCORE: Color = Color::Rgb(0x4c, 0x9f, 0xe0);
const LEVEL: Color = Color::Rgb(0xe0, 0xa0, 0x30);
const ALARM: Color = Color::Rgb(0xe0, 0x50, 0x50);
const GOOD: Color = Color::Rgb(0x60, 0xb8, 0x60);
const DIM: Color = Color::Rgb(0x90, 0x90, 0x90);

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, view: &View, now: Duration) {
    let [head, middle, below, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(3), Constraint::Length(9), Constraint::Length(1)])
            .areas(frame.area());
    let [left, right] = Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(middle);
    let [state, log] = Layout::horizontal([Constraint::Length(38), Constraint::Fill(1)]).areas(below);
    draw_head(frame, view, head);
    draw_scores(frame, view, now, left);
    if view.spectra.is_empty() {
        draw_heat(frame, view, right)
    } else {
        draw_spectra(frame, view, right)
    }
    draw_state(frame, view, state);
    draw_log(frame, view, log);
    let keys = "q quit  c calibrate  u uncalibrate  +/- threshold  0 its own threshold  r reset  s save a recording";
    frame.render_widget(Paragraph::new(Span::styled(keys, Style::new().fg(DIM))), foot);
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
    if !view.is_open {
        spans.push(Span::styled("  CLOSED", bold.fg(ALARM)));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

fn draw_scores(frame: &mut Frame<'_>, view: &View, now: Duration, area: Rect) {
    let begin = now.saturating_sub(SHOWN).as_secs_f64();
    let shown = view.points.iter().filter(|point| point.at.as_secs_f64() >= begin);
    let (mut scores, mut smoothed, mut levels, mut alarms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for point in shown {
        let x = point.at.as_secs_f64();
        levels.push((x, f64::from(point.score.level)));
        if let Some((score, mean)) = values(point.score.outcome) {
            scores.push((x, f64::from(score)));
            smoothed.push((x, f64::from(mean)));
            if point.score.alarm {
                alarms.push((x, f64::from(mean)));
            }
        }
    }
    let all = || scores.iter().chain(&smoothed).chain(&levels).map(|point| point.1);
    let (low, high) = (all().fold(f64::MAX, f64::min).min(0.0), all().fold(f64::MIN, f64::max).max(1.0));
    let high = high + (high - low) * 0.05;
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
        None => " score ".to_owned(),
        Some(point) => match values(point.score.outcome) {
            Some((score, _)) => format!(" score {score}, level {}: {} ", point.score.level, word(point.score.outcome)),
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
            Span::styled(format!("{low:.0}"), Style::new().fg(DIM)),
            Span::styled(format!("{high:.0}"), Style::new().fg(DIM)),
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

fn draw_state(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let mut lines = Vec::new();
    if let Some(state) = &view.state {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        lines.push(match state.alarm {
            true => Line::styled("ALARM", bold.fg(Color::Black).bg(ALARM)),
            false => Line::styled("no alarm", bold.fg(GOOD)),
        });
        let origin = match state.levels {
            Levels::Blob => "the model's".to_owned(),
            Levels::Learning { left } => format!("learning, {left} to come"),
            Levels::Learned { .. } => "calibrated".to_owned(),
            Levels::Set => "set by hand".to_owned(),
        };
        lines.push(Line::raw(format!("threshold {} ({origin})", state.threshold)));
        lines.push(Line::raw(format!("release   {}", state.release)));
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
        lines.push(Line::raw(format!("broken    {broken} here, {} there", state.broken)));
    }
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" state ")), area);
}

fn draw_log(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let room = usize::from(area.height.saturating_sub(2));
    let lines = view.log.iter().rev().take(room).rev().map(|(at, level, text)| {
        let color = match level {
            LogLevel::Error => ALARM,
            LogLevel::Warning => LEVEL,
            LogLevel::Info => Color::Reset,
            LogLevel::Debug => DIM,
        };
        let seconds = at.as_secs();
        Line::from(vec![
            Span::styled(format!("{:02}:{:02} ", seconds / 60, seconds % 60), Style::new().fg(DIM)),
            Span::styled(text.clone(), Style::new().fg(color)),
        ])
    });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(Block::bordered().title(" log ")), area);
}
