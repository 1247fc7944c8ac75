//! From a trained Burn module to a float [`Graph`].
//!
//! Burn flattens NCHW, the graph NHWC: dense weights next to a convolution are permuted. Filters become OHWI. Batch
//! normalisation stays a node; folding it is [`crate::fold`]'s.

use anyhow::{Context, Result};
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, ConvTranspose2d};
use burn::nn::{BatchNorm, Linear, PaddingConfig2d};
use burn::tensor::Tensor;
use neji_format::{Shape, Window};

use crate::experiment::{ActivationName, Experiment};
use crate::graph::{Activation, Graph, Node, Op};
use crate::model::autoencoder::{ConvAutoencoder, DenseAutoencoder, Up};
use crate::model::cnn::{Cnn, ConvNorm};
use crate::model::distilled::{Blocks, Distilled};
use crate::model::one_class::OneClass;
use crate::model::vae::{ConvVae, DenseVae, Hidden, Vae};
use crate::model::{ImageSize, Network, sigmoid_output, softmax_output};

/// Exports `network`, which takes images of `size`.
///
/// # Errors
/// Where Burn can't give a tensor's data.
pub fn export(network: &Network, experiment: &Experiment, size: ImageSize) -> Result<Graph> {
    let network = network.valid();
    let mut builder = Builder::new(size);
    let activation = activation(experiment.model.activation);
    match &network {
        Network::Cnn(model) => builder.cnn(model)?,
        Network::Distilled(model) => builder.distilled(model)?,
        Network::OneClass(model) => builder.one_class(model)?,
        Network::Dense(model) => builder.dense_autoencoder(model, activation)?,
        Network::Conv(model) => builder.conv_autoencoder(model, activation)?,
        Network::Vae(Vae::Dense(model)) => builder.dense_vae(model, activation)?,
        Network::Vae(Vae::Conv(model)) => builder.conv_vae(model, activation)?,
    }
    if sigmoid_output(experiment) {
        builder.activate("output.sigmoid", Some(Activation::Logistic));
    }
    if softmax_output(experiment) {
        builder.push("output.softmax", Op::Softmax, builder.shape());
    }
    Ok(Graph { name: experiment.name.clone(), nodes: builder.nodes })
}

fn activation(name: ActivationName) -> Option<Activation> {
    match name {
        ActivationName::Linear => None,
        ActivationName::Relu => Some(Activation::Relu),
        ActivationName::Tanh => Some(Activation::Tanh),
    }
}

fn data<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor.into_data().try_into_vec_as::<f32>().map_err(|error| anyhow::anyhow!("reading a weight: {error:?}"))
}

fn bias(param: Option<&Param<Tensor<1>>>, len: usize) -> Result<Vec<f32>> {
    param.map_or_else(|| Ok(vec![0.0; len]), |param| data(param.val()))
}

/// `source` indexed `[a][b][y][x]` as `[a][y][x][b]`.
fn channels_last(source: &[f32], [a, b, h, w]: [usize; 4]) -> Vec<f32> {
    let mut out = Vec::with_capacity(source.len());
    for i in 0..a {
        for pixel in 0..h * w {
            out.extend((0..b).map(|j| source[(i * b + j) * h * w + pixel]));
        }
    }
    out
}

/// For each index of an NHWC-flattened tensor the index of the same element flattened as NCHW.
fn from_nchw(shape: Shape) -> Vec<usize> {
    let (pixels, channels) = ((shape.height * shape.width) as usize, shape.channels as usize);
    (0..pixels).flat_map(|pixel| (0..channels).map(move |channel| channel * pixels + pixel)).collect()
}

fn window(kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2], padding: [usize; 4]) -> Window {
    Window {
        kernel_height: kernel[0] as u16,
        kernel_width: kernel[1] as u16,
        stride_height: stride[0] as u16,
        stride_width: stride[1] as u16,
        dilation_height: dilation[0] as u16,
        dilation_width: dilation[1] as u16,
        padding_top: padding[0] as u16,
        padding_left: padding[1] as u16,
        padding_bottom: padding[2] as u16,
        padding_right: padding[3] as u16,
    }
}

