//! What is in a blob, in numbers: a row an operator, the arena, flash and RAM, the edges.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use neji_app::Monitor;
use neji_engine::{Host, features};
use neji_format::{
    Aggregate, Classifier, ClassifierScore, Constant, Decision, Detector, Distance, Drift, Element, FrontEnd, Fusion,
    Heading, LogMelFrontEnd, MaskThreshold, Model, Normal, Operator, Packing, Photometric, Pooling, Requantization,
    Shape, Transform, Weights, WindowStatistics,
};
use serde::Serialize;

use crate::report::arena::{Block, blocks, lower_bound, shared};
use crate::run::hex;
use crate::threshold;

/// An operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OperatorRow {
    /// Its name.
    pub operator: &'static str,
    /// Its output.
    pub output: String,
    /// Multiplications with accumulation.
    pub macs: u64,
    /// Weights, biases, multipliers, shifts, tables.
    pub constant_bytes: u64,
    /// How weights lie.
    pub packing: &'static str,
    /// Bytes of the output that lie over inputs.
    pub over_bytes: u32,
}

/// How a blob streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StreamingRow {
    /// Rows of the window that a run takes.
    pub new_rows: u32,
    /// Runs until the window is full.
    pub full_after: u16,
    /// Runs until rows have moved by whole rows everywhere.
    pub phases: u16,
    /// Bytes of the arena that live from run to run.
    pub state_bytes: u32,
}

/// A blob's figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// Name of the task.
    pub name: String,
    /// Version of neji that wrote the blob.
    pub neji_version: String,
    /// What activations are.
    pub activations: &'static str,
    /// Operators in order.
    pub operators: Vec<OperatorRow>,
    /// The features of neji-engine that firmware for this model alone needs.
    pub features: Vec<&'static str>,
    /// Sum over the operators.
    pub macs: u64,
    /// The blob, which lies in flash.
    pub flash_bytes: usize,
    /// Weights, biases, multipliers, shifts, tables and the detector's weights.
    pub constant_bytes: u32,
    /// Activations.
    pub arena_bytes: usize,
    /// The most bytes of activations that are alive at one time: no arena is smaller.
    pub arena_lower_bound: usize,
    /// All memory of the monitor: arena, frame, front end, anomaly map.
    pub memory_bytes: usize,
    /// None where every run sees its whole input.
    pub streaming: Option<StreamingRow>,
    /// Where each activation lies in the arena, and from which operator to which.
    pub arena: Vec<Block>,
    /// Samples to input.
    pub front_end: String,
    /// Output to score.
    pub detector: String,
    /// Scores to alarm.
    pub decision: String,
    /// In real units.
    pub threshold: f64,
    /// Where it comes from and what it promises.
    pub threshold_basis: String,
    /// How normal scores lie, and when they have drifted.
    pub drift: String,
    /// Classes of a classifier.
    pub classes: Vec<String>,
    /// Seed of the training.
    pub seed: u64,
    /// SHA-256 of the training data.
    pub data_hash: String,
    /// SHA-256 of the settings.
    pub config_hash: String,
    /// Checksum of the blob.
    pub crc32: String,
    /// AUROC of the float model when the blob was made; none where it wasn't measured.
    pub auroc_float: Option<f32>,
    /// AUROC of the blob then.
    pub auroc_quantized: Option<f32>,
}

/// `height x width x channels`.
pub fn show(shape: Shape) -> String {
    format!("{}x{}x{}", shape.height, shape.width, shape.channels)
}

/// Multiplications with accumulation of one run of an operator; padding counts as if it were multiplied, as is usual.
pub fn macs(operator: &Operator) -> u64 {
    let len = |shape: Shape| shape.len() as u64;
    match operator {
        Operator::Conv2d(op) => {
            let window = u64::from(op.window.kernel_height) * u64::from(op.window.kernel_width);
            len(op.output.shape) * window * u64::from(op.input.shape.channels)
        }
        Operator::DepthwiseConv2d(op) => {
            len(op.output.shape) * u64::from(op.window.kernel_height) * u64::from(op.window.kernel_width)
        }
        // Each input meets each element of the kernel of each output channel.
        Operator::TransposeConv2d(op) => {
            let window = u64::from(op.window.kernel_height) * u64::from(op.window.kernel_width);
            len(op.input.shape) * window * u64::from(op.output.shape.channels)
        }
        Operator::FullyConnected(op) => len(op.input.shape) * len(op.output.shape),
        _ => 0,
    }
}

