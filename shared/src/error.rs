//! Why a blob is refused.

use core::fmt;

/// Which part of a plan an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `Plan::input`.
    Input,
    /// `Plan::output`.
    Output,
    /// `Plan::front_end`.
    FrontEnd,
    /// `Plan::detector`.
    Detector,
    /// The operator of this index.
    Operator(u16),
}

/// What is wrong with a front end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontEndFault {
    /// The frame is empty or has more than 2^24 pixels.
    Sensor,
    /// The crop is empty or reaches beyond the frame.
    Crop,
    /// The resized image is empty or larger than the crop.
    Resize,
    /// `saturated_max` exceeds 1000.
    Saturated,
    /// A percentile outside 1 to 100, or a target of 0.
    Photometric,
    /// The strip is empty or has more than 2^24 pixels.
    Strip,
    /// `area_min` is 0 or exceeds `area_max`.
    Area,
    /// `length` or `breadth` is 0 or exceeds 2^24.
    Extent,
    /// A registration of no rounds or more than 8, of a strip of more than 2^16 pixels, or whose least correlation is beyond 1.
    Registration,
    /// `quantize` is no valid multiplier.
    Quantize,
    /// A sample rate, hop, context or stride of 0, a frame that is no power of two from 16 to 8192, or more than 2^20 elements.
    Frame,
    /// A sine of the table is beyond 1.
    Sine,
    /// Neither one nor at most 6 axes.
    Axes,
    /// An envelope of no samples a value, or of more than 1024.
    Decimation,
    /// There is no band, or one of a waveform, or this one is outside of the spectrum or has too large a shift.
    Band(u16),
    /// Epsilon is 0 or too small.
    Epsilon,
    /// Of more than 8192 frames, the stride does not divide the context, or there are differences of single frames.
    Statistics,
    /// There are neither one quantizer nor as many as features (with statistics as elements of a row, with blocks twice), or the
    /// factor of this one is no valid multiplier or above 1.
    Quantizer(u16),
    /// The front end gives another number of elements than the model takes.
    OutputLength {
        /// Elements of the model's input.
        needed: u32,
        /// Elements that the front end gives.
        given: u32,
    },
}

/// What is wrong with a detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetectorFault {
    /// A reconstruction of another shape than the input.
    Shape,
    /// `output_to_residual` is no valid multiplier.
    Multiplier,
    /// `smooth_radius` exceeds 2.
    SmoothRadius,
    /// `top_k` exceeds 64.
    TopK,
    /// The classifier's output is no vector of at least two classes.
    Classes,
    /// `normal_class` is no class.
    NormalClass,
    /// A shift beyond 30.
    Shift,
    /// A basis of more than 256 vectors.
    Rank,
    /// A fusion whose first rows are none or all.
    Rows,
    /// No components, or more than 1024.
    Components,
    /// The number of class names is not the number of classes.
    ClassNames {
        /// Classes of the output.
        needed: u32,
        /// Names in the provenance.
        given: u32,
    },
}

/// What is wrong with how a model streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamingFault {
    /// The operators are not whole lists of one length.
    Phases,
    /// A list does not end in the output.
    Output,
    /// The state does not lie in the arena, or input or output lie in it.
    State,
    /// `full_after` is 0.
    FullAfter,
    /// A front end that makes no rows, or a detector that compares the output with the whole window.
    Edges,
}

impl fmt::Display for StreamingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Phases => "operator_count must be a multiple of phases, both at least 1",
            Self::Output => "every phase's last operator must write the output",
            Self::State => "state_bytes must lie in the arena, before input and output",
            Self::FullAfter => "full_after must be at least 1",
            Self::Edges => "the front end must be Raw or LogMel and the detector no reconstruction",
        })
    }
}

/// What is wrong with a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecisionFault {
    /// `scores` is outside 1 to 4096.
    Scores,
    /// The largest scores of `TopK` are not 1 to 64.
    Aggregate,
    /// `release` lies above `threshold`.
    Release,
    /// `smoothing` is outside 1 to 32768.
    Smoothing,
    /// `window` is outside 1 to 32.
    Window,
    /// `required` is outside 1 to `window`.
    Required,
    /// The scale of normal scores is outside 1 to 2^30.
    Normal,
    /// Drift is to be watched where nothing is known of normal scores, `limit` is outside 1 to 2^24, or `clip` outside
    /// `slack + 1` to 32767.
    Drift,
}

