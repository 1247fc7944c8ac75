//! Tables, sums, differences and products.

use neji_format::{Add, Load, Lut, LutFunction, Mul, Operator};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use crate::arithmetic::{Factor, Image, fill};
use crate::case::{Case, Constants, activation, factor, image, shape, table, tensor, values};

/// A factor below 1.
fn fraction() -> impl Strategy<Value = Factor> {
    ((1_i32 << 30)..=i32::MAX, -6..=0_i8).prop_map(|(multiplier, shift)| Factor { multiplier, shift })
}

/// What two operands become.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Sum,
    Difference,
    Product,
}

#[derive(Debug, Clone)]
struct Binary {
    kind: Kind,
    factors: [Factor; 2],
    output_factor: Factor,
    zero_point: i8,
    activation: (i8, i8),
}

const LEFT_SHIFT: u8 = 20;

impl Binary {
    fn apply(&self, a: i64, b: i64) -> i8 {
        let scaled = |x: i64, factor: Factor| factor.apply(x << LEFT_SHIFT);
        let [of_a, of_b] = self.factors;
        let value = match self.kind {
            Kind::Sum => scaled(a, of_a) + scaled(b, of_b),
            Kind::Difference => scaled(a, of_a) - scaled(b, of_b),
            Kind::Product => a * b,
        };
        let value = self.output_factor.apply(value) + i64::from(self.zero_point);
        value.clamp(self.activation.0.into(), self.activation.1.into()) as i8
    }

    fn operator(
        &self,
        input_a: neji_format::Tensor,
        input_b: neji_format::Tensor,
        output: neji_format::Tensor,
    ) -> Operator {
        let (activation_min, activation_max) = self.activation;
        let add = Add {
            input_a,
            input_b,
            output,
            left_shift: LEFT_SHIFT,
            multiplier_a: self.factors[0].into(),
            multiplier_b: self.factors[1].into(),
            output_multiplier: self.output_factor.into(),
            activation_min,
            activation_max,
        };
        let multiplier = self.output_factor.into();
        match self.kind {
            Kind::Sum => Operator::Add(add),
            Kind::Difference => Operator::Sub(add),
            Kind::Product => {
                Operator::Mul(Mul { input_a, input_b, output, multiplier, activation_min, activation_max })
            }
        }
    }
}

fn binary(kind: Kind) -> impl Strategy<Value = Binary> {
    let bits = if kind == Kind::Product { 14 } else { 27 };
    ([fraction(), fraction()], factor(bits), any::<i8>(), activation()).prop_map(
        move |(factors, output_factor, zero_point, activation)| Binary {
            kind,
            factors,
            output_factor,
            zero_point,
            activation,
        },
    )
}

/// The input and its image under a table; the result lies at either or apart.
fn of_one_shape(kind: Kind) -> impl Strategy<Value = Case> {
    (image(9), binary(kind), any::<i8>(), 0..3_usize).prop_map(|(image, binary, zero_point_b, place)| {
        let b: Vec<i8> = image.values.iter().map(|&q| table(q)).collect();
        let centred = |q: i8, zero_point: i8| i64::from(q) - i64::from(zero_point);
        let pairs = image.values.iter().zip(&b);
        let expected =
            pairs.map(|(&a, &b)| binary.apply(centred(a, image.zero_point), centred(b, zero_point_b))).collect();
        let form = shape(image.sizes());
        let input_a = tensor(0, form, image.zero_point);
        let input_b = tensor(form.len(), form, zero_point_b);
        let output = tensor([0, form.len(), 2 * form.len()][place], form, binary.zero_point);
        let mut constants = Constants::default();
        let lut = Lut { input: input_a, output: input_b, function: LutFunction::Quantize, table: constants.table() };
        let operators = vec![Operator::Lut(lut), binary.operator(input_a, input_b, output)];
        Case::new(operators, constants, input_a, output, &image.values, expected)
    })
}