/// Output elements along one axis, as [`Window`] defines them.
fn output_len(input: u32, padding: usize, kernel: usize, dilation: usize, stride: usize) -> u32 {
    (input + padding as u32 - ((kernel as u32 - 1) * dilation as u32 + 1)) / stride as u32 + 1
}

struct Builder {
    nodes: Vec<Node>,
}

impl Builder {
    fn new(size: ImageSize) -> Self {
        let shape = Shape::new(size.height as u32, size.width as u32, 1);
        Self { nodes: vec![Node { name: "input".into(), op: Op::Input, inputs: vec![], shape }] }
    }

    fn shape(&self) -> Shape {
        self.nodes[self.nodes.len() - 1].shape
    }

    fn push(&mut self, name: impl Into<String>, op: Op, shape: Shape) {
        let inputs = vec![self.nodes.len() - 1];
        self.nodes.push(Node { name: name.into(), op, inputs, shape });
    }

    fn activate(&mut self, name: &str, activation: Option<Activation>) {
        if let Some(activation) = activation {
            self.push(name, Op::Activation(activation), self.shape());
        }
    }

    fn norm(&mut self, name: &str, norm: Option<&BatchNorm>) -> Result<()> {
        let Some(norm) = norm else { return Ok(()) };
        let op = Op::BatchNorm {
            gamma: data(norm.gamma.val())?,
            beta: data(norm.beta.val())?,
            mean: data(norm.running_mean.value_sync())?,
            variance: data(norm.running_var.value_sync())?,
            epsilon: norm.epsilon as f32,
        };
        self.push(name, op, self.shape());
        Ok(())
    }

    fn conv(&mut self, name: &str, conv: &Conv2d) -> Result<()> {
        let PaddingConfig2d::Explicit(top, left, bottom, right) = conv.padding else {
            anyhow::bail!("{name}: only explicit padding is exported");
        };
        let dims = conv.weight.dims();
        let op = Op::Conv2d {
            weights: channels_last(&data(conv.weight.val())?, dims),
            bias: bias(conv.bias.as_ref(), dims[0])?,
            window: window(conv.kernel_size, conv.stride, conv.dilation, [top, left, bottom, right]),
        };
        let input = self.shape();
        let shape = Shape::new(
            output_len(input.height, top + bottom, conv.kernel_size[0], conv.dilation[0], conv.stride[0]),
            output_len(input.width, left + right, conv.kernel_size[1], conv.dilation[1], conv.stride[1]),
            dims[0] as u32,
        );
        self.push(name, op, shape);
        Ok(())
    }

    fn conv_norm(&mut self, name: &str, layer: &ConvNorm) -> Result<()> {
        self.conv(&format!("{name}.conv"), &layer.conv)?;
        self.norm(&format!("{name}.norm"), layer.norm.as_ref())
    }

    fn transpose_conv(&mut self, name: &str, conv: &ConvTranspose2d) -> Result<()> {
        // Burn: [in, out, kh, kw].
        let [channels_in, channels_out, kh, kw] = conv.weight.dims();
        let source = data(conv.weight.val())?;
        let mut weights = Vec::with_capacity(source.len());
        for out in 0..channels_out {
            for k in 0..kh * kw {
                weights.extend((0..channels_in).map(|i| source[(i * channels_out + out) * kh * kw + k]));
            }
        }
        let [py, px] = conv.padding;
        let op = Op::TransposeConv2d {
            weights,
            bias: bias(conv.bias.as_ref(), channels_out)?,
            window: window(conv.kernel_size, conv.stride, conv.dilation, [py, px, py, px]),
        };
        let input = self.shape();
        let len = |input: u32, axis: usize| {
            (input - 1) * conv.stride[axis] as u32 + conv.kernel_size[axis] as u32 + conv.padding_out[axis] as u32
                - 2 * conv.padding[axis] as u32
        };
        self.push(name, op, Shape::new(len(input.height, 0), len(input.width, 1), channels_out as u32));
        Ok(())
    }

