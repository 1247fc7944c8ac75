//! `neji data`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args as ClapArgs, Subcommand};

use crate::baselines::{self, How};
use crate::dataset::{self, Dataset, Layout, Options};
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
    /// Write a contact sheet of a set of images as one PNG.
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
    /// PNG to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Images of each class.
    #[arg(long, default_value_t = 8)]
    columns: u32,
    /// Pixels a pixel.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    zoom: u32,
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
    let data = Dataset::load(&args.data, Layout::Auto)?;
    let sheet = contact_sheet(&data, args.columns, args.zoom)?;
    save(&sheet, &args.out)
}

fn save(sheet: &image::GrayImage, path: &Path) -> anyhow::Result<()> {
    sheet.save(path).with_context(|| format!("writing {}", path.display()))?;
    println!("{}: {} x {}", path.display(), sheet.width(), sheet.height());
    Ok(())
}

/// One row a class of the test part, `good` first; each image `zoom` times its size with a dark line between.
fn contact_sheet(data: &Dataset, columns: u32, zoom: u32) -> anyhow::Result<image::GrayImage> {
    let size = data.size()?;
    let (width, height) = (u32::from(size.width), u32::from(size.height));
    let (cell_width, cell_height) = (width * zoom + 2, height * zoom + 2);
    let samples = if data.test.is_empty() { &data.train } else { &data.test };
    let mut sheet = image::GrayImage::new(cell_width * columns, cell_height * data.classes.len() as u32);
    for label in 0..data.classes.len() {
        let own = samples.iter().filter(|s| s.label == label).take(columns as usize);
        for (column, sample) in own.enumerate() {
            let image = sample.image()?;
            let (left, top) = (column as u32 * cell_width, label as u32 * cell_height);
            for y in 0..height * zoom {
                for x in 0..width * zoom {
                    let grey = image.pixels[(y / zoom * width + x / zoom) as usize];
                    sheet.put_pixel(left + x, top + y, image::Luma([grey]));
                }
            }
        }
    }
    Ok(sheet)
}
