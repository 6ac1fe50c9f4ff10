//! The whole AdamAtan2 update in one pass over parameter, moments and gradient.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::math::atan2_right;
use super::raw::PARALLEL_ELEMENTS;
use crate::ops::AdamAtan2Hyper;

/// Elements that one thread takes at a time.
const BLOCK: usize = 1 << 13;

#[derive(Clone, Copy)]
struct Factors {
    keep: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    inverse_root_bias2: f32,
    rate: f32,
}

struct Update<'a> {
    factors: Factors,
    p: &'a mut [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    g: &'a [f32],
}

impl WithSimd for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let f = self.factors;
        let moments = self.m.iter_mut().zip(self.v.iter_mut());
        for ((p, (m, v)), &g) in self.p.iter_mut().zip(moments).zip(self.g) {
            *m = f.beta1 * *m + f.rest1 * g;
            *v = f.beta2 * *v + f.rest2 * (g * g);
            let angle = atan2_right(*m, v.sqrt() * f.inverse_root_bias2);
            *p = *p * f.keep - f.rate * angle;
        }
    }
}

/// Updates `p`, `m` and `v` in place.
pub(super) fn update(
    p: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    g: &[f32],
    hyper: AdamAtan2Hyper,
) {
    let factors = Factors {
        keep: (1.0 - hyper.lr * hyper.weight_decay) as f32,
        beta1: hyper.beta1 as f32,
        rest1: (1.0 - hyper.beta1) as f32,
        beta2: hyper.beta2 as f32,
        rest2: (1.0 - hyper.beta2) as f32,
        inverse_root_bias2: (1.0 / hyper.bias2.sqrt()) as f32,
        rate: (hyper.lr / hyper.bias1) as f32,
    };
    let arch = Arch::new();
    if p.len() < PARALLEL_ELEMENTS {
        arch.dispatch(Update {
            factors,
            p,
            m,
            v,
            g,
        });
        return;
    }
    p.par_chunks_mut(BLOCK)
        .zip(m.par_chunks_mut(BLOCK))
        .zip(v.par_chunks_mut(BLOCK))
        .zip(g.par_chunks(BLOCK))
        .for_each(|(((p, m), v), g)| {
            arch.dispatch(Update {
                factors,
                p,
                m,
                v,
                g,
            })
        });
}
