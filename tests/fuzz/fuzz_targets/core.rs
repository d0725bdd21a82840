//! The whole core on any bits as activations and weights: an error or finite, orthogonal, ordered results, never a panic.
#![no_main]

use decomcam_core::{Error, Layout, Maps, Quantisation, SignRule, channels, decompose, head, integrate, svd};
use libfuzzer_sys::fuzz_target;

/// Takes numbers off the front of the fuzzer's bytes.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn float(&mut self) -> f32 {
        match self.next() {
            // Every bit pattern; a small whole number; a power of two.
            0..=63 => f32::from_le_bytes([self.next(), self.next(), self.next(), self.next()]),
            64..=191 => f32::from(self.next()) - 100.0,
            _ => 2f32.powi(i32::from(self.next()) - 128),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Bytes(bytes);
    let [c, h, w] = [24, 6, 6].map(|most| usize::from(bytes.next() % most + 1));
    let (p, q) = (usize::from(bytes.next() % 25), usize::from(bytes.next() % 12));
    let sign = [SignRule::Score, SignRule::LargestLoading, SignRule::LargestEntry][usize::from(bytes.next() % 3)];
    let layout = if bytes.next() % 2 == 0 { Layout::chw(c, h, w) } else { Layout::hwc(h, w, c) };
    let kind = bytes.next() % 3;
    let quantisation = Quantisation::PerTensor { scale: bytes.float(), zero_point: bytes.next().into() };
    let weights: Vec<f32> = (0..c).map(|_| bytes.float()).collect();
    let floats: Vec<f32> = (0..c * h * w).map(|_| if kind == 0 { bytes.float() } else { 0.0 }).collect();
    let raw: Vec<u8> = (0..c * h * w).map(|_| bytes.next()).collect();
    let maps = if kind == 0 { Maps::f32(&floats, layout) } else { Maps::u8(&raw, layout, quantisation) };
    let Ok(maps) = maps else { return };

    let positions = h * w;
    let mut own = vec![0.0; c];
    let _ = channels::weights(&maps, &mut own);
    let Ok(top) = channels::top::<24>(&weights, p) else { return };
    let mut workspace = vec![0.0; decompose::workspace_len(positions, p)];
    let parts = match decompose::decompose(&maps, &weights, &top, q, sign, &mut workspace) {
        Ok(parts) => parts,
        // NotConverged would be a finding: thirty sweeps are far more than any matrix of these sizes needs.
        Err(error) => return assert_ne!(error, Error::NotConverged),
    };
    let values = parts.singular_values().to_vec();
    assert!(values.iter().all(|v| *v >= 0.0) && values.windows(2).all(|pair| pair[0] >= pair[1]), "{values:?}");
    let largest = f64::from(values[0]);
    let components: Vec<Vec<f64>> = parts.iter().map(|m| m.iter().map(|v| f64::from(*v)).collect()).collect();
    for (k, a) in components.iter().enumerate() {
        for b in &components[..k] {
            let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            // Where results are subnormal, each entry is rounded by up to 2^-149.
            let rounding = 2.0 * positions as f64 * largest * 2f64.powi(-149);
            assert!(product.abs() <= 1e-4 * largest * largest + rounding, "{product:e} of {largest:e}");
        }
    }
    let mut predicted = vec![0.0; q];
    let _ = integrate::predicted(&parts, &mut predicted);
    let ossms = parts.rectify();
    let (mut row, mut map) = (vec![0.0; positions], vec![0.0; positions]);
    let _ = head::uncentred_first_order(&maps, &weights, &mut row, &mut map);
    let _ = head::first_order_mean(&maps, &weights);
    let _ = head::centred_first_order(&maps, &weights, &mut row, &mut map);
    let _ = head::contributions(ossms.maps(), &map, &mut row, &mut predicted);
    let _ = integrate::sum(ossms.maps(), &predicted, &mut map);

    // The public SVD on the same bits.
    let mut columns = floats;
    let mut lengths = vec![0.0; c];
    if let Ok(convergence) = svd::orthogonalise(&mut columns, positions, &mut lengths, None) {
        assert!(convergence.converged, "{convergence:?}");
    }
});
