//! Tiny `.tflite` files, written by the flatbuffer builder: one for each operator and one for each way in and out.
//!
//! Used by tests and, by its path, by the seeds of the fuzz targets.

use flatbuffers::{FlatBufferBuilder, TableFinishedWIPOffset, WIPOffset};

type Table = WIPOffset<TableFinishedWIPOffset>;

/// A field of a table of options, by its slot.
#[derive(Clone, Copy)]
enum Value {
    Byte(u16, u8),
    Int(u16, i32),
    Float(u16, f32),
}

const FLOAT32: u8 = 0;
const INT32: u8 = 2;
const INT64: u8 = 4;
const INT16: u8 = 7;
const INT8: u8 = 9;

struct Tensor {
    shape: Vec<i32>,
    kind: u8,
    scales: Vec<f32>,
    /// The dimension of the scales where there are several.
    dimension: i32,
    zero_point: i64,
    data: Vec<u8>,
}

struct Operator {
    code: i32,
    inputs: Vec<i32>,
    output: i32,
    options: Vec<Value>,
}

/// A model in the making; tensor 0 is its input.
struct Model {
    /// Kind of its activations.
    kind: u8,
    tensors: Vec<Tensor>,
    operators: Vec<Operator>,
}

/// Bytes that look like weights.
fn noise(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index * 37 % 251) as u8).collect()
}

fn bytes(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

impl Model {
    fn new(shape: &[i32]) -> Self {
        Self::of(INT8, shape)
    }

    fn of(kind: u8, shape: &[i32]) -> Self {
        let mut model = Self { kind, tensors: Vec::new(), operators: Vec::new() };
        model.activation(shape, 0.5, 3);
        model
    }

    /// int16 has none.
    fn zero_point(&self, zero_point: i64) -> i64 {
        if self.kind == INT8 { zero_point } else { 0 }
    }

    fn push(&mut self, tensor: Tensor) -> i32 {
        self.tensors.push(tensor);
        self.tensors.len() as i32 - 1
    }

    fn activation(&mut self, shape: &[i32], scale: f32, zero_point: i64) -> i32 {
        let (scales, kind, zero_point) = (vec![scale], self.kind, self.zero_point(zero_point));
        self.push(Tensor { shape: shape.into(), kind, scales, dimension: 0, zero_point, data: Vec::new() })
    }

    fn constant(&mut self, shape: &[i32]) -> i32 {
        let (kind, zero_point) = (self.kind, self.zero_point(-1));
        let data = noise(shape.iter().product::<i32>() as usize * if kind == INT8 { 1 } else { 2 });
        self.push(Tensor { shape: shape.into(), kind, scales: vec![0.25], dimension: 0, zero_point, data })
    }

    fn integers(&mut self, values: &[i32]) -> i32 {
        let shape = vec![values.len() as i32];
        let data = bytes(values);
        self.push(Tensor { shape, kind: INT32, scales: Vec::new(), dimension: 0, zero_point: 0, data })
    }

    /// Weights and bias of a layer; one scale for each size of `dimension`, or one for all.
    fn layer(&mut self, shape: &[i32], dimension: Option<usize>, channels: i32) -> [i32; 2] {
        let data = noise(shape.iter().product::<i32>() as usize);
        let scales: Vec<f32> = (0..dimension.map_or(1, |d| shape[d])).map(|c| 0.01 + 0.002 * c as f32).collect();
        let dimension = dimension.unwrap_or(0) as i32;
        let weights = self.push(Tensor { shape: shape.into(), kind: INT8, scales, dimension, zero_point: 0, data });
        let biases: Vec<i32> = (0..channels).map(|c| 9 * c - 7).collect();
        let bias = self.integers(&biases);
        if self.kind == INT16 {
            let wide = biases.iter().flat_map(|&bias| i64::from(bias).to_le_bytes()).collect();
            (self.tensors[bias as usize].kind, self.tensors[bias as usize].data) = (INT64, wide);
        }
        [weights, bias]
    }

    /// Appends an operator with an output of its own.
    fn then(&mut self, code: i32, inputs: &[i32], options: &[Value], shape: &[i32]) -> i32 {
        self.scaled(code, inputs, options, shape, 0.5, 3)
    }

    fn scaled(
        &mut self,
        code: i32,
        inputs: &[i32],
        options: &[Value],
        shape: &[i32],
        scale: f32,
        zero_point: i64,
    ) -> i32 {
        let output = self.activation(shape, scale, zero_point);
        self.operators.push(Operator { code, inputs: inputs.into(), output, options: options.into() });
        output
    }

    /// The file; the last operator's output is the model's.
    fn write(&self) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let mut codes: Vec<i32> = self.operators.iter().map(|operator| operator.code).collect();
        codes.sort_unstable();
        codes.dedup();
        let tensors: Vec<Table> = (1..).zip(&self.tensors).map(|(at, t)| write_tensor(&mut builder, t, at)).collect();
        let operators: Vec<Table> = self
            .operators
            .iter()
            .map(|operator| {
                let options = write_options(&mut builder, &operator.options);
                let inputs = builder.create_vector(&operator.inputs);
                let outputs = builder.create_vector(&[operator.output]);
                let table = builder.start_table();
                let code = codes.binary_search(&operator.code).unwrap_or(0) as u32;
                builder.push_slot_always(slot(0), code);
                builder.push_slot_always(slot(1), inputs);
                builder.push_slot_always(slot(2), outputs);
                if let Some(options) = options {
                    builder.push_slot_always(slot(4), options);
                }
                builder.end_table(table)
            })
            .collect();
        let output = self.operators.last().map_or(0, |operator| operator.output);
        let (inputs, outputs) = (builder.create_vector(&[0_i32]), builder.create_vector(&[output]));
        let (tensors, operators) = (builder.create_vector(&tensors), builder.create_vector(&operators));
        let table = builder.start_table();
        builder.push_slot_always(slot(0), tensors);
        builder.push_slot_always(slot(1), inputs);
        builder.push_slot_always(slot(2), outputs);
        builder.push_slot_always(slot(3), operators);
        let subgraph = builder.end_table(table);
        let subgraphs = builder.create_vector(&[subgraph]);
        let codes: Vec<Table> = codes
            .iter()
            .map(|&code| {
                let table = builder.start_table();
                builder.push_slot_always(slot(0), code.min(127) as i8);
                builder.push_slot_always(slot(3), code);
                builder.end_table(table)
            })
            .collect();
        let codes = builder.create_vector(&codes);
        // Buffer 0 is empty; then one a tensor.
        let none = Vec::new();
        let data = std::iter::once(&none).chain(self.tensors.iter().map(|tensor| &tensor.data));
        let buffers: Vec<Table> = data
            .map(|data| {
                let data = (!data.is_empty()).then(|| builder.create_vector(data));
                let table = builder.start_table();
                if let Some(data) = data {
                    builder.push_slot_always(slot(0), data);
                }
                builder.end_table(table)
            })
            .collect();
        let buffers = builder.create_vector(&buffers);
        let table = builder.start_table();
        builder.push_slot_always(slot(0), 3_u32);
        builder.push_slot_always(slot(1), codes);
        builder.push_slot_always(slot(2), subgraphs);
        builder.push_slot_always(slot(4), buffers);
        let model = builder.end_table(table);
        builder.finish(model, Some("TFL3"));
        builder.finished_data().to_vec()
    }
}

