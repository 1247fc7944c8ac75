//! Operators that move elements and change none.

use neji_format::{Element, Lut, LutFunction, Operator, Pad, Reshape, ResizeNearest, operator::Concat};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use crate::arithmetic::{Image, fill};
use crate::case::{Case, Constants, bytes_of, image, mapped, shape, tensor};

/// An image, its image under a table and itself again, joined along each axis.
fn concat() -> impl Strategy<Value = Case> {
    (image(Element::I8, 6), 0..3_u8).prop_map(|(image, axis)| {
        let along = usize::from(axis);
        let sizes = image.sizes();
        let mut joined = sizes;
        joined[along] *= 3;
        let mapped = Image { values: mapped(&image.values), ..image.clone() };
        let expected = fill(joined, |y, x, c| {
            let mut at = [y, x, c];
            let part = at[along] / sizes[along];
            at[along] %= sizes[along];
            let source = if part == 1 { &mapped } else { &image };
            source.at(at[0], at[1], at[2]).expect("inside") as i16
        });
        let form = shape(sizes);
        let first = tensor(0, form, 0);
        let output = tensor(form.len(), shape(joined), 0);
        let second = tensor(form.len() * 4, form, 0);
        let mut constants = Constants::default();
        let lut =
            Operator::Lut(Lut { input: first, output: second, function: LutFunction::Relu, table: constants.table() });
        let inputs = [first, second, first].into_iter().collect();
        let concat = Operator::Concat(Concat { inputs, output, axis });
        Case::new(Element::I8, vec![lut, concat], constants, first, output, &image.values, &expected)
    })
}

fn pad(element: Element) -> impl Strategy<Value = Case> {
    (image(element, 6), [0..4_i64, 0..4, 0..4, 0..4]).prop_map(move |(image, [top, bottom, left, right])| {
        let padded = [image.height + top + bottom, image.width + left + right, image.channels];
        let expected = fill(padded, |y, x, c| image.at(y - top, x - left, c).unwrap_or(image.zero_point.into()) as i16);
        let input = tensor(0, shape(image.sizes()), image.zero_point);
        let output = tensor(bytes_of(element, input.shape), shape(padded), image.zero_point);
        let [top, bottom, left, right] = [top, bottom, left, right].map(|count| count as u16);
        let pad = Operator::Pad(Pad { input, output, top, bottom, left, right });
        Case::new(element, vec![pad], Constants::default(), input, output, &image.values, &expected)
    })
}

fn reshape(element: Element) -> impl Strategy<Value = Case> {
    (image(element, 6), any::<bool>()).prop_map(move |(image, in_place)| {
        let input = tensor(0, shape(image.sizes()), image.zero_point);
        let flat = shape([1, 1, input.shape.len() as i64]);
        let output = tensor(if in_place { 0 } else { bytes_of(element, input.shape) }, flat, image.zero_point);
        let reshape = Operator::Reshape(Reshape { input, output });
        Case::new(element, vec![reshape], Constants::default(), input, output, &image.values, &image.values)
    })
}

/// Any rows and columns in any order, some repeated.
fn resize_nearest(element: Element) -> impl Strategy<Value = Case> {
    let picks = |most: usize| proptest::collection::vec(any::<u16>(), 1..=most);
    (image(element, 6), picks(9), picks(9)).prop_map(move |(image, rows, columns)| {
        let inside = |picks: Vec<u16>, size: i64| -> Vec<u16> { picks.iter().map(|p| p % size as u16).collect() };
        let mut rows = inside(rows, image.height);
        rows.sort_by_key(|row| row / 2);
        let columns = inside(columns, image.width);
        let resized = [rows.len() as i64, columns.len() as i64, image.channels];
        let expected = fill(resized, |y, x, c| {
            image.at(rows[y as usize].into(), columns[x as usize].into(), c).expect("inside") as i16
        });
        let input = tensor(0, shape(image.sizes()), image.zero_point);
        let output = tensor(bytes_of(element, input.shape), shape(resized), image.zero_point);
        let mut constants = Constants::default();
        let (rows, columns) = (constants.u16(&rows), constants.u16(&columns));
        let operator = Operator::ResizeNearest(ResizeNearest { input, output, rows, columns });
        Case::new(element, vec![operator], constants, input, output, &image.values, &expected)
    })
}

pub(crate) fn kinds() -> Vec<(&'static str, BoxedStrategy<Case>)> {
    use Element::{I8, I16};
    vec![
        ("concat", concat().boxed()),
        ("pad", pad(I8).boxed()),
        ("reshape", reshape(I8).boxed()),
        ("resize nearest", resize_nearest(I8).boxed()),
        ("pad of int16", pad(I16).boxed()),
        ("reshape of int16", reshape(I16).boxed()),
        ("resize nearest of int16", resize_nearest(I16).boxed()),
    ]
}
