#![allow(dead_code, reason = "each test binary uses a part")]
//! Small blobs that the tests share: an autoencoder, a classifier, and a plan with every operator.
//!
//! Weights are a fixed pattern: what counts here is that they are checked, not what they compute.

use neji_format::header::{CRC_OFFSET, checksum};
use neji_format::packing::pairs;
use neji_format::{
    Add, Aggregate, AlignedBytes, Alignment, Band, BandQuantizer, Basis, Blob, Classifier, ClassifierScore, Concat,
    Constant, Conv2d, Decision, DepthwiseConv2d, Detector, Distance, Drift, Element, Epsilon, FrontEnd, FullyConnected,
    Fusion, Heading, ImageFrontEnd, Load, LogMelFrontEnd, Lut, LutFunction, Mahalanobis, MaskThreshold, Mean, Metrics,
    Mixture, Mul, Multiplier, Normal, Operator, Packing, Pad, Photometric, PixelFormat, Plan, Polarity, Pool2d,
    PoolKind, Pooling, Provenance, Reconstruction, Rect, Registration, Requantization, Reshape, ResizeNearest, Shape,
    Sigmoid, Size, Softmax, Streaming, Tensor, ThresholdMethod, Transform, TransposeConv2d, Weights, Window,
    WindowStatistics, push_constant,
};

/// 2^-8: small enough for every sum here.
pub(crate) const MULTIPLIER: Multiplier = Multiplier { multiplier: 1 << 30, shift: -7 };

/// The blobs with the names of their golden files.
pub(crate) fn all() -> [(&'static str, Blob<'static>); 12] {
    [
        ("v5_autoencoder", autoencoder()),
        ("v5_classifier", classifier()),
        ("v5_operators", operators()),
        ("v5_int16", int16()),
        ("v5_streaming", streaming()),
        ("v5_listener", listener()),
        ("v5_packed", packed()),
        ("v5_covariance", covariance()),
        ("v5_mixture", mixture()),
        ("v5_fusion", fusion()),
        ("v5_statistics", statistics()),
        ("v5_vibration", vibration()),
    ]
}

pub(crate) fn tensor(offset: u32, height: u32, width: u32, channels: u32) -> Tensor {
    Tensor { offset, shape: Shape::new(height, width, channels), scale: 1.0 / 256.0, zero_point: -128 }
}

pub(crate) fn window(kernel: u16, stride: u16, padding: u16) -> Window {
    Window {
        kernel_height: kernel,
        kernel_width: kernel,
        stride_height: stride,
        stride_width: stride,
        dilation_height: 1,
        dilation_width: 1,
        padding_top: padding,
        padding_left: padding,
        padding_bottom: padding,
        padding_right: padding,
    }
}

/// `bytes` weights from -7 to 7.
fn weights(constants: &mut Vec<u8>, bytes: u32) -> Constant {
    let bytes: Vec<u8> = (0..bytes).map(|i| ((i * 7 % 15) as i8 - 7) as u8).collect();
    push_constant(constants, &bytes)
}

fn indices(constants: &mut Vec<u8>, indices: &[u16]) -> Constant {
    let bytes: Vec<u8> = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
    push_constant(constants, &bytes)
}

fn requantization(constants: &mut Vec<u8>, channels: u32) -> Requantization {
    let words = |value: &dyn Fn(u32) -> i32| (0..channels).flat_map(|c| value(c).to_le_bytes()).collect::<Vec<u8>>();
    Requantization {
        bias: push_constant(constants, &words(&|c| 100 - 50 * c as i32)),
        multiplier: push_constant(constants, &words(&|c| (1 << 30) + c as i32)),
        shift: push_constant(constants, &vec![(-6_i8) as u8; channels as usize]),
        activation_min: -128,
        activation_max: 127,
    }
}