/// Where slot `index` stands in a vtable.
fn slot(index: u16) -> u16 {
    4 + 2 * index
}

fn write_tensor(builder: &mut FlatBufferBuilder<'_>, tensor: &Tensor, buffer: u32) -> Table {
    let name = builder.create_string("t");
    let shape = builder.create_vector(&tensor.shape);
    let scales = builder.create_vector(&tensor.scales);
    let zero_points = builder.create_vector(&vec![tensor.zero_point; tensor.scales.len()]);
    let table = builder.start_table();
    builder.push_slot_always(slot(2), scales);
    builder.push_slot_always(slot(3), zero_points);
    builder.push_slot_always(slot(6), tensor.dimension);
    let quantization = builder.end_table(table);
    let table = builder.start_table();
    builder.push_slot_always(slot(0), shape);
    builder.push_slot_always(slot(1), tensor.kind);
    builder.push_slot_always(slot(2), buffer);
    builder.push_slot_always(slot(3), name);
    builder.push_slot_always(slot(4), quantization);
    builder.end_table(table)
}

fn write_options(builder: &mut FlatBufferBuilder<'_>, options: &[Value]) -> Option<Table> {
    if options.is_empty() {
        return None;
    }
    let table = builder.start_table();
    for option in options {
        match *option {
            Value::Byte(index, value) => builder.push_slot_always(slot(index), value),
            Value::Int(index, value) => builder.push_slot_always(slot(index), value),
            Value::Float(index, value) => builder.push_slot_always(slot(index), value),
        }
    }
    Some(builder.end_table(table))
}

