//! Detection metrics on raw scores: exact, ties by half, undefined with its reason instead of a made-up number.
//!
//! Throughout, a larger score means more anomalous, a sample is called anomalous where its score is *at or above* the
//! threshold, and samples with equal scores (`-0.0` equals `0.0`) pass a threshold together. Nothing is rescaled,
//! clamped or sampled; only confidence intervals come from bins.
//!
//! - [`Ranking::of`]: AUROC, average precision and F1max of images or frames.
//! - [`PixelScores`]: the same of pixels, and AUPRO, image by image over a whole category.
//! - [`PixelBins`]: about the same of images drawn with repetition, for confidence intervals.
//! - [`FrameMetrics`]: AUROC of frames over all videos and by video, and the equal error rate, after a named [`Protocol`].
//! - [`TrackMetrics`]: RBDC and TBDC of detected regions in videos, or of score maps by [`VideoSweep`].
//! - [`Regions::label`]: the 8-connected regions of a mask.

mod binned;
mod overlap;
mod pixel;
mod ranking;
mod regions;
mod runs;
mod swept;
mod tracks;
mod value;
mod video;

pub use binned::{BinnedImage, PixelBins};
pub use pixel::{PixelMetrics, PixelScores};
pub use ranking::Ranking;
pub use regions::Regions;
pub use swept::{SweptVideo, Thresholds, VideoSweep};
pub use tracks::{Detection, PixelBox, STREET_SCENE, TrackMetrics, TrueRegion};
pub use value::Metric;
pub use video::{FrameMetrics, MissingClass, Normalise, Protocol, ScorePart, Smooth};