/// Why a blob is refused, with the numbers that explain it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than a header or than the header promises.
    Truncated {
        /// Bytes that are needed.
        needed: u32,
        /// Bytes that there are.
        given: u32,
    },
    /// The blob does not begin at a multiple of 16.
    Misaligned {
        /// Its address modulo 16.
        remainder: u8,
    },
    /// The first four bytes are not `NEJI`.
    Magic {
        /// What they are.
        found: [u8; 4],
    },
    /// Another version of the format.
    FormatVersion {
        /// The blob's.
        found: u16,
    },
    /// A blob for a device that computes otherwise.
    Arithmetic {
        /// The blob's arithmetic id.
        found: [u8; 16],
    },
    /// A header field contradicts the others or a reserved byte is not zero.
    Header {
        /// Offset of the field in the header.
        field: u8,
        /// Its value, or the first four bytes of it.
        found: u32,
    },
    /// The bytes are not those that were written.
    Checksum {
        /// CRC-32 in the header.
        stored: u32,
        /// CRC-32 of the bytes.
        computed: u32,
    },
    /// The head of the postcard section does not decode.
    Plan,
    /// An operator does not decode.
    Operator {
        /// Its index.
        operator: u16,
    },
    /// An operator whose Cargo feature this program was built without.
    NotLinked {
        /// Its index.
        operator: u16,
        /// The number of its kind, as in the blob.
        number: u8,
    },
    /// int16 activations, which this program was built without.
    Int8Only,
    /// The postcard section goes on after the last operator.
    TrailingBytes {
        /// Bytes left.
        left: u32,
    },
    /// A constant reaches beyond the constants section.
    ConstantOutOfBounds {
        /// Whose constant.
        place: Place,
        /// Its offset.
        offset: u32,
        /// Its length.
        bytes: u32,
    },
    /// A constant does not begin at a multiple of 16.
    ConstantMisaligned {
        /// Whose constant.
        place: Place,
        /// Its offset.
        offset: u32,
    },
    /// A constant is not as long as its operator needs.
    ConstantLength {
        /// Whose constant.
        place: Place,
        /// Bytes that are needed.
        needed: u32,
        /// Bytes that there are.
        given: u32,
    },
    /// A tensor reaches beyond the arena.
    ArenaTooSmall {
        /// Whose tensor.
        place: Place,
        /// Bytes that the arena would need; `u32::MAX` if more than that.
        needed: u32,
        /// `arena_bytes` of the header.
        given: u32,
    },
    /// A tensor without elements.
    EmptyTensor {
        /// Whose tensor.
        place: Place,
    },
    /// An operator that these activations do not have, an offset or arena length that cuts an element, or a zero point other
    /// than 0 of int16.
    Element {
        /// Whose.
        place: Place,
    },
    /// A scale that is not a positive finite number.
    Scale {
        /// Whose tensor.
        place: Place,
    },
    /// An output lies over an input of the same operator.
    Overlap {
        /// The operator.
        operator: u16,
    },
    /// A tensor that is read is not made of whole, unclobbered rows of earlier outputs or the model's input.
    NotProduced {
        /// Who reads it.
        place: Place,
        /// Where it lies in the arena.
        offset: u32,
    },
    /// The detector needs the input after the run, but an operator overwrites it.
    InputOverwritten {
        /// The operator.
        operator: u16,
    },
    /// What a streaming model says of its runs does not hold.
    Streaming(StreamingFault),
    /// Shapes of inputs and output do not belong together.
    Shape {
        /// The operator.
        operator: u16,
    },
    /// A kernel, stride, dilation or padding that the operator does not allow.
    Window {
        /// The operator.
        operator: u16,
    },
    /// Tensors that must share scale and zero point do not, or a fixed one is missed.
    Quantization {
        /// The operator.
        operator: u16,
    },
    /// A multiplier or shift out of range.
    Multiplier {
        /// The operator.
        operator: u16,
        /// The output channel; 0 where there is one multiplier for all.
        channel: u32,
    },
    /// `activation_min` above `activation_max`.
    Activation {
        /// The operator.
        operator: u16,
    },
    /// An i32 could overflow for some input.
    AccumulatorOverflow {
        /// The operator.
        operator: u16,
        /// The output channel; 0 where all are alike.
        channel: u32,
    },
    /// Weights in pairs of rows that are not what [`Packing::Pairs`](crate::Packing::Pairs) allows.
    Packing {
        /// The operator.
        operator: u16,
        /// The row, which is the output channel; the number of rows where it lies beyond.
        channel: u32,
    },
    /// A parameter of one operator out of range: `left_shift`, `difference_min`, `axis`, a factor, no inputs.
    Parameter {
        /// The operator.
        operator: u16,
    },
    /// The front end.
    FrontEnd(FrontEndFault),
    /// The detector.
    Detector(DetectorFault),
    /// The decision.
    Decision(DecisionFault),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("model input"),
            Self::Output => f.write_str("model output"),
            Self::FrontEnd => f.write_str("front end"),
            Self::Detector => f.write_str("detector"),
            Self::Operator(index) => write!(f, "operator {index}"),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { needed, given } => {
                write!(f, "blob is cut off: {given} bytes where {needed} are needed; copy the whole file")
            }
            Self::Misaligned { remainder } => {
                write!(f, "blob begins {remainder} bytes after a multiple of 16; align its memory region to 16")
            }
            Self::Magic { found } => {
                write!(f, "not a model blob: it begins with {found:02x?}, not with \"NEJI\"; flash a .neji file")
            }
            Self::FormatVersion { found } => write!(
                f,
                "blob has format version {found}, this program reads {}; quantize the model again with the matching neji",
                crate::header::FORMAT_VERSION
            ),
            Self::Arithmetic { found } => {
                f.write_str("blob is made for arithmetic \"")?;
                for byte in found.iter().take_while(|&&byte| byte != 0) {
                    write!(f, "{}", byte.escape_ascii())?;
                }
                f.write_str(
                    "\", this program computes \"neji.int8.v1\"; quantize the model again with the matching neji",
                )
            }
            Self::Header { field, found } => {
                write!(f, "header field at byte {field} holds the impossible value {found:#x}; the file is damaged")
            }
            Self::Checksum { stored, computed } => {
                write!(
                    f,
                    "checksum is {computed:#010x}, the header says {stored:#010x}; the file is damaged, copy it again"
                )
            }
            Self::Plan => f.write_str("the plan does not decode; write the blob with neji's encoder"),
            Self::Operator { operator } => {
                write!(f, "operator {operator} does not decode; write the blob with neji's encoder")
            }
            Self::NotLinked { operator, number } => {
                let feature = crate::read::FEATURES.get(usize::from(number)).copied().unwrap_or("");
                write!(
                    f,
                    "operator {operator} needs neji-engine's feature {feature}, this firmware was built without it"
                )
            }
            Self::Int8Only => f.write_str("the model has int16 activations, this firmware computes int8 only"),
            Self::TrailingBytes { left } => {
                write!(
                    f,
                    "the plan goes on for {left} bytes after its last operator; correct plan_bytes or operator_count"
                )
            }
            Self::ConstantOutOfBounds { place, offset, bytes } => {
                write!(f, "{place}: constant of {bytes} bytes at {offset} reaches beyond the constants section")
            }
            Self::ConstantMisaligned { place, offset } => {
                write!(f, "{place}: constant at {offset} must begin at a multiple of 16")
            }
            Self::ConstantLength { place, needed, given } => {
                write!(f, "{place}: constant has {given} bytes, its shapes need {needed}")
            }
            Self::ArenaTooSmall { place, needed, given } => {
                write!(
                    f,
                    "{place}: a tensor ends at byte {needed} of an arena of {given}; raise arena_bytes or move it"
                )
            }
            Self::EmptyTensor { place } => {
                write!(f, "{place}: a tensor without elements; every dimension must be at least 1")
            }
            Self::Element { place } => write!(
                f,
                "{place}: not possible with the plan's activations; int16 has even offsets, zero points of 0 and no Lut or \
                 Softmax, int8 has no Sigmoid"
            ),
            Self::Scale { place } => write!(f, "{place}: the scale of a tensor must be finite and positive"),
            Self::Overlap { operator } => {
                write!(f, "operator {operator}: the output lies over an input; give it memory of its own")
            }
            Self::NotProduced { place, offset } => write!(
                f,
                "{place}: nothing wrote the tensor at arena byte {offset}, or it was overwritten or described otherwise; \
                 correct its offset, shape, scale and zero point or the order of operators"
            ),
            Self::InputOverwritten { operator } => write!(
                f,
                "operator {operator} overwrites the model's input, which the detector compares with the output; \
                 give it memory of its own"
            ),
            Self::Streaming(fault) => write!(f, "streaming: {fault}"),
            Self::Shape { operator } => {
                write!(f, "operator {operator}: shapes of inputs and output do not belong together")
            }
            Self::Window { operator } => {
                write!(f, "operator {operator}: kernel, stride, dilation or padding is not allowed here")
            }
            Self::Quantization { operator } => {
                write!(f, "operator {operator}: scale or zero point of inputs and output do not belong together")
            }
            Self::Multiplier { operator, channel } => write!(
                f,
                "operator {operator}, channel {channel}: a multiplier must be 0 or in [2^29, 2^31) with a shift in [-31, 30]"
            ),
            Self::Activation { operator } => write!(f, "operator {operator}: activation_min exceeds activation_max"),
            Self::AccumulatorOverflow { operator, channel } => write!(
                f,
                "operator {operator}, channel {channel}: a 32-bit sum could overflow; use smaller weights, a smaller bias \
                 or a smaller window"
            ),
            Self::Packing { operator, channel } => write!(
                f,
                "operator {operator}, channel {channel}: weights in pairs of rows are for int8, -128 to 127 with zeros beyond \
                 the rows, for sums below 2^23 and shifts from -22 to 0; pack them anew with `neji pack`"
            ),
            Self::Parameter { operator } => write!(f, "operator {operator}: a parameter is out of its range"),
            Self::FrontEnd(fault) => write!(f, "front end: {fault}"),
            Self::Detector(fault) => write!(f, "detector: {fault}"),
            Self::Decision(fault) => write!(f, "decision: {fault}"),
        }
    }
}

