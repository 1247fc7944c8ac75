//! For PCs: vector instructions that every x86-64 has, and loops that a compiler turns into them.
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "vector instructions"))]

use super::{Isa, Sliding};
use crate::kernels::depthwise::depthwise_conv2d;

/// The instruction set of the machine that the host runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host;

/// `(input + offset) * weight`. Both fit 16 bits, which vector instructions multiply and add in pairs.
#[inline(always)]
fn product(input: i16, weight: i8) -> i32 {
    i32::from(input).wrapping_mul(i32::from(weight))
}

/// A sum of products.
#[inline(always)]
fn sum(acc: i32, input: &[i8], offset: i16, weights: &[i8]) -> i32 {
    let pairs = input.iter().zip(weights);
    pairs.fold(acc, |acc, (&x, &w)| acc.wrapping_add(product(i16::from(x).wrapping_add(offset), w)))
}

impl Isa for Host {
    const LAYERS: bool = true;

    /// All channels of a block lie side by side, as vectors want them.
    #[inline(always)]
    fn depthwise_conv_2d(layer: &Sliding<'_>, output: &mut [i8]) -> bool {
        let &Sliding { layer, input_shape, window, output_shape } = layer;
        let input_offset = i32::from(layer.zero_point).wrapping_neg();
        depthwise_conv2d::<Self, i8>(
            layer.input,
            input_shape,
            input_offset,
            window,
            layer.weights,
            layer.channels,
            output,
            output_shape,
        );
        true
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn dot_columns(acc: [i32; 4], columns: &[[super::Quad; 4]], weights: &[i8]) -> [i32; 4] {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { vectors::dot_columns(acc, columns, weights) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn dot_rows(acc: [i32; 4], column: &[super::Quad], weights: &[i8], stride: usize) -> [i32; 4] {
        // SAFETY: as above.
        unsafe { vectors::dot_rows(acc, column, weights, stride) }
    }

    #[inline(always)]
    fn dot_s8(acc: i32, input: &[i8], input_offset: i32, weights: &[i8]) -> i32 {
        sum(acc, input, input_offset as i16, weights)
    }

    #[inline(always)]
    fn dot_s8_rows_4(acc: [i32; 4], input: &[i8], input_offset: i32, weights: [&[i8]; 4]) -> [i32; 4] {
        let [a, b, c, d] = acc;
        let [wa, wb, wc, wd] = weights;
        let offset = input_offset as i16;
        [sum(a, input, offset, wa), sum(b, input, offset, wb), sum(c, input, offset, wc), sum(d, input, offset, wd)]
    }

    #[inline(always)]
    fn multiply_accumulate_s8(acc: &mut [i32], input: &[i8], input_offset: i32, weights: &[i8]) {
        let offset = input_offset as i16;
        for (acc, (&x, &w)) in acc.iter_mut().zip(input.iter().zip(weights)) {
            *acc = acc.wrapping_add(product(i16::from(x).wrapping_add(offset), w));
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    use core::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_cvtsi32_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_madd_epi16, _mm_set_epi16,
        _mm_setzero_si128, _mm_srai_epi16, _mm_unpackhi_epi64, _mm_unpacklo_epi8, _mm_unpacklo_epi64,
    };

    use crate::isa::Quad;
    use crate::isa::portable::{self, padded};

    /// The sums of a vector's two halves.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn halves(vector: __m128i) -> [i32; 2] {
        let joined = |two: i64| ((two >> 32) as i32).wrapping_add(two as i32);
        [_mm_cvtsi128_si64(vector), _mm_cvtsi128_si64(_mm_unpackhi_epi64(vector, vector))].map(joined)
    }

    /// The lower eight bytes as int16.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn widened(bytes: __m128i) -> __m128i {
        _mm_srai_epi16::<8>(_mm_unpacklo_epi8(bytes, bytes))
    }

    /// Two quads.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn pair(Quad(a): Quad, Quad(b): Quad) -> __m128i {
        _mm_set_epi16(b[3], b[2], b[1], b[0], a[3], a[2], a[1], a[0])
    }

    /// See [`Isa::dot_rows`](crate::isa::Isa::dot_rows).
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn dot_rows(acc: [i32; 4], column: &[Quad], weights: &[i8], stride: usize) -> [i32; 4] {
        let row = |index: usize| weights.get(stride.saturating_mul(index)..).unwrap_or(&[]).as_chunks::<8>().0;
        let rows = [row(0), row(1), row(2), row(3)];
        let (pairs, _) = column.as_chunks::<2>();
        let mut sums = [_mm_setzero_si128(); 4];
        let mut done = 0_usize;
        let [a, b, c, d] = rows;
        for ((((&[x, y], a), b), c), d) in pairs.iter().zip(a).zip(b).zip(c).zip(d) {
            let inputs = pair(x, y);
            for (sum, weights) in sums.iter_mut().zip([a, b, c, d]) {
                let bytes = _mm_cvtsi64_si128(i64::from_ne_bytes(weights.map(i8::cast_unsigned)));
                *sum = _mm_add_epi32(*sum, _mm_madd_epi16(inputs, widened(bytes)));
            }
            done = done.wrapping_add(2);
        }
        let mut acc = acc;
        for (acc, sum) in acc.iter_mut().zip(sums) {
            let [front, back] = halves(sum);
            *acc = acc.wrapping_add(front).wrapping_add(back);
        }
        let weights = weights.get(done.saturating_mul(4)..).unwrap_or(&[]);
        portable::dot_rows(acc, column.get(done..).unwrap_or(&[]), weights, stride)
    }

    /// See [`Isa::dot_columns`](super::Isa::dot_columns).
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn dot_columns(acc: [i32; 4], columns: &[[Quad; 4]], weights: &[i8]) -> [i32; 4] {
        // Each holds two sums of two pixels.
        let (mut front, mut back) = (_mm_setzero_si128(), _mm_setzero_si128());
        let mut step = |&[a, b, c, d]: &[Quad; 4], weights: [i8; 4]| {
            let weights = widened(_mm_cvtsi32_si128(i32::from_ne_bytes(weights.map(i8::cast_unsigned))));
            let weights = _mm_unpacklo_epi64(weights, weights);
            front = _mm_add_epi32(front, _mm_madd_epi16(pair(a, b), weights));
            back = _mm_add_epi32(back, _mm_madd_epi16(pair(c, d), weights));
        };
        let (whole, rest) = weights.as_chunks::<4>();
        for (quads, &weights) in columns.iter().zip(whole) {
            step(quads, weights);
        }
        if let Some(quads) = columns.get(whole.len()) {
            step(quads, padded(rest));
        }
        let ([a, b], [c, d], [p, q, r, s]) = (halves(front), halves(back), acc);
        [p.wrapping_add(a), q.wrapping_add(b), r.wrapping_add(c), s.wrapping_add(d)]
    }
}
