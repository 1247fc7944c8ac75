//! A `.tflite` file, read and checked: tensors, operators and their options, without a meaning yet.
//!
//! Fields are those of TensorFlow Lite's `schema.fbs`, version 3, by their slot.

use anyhow::{Context, Result, bail, ensure};

use super::builtin;
use super::flat::{self, Field, Reader};

/// What a tensor's elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Float32,
    Int32,
    Int64,
    Int16,
    Int8,
    /// Any other, by its number in `enum TensorType`.
    Other(u8),
}

impl Kind {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Float32,
            2 => Self::Int32,
            4 => Self::Int64,
            7 => Self::Int16,
            9 => Self::Int8,
            other => Self::Other(other),
        }
    }
}

/// A tensor.
#[derive(Debug, Clone)]
pub(super) struct Tensor<'b> {
    pub(super) name: String,
    pub(super) shape: Vec<i32>,
    pub(super) kind: Kind,
    /// One, one a channel, or none.
    pub(super) scales: Vec<f32>,
    pub(super) zero_points: Vec<i64>,
    /// The dimension of per-channel scales.
    pub(super) dimension: i32,
    /// The value of a constant.
    pub(super) data: Option<&'b [u8]>,
}

/// Padding of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Padding {
    Same,
    Valid,
}

/// A fused activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    None,
    Relu,
    ReluN1To1,
    Relu6,
}

/// What an operator is told beside its tensors; `[vertical, horizontal]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Options {
    /// Nothing that matters.
    None,
    Conv {
        padding: Padding,
        stride: [i32; 2],
        dilation: [i32; 2],
        activation: Activation,
    },
    Pool {
        padding: Padding,
        stride: [i32; 2],
        kernel: [i32; 2],
        activation: Activation,
    },
    FullyConnected {
        activation: Activation,
    },
    Elementwise {
        activation: Activation,
    },
    Concat {
        axis: i32,
    },
    Softmax {
        beta: f32,
    },
    LeakyRelu {
        alpha: f32,
    },
    ResizeNearest {
        align_corners: bool,
        half_pixel_centers: bool,
    },
}

/// An operator.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    pub(super) code: i32,
    /// Indices of tensors; -1 is none.
    pub(super) inputs: Vec<i32>,
    pub(super) outputs: Vec<i32>,
    pub(super) options: Options,
}

/// The first subgraph of a file, which must be the only one.
#[derive(Debug, Clone)]
pub(super) struct File<'b> {
    pub(super) tensors: Vec<Tensor<'b>>,
    pub(super) operators: Vec<Operator>,
    pub(super) inputs: Vec<i32>,
    pub(super) outputs: Vec<i32>,
}

impl<'b> File<'b> {
    /// Reads a file.
    ///
    /// # Errors
    /// It is no valid flatbuffer, of another version, or not one subgraph of builtin operators; says where.
    pub(super) fn read(bytes: &'b [u8]) -> Result<Self> {
        let options = flat::options(bytes.len());
        let mut reader = Reader::new(&options, bytes);
        let root = reader.root(*b"TFL3").context("not a .tflite file")?;
        let [version, codes, subgraphs, _description, buffers] = reader.table(root)?;
        let version = reader.i32(version, 0)?;
        ensure!(version == 3, "schema version {version}; 3 is read");
        let codes = codes_of(&mut reader, codes)?;
        let buffers = buffers_of(&mut reader, buffers)?;
        let subgraphs = reader.tables(subgraphs)?;
        let [subgraph] = subgraphs[..] else {
            bail!("{} subgraphs; models with one are read", subgraphs.len());
        };
        let [tensors, inputs, outputs, operators] = reader.table(subgraph)?;
        let mut file = Self {
            tensors: Vec::new(),
            operators: Vec::new(),
            inputs: reader.i32s(inputs)?,
            outputs: reader.i32s(outputs)?,
        };
        for (index, position) in reader.tables(tensors)?.into_iter().enumerate() {
            let tensor = tensor(&mut reader, position, &buffers).with_context(|| format!("tensor {index}"))?;
            file.tensors.push(tensor);
        }
        for (index, position) in reader.tables(operators)?.into_iter().enumerate() {
            let operator = operator(&mut reader, position, &codes).with_context(|| format!("operator {index}"))?;
            file.operators.push(operator);
        }
        let count = file.tensors.len();
        let places = [&file.inputs, &file.outputs].into_iter().flatten();
        let places =
            places.chain(file.operators.iter().flat_map(|operator| operator.inputs.iter().chain(&operator.outputs)));
        for &index in places {
            ensure!(index == -1 || usize::try_from(index).is_ok_and(|i| i < count), "tensor {index} of {count}");
        }
        Ok(file)
    }
}