/// A name and a file.
pub(super) fn all() -> Vec<(&'static str, Vec<u8>)> {
    [layers(), pools(), elementwise(), movement(), wide(), ways()].concat()
}

fn layers() -> Vec<(&'static str, Vec<u8>)> {
    use Value::{Byte, Int};
    let mut conv = Model::new(&[1, 4, 5, 2]);
    let [weights, bias] = conv.layer(&[3, 3, 3, 2], Some(0), 3);
    // SAME, stride 2 x 1, ReLU6.
    conv.then(3, &[0, weights, bias], &[Byte(0, 0), Int(1, 1), Int(2, 2), Byte(3, 3)], &[1, 2, 5, 3]);

    let mut depthwise = Model::new(&[1, 4, 4, 2]);
    let [weights, bias] = depthwise.layer(&[1, 2, 2, 4], Some(3), 4);
    // VALID, stride 1, dilation 2.
    let options = [Byte(0, 1), Int(1, 1), Int(2, 1), Int(3, 2), Byte(4, 0), Int(5, 2), Int(6, 2)];
    depthwise.then(4, &[0, weights, bias], &options, &[1, 2, 2, 4]);

    let mut transposed = Model::new(&[1, 2, 3, 2]);
    let [weights, bias] = transposed.layer(&[2, 2, 2, 2], None, 2);
    let size = transposed.integers(&[1, 4, 6, 2]);
    transposed.then(67, &[size, weights, 0, bias], &[Byte(0, 0), Int(1, 2), Int(2, 2)], &[1, 4, 6, 2]);

    let mut dense = Model::new(&[1, 6]);
    let [weights, bias] = dense.layer(&[4, 6], None, 4);
    dense.then(9, &[0, weights, bias], &[Byte(0, 1)], &[1, 4]);

    let mut rows = Model::new(&[3, 6]);
    let [weights, _] = rows.layer(&[4, 6], Some(0), 4);
    rows.then(9, &[0, weights, -1], &[Byte(0, 0)], &[3, 4]);

    vec![
        ("conv2d", conv.write()),
        ("depthwise_conv2d", depthwise.write()),
        ("transpose_conv2d", transposed.write()),
        ("fully_connected", dense.write()),
        ("fully_connected_rows", rows.write()),
    ]
}

fn pools() -> Vec<(&'static str, Vec<u8>)> {
    use Value::{Byte, Float, Int};
    let window = [Byte(0, 0), Int(1, 2), Int(2, 2), Int(3, 3), Int(4, 3), Byte(5, 1)];
    let mut pool = Model::new(&[1, 5, 5, 2]);
    let pooled = pool.then(17, &[0], &window, &[1, 3, 3, 2]);
    pool.then(1, &[pooled], &window, &[1, 2, 2, 2]);

    let mut mean = Model::new(&[1, 3, 4, 2]);
    let axes = mean.integers(&[1, 2]);
    mean.then(40, &[0, axes], &[], &[1, 2]);

    let mut sum = Model::new(&[1, 3, 4, 2]);
    let axes = sum.integers(&[-1, 1]);
    sum.then(40, &[0, axes], &[], &[1, 4]);

    let mut softmax = Model::new(&[2, 5]);
    softmax.scaled(25, &[0], &[Float(0, 1.0)], &[2, 5], 1.0 / 256.0, -128);
    vec![
        ("pools", pool.write()),
        ("mean", mean.write()),
        ("mean_of_channels", sum.write()),
        ("softmax", softmax.write()),
    ]
}

fn elementwise() -> Vec<(&'static str, Vec<u8>)> {
    use Value::{Byte, Float};
    let mut binary = Model::new(&[1, 2, 3, 2]);
    let row = binary.constant(&[1, 1, 2]);
    let sum = binary.scaled(0, &[0, row], &[Byte(0, 1)], &[1, 2, 3, 2], 0.75, -5);
    let difference = binary.then(41, &[sum, 0], &[], &[1, 2, 3, 2]);
    binary.then(18, &[difference, sum], &[Byte(0, 2)], &[1, 2, 3, 2]);

    let mut tables = Model::new(&[4]);
    let leaky = tables.then(98, &[0], &[Float(0, 0.25)], &[4]);
    let swish = tables.then(117, &[leaky], &[], &[4]);
    let relu = [19, 20, 21, 114].into_iter().fold(swish, |value, code| tables.then(code, &[value], &[], &[4]));
    let tanh = tables.scaled(28, &[relu], &[], &[4], 1.0 / 128.0, 0);
    tables.scaled(14, &[tanh], &[], &[4], 1.0 / 256.0, -128);
    vec![("binary", binary.write()), ("tables", tables.write())]
}

