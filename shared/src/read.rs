//! Reads the plan and the operators from postcard's bytes.
//!
//! The same as serde's derived code reads through postcard, in a tenth of the flash: a device has this instead. Fields are
//! listed in the order in which they are declared, which is that of the bytes.
//!
//! Nothing is returned early: what is missing or wrong reads as zeros and is remembered, so that a field is one call.

use crate::detector::{
    Aggregate, Basis, Classifier, ClassifierScore, Decision, Detector, Distance, Drift, Fusion, Mahalanobis, Mixture,
    Normal, Pooling, Reconstruction, ThresholdMethod, Weights,
};
use crate::front_end::{
    Alignment, Epsilon, FrontEnd, Heading, ImageFrontEnd, LogMelFrontEnd, MaskThreshold, Photometric, PixelFormat,
    Polarity, Rect, Registration, Size, Transform, WindowStatistics,
};
use crate::operator::{
    Add, Concat, Conv2d, DepthwiseConv2d, FullyConnected, Load, Lut, LutFunction, Mean, Mul, Operator, Pad, Pool2d,
    PoolKind, Reshape, ResizeNearest, Sigmoid, Softmax, TransposeConv2d, Window,
};
use crate::packing::Packing;
use crate::plan::{Metrics, Plan, Provenance, Streaming};
use crate::quant::{Multiplier, Requantization};
use crate::tensor::{Constant, Element, Shape, Tensor};

/// Bytes that are read from the front.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, failed: false }
    }

    /// What has not been read, or `None` where something could not be.
    pub(crate) fn rest(&self) -> Option<&'a [u8]> {
        (!self.failed).then_some(self.rest)
    }

    /// The plan.
    #[inline(never)]
    pub(crate) fn plan(&mut self) -> Plan<'a> {
        Plan::read(self)
    }

    /// The next operator; `None` where it can't be read.
    // Once in an image: everything that walks the operators needs it.
    #[inline(never)]
    pub(crate) fn operator(&mut self) -> Option<Operator> {
        let operator = Option::<Operator>::read(self);
        if self.failed { None } else { operator }
    }

    /// The number of the next operator, where that is one that is not known here but elsewhere.
    #[cold]
    pub(crate) fn not_linked(mut self) -> Option<u8> {
        let number = self.varint(32);
        let linked = LINKED.get(number as usize).is_none_or(|linked| *linked);
        (!self.failed && !linked).then_some(number as u8)
    }

    #[cold]
    fn fail(&mut self) {
        *self = Self { rest: &[], failed: true };
    }

    #[inline(always)]
    fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                byte
            }
            None => {
                self.fail();
                0
            }
        }
    }

    /// `N` bytes.
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk() {
            Some((&bytes, rest)) => {
                self.rest = rest;
                bytes
            }
            None => {
                self.fail();
                [0; N]
            }
        }
    }

    /// A number of `bits` bits, 16 or 32, in groups of seven from the lowest; the last has no bit beyond.
    #[inline(never)]
    fn varint(&mut self, bits: u32) -> u32 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = u32::from(self.byte());
            // This refuses a further group as well, so that the shift stays below `bits`.
            if shift + 7 > bits && byte >> (bits - shift) != 0 {
                self.fail();
                return 0;
            }
            value |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
            shift += 7;
        }
    }
}

/// What can be read.
trait Read<'a>: Sized {
    fn read(reader: &mut Reader<'a>) -> Self;
}

impl Read<'_> for u8 {
    #[inline(never)]
    fn read(reader: &mut Reader<'_>) -> Self {
        reader.byte()
    }
}

impl Read<'_> for i8 {
    fn read(reader: &mut Reader<'_>) -> Self {
        u8::read(reader).cast_signed()
    }
}

impl Read<'_> for bool {
    fn read(reader: &mut Reader<'_>) -> Self {
        let byte = u8::read(reader);
        if byte > 1 {
            reader.fail();
        }
        byte == 1
    }
}

impl Read<'_> for u16 {
    fn read(reader: &mut Reader<'_>) -> Self {
        reader.varint(16) as Self
    }
}

impl Read<'_> for u32 {
    fn read(reader: &mut Reader<'_>) -> Self {
        reader.varint(32)
    }
}

impl Read<'_> for u64 {
    /// As [`Reader::varint`].
    fn read(reader: &mut Reader<'_>) -> Self {
        let (mut value, mut shift) = (0, 0_u32);
        loop {
            let byte = reader.byte();
            if shift == 63 && byte > 1 {
                reader.fail();
                return 0;
            }
            value |= Self::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
            shift += 7;
        }
    }
}