/// The builtin code of each operator code, or a custom operator's name.
fn codes_of(reader: &mut Reader<'_, '_>, field: Field) -> Result<Vec<Result<i32, String>>> {
    let mut codes = Vec::new();
    for position in reader.tables(field)? {
        let [deprecated, custom, _version, code] = reader.table(position)?;
        // Codes above 127 did not fit the first field; writers fill both, old ones only the first.
        let deprecated = i32::from(reader.u8(deprecated, 0)?.cast_signed());
        let code = reader.i32(code, 0)?.max(deprecated);
        const CUSTOM: i32 = 32;
        codes.push(if code == CUSTOM { Err(reader.text(custom)?) } else { Ok(code) });
    }
    Ok(codes)
}

fn buffers_of<'b>(reader: &mut Reader<'_, 'b>, field: Field) -> Result<Vec<&'b [u8]>> {
    let mut buffers = Vec::new();
    for position in reader.tables(field)? {
        let [data, offset, _size] = reader.table(position)?;
        ensure!(reader.u64(offset, 0)? <= 1, "a buffer outside the flatbuffer; convert models beyond 2 GB otherwise");
        buffers.push(reader.vector(data, 1)?.unwrap_or_default());
    }
    Ok(buffers)
}

fn tensor<'b>(reader: &mut Reader<'_, 'b>, position: usize, buffers: &[&'b [u8]]) -> Result<Tensor<'b>> {
    let [shape, kind, buffer, name, quantization, _variable, sparsity] = reader.table(position)?;
    ensure!(sparsity.is_none(), "sparse tensors are not read; convert the model without sparsity");
    let buffer = reader.i32(buffer, 0)?.cast_unsigned() as usize;
    let data = *buffers.get(buffer).with_context(|| format!("buffer {buffer} of {}", buffers.len()))?;
    let mut tensor = Tensor {
        name: reader.text(name)?,
        shape: reader.i32s(shape)?,
        kind: Kind::of(reader.u8(kind, 0)?),
        scales: Vec::new(),
        zero_points: Vec::new(),
        dimension: 0,
        // Buffer 0 is empty by convention, as is that of every tensor that is no constant.
        data: (!data.is_empty()).then_some(data),
    };
    if let Some(field) = quantization {
        let quantization = reader.offset(field)?;
        let [_min, _max, scale, zero_point, _kind, _details, dimension] = reader.table(quantization)?;
        tensor.scales = reader.f32s(scale)?;
        tensor.zero_points = reader.i64s(zero_point)?;
        tensor.dimension = reader.i32(dimension, 0)?;
    }
    Ok(tensor)
}

fn operator(reader: &mut Reader<'_, '_>, position: usize, codes: &[Result<i32, String>]) -> Result<Operator> {
    let [code, inputs, outputs, _kind, options] = reader.table(position)?;
    let code = reader.i32(code, 0)?.cast_unsigned() as usize;
    let code = match codes.get(code).with_context(|| format!("operator code {code} of {}", codes.len()))? {
        Ok(code) => *code,
        Err(custom) => bail!("custom operator \"{custom}\"; builtin ones are imported"),
    };
    let (inputs, outputs) = (reader.i32s(inputs)?, reader.i32s(outputs)?);
    let options = match options {
        Some(field) => {
            let position = reader.offset(field)?;
            read_options(reader, code, position)
        }
        None => defaults(code),
    };
    let options = options.with_context(|| builtin::name(code))?;
    Ok(Operator { code, inputs, outputs, options })
}

fn activation(number: u8) -> Result<Activation> {
    Ok(match number {
        0 => Activation::None,
        1 => Activation::Relu,
        2 => Activation::ReluN1To1,
        3 => Activation::Relu6,
        other => bail!("fused activation {other}; NONE, RELU, RELU_N1_TO_1 and RELU6 are imported"),
    })
}

fn padding(number: u8) -> Result<Padding> {
    Ok(match number {
        0 => Padding::Same,
        1 => Padding::Valid,
        other => bail!("padding {other}; SAME and VALID are known"),
    })
}

