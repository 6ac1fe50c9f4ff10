//! One update of AdamAtan2.

use burn::tensor::DType;
use burn_cubecl::cubecl::prelude::*;

use super::launch::*;
use crate::ops::AdamAtan2Hyper;

#[cube(launch_unchecked, address_type = "dynamic")]
fn adam_atan2_kernel<N: Size>(
    p: &mut [Vector<f32, N>],
    m: &mut [Vector<f32, N>],
    v: &mut [Vector<f32, N>],
    g: &[Vector<f32, N>],
    keep: f32,
    rate: f32,
    beta1: f32,
    of_g: f32,
    beta2: f32,
    of_square: f32,
    root_scale: f32,
    vectors: usize,
) {
    // Not the length of a buffer, which may be padded.
    if ABSOLUTE_POS >= vectors {
        terminate!();
    }
    let at = ABSOLUTE_POS;
    let g = g[at];
    let zero = Vector::<f32, N>::new(0.0f32);
    let new_m = m[at] * Vector::new(beta1) + g * Vector::new(of_g);
    let new_v = v[at] * Vector::new(beta2) + g * g * Vector::new(of_square);
    let root = new_v.sqrt() * Vector::new(root_scale);
    // Not every shading language defines atan2(0, 0).
    let update = select_many(new_m.equal(&zero), zero, new_m.atan2(root));
    p[at] = p[at] * Vector::new(keep) - update * Vector::new(rate);
    m[at] = new_m;
    v[at] = new_v;
}

pub(super) fn update(
    p: CubeTensor,
    m: CubeTensor,
    v: CubeTensor,
    g: CubeTensor,
    hyper: AdamAtan2Hyper,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let [p, m, v, g] = [p, m, v, g].map(into_contiguous);
    // A buffer that someone else still reads is left alone.
    let [p, m, v] = [p, m, v].map(|x| if x.can_mut() { x } else { x.copy() });
    debug_assert!([&p, &m, &v, &g].iter().all(|x| x.dtype == DType::F32));
    let client = p.client.clone();
    let elements = p.meta.num_elements();
    let size = vector_size(&p, &[elements]);
    let (count, cube) = units(&client, elements / size);
    // SAFETY: a unit reads and writes its own vector, of which all four have as many.
    unsafe {
        adam_atan2_kernel::launch_unchecked(
            &client,
            count,
            cube,
            address_type(&[&p]),
            size,
            p.clone().into_buffer_arg(),
            m.clone().into_buffer_arg(),
            v.clone().into_buffer_arg(),
            g.into_buffer_arg(),
            (1.0 - hyper.lr * hyper.weight_decay) as f32,
            (hyper.lr / hyper.bias1) as f32,
            hyper.beta1 as f32,
            (1.0 - hyper.beta1) as f32,
            hyper.beta2 as f32,
            (1.0 - hyper.beta2) as f32,
            (1.0 / hyper.bias2.sqrt()) as f32,
            elements / size,
        );
    }
    (p, m, v)
}
