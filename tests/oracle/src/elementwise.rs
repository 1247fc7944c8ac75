//! Tables, sums, differences and products.

use neji_format::{Add, Element, Load, Lut, LutFunction, Mul, Operator, Tensor};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use crate::arithmetic::{Factor, Image, fill};
use crate::case::{Case, Constants, activation, bytes_of, factor, image, mapped, shape, tensor, values, zero_point};

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
    element: Element,
    kind: Kind,
    factors: [Factor; 2],
    output_factor: Factor,
    zero_point: i8,
    activation: (i16, i16),
}

impl Binary {
    /// TensorFlow Lite's for each element.
    fn left_shift(&self) -> u8 {
        if self.element == Element::I8 { 20 } else { 15 }
    }

    fn apply(&self, a: i64, b: i64) -> i16 {
        let scaled = |x: i64, factor: Factor| factor.apply(x << self.left_shift());
        let [of_a, of_b] = self.factors;
        let value = match self.kind {
            Kind::Sum => scaled(a, of_a) + scaled(b, of_b),
            Kind::Difference => scaled(a, of_a) - scaled(b, of_b),
            Kind::Product => a * b,
        };
        let value = self.output_factor.apply(value) + i64::from(self.zero_point);
        value.clamp(self.activation.0.into(), self.activation.1.into()) as i16
    }