    /// A dense layer; `inputs` and `outputs` permute features that Burn keeps as NCHW.
    fn dense(&mut self, name: &str, layer: &Linear, inputs: Option<&[usize]>, outputs: Option<&[usize]>) -> Result<()> {
        // Burn: [in, out].
        let [features_in, features_out] = layer.weight.dims();
        let source = data(layer.weight.val())?;
        let source_bias = bias(layer.bias.as_ref(), features_out)?;
        let (mut weights, mut bias) = (Vec::with_capacity(source.len()), Vec::with_capacity(features_out));
        for o in 0..features_out {
            let o = outputs.map_or(o, |order| order[o]);
            bias.push(source_bias[o]);
            weights.extend((0..features_in).map(|i| source[inputs.map_or(i, |order| order[i]) * features_out + o]));
        }
        self.push(name, Op::FullyConnected { weights, bias }, Shape::new(1, 1, features_out as u32));
        Ok(())
    }

    /// Blocks of convolutions whose numbers begin after `first`.
    fn blocks(&mut self, prefix: &str, first: usize, convs: &[ConvNorm], convs_per_block: usize) -> Result<()> {
        for (i, layer) in convs.iter().enumerate() {
            let block = format!("{prefix}{}", first + i / convs_per_block + 1);
            let name = format!("{block}.{}", i % convs_per_block + 1);
            self.conv_norm(&name, layer)?;
            self.activate(&format!("{name}.relu"), Some(Activation::Relu));
            if (i + 1) % convs_per_block == 0 {
                let shape = self.shape();
                let op = Op::MaxPool2d { window: window([2, 2], [2, 2], [1, 1], [0; 4]) };
                self.push(format!("{block}.pool"), op, Shape::new(shape.height / 2, shape.width / 2, shape.channels));
            }
        }
        Ok(())
    }

    /// What the small network says of the teacher; with a student its difference from that. The last layers of the two are one
    /// that subtracts, so that the difference, which is small beside what either says, is rounded once and not as the two.
    fn distilled(&mut self, model: &Distilled) -> Result<()> {
        let Distilled { trunk, small, student, .. } = model;
        let blocks = |blocks: &Blocks| blocks.convs.len() / blocks.convs_per_block;
        self.blocks("block", 0, &trunk.convs, trunk.convs_per_block)?;
        let (split, shape) = (self.nodes.len() - 1, self.shape());
        self.blocks("block", blocks(trunk), &small.blocks.convs, small.blocks.convs_per_block)?;
        let Some(student) = student else { return self.conv("said", &small.said) };
        let last = self.nodes.len() - 1;
        self.push("shared", Op::Reshape, shape);
        self.nodes[last + 1].inputs = vec![split];
        self.blocks("student", blocks(trunk), &student.blocks.convs, student.blocks.convs_per_block)?;
        let Shape { height, width, channels } = self.shape();
        let node = Node {
            name: "both".into(),
            op: Op::Concat { axis: 2 },
            inputs: vec![last, self.nodes.len() - 1],
            shape: Shape::new(height, width, 2 * channels),
        };
        self.nodes.push(node);
        // Of 1x1 both: a row of weights for each channel of the output.
        let [features, depth, ..] = small.said.weight.dims();
        let (taught, learned) = (data(small.said.weight.val())?, data(student.said.weight.val())?);
        let row = |(taught, learned): (&[f32], &[f32])| -> Vec<f32> {
            taught.iter().copied().chain(learned.iter().map(|weight| -weight)).collect()
        };
        let weights = taught.chunks_exact(depth).zip(learned.chunks_exact(depth)).flat_map(row).collect();
        let biases = (bias(small.said.bias.as_ref(), features)?, bias(student.said.bias.as_ref(), features)?);
        let op = Op::Conv2d {
            weights,
            bias: biases.0.iter().zip(&biases.1).map(|(taught, learned)| taught - learned).collect(),
            window: window([1, 1], [1, 1], [1, 1], [0; 4]),
        };
        self.push("difference", op, Shape::new(height, width, features as u32));
        Ok(())
    }

