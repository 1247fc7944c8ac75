//! The view in a terminal, and its keys.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use neji_link::{Command, LogLevel};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::draw::draw;
use crate::session::{Session, Stop};

/// Time from picture to picture.
const PICTURE: Duration = Duration::from_millis(100);

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// End.
    Quit,
    /// Say a command.
    Ask(Command),
    /// Keep what was heard last, and fetch it.
    Save,
}

/// What a key means to `session`.
pub fn key(session: &Session, key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if control => Key::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        KeyCode::Char('c') => Key::Ask(Command::Calibrate { scores: session.view.calibration_scores }),
        KeyCode::Char('u') => Key::Ask(Command::Uncalibrate),
        KeyCode::Char('r') => Key::Ask(Command::Reset),
        KeyCode::Char('0') => Key::Ask(Command::SetThreshold { threshold: None }),
        KeyCode::Char('+' | '=') => Key::Ask(moved(session, 1)?),
        KeyCode::Char('-') => Key::Ask(moved(session, -1)?),
        KeyCode::Char('s') => Key::Save,
        _ => return None,
    })
}

/// The threshold, a twentieth of itself up or down.
fn moved(session: &Session, steps: i64) -> Option<Command> {
    let threshold = i64::from(session.view.state?.threshold);
    let step = (threshold.abs() / 20).max(1);
    let threshold = (threshold + steps * step).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
    Some(Command::SetThreshold { threshold: Some(threshold) })
}

/// Shows `session` until a key or `stop` ends it, or all that was wanted has come; a board that ends stays on the screen. The terminal
/// is afterwards as it was, after a panic too.
///
/// # Errors
/// There is no terminal, or as [`Session::step`].
pub fn show(mut session: Session, stop: &Stop) -> Result<()> {
    let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    ensure!(is_terminal, "this is no terminal: use --json, which prints lines for scripts");
    // Sets a hook that puts the terminal right before a panic is printed.
    let mut terminal = ratatui::try_init().context("preparing the terminal")?;
    let shown = run(&mut terminal, &mut session, stop);
    ratatui::try_restore().context("putting the terminal right")?;
    shown?;
    // Why nothing came any more is not on the screen now.
    if let Some(why) = &session.view.closed {
        eprintln!("{why}");
    }
    Ok(())
}

fn run(terminal: &mut DefaultTerminal, session: &mut Session, stop: &Stop) -> Result<()> {
    let mut next = Instant::now();
    while !session.is_done() && !stop.load(Ordering::Relaxed) {
        // A step waits a little for the board, which has to be waited for no more where it has ended.
        let wait = if session.view.ended.is_some() { PICTURE } else { Duration::ZERO };
        session.step(&mut |_| Ok(()))?;
        while event::poll(wait)? {
            let event::Event::Key(pressed) = event::read()? else { continue };
            match key(session, pressed) {
                Some(Key::Quit) => return Ok(()),
                None => {}
                Some(_) if !session.view.is_open => {
                    let now = session.now();
                    session.view.say(now, LogLevel::Warning, "nobody hears that: the line is closed".to_owned());
                }
                Some(Key::Ask(command)) => session.ask(command),
                Some(Key::Save) => session.save(),
            }
        }
        if Instant::now() >= next {
            next = Instant::now() + PICTURE;
            let now = session.now();
            terminal.draw(|frame| draw(frame, &session.view, now))?;
        }
    }
    Ok(())
}
