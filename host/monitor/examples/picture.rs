//! Draws `neji monitor` as a picture: a board in QEMU watches files for a while, and the screen is written as SVG.
//!
//! `cargo run -p neji-monitor --example picture -- MODEL.neji qemu-mps2-an386 30 OUT.svg FILES…`, with WAV files of the model's
//! rate, or grey PNG files of its size, of which ten a second are shown.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use neji_machine::{Board, toolchain};
use neji_monitor::{Client, Emulated, Pace, Session, Settings, draw, svg};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

fn samples(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|extension| extension == "wav") {
        let mut reader = hound::WavReader::open(file)?;
        let samples = reader.samples::<i16>().collect::<Result<Vec<_>, _>>()?;
        return Ok(samples.into_iter().flat_map(i16::to_le_bytes).collect());
    }
    Ok(image::open(file)?.to_luma8().into_raw())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    ensure!(arguments.len() > 4, "give MODEL.neji BOARD SECONDS OUT.svg FILES");
    let (model, name, seconds, out) = (&arguments[0], &arguments[1], &arguments[2], &arguments[3]);
    let files: Vec<Vec<u8>> = arguments[4..]
        .iter()
        .map(|file| samples(Path::new(file)).with_context(|| file.clone()))
        .collect::<Result<_>>()?;
    let is_sound = arguments[4].ends_with(".wav");
    let rate = if is_sound { 32_000.0 } else { 10.0 * files[0].len() as f64 };
    let board = Board::find(&toolchain::root()?, name)?;
    let elf = board.build()?;
    let input: neji_monitor::Input = Arc::new(move |give| {
        loop {
            files.iter().try_for_each(|samples| give(samples))?;
        }
    });
    let model = std::fs::read(model).with_context(|| model.clone())?;
    let line = Emulated { board, elf, model, input, pace: Pace::BytesPerSecond(rate) };
    let time_max = Some(Duration::from_secs_f64(seconds.parse()?));
    let settings = Settings { time_max, calibration_scores: 64, ..Settings::default() };
    let mut session = Session::new(Client::new(Box::new(line)), settings, true)?;
    while !session.is_over() {
        session.step(&mut |_| Ok(()))?;
    }
    let mut terminal = Terminal::new(TestBackend::new(116, 32))?;
    let now = session.now();
    terminal.draw(|frame| draw::draw(frame, &session.view, now))?;
    std::fs::write(out, svg::svg(terminal.backend().buffer())).with_context(|| out.clone())
}