    /// The centre, which no layer that learns can say, is the last layer's bias.
    fn one_class(&mut self, model: &OneClass) -> Result<()> {
        self.blocks("block", 0, &model.convs, model.convs_per_block)?;
        let order = from_nchw(self.shape());
        self.dense("difference", &model.dense, Some(&order), None)?;
        let centre = data(model.centre.val())?;
        if let Some(Node { op: Op::FullyConnected { bias, .. }, .. }) = self.nodes.last_mut() {
            bias.iter_mut().zip(centre).for_each(|(bias, centre)| *bias -= centre);
        }
        Ok(())
    }

    fn cnn(&mut self, model: &Cnn) -> Result<()> {
        self.blocks("block", 0, &model.convs, model.convs_per_block)?;
        if let Some(map) = &model.map {
            return self.map(map);
        }
        let order = from_nchw(self.shape());
        for (i, layer) in model.dense.iter().enumerate() {
            self.dense(&format!("dense{}", i + 1), layer, (i == 0).then_some(&order[..]), None)?;
            if i + 1 < model.dense.len() {
                self.activate(&format!("dense{}.relu", i + 1), Some(Activation::Relu));
            }
        }
        Ok(())
    }

    /// Logits of each place and the largest of each class; the normal class, whose logit is 0, is a filter of zeros.
    fn map(&mut self, map: &Conv2d) -> Result<()> {
        self.conv("map", map)?;
        let Shape { height, width, channels } = self.shape();
        let last = self.nodes.len() - 1;
        let node = &mut self.nodes[last];
        if let Op::Conv2d { weights, bias, .. } = &mut node.op {
            let inputs = weights.len() / bias.len();
            weights.splice(0..0, vec![0.0; inputs]);
            bias.insert(0, 0.0);
        }
        node.shape.channels = channels + 1;
        let whole = [height as usize, width as usize];
        let op = Op::MaxPool2d { window: window(whole, whole, [1, 1], [0; 4]) };
        self.push("largest", op, Shape::new(1, 1, channels + 1));
        Ok(())
    }

    fn dense_autoencoder(&mut self, model: &DenseAutoencoder, activation: Option<Activation>) -> Result<()> {
        let input = self.shape();
        for (i, layer) in model.layers.iter().enumerate() {
            let name = format!("dense{}", i + 1);
            self.dense(&name, layer, None, None)?;
            if i + 1 < model.layers.len() {
                self.norm(&format!("{name}.norm"), model.norms.get(i))?;
                self.activate(&format!("{name}.activation"), activation);
            }
        }
        self.push("output", Op::Reshape, input);
        Ok(())
    }

    fn hidden(&mut self, name: &str, layers: &[Hidden], activation: Option<Activation>) -> Result<()> {
        for (i, Hidden { layer, norm }) in layers.iter().enumerate() {
            let name = format!("{name}{}", i + 1);
            self.dense(&name, layer, None, None)?;
            self.norm(&format!("{name}.norm"), norm.as_ref())?;
            self.activate(&format!("{name}.activation"), activation);
        }
        Ok(())
    }