fn blob(input: Tensor, output: Tensor, arena_bytes: u32) -> Blob<'static> {
    Blob {
        plan: Plan {
            provenance: Provenance {
                neji_version: "0.1.0",
                name: "golden",
                classes: "",
                data_hash: [0x11; 32],
                config_hash: [0x22; 32],
                seed: 7,
                metrics: Metrics { auroc_float: 0.9375, auroc_quantized: 0.875 },
            },
            front_end: FrontEnd::Raw,
            streaming: None,
            detector: Detector::None,
            decision: Decision {
                aggregate: Aggregate::Mean,
                scores: 1,
                threshold: 1000,
                release: 800,
                smoothing: 16384,
                required: 2,
                window: 3,
                score_unit: 0.0625,
                basis: Basis { method: ThresholdMethod::Conformal, level: 0.03125, samples: 64, held_out: true },
                normal: Some(Normal { location: 600, scale: 90 }),
                drift: Some(Drift { slack: 128, clip: 2048, limit: 6000 }),
            },
            element: Element::I8,
            input,
            output,
            operator_count: 0,
        },
        operators: Vec::new(),
        constants: Vec::new(),
        arena_bytes,
    }
}

/// A dense autoencoder of a 8 x 4 strip with an aligning front end: 32 - 8 - 32.
pub(crate) fn autoencoder() -> Blob<'static> {
    let [input, code, output] = [tensor(0, 4, 8, 1), tensor(32, 1, 1, 8), tensor(48, 4, 8, 1)];
    let mut blob = blob(input, output, 80);
    let constants = &mut blob.constants;
    blob.operators = vec![
        Operator::FullyConnected(FullyConnected {
            input,
            output: code,
            weights: weights(constants, 256),
            packing: Packing::Rows,
            requantization: requantization(constants, 8),
        }),
        Operator::FullyConnected(FullyConnected {
            input: code,
            output,
            weights: weights(constants, 256),
            packing: Packing::Rows,
            requantization: requantization(constants, 32),
        }),
    ];
    let deviations: Vec<u8> = (0..32_u16).flat_map(|i| (8192 + 64 * i).to_le_bytes()).collect();
    blob.plan.detector = Detector::Reconstruction(Reconstruction {
        output_to_residual: Multiplier { multiplier: 1 << 30, shift: 5 },
        weights: Weights::Elements(push_constant(constants, &deviations)),
        pooling: Pooling { smooth_radius: 1, top_k: 4 },
    });
    // A dark bar in the middle, thicker to the left.
    let template: Vec<u8> = (0..32_u8).map(|i| if (i / 8) % 3 > 0 || i % 8 < 2 { 60 } else { 200 }).collect();
    blob.plan.front_end = FrontEnd::Image(ImageFrontEnd {
        sensor: Size { width: 40, height: 30 },
        pixel_format: PixelFormat::Rgb888,
        crop: Rect { x: 4, y: 3, width: 32, height: 24 },
        resize: Size { width: 16, height: 12 },
        range_min: 16,
        saturated_max: 200,
        photometric: Photometric::Percentile { percent: 90, target: 200 },
        alignment: Some(Alignment {
            polarity: Polarity::Auto,
            threshold: MaskThreshold::Otsu,
            area_min: 4,
            area_max: 100,
            whole_only: false,
            heading: Heading::ThickEndFirst,
            length: 14 * 256,
            breadth: 6 * 256,
            strip: Size { width: 8, height: 4 },
            registration: Some(Registration {
                template: push_constant(constants, &template),
                turn: 4583,
                along: 384,
                across: 256,
                rounds: 3,
                directions: 1,
                correlation_min: -1000,
            }),
        }),
        quantize: Multiplier { multiplier: 1 << 30, shift: 1 },
    });
    blob
}

/// A convolution, a mean over the picture, a dense layer for three classes.
pub(crate) fn classifier() -> Blob<'static> {
    let [input, features, mean, logits] =
        [tensor(0, 6, 6, 1), tensor(48, 3, 3, 4), tensor(0, 1, 1, 4), tensor(16, 1, 1, 3)];
    let mut blob = blob(input, logits, 96);
    let constants = &mut blob.constants;
    blob.operators = vec![
        Operator::Conv2d(Conv2d {
            input,
            output: features,
            window: Window { padding_bottom: 0, padding_right: 0, ..window(3, 2, 1) },
            weights: weights(constants, 36),
            packing: Packing::Rows,
            requantization: requantization(constants, 4),
        }),
        Operator::Mean(Mean { input: features, output: mean, multiplier: MULTIPLIER }),
        Operator::FullyConnected(FullyConnected {
            input: mean,
            output: logits,
            weights: weights(constants, 12),
            packing: Packing::Rows,
            requantization: requantization(constants, 3),
        }),
    ];
    blob.plan.provenance.classes = "good\nscratch\nrust";
    blob.plan.detector = Detector::Classifier(Classifier { normal_class: 0, score: ClassifierScore::Margin });
    blob.plan.front_end = FrontEnd::Image(ImageFrontEnd {
        sensor: Size { width: 12, height: 12 },
        pixel_format: PixelFormat::Grey8,
        crop: Rect { x: 0, y: 0, width: 12, height: 12 },
        resize: Size { width: 6, height: 6 },
        range_min: 16,
        saturated_max: 200,
        photometric: Photometric::None,
        alignment: None,
        quantize: Multiplier { multiplier: 1 << 30, shift: 1 },
    });
    blob
}