/// Undoes zigzag, where the lowest bit is the sign.
fn signed(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

impl Read<'_> for i16 {
    fn read(reader: &mut Reader<'_>) -> Self {
        signed(reader.varint(16)) as Self
    }
}

impl Read<'_> for i32 {
    fn read(reader: &mut Reader<'_>) -> Self {
        signed(reader.varint(32))
    }
}

impl Read<'_> for f32 {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self::from_le_bytes(reader.bytes())
    }
}

impl Read<'_> for [u8; 32] {
    #[inline(never)]
    fn read(reader: &mut Reader<'_>) -> Self {
        reader.bytes()
    }
}

impl<'a> Read<'a> for &'a str {
    #[inline(never)]
    fn read(reader: &mut Reader<'a>) -> Self {
        let length = reader.varint(32) as usize;
        let split = reader.rest.split_at_checked(length);
        match split.map(|(text, rest)| (core::str::from_utf8(text), rest)) {
            Some((Ok(text), rest)) => {
                reader.rest = rest;
                text
            }
            _ => {
                reader.fail();
                ""
            }
        }
    }
}

impl<'a, T: Read<'a>> Read<'a> for Option<T> {
    fn read(reader: &mut Reader<'a>) -> Self {
        bool::read(reader).then(|| T::read(reader))
    }
}

impl<const N: usize> Read<'_> for heapless::Vec<Tensor, N> {
    fn read(reader: &mut Reader<'_>) -> Self {
        let mut all = Self::new();
        for _ in 0..reader.varint(32) {
            if all.push(Read::read(reader)).is_err() {
                reader.fail();
                break;
            }
        }
        all
    }
}

impl Read<'_> for [u16; 2] {
    fn read(reader: &mut Reader<'_>) -> Self {
        [u16::read(reader), u16::read(reader)]
    }
}

impl Read<'_> for Distance {
    fn read(reader: &mut Reader<'_>) -> Self {
        match reader.varint(32) {
            0 => Self::Mahalanobis(Read::read(reader)),
            number => {
                if number != 1 {
                    reader.fail();
                }
                Self::Mixture(Read::read(reader))
            }
        }
    }
}

/// Reads structs field by field.
macro_rules! structs {
    ($($(#[$attribute:meta])* $name:ident $(<$life:lifetime>)? { $($field:ident),* $(,)? })*) => {$(
        impl<'a> Read<'a> for $name $(<$life>)? {
            $(#[$attribute])*
            fn read(reader: &mut Reader<'a>) -> Self {
                Self { $($field: Read::read(reader)),* }
            }
        }
    )*};
}

/// Reads enums by their variants' numbers; the variants are listed in order. Any other number fails and reads as the first,
/// which has no fields.
macro_rules! enums {
    ($($name:ident {
        $first:ident $(, $variant:ident $(($inner:ident))? $({ $($field:ident),* })?)* $(,)?
    })*) => {$(
        impl Read<'_> for $name {
            fn read(reader: &mut Reader<'_>) -> Self {
                enum Number { $first, $($variant),* }
                match reader.varint(32) {
                    $(number if number == Number::$variant as u32 => {
                        Self::$variant $((<$inner>::read(reader)))? $({ $($field: Read::read(reader)),* })?
                    })*
                    number => {
                        if number != Number::$first as u32 {
                            reader.fail();
                        }
                        Self::$first
                    }
                }
            }
        }
    )*};
}

/// Reads operators by their numbers, where their features are on; they are listed in order.
macro_rules! operators {
    ($($variant:ident($inner:ident): $feature:literal),* $(,)?) => {
        /// The features of operators, by the operators' numbers.
        pub(crate) const FEATURES: [&str; [$($feature),*].len()] = [$($feature),*];

        /// Whether operators are known to this build of the crate, in the order of [`Operator`]'s variants.
        pub const LINKED: [bool; FEATURES.len()] = [$(cfg!(feature = $feature)),*];

        impl Read<'_> for Option<Operator> {
            fn read(reader: &mut Reader<'_>) -> Self {
                enum Number { $($variant),* }
                match reader.varint(32) {
                    $(number if cfg!(feature = $feature) && number == Number::$variant as u32 => {
                        Some(Operator::$variant(<$inner>::read(reader)))
                    })*
                    _ => None,
                }
            }
        }
    };
}