/// What an operator without a table of options is told.
fn defaults(code: i32) -> Result<Options> {
    Ok(match code {
        builtin::ADD | builtin::SUB | builtin::MUL => Options::Elementwise { activation: Activation::None },
        builtin::FULLY_CONNECTED => Options::FullyConnected { activation: Activation::None },
        builtin::RESIZE_NEAREST_NEIGHBOR => Options::ResizeNearest { align_corners: false, half_pixel_centers: false },
        builtin::CONV_2D
        | builtin::DEPTHWISE_CONV_2D
        | builtin::TRANSPOSE_CONV
        | builtin::MAX_POOL_2D
        | builtin::AVERAGE_POOL_2D
        | builtin::CONCATENATION
        | builtin::SOFTMAX
        | builtin::LEAKY_RELU => bail!("no options"),
        _ => Options::None,
    })
}

/// The table of options at `position`, read as what `code` needs.
fn read_options(reader: &mut Reader<'_, '_>, code: i32, position: usize) -> Result<Options> {
    let pair = |reader: &mut Reader<'_, '_>, vertical: Field, horizontal: Field, default: i32| -> Result<[i32; 2]> {
        Ok([reader.i32(vertical, default)?, reader.i32(horizontal, default)?])
    };
    Ok(match code {
        builtin::CONV_2D => {
            let [pad, stride_w, stride_h, fused, dilation_w, dilation_h] = reader.table(position)?;
            Options::Conv {
                padding: padding(reader.u8(pad, 0)?)?,
                stride: pair(reader, stride_h, stride_w, 0)?,
                dilation: pair(reader, dilation_h, dilation_w, 1)?,
                activation: activation(reader.u8(fused, 0)?)?,
            }
        }
        builtin::DEPTHWISE_CONV_2D => {
            let [pad, stride_w, stride_h, _multiplier, fused, dilation_w, dilation_h] = reader.table(position)?;
            Options::Conv {
                padding: padding(reader.u8(pad, 0)?)?,
                stride: pair(reader, stride_h, stride_w, 0)?,
                dilation: pair(reader, dilation_h, dilation_w, 1)?,
                activation: activation(reader.u8(fused, 0)?)?,
            }
        }
        builtin::TRANSPOSE_CONV => {
            let [pad, stride_w, stride_h, fused] = reader.table(position)?;
            Options::Conv {
                padding: padding(reader.u8(pad, 0)?)?,
                stride: pair(reader, stride_h, stride_w, 0)?,
                dilation: [1, 1],
                activation: activation(reader.u8(fused, 0)?)?,
            }
        }
        builtin::MAX_POOL_2D | builtin::AVERAGE_POOL_2D => {
            let [pad, stride_w, stride_h, kernel_w, kernel_h, fused] = reader.table(position)?;
            Options::Pool {
                padding: padding(reader.u8(pad, 0)?)?,
                stride: pair(reader, stride_h, stride_w, 0)?,
                kernel: pair(reader, kernel_h, kernel_w, 0)?,
                activation: activation(reader.u8(fused, 0)?)?,
            }
        }
        builtin::FULLY_CONNECTED => {
            let [fused, format] = reader.table(position)?;
            ensure!(reader.u8(format, 0)? == 0, "shuffled weights; the default layout is imported");
            Options::FullyConnected { activation: activation(reader.u8(fused, 0)?)? }
        }
        builtin::ADD | builtin::SUB | builtin::MUL => {
            let [fused] = reader.table(position)?;
            Options::Elementwise { activation: activation(reader.u8(fused, 0)?)? }
        }
        builtin::CONCATENATION => {
            let [axis, fused] = reader.table(position)?;
            ensure!(activation(reader.u8(fused, 0)?)? == Activation::None, "a fused activation");
            Options::Concat { axis: reader.i32(axis, 0)? }
        }
        builtin::SOFTMAX => {
            let [beta] = reader.table(position)?;
            Options::Softmax { beta: reader.f32(beta, 0.0)? }
        }
        builtin::LEAKY_RELU => {
            let [alpha] = reader.table(position)?;
            Options::LeakyRelu { alpha: reader.f32(alpha, 0.0)? }
        }
        builtin::RESIZE_NEAREST_NEIGHBOR => {
            let [align_corners, half_pixel_centers] = reader.table(position)?;
            Options::ResizeNearest {
                align_corners: reader.u8(align_corners, 0)? != 0,
                half_pixel_centers: reader.u8(half_pixel_centers, 0)? != 0,
            }
        }
        _ => Options::None,
    })
}
