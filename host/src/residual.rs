//! What a principal subspace of normal inputs leaves of an input, as what a cnn sees.
//!
//! Most of what normal inputs differ by is common to many places, as highlights are that move along a part: a subspace knows it, and a few
//! convolutions, which see a neighbourhood, do not. What it leaves is divided by how that deviates at each place. The model that
//! the device runs begins with it; training sees inputs that it was applied to.

use anyhow::{Context, Result, ensure};
use neji_format::Shape;

use crate::closed;
use crate::graph::{Graph, Node, Op};
use crate::linear::Subspace;
use crate::lowered::POINT;

/// Parts of the inputs that are each seen under a subspace of the others.
const FOLDS: usize = 4;

/// A subspace and how what it leaves deviates.
#[derive(Debug, Clone)]
pub struct Residual {
    /// Of all normal inputs.
    all: Subspace,
    /// Of all but each fold: a subspace leaves less of what it was fitted to than of anything that it will meet.
    others: Vec<Subspace>,
    /// The fold of each input.
    fold: Vec<Option<usize>>,
    /// The reciprocal of the deviation of what is left, by place.
    factor: Vec<f32>,
}

impl Residual {
    /// The first `axes` of those `inputs` that are `normal`.
    ///
    /// # Errors
    /// Too few of them for so many axes.
    pub fn fit(inputs: &[Vec<f32>], normal: impl Fn(usize) -> bool, axes: usize) -> Result<Self> {
        let mut count = 0;
        let fold: Vec<Option<usize>> = (0..inputs.len())
            .map(|index| {
                normal(index).then(|| {
                    count += 1;
                    (count - 1) % FOLDS
                })
            })
            .collect();
        let of = |out: Option<usize>| -> Result<Subspace> {
            let rows: Vec<&[f32]> = (inputs.iter().zip(&fold))
                .filter_map(|(input, fold)| (fold.is_some() && *fold != out).then_some(&input[..]))
                .collect();
            let subspace = Subspace::fit::<f32, _>(&rows, axes).context("the training inputs span no subspace")?;
            ensure!(
                subspace.variances.len() == axes,
                "model.residual is {axes}, but {} training inputs vary in {} directions only; lower it",
                rows.len(),
                subspace.variances.len()
            );
            Ok(subspace)
        };
        let all = of(None)?;
        let others = (0..FOLDS).map(|out| of(Some(out))).collect::<Result<Vec<_>>>()?;
        let mut residual = Self { factor: vec![1.0; all.mean.len()], all, others, fold };
        residual.factor = residual.factors(inputs, count);
        Ok(residual)
    }

    /// Half of the mean variance is added to each, so that a place that hardly varies does not outweigh everything.
    fn factors(&self, inputs: &[Vec<f32>], count: usize) -> Vec<f32> {
        let mut variances = vec![0.0_f64; self.factor.len()];
        for (index, input) in inputs.iter().enumerate().filter(|(index, _)| self.fold[*index].is_some()) {
            for (variance, left) in variances.iter_mut().zip(self.of(index, input)) {
                *variance += f64::from(left).powi(2) / count as f64;
            }
        }
        // A step of 8 bits is the least that anything varies by.
        let floor = (variances.iter().sum::<f64>() / (2 * variances.len()) as f64).max(1.0 / 255.0_f64.powi(2));
        variances.into_iter().map(|variance| (1.0 / (variance + floor).sqrt()) as f32).collect()
    }

    /// What is left of `input`, the one at `index` or a change of it, under a subspace that did not see it.
    pub fn of(&self, index: usize, input: &[f32]) -> Vec<f32> {
        let fold = self.fold.get(index).copied().flatten();
        self.left(fold.map_or(&self.all, |fold| &self.others[fold]), input)
    }

    /// What is left of an input that was not among those that were fitted to, as the model has it.
    pub fn of_other(&self, input: &[f32]) -> Vec<f32> {
        self.left(&self.all, input)
    }

    fn left(&self, subspace: &Subspace, input: &[f32]) -> Vec<f32> {
        let explained = subspace.reconstruct(&subspace.project(input));
        let each = input.iter().zip(explained).zip(&self.factor);
        each.map(|((&x, explained), factor)| (f64::from(x) - explained) as f32 * factor).collect()
    }

