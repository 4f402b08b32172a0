//! What a cell costs: seconds and resident memory.

use serde::{Deserialize, Serialize};

/// Measured, so different from run to run; everything else in the results is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Seconds of training, over all processes that worked on it.
    pub(crate) train_seconds: f64,
    /// Milliseconds of scoring for each image.
    pub(crate) score_ms: f64,
    /// Milliseconds of it for decoding, resizing and arranging what the model sees.
    #[serde(default)]
    pub(crate) input_ms: f64,
    /// Largest resident memory of the process while the cell was computed, in MiB; `None` where the system does not tell.
    pub(crate) peak_mib: Option<f64>,
}

/// Begins to measure the peak anew.
pub(crate) fn reset_peak() {
    // Fails where the system has no such file: then the peak is that of the whole process, or unknown.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The largest resident memory since [`reset_peak`], in MiB.
pub(crate) fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_falls_after_a_reset_and_rises_with_use() {
        let big = std::hint::black_box(vec![1_u8; 64 << 20]);
        let before = super::peak_mib().unwrap();
        drop(big);
        super::reset_peak();
        assert!(super::peak_mib().unwrap() < before - 32.0);
    }
}
