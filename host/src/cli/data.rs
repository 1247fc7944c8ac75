//! `neji data`.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args as ClapArgs, Subcommand};

use crate::baselines::{self, How};
use crate::dataset::{self, Dataset, Layout, Options};
use crate::experiment::Experiment;
use crate::preview;
use crate::render::{self, MachineSettings, SetSettings, write_machine_set, write_set};

/// Render example data, look at data.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Render screws, sound and defective.
    Screws(Screws),
    /// Render the sound of a motor with gearbox and bearing, sound and faulty, as WAV files in the DCASE layout.
    Machine(Machine),
    /// Say what is in a data set: kind, classes, rate or size, durations, levels.
    Info(Info),
    /// Write a contact sheet as one PNG: recordings, what the front end makes of them, augmentation, synthetic defects.
    Preview(Preview),
}

#[derive(Debug, ClapArgs)]
struct Screws {
    /// Folder to write; it must be empty or missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Folders to write.
    #[arg(long, value_enum, default_value = "mvtec")]
    layout: render::Layout,
    /// Training images: good ones (mvtec) or of each class (classes).
    #[arg(long, default_value_t = 300)]
    train: u32,
    /// Good test images.
    #[arg(long, default_value_t = 60)]
    test_good: u32,
    /// Defective test images, spread over the six kinds.
    #[arg(long, default_value_t = 60)]
    test_bad: u32,
    /// Width and height in pixels.
    #[arg(long, default_value_t = 96)]
    size: u32,
    /// Same seed, same pictures.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Replace what is in the folder.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, ClapArgs)]
struct Machine {
    /// Folder to write; it must be empty or missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Normal clips to train on.
    #[arg(long, default_value_t = 200)]
    train: u32,
    /// Normal test clips.
    #[arg(long, default_value_t = 50)]
    test_normal: u32,
    /// Anomalous test clips, spread over the six kinds of fault; faults.csv says which is which.
    #[arg(long, default_value_t = 60)]
    test_anomaly: u32,
    /// Length of a clip.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Samples a second.
    #[arg(long, default_value_t = 16_000)]
    rate: u32,
    /// Level of the machine over the factory's noise, in dB.
    #[arg(long, default_value_t = 6.0, allow_negative_numbers = true)]
    snr_db: f64,
    /// Level of the faults: 2 is twice the amplitude of 1.
    #[arg(long, default_value_t = 1.0)]
    severity: f64,
    /// Same seed, same bytes.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Replace what is in the folder.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, ClapArgs)]
struct Info {
    /// Data set.
    data: PathBuf,
    #[command(flatten)]
    options: Options,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, ClapArgs)]
struct Preview {
    /// Data set.
    data: PathBuf,
    /// The experiment whose front end and augmentation are shown; by default the light of images is normalised, and sounds
    /// become a spectrogram.
    #[arg(long, value_name = "CONFIG.toml")]
    config: Option<PathBuf>,
    /// Change a setting, such as train.augment.rotation=5.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How the data set is read; the experiment's own way where nothing is said.
    #[command(flatten)]
    options: Options,
    /// PNG to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Samples of each kind.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=32))]
    columns: u32,
    /// Pixels of a picture, either way.
    #[arg(long, default_value_t = 160, value_parser = clap::value_parser!(u32).range(16..=1024))]
    cell: u32,
}

/// Runs the command.
///
/// # Errors
/// Says what went wrong, where, and what to do.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Screws(args) => screws(&args),
        Command::Machine(args) => machine(&args),
        Command::Info(args) => info(&args),
        Command::Preview(args) => preview(&args),
    }
}

fn screws(args: &Screws) -> anyhow::Result<()> {
    let settings = SetSettings {
        layout: args.layout,
        train: args.train,
        test_good: args.test_good,
        test_bad: args.test_bad,
        size: args.size,
        seed: args.seed,
    };
    let count = write_set(&args.out, &settings, args.force)?;
    println!("{}: {count} pictures of {} x {}", args.out.display(), args.size, args.size);
    if args.test_bad > 0 {
        let data = Dataset::load(&args.out, Layout::Auto)?;
        println!("{}", baselines::table(&baselines::measure(&data, &How::default())?));
    }
    Ok(())
}

fn machine(args: &Machine) -> anyhow::Result<()> {
    let settings = MachineSettings {
        train: args.train,
        test_normal: args.test_normal,
        test_anomaly: args.test_anomaly,
        seconds: args.seconds,
        rate: args.rate,
        snr_db: args.snr_db,
        severity: args.severity,
        seed: args.seed,
    };
    let count = write_machine_set(&args.out, &settings, args.force)?;
    println!("{}: {count} clips of {} s at {} Hz", args.out.display(), args.seconds, args.rate);
    if args.test_anomaly > 0 {
        println!(
            "{}",
            baselines::table(&baselines::measure(&Dataset::load(&args.out, Layout::Auto)?, &How::default())?)
        );
    }
    Ok(())
}

fn info(args: &Info) -> anyhow::Result<()> {
    let data = Dataset::load(&args.data, &args.options)?;
    let found = dataset::info::info(&data);
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&found)?),
        false => println!("{}: {found}", args.data.display()),
    }
    Ok(())
}

fn preview(args: &Preview) -> anyhow::Result<()> {
    let mut experiment = match &args.config {
        Some(config) => Experiment::load(config, &args.set)?,
        None => Experiment::from_toml("name = \"preview\"", &args.set)?,
    };
    let options = if args.options == Options::default() { experiment.data_options() } else { args.options.clone() };
    let data = Dataset::load(&args.data, options)?;
    preview::front_end_for(&mut experiment, &data)?;
    let sheet = preview::sheet(&preview::rows(&experiment, &data, args.columns as usize)?, args.cell);
    sheet.save(&args.out).with_context(|| format!("writing {}", args.out.display()))?;
    println!("{}: {} x {}", args.out.display(), sheet.width(), sheet.height());
    Ok(())
}