/// Every operator once, every kind of pool.
pub(crate) fn operators() -> Blob<'static> {
    let input = tensor(0, 4, 4, 2);
    let depthwise = tensor(64, 4, 4, 2);
    let sum = tensor(64, 4, 4, 2);
    let large = tensor(128, 8, 8, 2);
    let max = tensor(0, 4, 4, 2);
    let average = tensor(32, 4, 4, 2);
    let joined = tensor(256, 4, 4, 4);
    let conv = tensor(0, 4, 4, 2);
    let padded = tensor(64, 6, 6, 2);
    let pooled = tensor(0, 3, 3, 2);
    let flat = tensor(0, 1, 1, 18);
    let up = tensor(64, 6, 6, 2);
    let factor = tensor(0, 1, 6, 1);
    let scaled = tensor(64, 6, 6, 2);
    let offset = tensor(8, 1, 1, 2);
    let mean = tensor(0, 1, 1, 2);
    let logits = tensor(16, 1, 1, 3);
    let output = tensor(32, 1, 1, 3);
    let unfolded = tensor(0, 3, 3, 2);
    let mut blob = blob(input, output, 320);
    let constants = &mut blob.constants;
    let table: Vec<u8> = (-128..=127_i8).map(|q| q.max(-100) as u8).collect();
    let pool = |kind, input, output, window| {
        let [activation_min, activation_max] = [-128, 127];
        Operator::Pool2d(Pool2d { kind, input, output, window, multiplier: MULTIPLIER, activation_min, activation_max })
    };
    blob.operators = vec![
        Operator::DepthwiseConv2d(DepthwiseConv2d {
            input,
            output: depthwise,
            window: Window { dilation_height: 2, padding_top: 2, padding_bottom: 2, ..window(3, 1, 1) },
            weights: weights(constants, 18),
            requantization: requantization(constants, 2),
        }),
        Operator::Add(Add {
            input_a: input,
            input_b: depthwise,
            output: sum,
            left_shift: 20,
            multiplier_a: Multiplier { multiplier: 1 << 30, shift: 0 },
            multiplier_b: Multiplier { multiplier: 1 << 30, shift: 0 },
            output_multiplier: Multiplier { multiplier: 1 << 30, shift: -18 },
            activation_min: -128,
            activation_max: 100,
        }),
        Operator::TransposeConv2d(TransposeConv2d {
            input: sum,
            output: large,
            window: window(2, 2, 0),
            weights: weights(constants, 16),
            requantization: requantization(constants, 2),
        }),
        pool(PoolKind::Max, large, max, window(2, 2, 0)),
        pool(PoolKind::Average, large, average, Window { padding_top: 0, padding_left: 0, ..window(3, 2, 1) }),
        Operator::Concat(Concat { inputs: [max, average].into_iter().collect(), output: joined, axis: 2 }),
        Operator::Conv2d(Conv2d {
            input: joined,
            output: conv,
            window: window(1, 1, 0),
            weights: weights(constants, 8),
            packing: Packing::Rows,
            requantization: requantization(constants, 2),
        }),
        Operator::Pad(Pad { input: conv, output: padded, top: 1, bottom: 1, left: 0, right: 2 }),
        pool(PoolKind::Sum, padded, pooled, window(2, 2, 0)),
        Operator::Reshape(Reshape { input: pooled, output: flat }),
        Operator::Lut(Lut {
            input: flat,
            output: flat,
            function: LutFunction::Relu,
            table: push_constant(constants, &table),
        }),
        Operator::Reshape(Reshape { input: flat, output: unfolded }),
        Operator::ResizeNearest(ResizeNearest {
            input: unfolded,
            output: up,
            rows: indices(constants, &[0, 0, 1, 1, 2, 2]),
            columns: indices(constants, &[0, 1, 1, 2, 2, 0]),
        }),
        Operator::Load(Load { output: factor, values: weights(constants, 6) }),
        Operator::Mul(Mul {
            input_a: up,
            input_b: factor,
            output: scaled,
            multiplier: MULTIPLIER,
            activation_min: -128,
            activation_max: 120,
        }),
        Operator::Load(Load { output: offset, values: weights(constants, 2) }),
        Operator::Sub(Add {
            input_a: offset,
            input_b: scaled,
            output: scaled,
            left_shift: 19,
            multiplier_a: Multiplier { multiplier: 1 << 30, shift: 0 },
            multiplier_b: Multiplier { multiplier: 1 << 30, shift: -1 },
            output_multiplier: Multiplier { multiplier: 1 << 30, shift: -17 },
            activation_min: -120,
            activation_max: 127,
        }),
        Operator::Mean(Mean { input: scaled, output: mean, multiplier: MULTIPLIER }),
        Operator::FullyConnected(FullyConnected {
            input: mean,
            output: logits,
            weights: weights(constants, 6),
            packing: Packing::Rows,
            requantization: requantization(constants, 3),
        }),
        Operator::Softmax(Softmax {
            input: logits,
            output,
            multiplier: Multiplier { multiplier: 1 << 30, shift: 19 },
            difference_min: -3968,
        }),
    ];
    blob.plan.detector = Detector::Classifier(Classifier { normal_class: 1, score: ClassifierScore::Probability });
    blob
}

