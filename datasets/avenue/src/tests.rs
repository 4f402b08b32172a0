//! Frames in folders; videos, masks and intervals are tested with the published files, which hold them.

use std::fs;

use image::GrayImage;
use mimus_core::Error;
use mimus_core::plugin::{Dataset, OptionValue, Options};
use mimus_video::Cache;

use crate::Avenue;

fn refused(labels: &str, folders: &[&str]) -> Error {
    let place = tempfile::tempdir().unwrap();
    for folder in folders {
        fs::create_dir_all(place.path().join(folder)).unwrap();
        GrayImage::new(2, 2).save(place.path().join(folder).join("0000.png")).unwrap();
    }
    let given = [("labels".to_owned(), OptionValue::Text(labels.to_owned()))].into();
    let options = Options::resolve(&Avenue.info().options, given).unwrap();
    let error = crate::open(place.path(), &options, &Cache::new(&place.path().join("cache"), 0)).err();
    let error = error.expect("must be refused");
    assert!(error.next_step().is_some(), "{error}");
    error
}

#[test]
fn what_is_missing_is_named_with_the_clip() {
    let frames = ["training/frames/01", "testing/frames/07"];
    let error = refused("masks", &frames);
    assert_eq!(error.context_value("video"), Some("07"));
    assert_eq!(error.message(), "has no masks: ground_truth_demo/testing_label_mask/7_label.mat is missing");
    let error = refused("intervals", &frames);
    assert!(error.context_value("file").unwrap().ends_with("avenue.mat"), "{error}");
    let error = refused("masks", &["training/frames/01", "testing/frames/first"]);
    assert_eq!(
        (error.context_value("video"), error.message()),
        (Some("first"), "has no number at the end of its name, by which its labels could be found")
    );
    let error = refused("masks", &["training/frames/01"]);
    assert!(
        error.next_step().unwrap().starts_with("expected the folders training_videos and testing_videos"),
        "{error}"
    );
}