    fn operator(&self, input_a: Tensor, input_b: Tensor, output: Tensor) -> Operator {
        let (activation_min, activation_max) = self.activation;
        let add = Add {
            input_a,
            input_b,
            output,
            left_shift: self.left_shift(),
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

fn binary(element: Element, kind: Kind) -> impl Strategy<Value = Binary> {
    let bits = match (element, kind) {
        (Element::I8, Kind::Product) => 14,
        (Element::I8, _) => 27,
        (Element::I16, _) => 22,
    };
    ([fraction(), fraction()], factor(bits), zero_point(element), activation(element)).prop_map(
        move |(factors, output_factor, zero_point, activation)| Binary {
            element,
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
    (image(Element::I8, 9), binary(Element::I8, kind), any::<i8>(), 0..3_usize).prop_map(
        |(image, binary, zero_point_b, place)| {
            let b = mapped(&image.values);
            let centred = |q: i16, zero_point: i8| i64::from(q) - i64::from(zero_point);
            let pairs = image.values.iter().zip(&b);
            let expected: Vec<i16> =
                pairs.map(|(&a, &b)| binary.apply(centred(a, image.zero_point), centred(b, zero_point_b))).collect();
            let form = shape(image.sizes());
            let input_a = tensor(0, form, image.zero_point);
            let input_b = tensor(form.len(), form, zero_point_b);
            let output = tensor([0, form.len(), 2 * form.len()][place], form, binary.zero_point);
            let mut constants = Constants::default();
            let table = constants.table();
            let lut = Lut { input: input_a, output: input_b, function: LutFunction::Quantize, table };
            let operators = vec![Operator::Lut(lut), binary.operator(input_a, input_b, output)];
            Case::new(Element::I8, operators, constants, input_a, output, &image.values, &expected)
        },
    )
}

/// The input with itself, in place.
fn with_itself(element: Element, kind: Kind) -> impl Strategy<Value = Case> {
    (image(element, 9), binary(element, kind)).prop_map(move |(image, binary)| {
        let tensor = tensor(0, shape(image.sizes()), image.zero_point);
        let binary = Binary { zero_point: image.zero_point, ..binary };
        let centred = image.values.iter().map(|&q| i64::from(q) - i64::from(image.zero_point));
        let expected: Vec<i16> = centred.map(|x| binary.apply(x, x)).collect();
        let operator = binary.operator(tensor, tensor, tensor);
        Case::new(element, vec![operator], Constants::default(), tensor, tensor, &image.values, &expected)
    })
}

/// The input with a constant; each dimension may be 1 in either. The constant comes first or second, the result lies over
/// an operand that has its shape, or apart.
fn broadcast(element: Element, kind: Kind) -> impl Strategy<Value = Case> {
    let sizes = [1..=4_i64, 1..=4_i64, 1..=9_i64];
    let operands = (sizes, any::<[[bool; 3]; 2]>()).prop_flat_map(move |(sizes, ones)| {
        let size = |axis: usize, ones: [bool; 3]| if ones[axis] { 1 } else { sizes[axis] };
        let operand = |ones: [bool; 3]| {
            let [height, width, channels] = [size(0, ones), size(1, ones), size(2, ones)];
            (values(element, (height * width * channels) as usize), zero_point(element))
                .prop_map(move |(values, zero_point)| Image { height, width, channels, values, zero_point })
        };
        (operand(ones[0]), operand(ones[1]))
    });
    (operands, binary(element, kind), any::<[bool; 2]>()).prop_map(
        move |((input, constant), binary, [constant_first, in_place])| {
            let (a, b) = if constant_first { (&constant, &input) } else { (&input, &constant) };
            let sizes = [0, 1, 2].map(|axis: usize| a.sizes()[axis].max(b.sizes()[axis]));
            let at = |image: &Image, y: i64, x: i64, c: i64| {
                image.centred(y.min(image.height - 1), x.min(image.width - 1), c.min(image.channels - 1))
            };
            let expected = fill(sizes, |y, x, c| binary.apply(at(a, y, x, c), at(b, y, x, c)));
            let form = shape(sizes);
            let from = tensor(0, shape(input.sizes()), input.zero_point);
            let bytes = |tensor: Tensor| bytes_of(element, tensor.shape);
            let loaded = tensor(bytes(from), shape(constant.sizes()), constant.zero_point);
            let apart = bytes(from) + bytes(loaded);
            let place = match in_place {
                true if from.shape == form => 0,
                true if loaded.shape == form => bytes(from),
                _ => apart,
            };
            let output = tensor(place, form, binary.zero_point);
            let mut constants = Constants::default();
            let load = Operator::Load(Load { output: loaded, values: constants.values(element, &constant.values) });
            let operator = if constant_first {
                binary.operator(loaded, from, output)
            } else {
                binary.operator(from, loaded, output)
            };
            Case::new(element, vec![load, operator], constants, from, output, &input.values, &expected)
        },
    )
}

fn lut() -> impl Strategy<Value = Case> {
    (image(Element::I8, 9), any::<bool>()).prop_map(|(image, in_place)| {
        let form = shape(image.sizes());
        let input = tensor(0, form, 0);
        let output = tensor(if in_place { 0 } else { form.len() + 1 }, form, 5);
        let expected = mapped(&image.values);
        let mut constants = Constants::default();
        let lut = Operator::Lut(Lut { input, output, function: LutFunction::Tanh, table: constants.table() });
        Case::new(Element::I8, vec![lut], constants, input, output, &image.values, &expected)
    })
}

pub(crate) fn kinds() -> Vec<(&'static str, BoxedStrategy<Case>)> {
    use Element::{I8, I16};
    vec![
        ("table", lut().boxed()),
        ("add", of_one_shape(Kind::Sum).boxed()),
        ("add to itself", with_itself(I8, Kind::Sum).boxed()),
        ("add with broadcasting", broadcast(I8, Kind::Sum).boxed()),
        ("sub", of_one_shape(Kind::Difference).boxed()),
        ("sub with broadcasting", broadcast(I8, Kind::Difference).boxed()),
        ("mul", of_one_shape(Kind::Product).boxed()),
        ("mul by itself", with_itself(I8, Kind::Product).boxed()),
        ("mul with broadcasting", broadcast(I8, Kind::Product).boxed()),
        ("add to itself of int16", with_itself(I16, Kind::Sum).boxed()),
        ("add of int16", broadcast(I16, Kind::Sum).boxed()),
        ("sub of int16", broadcast(I16, Kind::Difference).boxed()),
        ("mul of int16", broadcast(I16, Kind::Product).boxed()),
    ]
}