    /// `graph`, which takes what is left, as one that takes inputs; `seed` is that of the experiment.
    pub fn before(&self, graph: Graph, seed: u64) -> Graph {
        let shape = graph.input_shape();
        let elements = Shape::new(1, 1, shape.len() as u32);
        let node = |name: &str, op, inputs, shape| Node { name: name.into(), op, inputs, shape };
        let mut nodes = vec![node("input", Op::Input, vec![], shape)];
        nodes.extend(closed::nodes(&self.all, shape, seed).into_iter().take(2));
        // What is added is the opposite of what is explained.
        if let Op::FullyConnected { weights, bias } = &mut nodes[2].op {
            weights.iter_mut().chain(bias).for_each(|weight| *weight = -*weight);
        }
        // A depthwise layer whose channels are the elements has a factor for each.
        let factors =
            Op::DepthwiseConv2d { weights: self.factor.clone(), bias: vec![0.0; self.factor.len()], window: POINT };
        nodes.extend([
            node("elements", Op::Reshape, vec![0], elements),
            node("left", Op::Add, vec![3, 2], elements),
            node("deviations", factors, vec![4], elements),
            node("residual", Op::Reshape, vec![5], shape),
        ]);
        let last = nodes.len() - 1;
        nodes.extend(
            graph
                .nodes
                .into_iter()
                .skip(1)
                .map(|node| Node { inputs: node.inputs.iter().map(|input| input + last).collect(), ..node }),
        );
        Graph { name: graph.name, nodes }
    }
}

#[cfg(test)]
mod tests {
    use neji_format::Window;

    use super::*;

    /// On a line in four dimensions, but for the last number, which is 1 or -1 beside it.
    fn inputs() -> Vec<Vec<f32>> {
        let on = |t: f32, off: f32| vec![0.3 + t, 0.2 - t, 0.5 + 2.0 * t, 0.1 + off];
        (0..40).map(|i| on(i as f32 * 0.5, if i / 4 % 2 == 0 { 0.1 } else { -0.1 })).collect()
    }

    #[test]
    fn what_the_line_leaves_is_in_units_of_its_deviation() {
        let residual = Residual::fit(&inputs(), |_| true, 1).expect("a line");
        // On the middle of the line, but for the last number.
        let left = residual.of_other(&[10.05, -9.55, 20.0, 0.3]);
        // The variance of the last number is 0.01, half of the mean one 0.00125.
        let unit = 0.2 / 0.01125_f32.sqrt();
        assert!(left[..3].iter().all(|x| x.abs() < 0.05) && (left[3] - unit).abs() < 0.1, "{left:?}");
    }

    #[test]
    fn an_input_is_seen_under_the_others() {
        let mut all = inputs();
        // One alone has something that no other has.
        all[5][1] += 40.0;
        let residual = Residual::fit(&all, |_| true, 2).expect("a plane");
        let plain = |left: &[f32], factor: &[f32]| left[1].abs() / factor[1];
        let (seen, fitted) = (residual.of(5, &all[5]), residual.of_other(&all[5]));
        assert!(plain(&seen, &residual.factor) > 10.0 && plain(&fitted, &residual.factor) < 1.0, "{seen:?} {fitted:?}");
        // What is not normal is not fitted to, and has no fold.
        let without = Residual::fit(&all, |index| index != 5, 1).expect("a line");
        assert_eq!(without.of(5, &all[5]), without.of_other(&all[5]));
        assert!(
            Residual::fit(&inputs()[..8], |_| true, 4).is_err_and(|error| error.to_string().contains("model.residual"))
        );
    }

    #[test]
    fn the_graph_computes_it() {
        let residual = Residual::fit(&inputs(), |_| true, 1).expect("a line");
        let shape = Shape::new(2, 2, 1);
        let window = Window { kernel_height: 2, kernel_width: 2, ..POINT };
        let largest =
            |inputs| Node { name: "largest".into(), op: Op::MaxPool2d { window }, inputs, shape: Shape::new(1, 1, 1) };
        let input = Node { name: "input".into(), op: Op::Input, inputs: vec![], shape };
        let graph = residual.before(Graph { name: "a".into(), nodes: vec![input, largest(vec![0])] }, 3);
        graph.check().expect("sound");
        let given = [1.0, -0.5, 2.0, 0.4];
        let expected = residual.of_other(&given).into_iter().fold(f32::MIN, f32::max);
        assert!((graph.run(&given)[0] - expected).abs() < 1e-3);
    }
}