fn movement() -> Vec<(&'static str, Vec<u8>)> {
    use Value::{Byte, Int};
    let mut join = Model::new(&[1, 2, 2, 1]);
    let constant = join.constant(&[1, 2, 2, 2]);
    join.then(2, &[0, constant, 0, 0, constant], &[Int(0, -1), Byte(1, 0)], &[1, 2, 2, 7]);

    let mut pad = Model::new(&[1, 2, 2, 2]);
    let around = pad.integers(&[0, 0, 1, 0, 0, 2, 1, 1]);
    let padded = pad.then(34, &[0, around], &[], &[1, 3, 4, 4]);
    let flat = pad.then(22, &[padded], &[], &[6, 8]);
    let wider = pad.then(70, &[flat], &[], &[1, 6, 8]);
    pad.then(43, &[wider], &[], &[6, 8]);

    let mut resize = Model::new(&[1, 2, 3, 2]);
    let size = resize.integers(&[5, 4]);
    resize.then(97, &[0, size], &[Byte(0, 0), Byte(1, 1)], &[1, 5, 4, 2]);
    vec![("concatenation", join.write()), ("pad_and_reshape", pad.write()), ("resize_nearest", resize.write())]
}

/// int16 activations.
fn wide() -> Vec<(&'static str, Vec<u8>)> {
    use Value::{Byte, Int};
    let mut layers = Model::of(INT16, &[1, 4, 4, 2]);
    let [weights, bias] = layers.layer(&[3, 3, 3, 2], Some(0), 3);
    let conv = layers.then(3, &[0, weights, bias], &[Byte(0, 0), Int(1, 1), Int(2, 2), Byte(3, 3)], &[1, 2, 4, 3]);
    let window = [Byte(0, 1), Int(1, 2), Int(2, 2), Int(3, 2), Int(4, 2), Byte(5, 0)];
    let pooled = layers.then(17, &[conv], &window, &[1, 1, 2, 3]);
    let [weights, _] = layers.layer(&[4, 6], None, 4);
    layers.then(9, &[pooled, weights, -1], &[Byte(0, 0)], &[1, 4]);

    let mut transposed = Model::of(INT16, &[1, 2, 3, 2]);
    let [weights, bias] = transposed.layer(&[2, 2, 2, 2], None, 2);
    let size = transposed.integers(&[1, 4, 6, 2]);
    transposed.then(67, &[size, weights, 0, bias], &[Byte(0, 0), Int(1, 2), Int(2, 2)], &[1, 4, 6, 2]);

    let mut binary = Model::of(INT16, &[1, 2, 3, 2]);
    let row = binary.constant(&[1, 1, 2]);
    let sum = binary.scaled(0, &[0, row], &[Byte(0, 1)], &[1, 2, 3, 2], 0.75, 0);
    let difference = binary.then(41, &[sum, 0], &[], &[1, 2, 3, 2]);
    let product = binary.then(18, &[difference, sum], &[Byte(0, 2)], &[1, 2, 3, 2]);
    binary.then(2, &[product, 0], &[Int(0, -1), Byte(1, 0)], &[1, 2, 3, 4]);

    let mut functions = Model::of(INT16, &[4]);
    let relu = functions.scaled(21, &[0], &[], &[4], 0.001, 0);
    let coarser = functions.scaled(114, &[relu], &[], &[4], 0.002, 0);
    let tanh = functions.scaled(28, &[coarser], &[], &[4], 1.0 / 32768.0, 0);
    functions.scaled(14, &[tanh], &[], &[4], 1.0 / 32768.0, 0);
    vec![
        ("int16_layers", layers.write()),
        ("int16_transpose_conv2d", transposed.write()),
        ("int16_binary", binary.write()),
        ("int16_functions", functions.write()),
    ]
}

/// Floats outside, int8 inside; and nothing inside.
fn ways() -> Vec<(&'static str, Vec<u8>)> {
    let mut floats = Model::new(&[1, 4]);
    let quantized = floats.then(114, &[0], &[], &[1, 4]);
    let relu = floats.then(19, &[quantized], &[], &[1, 4]);
    let output = floats.then(6, &[relu], &[], &[1, 4]);
    for outside in [0, output] {
        floats.tensors[outside as usize].kind = FLOAT32;
        floats.tensors[outside as usize].scales.clear();
    }
    vec![("floats_outside", floats.write()), ("empty", Model::new(&[1, 4]).write())]
}