/// int16 activations: layers with sums of 64 and of 32 bits, a sigmoid, and what both kinds of activations share.
pub(crate) fn int16() -> Blob<'static> {
    let wide = |tensor| Tensor { scale: 1.0 / 32768.0, zero_point: 0, ..tensor };
    let tensor = |offset, height, width, channels| wide(tensor(offset, height, width, channels));
    let input = tensor(0, 4, 4, 2);
    let conv = tensor(64, 4, 4, 2);
    let depthwise = tensor(0, 4, 4, 2);
    let sum = tensor(64, 4, 4, 2);
    let pooled = tensor(0, 2, 2, 2);
    let gate = tensor(0, 2, 2, 2);
    let factor = tensor(16, 1, 1, 2);
    let scaled = tensor(0, 2, 2, 2);
    let logits = tensor(32, 1, 1, 3);
    let mut blob = blob(input, logits, 128);
    blob.plan.element = Element::I16;
    let constants = &mut blob.constants;
    let (activation_min, activation_max) = (-32768, 32767);
    let words = |constants: &mut Vec<u8>, values: &[i64]| {
        push_constant(constants, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
    };
    let points: Vec<u16> = (0..256_u16).map(|i| 32768 + 128 * i.min(255)).collect();
    let multiplier = Multiplier { multiplier: 1 << 30, shift: 0 };
    blob.operators = vec![
        Operator::Conv2d(Conv2d {
            input,
            output: conv,
            window: window(3, 1, 1),
            weights: weights(constants, 36),
            packing: Packing::Rows,
            requantization: Requantization {
                bias: words(constants, &[1 << 33, -5]),
                activation_min,
                activation_max,
                ..requantization(constants, 2)
            },
        }),
        Operator::DepthwiseConv2d(DepthwiseConv2d {
            input: conv,
            output: depthwise,
            window: window(3, 1, 1),
            weights: weights(constants, 18),
            requantization: Requantization { activation_min: -30_000, activation_max, ..requantization(constants, 2) },
        }),
        Operator::Add(Add {
            input_a: depthwise,
            input_b: conv,
            output: sum,
            left_shift: 15,
            multiplier_a: multiplier,
            multiplier_b: multiplier,
            output_multiplier: Multiplier { multiplier: 1 << 30, shift: -14 },
            activation_min,
            activation_max,
        }),
        Operator::Pool2d(Pool2d {
            kind: PoolKind::Average,
            input: sum,
            output: pooled,
            window: window(2, 2, 0),
            multiplier: MULTIPLIER,
            activation_min,
            activation_max,
        }),
        Operator::Sigmoid(Sigmoid {
            input: pooled,
            output: gate,
            function: LutFunction::Tanh,
            multiplier: 24_576,
            shift: 5,
            table: indices(constants, &points),
        }),
        Operator::Load(Load { output: factor, values: indices(constants, &[20_000, 45_000]) }),
        Operator::Mul(Mul {
            input_a: gate,
            input_b: factor,
            output: scaled,
            multiplier: Multiplier { multiplier: 1 << 30, shift: -14 },
            activation_min,
            activation_max,
        }),
        Operator::FullyConnected(FullyConnected {
            input: scaled,
            output: logits,
            weights: weights(constants, 24),
            packing: Packing::Rows,
            requantization: Requantization {
                bias: words(constants, &[1000, -1000, 1 << 20]),
                activation_min,
                activation_max,
                ..requantization(constants, 3)
            },
        }),
    ];
    blob.plan.detector = Detector::Classifier(Classifier { normal_class: 0, score: ClassifierScore::Margin });
    blob
}