/// Bytes in flash that an operator reads.
pub fn constant_bytes(operator: &Operator) -> u64 {
    let bytes = |constant: Constant| u64::from(constant.bytes);
    let layer = |weights: Constant, requantization: &Requantization| {
        let Requantization { bias, multiplier, shift, .. } = *requantization;
        [weights, bias, multiplier, shift].into_iter().map(bytes).sum()
    };
    match operator {
        Operator::Conv2d(op) => layer(op.weights, &op.requantization),
        Operator::DepthwiseConv2d(op) => layer(op.weights, &op.requantization),
        Operator::TransposeConv2d(op) => layer(op.weights, &op.requantization),
        Operator::FullyConnected(op) => layer(op.weights, &op.requantization),
        Operator::Lut(op) => bytes(op.table),
        Operator::ResizeNearest(op) => bytes(op.rows) + bytes(op.columns),
        Operator::Load(op) => bytes(op.values),
        Operator::Sigmoid(op) => bytes(op.table),
        _ => 0,
    }
}

/// The features of neji-engine that running a model needs, each once.
pub fn features(model: &Model<'_>) -> Vec<&'static str> {
    let wide = (model.plan().element == Element::I16).then_some(features::INT16);
    let found: BTreeSet<_> = model.operators().map(|operator| features::of(&operator)).chain(wide).collect();
    found.into_iter().collect()
}

/// Looks at a blob.
pub fn inspect(model: &Model<'_>) -> Inspection {
    let plan = model.plan();
    let streaming = plan.streaming.map(|streaming| StreamingRow {
        new_rows: plan.input.shape.height,
        full_after: streaming.full_after,
        phases: streaming.phases,
        state_bytes: streaming.state_bytes,
    });
    // All phases have the same operators, elsewhere.
    let model = &model.phase(0);
    let provenance = plan.provenance;
    let operators: Vec<OperatorRow> = model
        .operators()
        .map(|operator| OperatorRow {
            operator: operator.name(),
            output: show(operator.output().shape),
            macs: macs(&operator),
            constant_bytes: constant_bytes(&operator),
            packing: match operator.packing() {
                Packing::Rows => "rows",
                Packing::Pairs => "pairs",
            },
            over_bytes: operator
                .inputs()
                .map(|input| shared(plan.element, input, operator.output()))
                .max()
                .unwrap_or(0),
        })
        .collect();
    let decision = plan.decision;
    let measured = |auroc: f32| (!auroc.is_nan()).then_some(auroc);
    Inspection {
        name: provenance.name.to_owned(),
        neji_version: provenance.neji_version.to_owned(),
        activations: match plan.element {
            Element::I8 => "int8",
            Element::I16 => "int16",
        },
        macs: operators.iter().map(|row| row.macs).sum(),
        operators,
        features: features(model),
        flash_bytes: model.bytes().len(),
        constant_bytes: model.header().constants_bytes,
        arena_bytes: model.arena_bytes(),
        arena_lower_bound: lower_bound(model),
        memory_bytes: Monitor::<Host>::memory_bytes(model),
        streaming,
        arena: blocks(model),
        front_end: front_end(&plan.front_end),
        detector: detector(&plan.detector),
        decision: format!(
            "{}alarm when {} of the last {} are above the threshold; the newest score counts {:.3} of the mean",
            aggregate(&decision),
            decision.required,
            decision.window,
            f64::from(decision.smoothing) / 32768.0
        ),
        threshold: f64::from(decision.threshold) * f64::from(decision.score_unit),
        threshold_basis: threshold::words(&decision.basis),
        drift: drift(&decision),
        classes: provenance.classes.lines().map(str::to_owned).collect(),
        seed: provenance.seed,
        data_hash: hex(&provenance.data_hash),
        config_hash: hex(&provenance.config_hash),
        crc32: format!("{:08x}", model.header().crc32),
        auroc_float: measured(provenance.metrics.auroc_float),
        auroc_quantized: measured(provenance.metrics.auroc_quantized),
    }
}

fn front_end(front_end: &FrontEnd) -> String {
    let config = match front_end {
        FrontEnd::Raw => return "none: samples are the input".into(),
        FrontEnd::LogMel(config) => return log_mel(config),
        FrontEnd::Image(config) => config,
    };
    let size = |size: neji_format::Size| format!("{} x {}", size.width, size.height);
    let mut text = format!("image {} {:?}", size(config.sensor), config.pixel_format);
    if (config.crop.width, config.crop.height) != (config.sensor.width, config.sensor.height) {
        let crop = config.crop;
        let _ = write!(text, ", cropped to {} x {} at {}, {}", crop.width, crop.height, crop.x, crop.y);
    }
    if config.resize != (neji_format::Size { width: config.crop.width, height: config.crop.height }) {
        let _ = write!(text, ", resized to {}", size(config.resize));
    }
    if let Photometric::Percentile { percent, target } = config.photometric {
        let _ = write!(text, ", {percent}th percentile to {target}");
    }
    if let Some(alignment) = config.alignment {
        let threshold = match alignment.threshold {
            MaskThreshold::Otsu => "Otsu's threshold".to_owned(),
            MaskThreshold::Fixed(grey) => format!("threshold {grey}"),
        };
        let _ = write!(
            text,
            ", part of {} to {} pixels by {threshold}{}{}, strip of {}",
            alignment.area_min,
            alignment.area_max,
            if alignment.whole_only { ", off the border" } else { "" },
            match alignment.heading {
                Heading::Axis => "",
                Heading::ThickEndFirst => ", thick end first",
                Heading::Upright => ", upright",
            },
            size(alignment.strip)
        );
        if let Some(registration) = alignment.registration {
            let pixels = |q8: u16| f32::from(q8) / 256.0;
            let _ = write!(
                text,
                " registered to a template within {:.1} degrees, {:.1} and {:.1} pixels{}, by a correlation of {:.3} or more",
                (f32::from(registration.turn) / 65536.0).atan().to_degrees(),
                pixels(registration.along),
                pixels(registration.across),
                match registration.directions {
                    0 => String::new(),
                    1 => ", either end first".to_owned(),
                    n => format!(", {} directions", 1 << n),
                },
                f32::from(registration.correlation_min) / 1000.0
            );
        }
    }
    text
}

fn aggregate(decision: &Decision) -> String {
    let scores = decision.scores;
    match decision.aggregate {
        _ if scores == 1 => String::new(),
        Aggregate::Mean => format!("the mean of the last {scores} scores for each, "),
        Aggregate::Max => format!("the largest of the last {scores} scores for each, "),
        Aggregate::TopK(count) => format!("the mean of the {count} largest of the last {scores} scores for each, "),
    }
}

/// How normal scores lie and when they have drifted, for people.
pub fn drift(decision: &Decision) -> String {
    let Some(Normal { location, scale }) = decision.normal else { return "nothing is known of normal scores".into() };
    let unit = f64::from(decision.score_unit);
    let scores = format!("normal scores are {:.6} +- {:.6}", f64::from(location) * unit, f64::from(scale) * unit);
    let deviations = |steps: u32| f64::from(steps) / 256.0;
    decision.drift.map_or_else(
        || format!("{scores}; not watched"),
        |Drift { slack, limit, .. }| {
            let (slack, limit) = (deviations(slack.into()), deviations(limit));
            format!("{scores}; said where what is beyond {slack:.2} deviations sums up to {limit:.1}")
        },
    )
}

/// What an input has of its frames.
fn typical(statistics: WindowStatistics, context: u16, stride: u16) -> String {
    let WindowStatistics { level_free, logarithms, differences, blocks } = statistics;
    let level_free = if level_free { "level-free " } else { "" };
    let logarithmic = if logarithms { "logarithmic " } else { "" };
    let deviation = if differences { "deviation and difference" } else { "deviation" };
    let blocks = if blocks { format!(" and over each block of {stride}") } else { String::new() };
    format!("{level_free}mean and {logarithmic}{deviation} of each over {context} frames{blocks}")
}

fn log_mel(config: &LogMelFrontEnd) -> String {
    let LogMelFrontEnd { sample_rate, axes, fft_len, hop, context, stride, .. } = *config;
    let bands = config.bands.bytes / 6;
    let (what, decimation) = match config.transform {
        Transform::Spectrum => (format!("{bands} bands"), 1),
        Transform::Envelope { decimation } => {
            (format!("{bands} bands of the envelope, one in {decimation},"), decimation)
        }
        Transform::Waveform => ("the waveform".to_owned(), 1),
    };
    let milliseconds = |values: u32| 1000.0 * f64::from(values) * f64::from(decimation) / f64::from(sample_rate);
    let moments = if config.moments { "level, kurtosis and crest factor, " } else { "" };
    let sensor = if axes == 1 { String::new() } else { format!(" on {axes} axes") };
    let input = match config.statistics {
        Some(statistics) => typical(statistics, context, stride),
        None => format!("{context} frames an input"),
    };
    format!(
        "sound at {sample_rate} Hz{sensor}, {what} of {fft_len} samples ({:.1} ms) every {hop} ({:.1} ms), {moments}{input}, \
         one every {stride} frames ({:.1} ms)",
        milliseconds(fft_len.into()),
        milliseconds(hop.into()),
        milliseconds(u32::from(hop) * u32::from(stride))
    )
}

fn detector(detector: &Detector) -> String {
    match detector {
        Detector::None => "none".into(),
        Detector::Reconstruction(params) => {
            let unit = match params.weights {
                Weights::One => "squared error",
                Weights::Elements(_) => "squared deviations",
                Weights::Predicted(_) => "squared deviations that the model predicts",
            };
            format!("reconstruction: {} of {unit}", pooling(params.pooling))
        }
        Detector::Classifier(Classifier { score, .. }) => match score {
            ClassifierScore::Margin => "classifier: largest abnormal logit less the normal one".into(),
            ClassifierScore::Probability => "classifier: one minus the normal probability".into(),
        },
        Detector::Distance(params) => distance(params),
        Detector::Fusion(Fusion { rows, first, second, .. }) => {
            format!("of the first {rows} rows {}; of the others {}", distance(first), distance(second))
        }
    }
}

fn distance(distance: &Distance) -> String {
    let of = pooling(distance.pooling());
    match distance {
        Distance::Mahalanobis(params) => {
            let rank = params.shares.bytes / 2;
            let pixel = if params.shared { "any pixel" } else { "each pixel" };
            format!("Mahalanobis: {of} of the distance from the mean of {pixel}, rank {rank}")
        }
        Distance::Mixture(params) => {
            let components = params.biases.bytes / 4;
            format!("mixture: {of} of the distance from the nearest of {components} places")
        }
    }
}

fn pooling(pooling: Pooling) -> String {
    let over = match pooling.top_k {
        0 => "all pixels".to_owned(),
        count => format!("the {count} largest"),
    };
    let side = 2 * pooling.smooth_radius + 1;
    format!("mean of {over} of the map, smoothed {side} x {side},")
}

/// The figures for a terminal.
pub fn text(found: &Inspection) -> String {
    let mut out = format!("{} (written by neji {}, checksum {})\n\n", found.name, found.neji_version, found.crc32);
    let _ = writeln!(
        out,
        "  #  {:<16} {:>14} {:>10} {:>12} {:>12}",
        "operator", "output", "over input", "MACs", "constants"
    );
    for (index, row) in found.operators.iter().enumerate() {
        let _ = writeln!(
            out,
            "{index:>3}  {:<16} {:>14} {:>10} {:>12} {:>12}{}",
            row.operator,
            row.output,
            row.over_bytes,
            row.macs,
            row.constant_bytes,
            if row.packing == "rows" { "" } else { "  pairs" }
        );
    }
    let _ =
        writeln!(out, "     {:<16} {:>14} {:>10} {:>12} {:>12}\n", "in all", "", "", found.macs, found.constant_bytes);
    out.push_str(&arena_text(found));
    let auroc = |value: Option<f32>| value.map_or("not measured".to_owned(), |value| format!("{value:.4}"));
    let streaming = found.streaming.map_or("all of it for each run".to_owned(), |streaming| {
        let StreamingRow { new_rows, full_after, phases, state_bytes } = streaming;
        let rows = if new_rows == 1 { "1 new row".to_owned() } else { format!("{new_rows} new rows") };
        format!(
            "{rows} a run, a full window after {full_after}; {phases} phases, {state_bytes} bytes kept between runs"
        )
    });
    let classes = if found.classes.is_empty() { "-".to_owned() } else { found.classes.join(", ") };
    for (name, value) in [
        ("flash", format!("{} bytes: the blob", found.flash_bytes)),
        ("RAM", format!("{} bytes: arena {}, the rest frame, front end, map", found.memory_bytes, found.arena_bytes)),
        ("input", streaming),
        ("numbers", format!("{} activations, int8 weights", found.activations)),
        ("packing", packing(&found.operators)),
        ("features", found.features.join(",")),
        ("front end", found.front_end.clone()),
        ("detector", found.detector.clone()),
        ("threshold", format!("{:.6}, {}", found.threshold, found.threshold_basis)),
        ("drift", found.drift.clone()),
        ("decision", found.decision.clone()),
        ("classes", classes),
        ("AUROC", format!("float {}, quantized {}", auroc(found.auroc_float), auroc(found.auroc_quantized))),
        ("seed", found.seed.to_string()),
        ("data", found.data_hash.clone()),
        ("settings", found.config_hash.clone()),
    ] {
        let _ = writeln!(out, "{name:<10} {value}");
    }
    out
}

/// For which kernels the weights lie as they do.
fn packing(operators: &[OperatorRow]) -> String {
    match operators.iter().filter(|row| row.packing != "rows").count() {
        0 => "weights in rows, for every board".to_owned(),
        count => format!("{count} operators in pairs of rows, for kernels of Arm's DSP extension only"),
    }
}

/// The arena as rows of blocks: time from left to right, one column an operator, a letter where bytes are alive.
fn arena_text(found: &Inspection) -> String {
    const COLUMNS: usize = 64;
    let mut out = format!(
        "arena of {} bytes (lower bound {}); a bar is what an activation takes of it\n",
        found.arena_bytes, found.arena_lower_bound
    );
    let arena = found.arena_bytes.max(1);
    for block in &found.arena {
        let from = block.offset as usize * COLUMNS / arena;
        let to = ((block.offset + block.bytes) as usize * COLUMNS).div_ceil(arena).min(COLUMNS).max(from + 1);
        let bar = format!("{}{}{}", " ".repeat(from), "#".repeat(to - from), " ".repeat(COLUMNS.saturating_sub(to)));
        let _ = writeln!(out, "  |{bar}| {:>3} to {:<3} {}", block.first, block.last, block.name);
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use neji_format::AlignedBytes;

    use super::*;

    #[test]
    fn the_golden_blobs_are_shown() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tests/golden");
        for name in [
            "v5_autoencoder",
            "v5_classifier",
            "v5_operators",
            "v5_statistics",
            "v5_vibration",
            "v5_covariance",
            "v5_mixture",
            "v5_fusion",
        ] {
            let bytes = std::fs::read(folder.join(name).with_extension("neji")).expect("a golden blob");
            let bytes = AlignedBytes::new(&bytes);
            let model = Model::parse(bytes.as_slice()).expect("accepted");
            let found = inspect(&model);
            assert_eq!(found.operators.len(), model.operators().count());
            assert_eq!(found.flash_bytes, bytes.as_slice().len());
            assert!(found.memory_bytes >= found.arena_bytes);
            let text = text(&found);
            for row in &found.operators {
                assert!(text.contains(row.operator) && text.contains(&row.output), "{text}");
            }
        }
    }
}
