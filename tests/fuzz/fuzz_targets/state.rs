//! Any life of a monitor that calibrates, and any bytes as its state: refused with nothing changed, or gone on from without overflow.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use neji_format::{AlignedBytes, Model};

static ECHOES: LazyLock<[AlignedBytes; 3]> = LazyLock::new(neji_fuzz::echoes);

fuzz_target!(|data: &[u8]| {
    let Some((&which, life)) = data.split_first() else { return };
    let echo = &ECHOES[usize::from(which) % ECHOES.len()];
    neji_fuzz::live(Model::parse(echo.as_slice()).expect("a model"), life);
});
