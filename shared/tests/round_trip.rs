//! What is written is what is read.

mod samples;

use neji_format::{AlignedBytes, Constant, Model, Operator, Plan};

#[test]
fn every_field_survives() {
    for (name, blob) in samples::all() {
        let bytes = AlignedBytes::new(&blob.encode());
        let model = Model::parse(bytes.as_slice()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let operator_count = blob.operators.len() as u16;
        assert_eq!(*model.plan(), Plan { operator_count, ..blob.plan }, "{name}");
        assert_eq!(model.operators().collect::<Vec<Operator>>(), blob.operators, "{name}");
        assert_eq!(model.arena_bytes(), blob.arena_bytes as usize, "{name}");
        assert_eq!(model.bytes().len() % 16, 0, "{name}");
        let constants = &model.bytes()[model.header().constants_offset as usize..];
        assert_eq!(constants[..blob.constants.len()], blob.constants, "{name}");
    }
}

#[test]
fn a_model_of_one_operator_has_that_one_and_the_rest_of_the_model() {
    for (name, blob) in samples::all() {
        let bytes = AlignedBytes::new(&blob.encode());
        let model = Model::parse(bytes.as_slice()).unwrap();
        for (index, operator) in blob.operators.iter().enumerate() {
            let only = model.only(index as u16);
            assert_eq!(only.operators().collect::<Vec<_>>(), std::slice::from_ref(operator), "{name}: {index}");
            assert_eq!((only.arena_bytes(), only.bytes()), (model.arena_bytes(), model.bytes()));
        }
        let count = blob.operators.len() as u16;
        assert_eq!([count, u16::MAX].map(|index| model.only(index).operators().count()), [0, 0], "{name}");
    }
}

#[test]
fn what_follows_the_blob_in_flash_is_left_alone() {
    let (_, blob) = &samples::all()[0];
    let mut flash = blob.encode();
    let len = flash.len();
    flash.resize(len + 37, 0xff);
    let flash = AlignedBytes::new(&flash);
    assert_eq!(Model::parse(flash.as_slice()).unwrap().bytes().len(), len);
}

#[test]
fn constants_are_read_in_place() {
    let blob = samples::classifier();
    let bytes = AlignedBytes::new(&blob.encode());
    let model = Model::parse(bytes.as_slice()).unwrap();
    let Some(Operator::Conv2d(conv)) = model.operators().next() else { panic!("a convolution comes first") };
    let weights = model.constant_i8(conv.weights);
    assert_eq!(weights[..4], [-7, 0, 7, -1]);
    assert!(bytes.as_slice().as_ptr_range().contains(&weights.as_ptr().cast()));
    assert_eq!(model.constant_i32(conv.requantization.bias), [100, 50, 0, -50]);
    assert_eq!(model.constant_i8(conv.requantization.shift), [-6; 4]);
}

/// The last constant ends where the blob does or has zeros behind it, the others have the next one.
#[test]
fn words_that_begin_in_a_constant_are_there_where_the_blob_goes_on() {
    for (name, blob) in samples::all() {
        let bytes = AlignedBytes::new(&blob.encode());
        let model = Model::parse(bytes.as_slice()).unwrap();
        let all = &model.bytes()[model.header().constants_offset as usize..];
        for (offset, bytes) in
            (0..all.len()).flat_map(|offset| (1..=all.len() - offset).map(move |bytes| (offset, bytes)))
        {
            let words = model.constant_words(Constant { offset: offset as u32, bytes: bytes as u32 });
            let words: &[u8] = bytemuck::cast_slice(words);
            let end = offset + bytes;
            assert_eq!(*words, all[offset..if end + 3 <= all.len() { end + 3 } else { end }], "{name}");
        }
    }
}

#[test]
fn encoding_is_deterministic() {
    for (name, blob) in samples::all() {
        assert_eq!(blob.encode(), blob.clone().encode(), "{name}");
    }
}