    /// Means and what stands for variances are one layer of twice the outputs.
    fn dense_vae(&mut self, model: &DenseVae, activation: Option<Activation>) -> Result<()> {
        let input = self.shape();
        self.hidden("encoder", &model.encoder, activation)?;
        self.dense("code", &model.code, None, None)?;
        self.hidden("decoder", &model.decoder, activation)?;
        let before = self.nodes.len();
        self.dense("said", &model.pixels, None, None)?;
        self.dense("spread", &model.spread, None, None)?;
        let spread = self.nodes.pop().map(|node| node.op);
        let said = &mut self.nodes[before];
        if let (Op::FullyConnected { weights, bias }, Some(Op::FullyConnected { weights: more, bias: also })) =
            (&mut said.op, spread)
        {
            weights.extend(more);
            bias.extend(also);
            said.shape.channels *= 2;
        }
        self.push("output", Op::Reshape, Shape { height: 2 * input.height, ..input });
        Ok(())
    }

    fn conv_vae(&mut self, model: &ConvVae, activation: Option<Activation>) -> Result<()> {
        let last = self.conv_code(&model.mean, activation)?;
        let (count, up) = (model.mean.decoder.len(), model.mean.decoder.last().context("a decoder has steps")?);
        let read = self.shape();
        self.up(&format!("decoder{count}"), up)?;
        let mean = self.nodes.len() - 1;
        // The second head reads what the first one read.
        self.push("decoded", Op::Reshape, read);
        self.nodes[mean + 1].inputs = vec![last];
        self.up("spread", &model.spread)?;
        let Shape { height, width, channels } = self.shape();
        let inputs = vec![mean, self.nodes.len() - 1];
        let shape = Shape::new(2 * height, width, channels);
        self.nodes.push(Node { name: "output".into(), op: Op::Concat { axis: 0 }, inputs, shape });
        Ok(())
    }

    fn conv_autoencoder(&mut self, model: &ConvAutoencoder, activation: Option<Activation>) -> Result<()> {
        self.conv_code(model, activation)?;
        let up = model.decoder.last().context("a decoder has steps")?;
        self.up(&format!("decoder{}", model.decoder.len()), up)
    }

    /// All but the last step up; the node that it reads.
    fn conv_code(&mut self, model: &ConvAutoencoder, activation: Option<Activation>) -> Result<usize> {
        for (i, layer) in model.encoder.iter().enumerate() {
            let name = format!("encoder{}", i + 1);
            self.conv_norm(&name, layer)?;
            self.activate(&format!("{name}.activation"), activation);
        }
        let inner = self.shape();
        let order = from_nchw(inner);
        self.dense("squeeze", &model.squeeze, Some(&order), None)?;
        self.dense("expand", &model.expand, None, Some(&order))?;
        self.activate("expand.activation", activation);
        self.push("inner", Op::Reshape, inner);
        for (i, up) in model.decoder.iter().enumerate().take(model.decoder.len() - 1) {
            let name = format!("decoder{}", i + 1);
            self.up(&name, up)?;
            self.activate(&format!("{name}.activation"), activation);
        }
        Ok(self.nodes.len() - 1)
    }

