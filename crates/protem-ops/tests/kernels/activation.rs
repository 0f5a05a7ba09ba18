//! Images, matrices and PyTorch's order in and out.

use crate::{numbers, shape};
use protem_ops::Precision::F32;
use protem_ops::{Activation, Pool};

#[test]
fn images_are_scaled_and_come_out_by_channel() {
    let pool = Pool::default();
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    // Several images, one in whole vectors, one in vectors and some more.
    for (batch, height, width) in [(3, 2, 5), (1, 3, 16), (1, 2, 37), (2, 2, 37)] {
        let bytes: Vec<u8> = (0..batch * height * width * 3)
            .map(|i| (i * 37 % 256) as u8)
            .collect();
        let map = Activation::from_images(&pool, F32, &bytes, (batch, height, width), mean, std);
        let got = map.to_nchw();
        for n in 0..batch {
            for p in 0..height * width {
                for c in 0..3 {
                    let byte = f64::from(bytes[(n * height * width + p) * 3 + c]);
                    let want = (byte / 255.0 - f64::from(mean[c])) / f64::from(std[c]);
                    let got = f64::from(got[(n * 3 + c) * height * width + p]);
                    // A difference of numbers below 5.
                    assert!((got - want).abs() < 5.0 * f64::from(f32::EPSILON));
                }
            }
        }
    }
}

#[test]
fn torchs_order_and_matrices_come_back_as_they_went() {
    let pool = Pool::default();
    let size = shape(3, 4, 5, 7);
    let values = numbers(size.len(), 1);
    let map = Activation::from_nchw(&pool, F32, &values, size);
    assert_eq!(map.to_nchw(), values);
    assert!(map.as_matrix().is_none());
    let matrix = Activation::from_matrix(&pool, &values[..35], 5, 7);
    assert_eq!(matrix.as_matrix(), Some(&values[..35]));
    assert_eq!(matrix.to_nchw(), values[..35]);
}
