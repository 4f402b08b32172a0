//! The area under the per-region overlap curve, region by region and pixel by pixel, without ever building the curve.

use super::Metric;

/// AUPRO while a threshold sweeps down.
///
/// PRO(t) is the mean over regions of the share of the region's pixels that score at least t, and AUPRO is its integral over
/// the false positive rate from 0 to the limit, divided by the limit (Bergmann et al. 2021, "The MVTec Anomaly Detection
/// Dataset", section 6). PRO is a sum over pixels, so its integral is too: each anomalous pixel of a region adds the area
/// that lies right of its own entry, up to the limit. Pixels tied with normal ones enter along the straight line between
/// the two points of the curve, which also is the interpolation at the limit.
#[derive(Debug)]
pub(super) struct RegionOverlap {
    /// The limit in normal pixels.
    limit: f64,
    /// For each region, the sum over its pixels of the share of `0..limit` that lies right of their entry.
    shares: Vec<f64>,
}

impl RegionOverlap {
    /// Nothing covered yet, of `regions` regions; `limit` is a false positive rate out of `normal` pixels.
    pub(super) fn new(regions: usize, normal: u64, limit: f64) -> Self {
        Self { limit: limit * normal as f64, shares: vec![0.0; regions] }
    }

    /// Covers one pixel of each of `regions` (positions from 0) while the false positives go from `before` to `after`.
    pub(super) fn cover(&mut self, regions: impl Iterator<Item = usize>, before: u64, after: u64) {
        let share = share_of_limit(self.limit, before as f64, after as f64);
        for region in regions {
            self.shares[region] += share;
        }
    }

    /// AUPRO, given the pixels of each region.
    pub(super) fn finish(self, sizes: &[u64]) -> Metric {
        if sizes.is_empty() {
            return Metric::Undefined("no anomalous pixel".to_owned());
        }
        if self.limit == 0.0 {
            return Metric::Undefined("no normal pixel".to_owned());
        }
        let total: f64 = self.shares.iter().zip(sizes).map(|(share, &size)| share / size as f64).sum();
        Metric::Value(total / sizes.len() as f64)
    }
}

/// The mean over `0..limit` of a ramp that is 0 up to `before`, 1 from `after` on, and straight between.
pub(super) fn share_of_limit(limit: f64, before: f64, after: f64) -> f64 {
    if limit <= before {
        0.0
    } else if limit >= after {
        1.0 - (before + after) / (2.0 * limit)
    } else {
        (limit - before).powi(2) / (2.0 * (after - before) * limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_is_cut_where_the_limit_cuts_it() {
        assert_eq!(share_of_limit(10.0, 0.0, 0.0), 1.0);
        assert_eq!(share_of_limit(10.0, 4.0, 4.0), 0.6);
        assert_eq!(share_of_limit(10.0, 0.0, 10.0), 0.5);
        assert_eq!(share_of_limit(10.0, 0.0, 20.0), 0.25);
        assert_eq!(share_of_limit(10.0, 10.0, 20.0), 0.0);
    }
}