    fn up(&mut self, name: &str, up: &Up) -> Result<()> {
        match up {
            Up::Transpose(up) => {
                self.transpose_conv(&format!("{name}.conv"), &up.conv).context("exporting the decoder")?;
                self.norm(&format!("{name}.norm"), up.norm.as_ref())
            }
            Up::Upsample(up) => {
                let shape = self.shape();
                let op = Op::ResizeNearest { factor_height: 2, factor_width: 2 };
                let doubled = Shape::new(shape.height * 2, shape.width * 2, shape.channels);
                self.push(format!("{name}.resize"), op, doubled);
                self.conv_norm(name, &up.conv)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, TensorData};

    use super::*;

    /// Builds the model of `toml`, moves its batch statistics by one forward pass in training, and compares Burn's forward
    /// with the exported graph's on two images.
    fn agree(toml: &str, size: ImageSize, classes: usize) {
        let experiment = Experiment::from_toml(&format!("name = \"t\"\n{toml}"), &[]).unwrap();
        let device = Device::default().autodiff();
        let network = Network::new(&experiment, size, classes, &device).unwrap();
        let batch = Tensor::<4>::random([8, 1, size.height, size.width], Distribution::Uniform(0.0, 1.0), &device);
        let _ = network.forward(batch, experiment.model.activation).into_data();
        let graph = export(&network, &experiment, size).unwrap();
        graph.check().unwrap();
        let pixels: Vec<f32> = (0..2 * size.height * size.width).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
        let plain = Device::default();
        let images = Tensor::<4>::from_data(TensorData::new(pixels.clone(), [2, 1, size.height, size.width]), &plain);
        let expected = data(network.valid().output(images, &experiment)).unwrap();
        let got: Vec<f32> = pixels.chunks(size.height * size.width).flat_map(|image| graph.run(image)).collect();
        assert_eq!(got.len(), expected.len());
        for (i, (a, b)) in got.iter().zip(&expected).enumerate() {
            assert!((a - b).abs() < 1e-4, "{toml}: element {i} is {a}, Burn says {b}");
        }
    }

    #[test]
    fn a_cnn_keeps_its_logits() {
        let size = ImageSize { height: 11, width: 16 };
        agree("task = \"cnn\"\n[model]\nchannels = [3, 5]\ndense = [7]", size, 4);
        agree("task = \"cnn\"\n[model]\nchannels = [4]\nconvs_per_block = 1\nbatch_norm = false\ndense = []", size, 2);
        agree("task = \"cnn\"\n[model]\nchannels = [3, 5]\nhead = \"map\"", size, 2);
        agree("task = \"cnn\"\n[model]\nchannels = [4]\nhead = \"map\"\ndropout = 0.0", size, 4);
        agree("task = \"cnn\"\n[model]\nchannels = [4]\n[detector]\nscore = \"probability\"", size, 3);
    }

    #[test]
    fn dense_autoencoders_keep_their_pixels() {
        let size = ImageSize { height: 5, width: 6 };
        agree("[model]\nhidden = [9]\nbottleneck = 4\nbatch_norm = false\nactivation = \"linear\"", size, 0);
        agree("[model]\nhidden = [9]\nbottleneck = 4\n[train]\nloss = \"binary_cross_entropy\"", size, 0);
    }

    #[test]
    fn convolutional_autoencoders_keep_their_pixels() {
        let odd = ImageSize { height: 10, width: 16 };
        agree("[model]\nkind = \"conv\"\nchannels = [3, 4]\nbottleneck = 6\nactivation = \"tanh\"", odd, 0);
        let even = ImageSize { height: 8, width: 16 };
        agree("[model]\nkind = \"conv\"\nchannels = [3, 4]\nbottleneck = 6\ndecoder = \"upsample\"", even, 0);
    }

    #[test]
    fn distilled_networks_and_students_keep_what_they_say() {
        let size = ImageSize { height: 9, width: 16 };
        let taught = |toml: &str| agree(&format!("{toml}\npretext = [\"rotation\"]"), size, 4);
        let model = "[model]\nchannels = [3, 4]\n[teacher]\nchannels = [5, 6]";
        taught(&format!("task = \"distilled\"\n{model}\n[train]"));
        for shared in 0..2 {
            taught(&format!("task = \"student\"\n{model}\nshared = {shared}\n[train]"));
        }
    }

    #[test]
    fn one_class_keeps_its_differences() {
        let size = ImageSize { height: 9, width: 16 };
        agree("task = \"one_class\"\n[model]\nchannels = [3, 4]\nbottleneck = 5", size, 0);
    }

    #[test]
    fn variational_autoencoders_keep_what_they_say() {
        let size = ImageSize { height: 8, width: 16 };
        let variational = |toml: &str| agree(&format!("[model]\nvariational = true\n{toml}"), size, 0);
        variational("hidden = [9]\nbottleneck = 4");
        variational("hidden = []\nbottleneck = 4\nbatch_norm = false");
        variational("kind = \"conv\"\nchannels = [3, 4]\nbottleneck = 6");
        variational("kind = \"conv\"\nchannels = [3]\nbottleneck = 6\ndecoder = \"upsample\"");
    }
}