/// A window of six rows of which one is new: the largest of each three rows, then the mean of these; in two phases, though one
/// would do.
pub(crate) fn streaming() -> Blob<'static> {
    let window_rows = |first: u32, rows: u32| tensor(2 * first, rows, 1, 2);
    let kept_rows = |first: u32, rows: u32| tensor(12 + 2 * first, rows, 1, 2);
    let (new, output) = (tensor(20, 1, 1, 2), tensor(24, 1, 1, 2));
    let mut blob = blob(new, output, 28);
    let copy = |input, output| Operator::Reshape(Reshape { input, output });
    let list = [
        copy(window_rows(1, 5), window_rows(0, 5)),
        copy(new, window_rows(5, 1)),
        copy(kept_rows(1, 3), kept_rows(0, 3)),
        Operator::Pool2d(Pool2d {
            kind: PoolKind::Max,
            input: window_rows(3, 3),
            output: kept_rows(3, 1),
            window: Window { kernel_width: 1, ..window(3, 1, 0) },
            multiplier: MULTIPLIER,
            activation_min: -128,
            activation_max: 127,
        }),
        Operator::Mean(Mean {
            input: kept_rows(0, 4),
            output,
            multiplier: Multiplier { multiplier: 1 << 30, shift: -1 },
        }),
    ];
    blob.operators = [list.clone(), list].concat();
    blob.plan.streaming = Some(Streaming { phases: 2, full_after: 6, state_bytes: 20 });
    blob.plan.detector = Detector::Classifier(Classifier { normal_class: 0, score: ClassifierScore::Margin });
    blob
}

/// A dense autoencoder 8 - 2 - 8 of two frames of four bands, judged by the larger half of the last six scores.
pub(crate) fn listener() -> Blob<'static> {
    let [input, code, output] = [tensor(0, 2, 4, 1), tensor(8, 1, 1, 2), tensor(12, 2, 4, 1)];
    let mut blob = blob(input, output, 20);
    let constants = &mut blob.constants;
    blob.operators = vec![
        Operator::FullyConnected(FullyConnected {
            input,
            output: code,
            weights: weights(constants, 16),
            packing: Packing::Rows,
            requantization: requantization(constants, 2),
        }),
        Operator::FullyConnected(FullyConnected {
            input: code,
            output,
            weights: weights(constants, 16),
            packing: Packing::Rows,
            requantization: requantization(constants, 8),
        }),
    ];
    blob.plan.detector = Detector::Reconstruction(Reconstruction {
        output_to_residual: Multiplier { multiplier: 1 << 30, shift: 5 },
        weights: Weights::One,
        pooling: Pooling::MEAN,
    });
    (blob.plan.decision.aggregate, blob.plan.decision.scores) = (Aggregate::TopK(3), 6);
    // sin(2 pi k / 16), k = 0 … 4.
    let sine = [0, 410_903_207, 759_250_125, 992_008_094, 1 << 30].map(i32::to_le_bytes).concat();
    let window = [0, 9_598, 32_768, 55_938, 65_535, 55_938, 32_768, 9_598].repeat(2);
    let bands = [(0, 2, 15), (1, 3, 15), (3, 4, 15), (6, 3, 14)]
        .map(|(first, len, shift)| Band { first, len, shift }.to_words())
        .concat();
    let quantizer = BandQuantizer { mean: -40 << 16, multiplier: Multiplier { multiplier: 1 << 30, shift: -15 } };
    blob.plan.front_end = FrontEnd::LogMel(LogMelFrontEnd {
        sample_rate: 8000,
        axes: 1,
        transform: Transform::Spectrum,
        moments: false,
        fft_len: 16,
        hop: 8,
        centered: false,
        window: indices(constants, &window),
        sine: push_constant(constants, &sine),
        bands: indices(constants, &bands),
        weights: indices(constants, &[32_768; 12]),
        epsilon: Epsilon { mantissa: 1 << 31, shift: 64 },
        quantizers: push_constant(constants, &quantizer.to_words().map(i32::to_le_bytes).concat()),
        context: 2,
        stride: 1,
        statistics: None,
        range_min: 2,
        saturated_max: 500,
    });
    blob
}