structs! {
    #[inline(never)]
    Provenance<'a> { neji_version, name, classes, data_hash, config_hash, seed, metrics }
    Metrics { auroc_float, auroc_quantized }
    Streaming { phases, full_after, state_bytes }
    Plan<'a> {
        provenance, front_end, detector, decision, element, streaming, input, output, operator_count,
    }
    #[inline(never)]
    ImageFrontEnd {
        sensor, pixel_format, crop, resize, range_min, saturated_max, photometric, alignment, quantize,
    }
    #[inline(never)]
    LogMelFrontEnd {
        sample_rate, axes, transform, moments, fft_len, hop, centered, window, sine, bands, weights, epsilon, quantizers, context, stride, statistics,
        range_min, saturated_max,
    }
    WindowStatistics { level_free, logarithms, differences, blocks }
    Epsilon { mantissa, shift }
    Size { width, height }
    Rect { x, y, width, height }
    #[inline(never)]
    Alignment { polarity, threshold, area_min, area_max, whole_only, heading, length, breadth, strip, registration }
    #[inline(never)]
    Registration { template, turn, along, across, rounds, directions, correlation_min }
    Reconstruction { output_to_residual, weights, pooling }
    Pooling { smooth_radius, top_k }
    Mahalanobis { shared, means, weights, shift, basis, shares, pooling }
    Mixture { means, weights, shift, biases, pooling }
    Fusion { rows, first, second, weights }
    Classifier { normal_class, score }
    Decision {
        aggregate, scores, threshold, release, smoothing, required, window, score_unit, basis, normal, drift,
    }
    Basis { method, level, samples, held_out }
    Normal { location, scale }
    Drift { slack, clip, limit }
    Shape { height, width, channels }
    #[inline(never)]
    Tensor { offset, shape, scale, zero_point }
    #[inline(never)]
    Constant { offset, bytes }
    Multiplier { multiplier, shift }
    #[inline(never)]
    Requantization { bias, multiplier, shift, activation_min, activation_max }
    #[inline(never)]
    Window {
        kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width,
        padding_top, padding_left, padding_bottom, padding_right,
    }
    Conv2d { input, output, window, weights, packing, requantization }
    DepthwiseConv2d { input, output, window, weights, requantization }
    FullyConnected { input, output, weights, packing, requantization }
    TransposeConv2d { input, output, window, weights, requantization }
    Pool2d { kind, input, output, window, multiplier, activation_min, activation_max }
    Mean { input, output, multiplier }
    #[inline(never)]
    Add {
        input_a, input_b, output, left_shift, multiplier_a, multiplier_b, output_multiplier, activation_min, activation_max,
    }
    Concat { inputs, output, axis }
    Pad { input, output, top, bottom, left, right }
    Reshape { input, output }
    ResizeNearest { input, output, rows, columns }
    Lut { input, output, function, table }
    Softmax { input, output, multiplier, difference_min }
    Mul { input_a, input_b, output, multiplier, activation_min, activation_max }
    Load { output, values }
    Sigmoid { input, output, function, multiplier, shift, table }
}

enums! {
    FrontEnd { Raw, Image(ImageFrontEnd), LogMel(LogMelFrontEnd) }
    Transform { Spectrum, Envelope { decimation }, Waveform }
    PixelFormat { Grey8, Rgb888 }
    Photometric { None, Percentile { percent, target } }
    Polarity { Dark, Light, Auto }
    Heading { Axis, ThickEndFirst, Upright }
    MaskThreshold { Otsu, Fixed(u8) }
    Detector {
        None, Reconstruction(Reconstruction), Classifier(Classifier), Distance(Distance), Fusion(Fusion),
    }
    Weights { One, Elements(Constant), Predicted(Constant) }
    ClassifierScore { Margin, Probability }
    Aggregate { Mean, Max, TopK(u16) }
    ThresholdMethod { Given, Conformal, PerHour, Gamma, BestF1, CrossConformal }
    Element { I8, I16 }
    Packing { Rows, Pairs }
    PoolKind { Max, Average, Sum }
    LutFunction { Quantize, Relu, Relu6, LeakyRelu, Logistic, Tanh, HardSwish, ReluN1To1 }
}

