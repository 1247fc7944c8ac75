//! What quantization cost: the float graph's values against the int8 engine's, tensor by tensor.

use anyhow::{Context, Result, ensure};
use neji_engine::{Engine, Host};
use neji_format::Model;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::scheme::Scheme;
use crate::element::{self, ArenaBuffer};
use crate::graph::Graph;
use crate::inspect;
use crate::lowered::{Lowered, Step};

/// One operator's figures; a row of `quantize.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerCost {
    /// Name of the node.
    pub name: String,
    /// The operator.
    pub operator: String,
    /// Its output, `height x width x channels`.
    pub shape: String,
    /// Multiplications with accumulation.
    pub macs: u64,
    /// Weights, biases, multipliers, shifts, tables.
    pub constant_bytes: u64,
    /// Real size of a step of its output.
    pub scale: f64,
    /// Signal over noise of its output, `10 log10(sum x^2 / sum (x - q)^2)`; `None` where the noise or the signal is 0.
    pub sqnr_db: Option<f64>,
}

/// Energy of the signal and of the difference to it.
type Energies = Vec<(f64, f64)>;

/// Compares over `inputs`, real values for the graph; `separate` is the blob in which no tensors share memory.
///
/// # Errors
/// No inputs, or the blob is not the graph's.
pub fn costs(graph: &Graph, lowered: &Lowered, separate: Model<'_>, inputs: &[Vec<f32>]) -> Result<Vec<LayerCost>> {
    ensure!(!inputs.is_empty(), "no images to compare float and int8 on");
    let engine = Engine::<Host>::new(separate);
    let (element, input) = (separate.plan().element, separate.plan().input);
    let scheme = Scheme { scale: input.scale, zero_point: input.zero_point };
    let outputs: Vec<_> = separate.operators().map(|operator| *operator.output()).collect();
    let one = |real: &Vec<f32>| -> Result<Energies> {
        let mut arena = ArenaBuffer::new(&separate);
        let arena = arena.bytes();
        let quantized = real.iter().map(|&x| scheme.quantize_to(element, x.into()));
        engine.input_mut(arena).copy_from_slice(&element::bytes(element, quantized));
        engine.run(arena)?;
        let values = graph.run_all(real);
        let energies = |(step, output): (&Step, &neji_format::Tensor)| {
            let float = &values[lowered.nodes[step.tensors.output]];
            let scheme = Scheme { scale: output.scale, zero_point: output.zero_point };
            let offset = output.offset as usize;
            let bytes = arena.get(offset..offset + element.bytes_of(output)).context("a tensor outside the arena")?;
            let pairs = float.iter().zip(element::values(element, bytes)).map(|(&x, q)| (f64::from(x), scheme.real(q)));
            Ok(pairs.fold((0.0, 0.0), |(signal, noise), (x, q)| (signal + x * x, noise + (x - q) * (x - q))))
        };
        lowered.steps.iter().zip(&outputs).map(energies).collect()
    };
    // Sums in the order of the inputs: the same figures on any number of threads.
    let each = inputs.par_iter().map(one).collect::<Result<Vec<Energies>>>()?;
    let mut sums = vec![(0.0, 0.0); lowered.steps.len()];
    for energies in each {
        sums.iter_mut().zip(energies).for_each(|(sum, own)| *sum = (sum.0 + own.0, sum.1 + own.1));
    }
    let rows =
        separate.operators().zip(&lowered.steps).zip(sums).map(|((operator, step), (signal, noise))| LayerCost {
            name: step.name.clone(),
            operator: operator.name().to_owned(),
            shape: inspect::show(operator.output().shape),
            macs: inspect::macs(&operator),
            constant_bytes: inspect::constant_bytes(&operator),
            scale: operator.output().scale.into(),
            sqnr_db: (signal > 0.0 && noise > 0.0).then(|| 10.0 * (signal / noise).log10()),
        });
    Ok(rows.collect())
}
