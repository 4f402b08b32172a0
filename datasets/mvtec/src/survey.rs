//! Reads every indexed file once: its hash for the fingerprint, and its header, so that what is unusable is known before anything runs.

use mimus_core::plugin::{Group, SampleInfo};
use mimus_core::{Context, Result};
use mimus_decode::{Seen, check_mask_size, hex, look};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// SHA-256 over name, number of bytes and content hash of every file that the groups hold, in their order.
///
/// # Errors
/// If a file cannot be read, is no usable image by its header, or a mask has another size than its image.
pub(crate) fn fingerprint(groups: &[Group]) -> Result<String> {
    let mut all = Sha256::new();
    for group in groups {
        let samples: Vec<&SampleInfo> = group.train.iter().chain(&group.test).collect();
        let seen: Vec<Result<[Option<Seen>; 2]>> = samples.par_iter().map(|sample| pair(sample)).collect();
        for (sample, seen) in samples.into_iter().zip(seen) {
            for (kind, seen) in ["image", "mask"].into_iter().zip(seen.context("group", &group.name)?) {
                let Some(seen) = seen else { continue };
                all.update(format!("{}/{} {kind} {} ", group.name, sample.id, seen.bytes));
                all.update(seen.digest);
            }
        }
    }
    Ok(hex(&all.finalize()))
}

/// A sample's image, and its mask if there is one.
fn pair(sample: &SampleInfo) -> Result<[Option<Seen>; 2]> {
    let image = look(&sample.path)?;
    let Some(path) = &sample.mask else {
        return Ok([Some(image), None]);
    };
    let mask = look(path)?;
    check_mask_size(path, mask.size, &sample.path, image.size)?;
    Ok([Some(image), Some(mask)])
}