/// The input with itself, in place.
fn with_itself(kind: Kind) -> impl Strategy<Value = Case> {
    (image(9), binary(kind)).prop_map(|(image, binary)| {
        let tensor = tensor(0, shape(image.sizes()), image.zero_point);
        let binary = Binary { zero_point: image.zero_point, ..binary };
        let centred = image.values.iter().map(|&q| i64::from(q) - i64::from(image.zero_point));
        let expected = centred.map(|x| binary.apply(x, x)).collect();
        let operator = binary.operator(tensor, tensor, tensor);
        Case::new(vec![operator], Constants::default(), tensor, tensor, &image.values, expected)
    })
}

/// The input with a constant; each dimension may be 1 in either. The constant comes first or second, the result lies over
/// an operand that has its shape, or apart.
fn broadcast(kind: Kind) -> impl Strategy<Value = Case> {
    let sizes = [1..=4_i64, 1..=4_i64, 1..=9_i64];
    let operands = (sizes, any::<[[bool; 3]; 2]>()).prop_flat_map(|(sizes, ones)| {
        let size = |axis: usize, ones: [bool; 3]| if ones[axis] { 1 } else { sizes[axis] };
        let operand =
            |ones: [bool; 3]| {
                let [height, width, channels] = [size(0, ones), size(1, ones), size(2, ones)];
                (values((height * width * channels) as usize), any::<i8>())
                    .prop_map(move |(values, zero_point)| Image { height, width, channels, values, zero_point })
            };
        (operand(ones[0]), operand(ones[1]))
    });
    (operands, binary(kind), any::<[bool; 2]>()).prop_map(|((input, constant), binary, [constant_first, in_place])| {
        let (a, b) = if constant_first { (&constant, &input) } else { (&input, &constant) };
        let sizes = [0, 1, 2].map(|axis: usize| a.sizes()[axis].max(b.sizes()[axis]));
        let at = |image: &Image, y: i64, x: i64, c: i64| {
            image.centred(y.min(image.height - 1), x.min(image.width - 1), c.min(image.channels - 1))
        };
        let expected = fill(sizes, |y, x, c| binary.apply(at(a, y, x, c), at(b, y, x, c)));
        let form = shape(sizes);
        let from = tensor(0, shape(input.sizes()), input.zero_point);
        let loaded = tensor(from.shape.len(), shape(constant.sizes()), constant.zero_point);
        let apart = from.shape.len() + loaded.shape.len();
        let place = match in_place {
            true if from.shape == form => 0,
            true if loaded.shape == form => from.shape.len(),
            _ => apart,
        };
        let output = tensor(place, form, binary.zero_point);
        let mut constants = Constants::default();
        let load = Operator::Load(Load { output: loaded, values: constants.i8(&constant.values) });
        let operator =
            if constant_first { binary.operator(loaded, from, output) } else { binary.operator(from, loaded, output) };
        Case::new(vec![load, operator], constants, from, output, &input.values, expected)
    })
}

fn lut() -> impl Strategy<Value = Case> {
    (image(9), any::<bool>()).prop_map(|(image, in_place)| {
        let form = shape(image.sizes());
        let input = tensor(0, form, 0);
        let output = tensor(if in_place { 0 } else { form.len() + 1 }, form, 5);
        let expected = image.values.iter().map(|&q| table(q)).collect();
        let mut constants = Constants::default();
        let lut = Operator::Lut(Lut { input, output, function: LutFunction::Tanh, table: constants.table() });
        Case::new(vec![lut], constants, input, output, &image.values, expected)
    })
}

pub(crate) fn kinds() -> Vec<(&'static str, BoxedStrategy<Case>)> {
    vec![
        ("table", lut().boxed()),
        ("add", of_one_shape(Kind::Sum).boxed()),
        ("add to itself", with_itself(Kind::Sum).boxed()),
        ("add with broadcasting", broadcast(Kind::Sum).boxed()),
        ("sub", of_one_shape(Kind::Difference).boxed()),
        ("sub with broadcasting", broadcast(Kind::Difference).boxed()),
        ("mul", of_one_shape(Kind::Product).boxed()),
        ("mul by itself", with_itself(Kind::Product).boxed()),
        ("mul with broadcasting", broadcast(Kind::Product).boxed()),
    ]
}