operators! {
    Conv2d(Conv2d): "conv2d",
    DepthwiseConv2d(DepthwiseConv2d): "depthwise-conv2d",
    FullyConnected(FullyConnected): "fully-connected",
    TransposeConv2d(TransposeConv2d): "transpose-conv2d",
    Pool2d(Pool2d): "pool2d",
    Mean(Mean): "mean",
    Add(Add): "add",
    Concat(Concat): "concat",
    Pad(Pad): "pad",
    Reshape(Reshape): "reshape",
    ResizeNearest(ResizeNearest): "resize-nearest",
    Lut(Lut): "lut",
    Softmax(Softmax): "softmax",
    Sub(Add): "sub",
    Mul(Mul): "mul",
    Load(Load): "load",
    Sigmoid(Sigmoid): "sigmoid",
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::CONCAT_INPUTS_MAX;

    /// Numbers that repeat nowhere soon.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.0 >> 33
        }
    }

    /// What was read, written again, and how much was left.
    fn written(value: Option<&impl serde::Serialize>, rest: usize) -> Option<(heapless::Vec<u8, 512>, usize)> {
        let mut buffer = [0; 512];
        let written = postcard::to_slice(value?, &mut buffer).expect("room");
        Some((heapless::Vec::from_slice(written).expect("room"), rest))
    }

    /// The operator in `bytes`, which serde finds as well, or neither.
    fn same(bytes: &[u8]) -> Option<&'static str> {
        let mut reader = Reader::new(bytes);
        let ours = reader.operator();
        let left = reader.rest().map_or(0, <[u8]>::len);
        let serdes = postcard::take_from_bytes::<Operator>(bytes).ok();
        let serdes = serdes.as_ref().and_then(|(operator, rest)| written(Some(operator), rest.len()));
        assert_eq!(written(ours.as_ref(), left), serdes, "{bytes:?}");
        ours.map(|operator| operator.name())
    }

    /// The plan in `bytes`, which serde finds as well, or neither.
    fn same_plan(bytes: &[u8]) -> Option<Plan<'_>> {
        let mut reader = Reader::new(bytes);
        let plan = reader.plan();
        let ours = reader.rest().map(|rest| (plan, rest.len()));
        let serdes = postcard::take_from_bytes::<Plan<'_>>(bytes).ok().map(|(plan, rest)| (plan, rest.len()));
        let bits = |found: Option<(Plan<'_>, usize)>| found.and_then(|(plan, rest)| written(Some(&plan), rest));
        assert_eq!(bits(ours), bits(serdes), "{bytes:?}");
        ours.map(|(plan, _)| plan)
    }

    impl Random {
        /// A number below `end`.
        fn below(&mut self, end: u64) -> u64 {
            self.next() % end
        }

        /// A number of at most 32 bits, often a short one.
        fn word(&mut self) -> u32 {
            let bits = self.below(33);
            (self.next() as u32).checked_shr(32 - bits as u32).unwrap_or(0)
        }

        fn half(&mut self) -> u16 {
            self.word() as u16
        }

        fn byte(&mut self) -> u8 {
            self.next() as u8
        }

        fn float(&mut self) -> f32 {
            f32::from_bits(self.next() as u32)
        }

        fn flag(&mut self) -> bool {
            self.below(2) == 1
        }

        fn text(&mut self) -> &'static str {
            ["", "a", "neji\nBüroklammer", "\u{10ffff}", "0123456789012345678901234567890123456789"]
                [self.below(5) as usize]
        }

        fn multiplier(&mut self) -> Multiplier {
            Multiplier { multiplier: self.word().cast_signed(), shift: self.byte().cast_signed() }
        }

        fn size(&mut self) -> Size {
            Size { width: self.half(), height: self.half() }
        }

        fn tensor(&mut self) -> Tensor {
            let shape = Shape::new(self.word(), self.word(), self.word());
            Tensor { offset: self.word(), shape, scale: self.float(), zero_point: self.byte().cast_signed() }
        }

        fn alignment(&mut self) -> Alignment {
            Alignment {
                polarity: [Polarity::Dark, Polarity::Light, Polarity::Auto][self.below(3) as usize],
                threshold: if self.flag() { MaskThreshold::Otsu } else { MaskThreshold::Fixed(self.byte()) },
                area_min: self.word(),
                area_max: self.word(),
                whole_only: self.flag(),
                heading: [Heading::Axis, Heading::ThickEndFirst, Heading::Upright][self.below(3) as usize],
                length: self.word(),
                breadth: self.word(),
                strip: self.size(),
                registration: self.flag().then(|| Registration {
                    template: self.constant(),
                    turn: self.half(),
                    along: self.half(),
                    across: self.half(),
                    rounds: self.byte(),
                    directions: self.byte(),
                    correlation_min: self.half().cast_signed(),
                }),
            }
        }

        fn constant(&mut self) -> Constant {
            Constant { offset: self.word(), bytes: self.word() }
        }

        fn statistics(&mut self) -> WindowStatistics {
            WindowStatistics {
                level_free: self.flag(),
                logarithms: self.flag(),
                differences: self.flag(),
                blocks: self.flag(),
            }
        }

        fn log_mel(&mut self) -> LogMelFrontEnd {
            LogMelFrontEnd {
                sample_rate: self.word(),
                axes: self.byte(),
                transform: match self.below(3) {
                    0 => Transform::Spectrum,
                    1 => Transform::Envelope { decimation: self.half() },
                    _ => Transform::Waveform,
                },
                moments: self.flag(),
                fft_len: self.half(),
                hop: self.half(),
                centered: self.flag(),
                window: self.constant(),
                sine: self.constant(),
                bands: self.constant(),
                weights: self.constant(),
                epsilon: Epsilon { mantissa: self.word(), shift: self.half() },
                quantizers: self.constant(),
                context: self.half(),
                stride: self.half(),
                statistics: self.flag().then(|| self.statistics()),
                range_min: self.half(),
                saturated_max: self.half(),
            }
        }

        fn front_end(&mut self) -> FrontEnd {
            match self.below(3) {
                0 => return FrontEnd::Raw,
                1 => return FrontEnd::LogMel(self.log_mel()),
                _ => {}
            }
            FrontEnd::Image(ImageFrontEnd {
                sensor: self.size(),
                pixel_format: if self.flag() { PixelFormat::Grey8 } else { PixelFormat::Rgb888 },
                crop: Rect { x: self.half(), y: self.half(), width: self.half(), height: self.half() },
                resize: self.size(),
                range_min: self.byte(),
                saturated_max: self.half(),
                photometric: if self.flag() {
                    Photometric::None
                } else {
                    Photometric::Percentile { percent: self.byte(), target: self.byte() }
                },
                alignment: self.flag().then(|| self.alignment()),
                quantize: self.multiplier(),
            })
        }

        fn pooling(&mut self) -> Pooling {
            Pooling { smooth_radius: self.byte(), top_k: self.half() }
        }

        fn distance(&mut self) -> Distance {
            match self.flag() {
                true => Distance::Mahalanobis(Mahalanobis {
                    shared: self.flag(),
                    means: self.constant(),
                    weights: self.constant(),
                    shift: self.byte(),
                    basis: self.constant(),
                    shares: self.constant(),
                    pooling: self.pooling(),
                }),
                false => Distance::Mixture(Mixture {
                    means: self.constant(),
                    weights: self.constant(),
                    shift: self.byte(),
                    biases: self.constant(),
                    pooling: self.pooling(),
                }),
            }
        }

        fn detector(&mut self) -> Detector {
            match self.below(5) {
                0 => Detector::None,
                1 => Detector::Reconstruction(Reconstruction {
                    output_to_residual: self.multiplier(),
                    weights: match self.below(3) {
                        0 => Weights::One,
                        1 => Weights::Elements(self.constant()),
                        _ => Weights::Predicted(self.constant()),
                    },
                    pooling: self.pooling(),
                }),
                2 => Detector::Distance(self.distance()),
                3 => Detector::Fusion(Fusion {
                    rows: self.half(),
                    first: self.distance(),
                    second: self.distance(),
                    weights: [self.half(), self.half()],
                }),
                _ => Detector::Classifier(Classifier {
                    normal_class: self.half(),
                    score: if self.flag() { ClassifierScore::Margin } else { ClassifierScore::Probability },
                }),
            }
        }

        fn basis(&mut self) -> Basis {
            use ThresholdMethod::{BestF1, Conformal, CrossConformal, Gamma, Given, PerHour};
            let method = [Given, Conformal, PerHour, Gamma, BestF1, CrossConformal][self.below(6) as usize];
            Basis { method, level: self.float(), samples: self.word(), held_out: self.flag() }
        }

        fn plan(&mut self) -> Plan<'static> {
            Plan {
                provenance: Provenance {
                    neji_version: self.text(),
                    name: self.text(),
                    classes: self.text(),
                    data_hash: [(); 32].map(|()| self.byte()),
                    config_hash: [(); 32].map(|()| self.byte()),
                    seed: u64::from(self.word()) << self.below(33),
                    metrics: Metrics { auroc_float: self.float(), auroc_quantized: self.float() },
                },
                front_end: self.front_end(),
                detector: self.detector(),
                decision: Decision {
                    aggregate: [Aggregate::Mean, Aggregate::Max, Aggregate::TopK(self.half())][self.below(3) as usize],
                    scores: self.half(),
                    threshold: self.word().cast_signed(),
                    release: self.word().cast_signed(),
                    smoothing: self.half(),
                    required: self.byte(),
                    window: self.byte(),
                    score_unit: self.float(),
                    basis: self.basis(),
                    normal: self.flag().then(|| Normal { location: self.word().cast_signed(), scale: self.word() }),
                    drift: self.flag().then(|| Drift { slack: self.half(), clip: self.half(), limit: self.word() }),
                },
                element: if self.flag() { Element::I8 } else { Element::I16 },
                streaming: self.flag().then(|| Streaming {
                    phases: self.half(),
                    full_after: self.half(),
                    state_bytes: self.word(),
                }),
                input: self.tensor(),
                output: self.tensor(),
                operator_count: self.half(),
            }
        }
    }

    /// Random plans as they are written, and with one byte changed or without their end.
    #[test]
    fn reads_the_plans_that_postcard_reads() {
        let mut random = Random(8);
        let (mut whole, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let plan = random.plan();
            let mut buffer = [0; 512];
            let bytes = postcard::to_slice(&plan, &mut buffer).expect("room");
            let read = same_plan(bytes).expect("what was written is read");
            assert_eq!(written(Some(&read), 0), written(Some(&plan), 0));
            let at = random.below(bytes.len() as u64) as usize;
            assert_eq!(same_plan(&bytes[..at]), None);
            let changed = [bytes[at].wrapping_add(1), bytes[at] ^ 0x80, random.byte()][random.below(3) as usize];
            bytes[at] = changed;
            if same_plan(bytes).is_some() { whole += 1 } else { refused += 1 }
        }
        assert!(whole > 1000 && refused > 1000, "{whole} {refused}");
    }

    /// Bytes with short and long groups, most of which are operators.
    #[test]
    fn reads_what_postcard_reads() {
        let mut random = Random(7);
        let mut seen = [0_u32; 17];
        for case in 0..200_000_u32 {
            let mut bytes = [0; 160];
            // One in this many bytes goes on in the next: none, or so many that most cases are refused.
            let often = [u64::MAX, 40, 9, 3][(case / 17 % 4) as usize];
            for byte in &mut bytes {
                let low = random.next() as u8 & 0x7f;
                *byte = if random.next().is_multiple_of(often) { low | 0x80 } else { low };
            }
            let kind = case % 18;
            bytes[0] = kind as u8;
            // What is few: variants, and tensors of a concatenation.
            bytes[1] %= if kind == 7 { CONCAT_INPUTS_MAX as u8 + 2 } else { 128 };
            if kind == 4 {
                bytes[1] %= 4;
            }
            let length = if case.is_multiple_of(5) { random.next() as usize % 160 } else { 160 };
            if same(&bytes[..length]).is_some() {
                seen[kind as usize] += 1;
            }
        }
        assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
    }

    /// The largest numbers, and one bit or one group more.
    #[test]
    fn the_last_group_has_no_bit_beyond() {
        fn read<'a, T: Read<'a>>(bytes: &'a [u8]) -> Option<T> {
            let mut reader = Reader::new(bytes);
            let value = T::read(&mut reader);
            reader.rest().map(|_| value)
        }
        assert_eq!(read(&[0xff, 0xff, 0x03]), Some(0xffff_u16));
        assert_eq!(read::<u16>(&[0xff, 0xff, 0x04]), None);
        assert_eq!(read::<u16>(&[0x80, 0x80, 0x80, 0]), None);
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Some(u32::MAX));
        assert_eq!(read::<u32>(&[0xff, 0xff, 0xff, 0xff, 0x1f]), None);
        assert_eq!(read::<u32>(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]), None);
        assert_eq!(read::<u32>(&[0x80]), None);
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Some(u64::MAX));
        assert_eq!(read::<u64>(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), None);
        assert_eq!(read::<u64>(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]), None);
    }
}