impl fmt::Display for FrontEndFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::Sensor => "the frame must have 1 to 2^24 pixels",
            Self::Crop => "the crop must lie inside the frame and not be empty",
            Self::Resize => "the resized image must be no larger than the crop and not be empty",
            Self::Saturated => "saturated_max must be at most 1000",
            Self::Photometric => "the percentile must be 1 to 100 and its target 1 to 255",
            Self::Strip => "the strip must have 1 to 2^24 pixels",
            Self::Area => "area_min must be 1 to area_max",
            Self::Extent => "length and breadth must be 1 to 2^24",
            Self::Registration => {
                "a registration must have 1 to 8 rounds, a strip of at most 2^16 pixels and a least correlation of -1000 to 1000"
            }
            Self::Quantize => "the multiplier must be 0 or in [2^29, 2^31) with a shift in [-31, 30]",
            Self::Frame => {
                "sample rate, hop, context and stride must be at least 1, the frame a power of two from 16 to 8192, and the \
                 input at most 2^20 elements"
            }
            Self::Sine => "the sine table must stay within 2^30",
            Self::Axes => "there must be 1 to 6 axes",
            Self::Decimation => "the envelope's decimation must be 1 to 1024",
            Self::Band(band) => {
                return write!(f, "band {band} is missing, of a waveform, outside of the spectrum, or its shift exceeds 64");
            }
            Self::Epsilon => "epsilon must not be 0, and its shift be at most 256",
            Self::Statistics => {
                "with statistics the stride must divide the context, which must be at most 8192; with differences it must be at \
                 least 2"
            }
            Self::Quantizer(band) => {
                return write!(
                    f,
                    "quantizer {band}: there must be one or as many as features (with statistics as elements of a row, with \
                     blocks twice), each multiplier 0 or in [2^29, 2^31) with a \
                     shift in [-31, 0]"
                );
            }
            Self::OutputLength { needed, given } => {
                return write!(
                    f,
                    "it gives {given} elements, the model takes {needed}; change the resize, the strip or the model"
                );
            }
        })
    }
}

