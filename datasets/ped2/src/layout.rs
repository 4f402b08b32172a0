//! Where clips and masks lie.

use std::path::{Path, PathBuf};

use mimus_core::{Error, Result};
use mimus_decode::MaskPolicy;
use mimus_video::{Cache, Clip, Judged, Mask, Scene, clips, parts, picture_masks};

use crate::truth;

/// Folders of clips to learn from and to judge; the first pair that is there counts.
const PARTS: [[&str; 2]; 3] = [["Train", "Test"], ["training/frames", "testing/frames"], ["training", "testing"]];
/// What UCSD appends to a clip's name for the folder of its masks, beside the clip's own.
const MASKS: &str = "_gt";
/// Where others put the folders of masks, named as the clips.
const PIXEL_MASKS: &str = "testing/pixel_masks";

/// One of the two data sets.
pub(crate) struct Place {
    /// Its folder's name.
    pub(crate) name: String,
    pub(crate) root: PathBuf,
    train: PathBuf,
    pub(crate) test: PathBuf,
}

impl Place {
    fn of(name: String, root: &Path) -> Option<Self> {
        let [train, test] = parts(root, &PARTS).ok()?;
        Some(Self { name, root: root.to_owned(), train, test })
    }

    /// Its clips with their ground truth.
    ///
    /// # Errors
    /// If a clip, its labels or its masks cannot be used.
    pub(crate) fn scene(&self, labels: &str, policy: MaskPolicy, cache: &Cache) -> Result<Scene> {
        let is_masks = |name: &str| name.ends_with(MASKS);
        let train = clips(&self.train, cache, is_masks)?;
        let test = clips(&self.test, cache, is_masks)?;
        let masks = test.iter().map(|clip| self.masks(clip)).collect::<Result<Vec<_>>>()?;
        let truths = truth::truths(self, labels, &test, masks)?;
        let test = test.into_iter().zip(truths).map(|(clip, truth)| Judged { clip, truth }).collect();
        Scene { name: self.name.clone(), train, test }.with_masks(policy)
    }

    /// The masks of a clip; none if it has no folder of masks.
    fn masks(&self, clip: &Clip) -> Result<Vec<Mask>> {
        let folders = [self.test.join(format!("{}{MASKS}", clip.name)), self.root.join(PIXEL_MASKS).join(&clip.name)];
        folders.iter().find(|folder| folder.is_dir()).map_or(Ok(Vec::new()), |folder| picture_masks(clip, folder))
    }
}

/// `root` itself, or the data sets in it.
///
/// # Errors
/// If there is none.
pub(crate) fn places(root: &Path) -> Result<Vec<Place>> {
    if let Some(place) = Place::of(mimus_decode::folder_name(root)?, root) {
        return Ok(vec![place]);
    }
    let folders = mimus_decode::folders(root)?;
    let places: Vec<Place> = folders.into_iter().filter_map(|folder| Place::of(folder.name, &folder.path)).collect();
    match places.is_empty() {
        false => Ok(places),
        true => Err(Error::data("holds neither Ped1 nor Ped2")
            .with("folder", root.display())
            .hint("expected Train/Train001/001.tif and Test/Test001/001.tif, or training/frames/01/000.jpg and testing/frames/01/000.jpg")),
    }
}