/// A name, a file that asks for too much, and what the refusal must say.
#[cfg(test)]
pub(super) fn oversized() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    use Value::{Byte, Int};
    let conv = [Byte(0, 0), Int(1, 1), Int(2, 1), Byte(3, 0)];
    let large = [1, 60_000, 60_000, 16];

    let empty = Model::new(&large);

    let mut shape = Model::new(&[1, 4, 4, 2]);
    let [weights, bias] = shape.layer(&[3, 1, 1, 2], None, 3);
    shape.then(3, &[0, weights, bias], &conv, &large);

    // Eight tensors of 2^29 bytes, joined.
    let mut together = Model::new(&[1, 1 << 14, 1 << 14, 1]);
    let window = [Byte(0, 0), Int(1, 1), Int(2, 1), Int(3, 1), Int(4, 1), Byte(5, 0)];
    let parts: Vec<i32> = (0..4).map(|_| together.then(17, &[0], &window, &[1, 1 << 14, 1 << 14, 1])).collect();
    together.then(2, &parts, &[Int(0, -1), Byte(1, 0)], &[1, 1 << 14, 1 << 14, 4]);

    // A bias for each of two thousand million channels.
    let mut channels = Model::new(&[1, 1, 1, 1]);
    let [weights, _] = channels.layer(&[1, 1, 1, 1], None, 1);
    channels.tensors[weights as usize].shape[0] = i32::MAX;
    channels.then(3, &[0, weights], &conv, &[1, 1, 1, 1]);

    let mut rows = Model::new(&[1, 2, 2, 1]);
    let size = rows.integers(&[1 << 28, 1]);
    rows.then(97, &[0, size], &[Byte(0, 0), Byte(1, 0)], &[1, 1 << 28, 1, 1]);

    let mut joined = Model::new(&[1, 1, 1, 1 << 30]);
    joined.then(2, &[0; 5], &[Int(0, 3), Byte(1, 0)], &[1, 1, 1, 1 << 30]);

    let mut axis = Model::new(&[1, 2, 2, 1]);
    axis.then(2, &[0, 0], &[Int(0, i32::MAX), Byte(1, 0)], &[1, 2, 2, 2]);

    let mut nothing = Model::new(&[1, 2, 2, 1]);
    let [weights, _] = nothing.layer(&[1, 2, 2, 1], None, 1);
    let size = nothing.integers(&[1, 0, 4, 1]);
    nothing.then(67, &[size, weights, 0], &[Byte(0, 0), Int(1, 2), Int(2, 2)], &[1, 4, 4, 1]);

    // Weights of 64 KiB, again and again.
    let mut again = Model::new(&[1, 256]);
    let [weights, bias] = again.layer(&[256, 256], None, 256);
    (0..5000).fold(0, |value, _| again.then(9, &[value, weights, bias], &[Byte(0, 0)], &[1, 256]));

    // One operator that joins 64 KiB, again and again.
    let mut itself = Model::new(&[1, 1, 1, 1]);
    let constant = itself.constant(&[1, 1, 1, 1 << 16]);
    itself.then(2, &[constant; 10_000], &[Int(0, 3), Byte(1, 0)], &[1, 1, 1, 1]);

    let mut shared = Model::new(&[1, 4]);
    (0..70_000).for_each(|_| {
        let code = 19;
        shared.operators.push(Operator { code, inputs: vec![0], output: 0, options: Vec::new() });
    });

    let arena = "more than the 1073741824 bytes of an arena";
    vec![
        ("input", empty.write(), arena),
        ("output", shape.write(), arena),
        ("together", together.write(), "the activations need"),
        ("channels", channels.write(), "of shape [2147483647, 1, 1, 1] have 1 bytes"),
        ("rows", rows.write(), "more than 65,536 rows or columns"),
        ("joined", joined.write(), "too many elements"),
        ("axis", axis.write(), "axis 2147483647"),
        ("nothing", nothing.write(), "must be above 0"),
        ("again", again.write(), "bytes of constants"),
        ("itself", itself.write(), "bytes of constants"),
        ("shared", shared.write(), "more than 65535 operators"),
    ]
}

/// Four elements of scale 0.5, whose bytes are then said to be of another scale.
#[cfg(test)]
pub(super) fn rescaled(scale: f32) -> Vec<u8> {
    let mut model = Model::new(&[1, 4]);
    model.scaled(22, &[0], &[], &[1, 4], scale, 3);
    model.write()
}
