//! Videos as data sets: frames from folders and video files, labels and masks of frames from the forms in which they are published, and the index that
//! is made of them. A plugin for a data set says where its clips and its ground truth lie; everything else stands here.
#![forbid(unsafe_code)]

mod cache;
mod clip;
mod ffmpeg;
mod labels;
mod mat;
mod npy;
mod set;
#[cfg(test)]
mod tests;
mod volume;

pub use cache::{Cache, Entry};
pub use clip::{Clip, clips, number, parts};
pub use labels::{from_intervals, from_masks, from_numbers, intervals, labels_by_number, labels_of_all};
pub use mat::{Matrix, matrices};
pub use npy::{numbers, slices};
pub use set::{Judged, Mask, Scene, Truth, masks_option, open, picture_masks};
pub use volume::mask_volume;