fn signed(constants: &mut Vec<u8>, values: impl Iterator<Item = i16>) -> Constant {
    let bytes: Vec<u8> = values.flat_map(i16::to_le_bytes).collect();
    push_constant(constants, &bytes)
}

/// No operators: two by two pixels of three features, each with its own means and a covariance of rank 2.
pub(crate) fn covariance() -> Blob<'static> {
    let features = tensor(0, 2, 2, 3);
    let mut blob = blob(features, features, 12);
    let constants = &mut blob.constants;
    blob.plan.detector = Detector::Distance(Distance::Mahalanobis(Mahalanobis {
        shared: false,
        means: signed(constants, (0..12).map(|i| 900 + 100 * i)),
        weights: indices(constants, &[20_000; 12]),
        shift: 17,
        basis: signed(constants, [19_661, 0, 26_214].into_iter().cycle().take(12).chain([0, 32_767, 0].repeat(4))),
        shares: indices(constants, &[60_000, 30_000]),
        pooling: Pooling { smooth_radius: 1, top_k: 2 },
    }));
    blob
}

/// No operators: two by two pixels of three features, of which each is near one of four components.
pub(crate) fn mixture() -> Blob<'static> {
    let features = tensor(0, 2, 2, 3);
    let mut blob = blob(features, features, 12);
    let constants = &mut blob.constants;
    blob.plan.detector = Detector::Distance(Distance::Mixture(Mixture {
        means: signed(constants, (0..12).map(|i| 300 * i)),
        weights: indices(constants, &[9_000, 18_000, 27_000]),
        shift: 16,
        biases: push_constant(constants, &[0_u32, 10, 20, 4000].map(u32::to_le_bytes).concat()),
        pooling: Pooling { smooth_radius: 0, top_k: 1 },
    }));
    blob
}

/// No operators: the mixture for the first row of pixels, a mean and a diagonal for the second.
pub(crate) fn fusion() -> Blob<'static> {
    let mut blob = mixture();
    let constants = &mut blob.constants;
    let second = Distance::Mahalanobis(Mahalanobis {
        shared: false,
        means: signed(constants, (0..6).map(|i| 200 * i)),
        weights: indices(constants, &[40_000; 6]),
        shift: 18,
        basis: signed(constants, [].into_iter()),
        shares: indices(constants, &[]),
        pooling: Pooling::MEAN,
    });
    if let Detector::Distance(first) = blob.plan.detector {
        blob.plan.detector = Detector::Fusion(Fusion { rows: 1, first, second, weights: [512, 300] });
    }
    blob
}

