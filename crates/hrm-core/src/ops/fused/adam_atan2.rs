//! The whole AdamAtan2 update in one pass over parameter, moments and gradient.

use pulp::{Arch, Simd, WithSimd};

use super::math::atan2_right;
use super::threads::{share, share_of};
use crate::ops::AdamAtan2Hyper;

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
    // Three buffers are read and written and one read.
    let part = share_of(p.len(), 4 * p.len());
    let parts = p.chunks_mut(part).zip(m.chunks_mut(part));
    let parts = parts.zip(v.chunks_mut(part)).zip(g.chunks(part));
    let parts = parts.map(|(((p, m), v), g)| Update {
        factors,
        p,
        m,
        v,
        g,
    });
    share(parts, |update| arch.dispatch(update));
}