impl fmt::Display for DetectorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::Shape => "a reconstruction must have the input's shape, or twice its rows with predicted weights",
            Self::Multiplier => "output_to_residual must be 0 or in [2^29, 2^31) with a shift in [-31, 30]",
            Self::SmoothRadius => "smooth_radius must be at most 2",
            Self::TopK => "top_k must be at most 64",
            Self::Classes => "a classifier's output must be 1 x 1 x at least 2 classes",
            Self::Shift => "shift must be at most 30",
            Self::Rank => "shares must be two bytes for each of at most 256 vectors of the basis",
            Self::Rows => "rows must be at least 1 and fewer than the output has",
            Self::Components => "means must be whole rows of the output's channels, 1 to 1024 of them",
            Self::NormalClass => "normal_class must be below the number of classes",
            Self::ClassNames { needed, given } => {
                return write!(f, "{given} class names for {needed} classes; name all or none");
            }
        })
    }
}

impl fmt::Display for DecisionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scores => "scores must be 1 to 4096",
            Self::Aggregate => "the mean of the largest must be of 1 to 64 scores",
            Self::Release => "release must be at most threshold",
            Self::Smoothing => "smoothing must be 1 to 32768",
            Self::Window => "window must be 1 to 32",
            Self::Required => "required must be 1 to window",
            Self::Normal => "the scale of normal scores must be 1 to 2^30",
            Self::Drift => "drift needs normal scores, a limit of 1 to 2^24 and a clip from above its slack to 32767",
        })
    }
}

impl core::error::Error for DecodeError {}