/// The listener's front end with all that statistics of four frames in blocks of two are, each element with its own quantizer;
/// no operators, but each block is near one of two components, and the window has a mean and a covariance.
pub(crate) fn statistics() -> Blob<'static> {
    let mut blob = listener();
    let features = tensor(0, 3, 1, 12);
    (blob.plan.input, blob.plan.output, blob.arena_bytes) = (features, features, 36);
    blob.operators.clear();
    let constants = &mut blob.constants;
    if let FrontEnd::LogMel(config) = &mut blob.plan.front_end {
        let quantizer = |index: i32| BandQuantizer {
            mean: (index % 12 - 3) << 16,
            multiplier: Multiplier { multiplier: (1 << 30) + index, shift: -12 },
        };
        let words: Vec<i32> = (0..24).flat_map(|index| quantizer(index).to_words()).collect();
        let bytes: Vec<u8> = words.into_iter().flat_map(i32::to_le_bytes).collect();
        config.quantizers = push_constant(constants, &bytes);
        (config.context, config.stride, config.statistics) = (4, 2, Some(WindowStatistics::ALL));
    }
    let first = Distance::Mixture(Mixture {
        means: signed(constants, (0..24).map(|i| 100 * i)),
        weights: indices(constants, &[9_000; 12]),
        shift: 16,
        biases: push_constant(constants, &[0_u32, 7].map(u32::to_le_bytes).concat()),
        pooling: Pooling::MEAN,
    });
    let second = Distance::Mahalanobis(Mahalanobis {
        shared: false,
        means: signed(constants, (0..12).map(|i| 50 * i)),
        weights: indices(constants, &[10_000; 12]),
        shift: 16,
        basis: signed(constants, [0, 19_661, 0, 26_214].into_iter().chain([0; 8])),
        shares: indices(constants, &[60_000]),
        pooling: Pooling::MEAN,
    });
    blob.plan.detector = Detector::Fusion(Fusion { rows: 2, first, second, weights: [256, 256] });
    blob
}

/// Mean and deviation of the envelope's level, kurtosis and crest factor of two axes, and of a band of each, through the
/// listener's layers.
pub(crate) fn vibration() -> Blob<'static> {
    let mut blob = listener();
    if let FrontEnd::LogMel(config) = &mut blob.plan.front_end {
        (config.axes, config.transform, config.moments) = (2, Transform::Envelope { decimation: 3 }, true);
        (config.bands.bytes, config.weights.bytes) = (6, 4);
        (config.context, config.stride, config.statistics) = (6, 2, Some(WindowStatistics::PLAIN));
    }
    let dense = |input: Tensor, output: Tensor, constants: &mut Vec<u8>| {
        Operator::FullyConnected(FullyConnected {
            input,
            output,
            weights: weights(constants, 32),
            packing: Packing::Rows,
            requantization: requantization(constants, output.shape.len() as u32),
        })
    };
    let [input, code, output] = [tensor(0, 1, 1, 16), tensor(16, 1, 1, 2), tensor(20, 1, 1, 16)];
    blob.operators = vec![dense(input, code, &mut blob.constants), dense(code, output, &mut blob.constants)];
    (blob.plan.input, blob.plan.output, blob.arena_bytes) = (input, output, 36);
    blob
}

/// The classifier's convolution with six channels and a dense layer for three classes, their weights in pairs of rows.
pub(crate) fn packed() -> Blob<'static> {
    let [input, features, logits] = [tensor(0, 8, 8, 1), tensor(64, 4, 4, 6), tensor(0, 1, 1, 3)];
    let mut blob = blob(input, logits, 160);
    let constants = &mut blob.constants;
    let packed = |constants: &mut Vec<u8>, rows: usize, depth: usize| {
        let rows: Vec<i8> = (0..rows * depth).map(|i| (i * 7 % 15) as i8 - 7).collect();
        push_constant(constants, &pairs(&rows, depth).expect("small weights"))
    };
    blob.operators = vec![
        Operator::Conv2d(Conv2d {
            input,
            output: features,
            window: Window { padding_bottom: 0, padding_right: 0, ..window(3, 2, 1) },
            weights: packed(constants, 6, 9),
            packing: Packing::Pairs,
            requantization: requantization(constants, 6),
        }),
        Operator::FullyConnected(FullyConnected {
            input: features,
            output: logits,
            weights: packed(constants, 3, 96),
            packing: Packing::Pairs,
            requantization: requantization(constants, 3),
        }),
    ];
    blob.plan.detector = Detector::Classifier(Classifier { normal_class: 0, score: ClassifierScore::Margin });
    blob
}

/// A copy with the checksum that fits its bytes, so that a change gets past the header.
pub(crate) fn with_checksum(bytes: &[u8]) -> AlignedBytes {
    let mut bytes = bytes.to_vec();
    let total = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]) as usize;
    let crc = checksum(&bytes[..total.min(bytes.len())]);
    bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
    AlignedBytes::new(&bytes)
}
