//! Trees made for each test: what loads, and the error of what does not.

use std::fs;
use std::path::PathBuf;

use image::GrayImage;
use mimus_core::plugin::{Dataset, OpenDataset, OptionValue, Options, Split};
use mimus_core::{Error, Result};
use mimus_video::Cache;
use tempfile::TempDir;

use crate::ShanghaiTech;

struct Tree(TempDir);

impl Tree {
    /// Two scenes, a clip of 3 frames each to learn from and to judge; a third scene has none to judge.
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for clip in [
            "training/frames/01_001",
            "training/frames/02_001",
            "training/frames/13_001",
            "testing/frames/01_0014",
            "testing/frames/02_0128",
        ] {
            tree.frames(clip, 3);
        }
        tree.npy("testing/test_frame_mask/01_0014.npy", "(3,)", &[0, 1, 1]);
        tree.npy("testing/test_frame_mask/02_0128.npy", "(3,)", &[0, 0, 1]);
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn frames(&self, folder: &str, count: usize) {
        fs::create_dir_all(self.path(folder)).unwrap();
        for number in 0..count {
            GrayImage::new(2, 2).save(self.path(&format!("{folder}/{number:03}.png"))).unwrap();
        }
    }

    /// An array of 8-bit numbers as NumPy stores it.
    fn npy(&self, path: &str, shape: &str, numbers: &[u8]) {
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}");
        let header = format!("{header:<117}\n");
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), numbers].concat()).unwrap();
    }

    fn open(&self, given: &[(&str, OptionValue)]) -> Result<Box<dyn OpenDataset>> {
        let given = given.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let options = Options::resolve(&ShanghaiTech.info().options, given)?;
        crate::open(self.0.path(), &options, &Cache::new(&self.path("cache"), 0))
    }

    fn error(&self) -> Error {
        let error = self.open(&[]).err().expect("must be refused");
        assert!(error.next_step().is_some(), "{error}");
        error
    }

    /// Asserts that opening names the file and the clip, and says `message`.
    fn refuses(&self, file: &str, video: &str, message: &str) {
        let error = self.error();
        assert_eq!(error.context_value("file"), self.path(file).to_str(), "{error}");
        assert_eq!(error.context_value("video"), Some(video), "{error}");
        assert!(error.message().contains(message), "{message} in: {error}");
    }
}

#[test]
fn all_scenes_are_one_group_or_a_group_each() {
    let tree = Tree::new();
    let set = tree.open(&[]).unwrap();
    let group = &set.index().groups[0];
    assert_eq!(
        (group.name.as_str(), group.train.len(), group.test.len(), group.has_masks),
        ("shanghaitech", 9, 6, false)
    );
    let anomalous: Vec<&str> = group.test.iter().filter(|info| info.anomalous).map(|info| info.id.as_str()).collect();
    assert_eq!(anomalous, ["test/01_0014/0001", "test/01_0014/0002", "test/02_0128/0002"]);
    let by_scene = [("scenes", OptionValue::Bool(true))];
    let names = |given: &[_]| -> Vec<(String, usize, usize)> {
        let set = tree.open(given).unwrap();
        set.index().groups.iter().map(|group| (group.name.clone(), group.train.len(), group.test.len())).collect()
    };
    assert_eq!(names(&by_scene), [("01".to_owned(), 3, 3), ("02".to_owned(), 3, 3)]);
    let only = ("groups", OptionValue::Texts(vec!["02".to_owned()]));
    assert_eq!(names(&[by_scene[0].clone(), only]).len(), 1);
    fs::remove_dir_all(tree.path("training/frames/02_001")).unwrap();
    assert!(
        tree.open(&by_scene).err().unwrap().message().contains("scene 02 has clips to judge and none to learn from")
    );
}

#[test]
fn masks_are_slices_of_an_array() {
    let tree = Tree::new();
    tree.npy("testing/test_pixel_mask/01_0014.npy", "(3, 2, 2)", &[0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 1]);
    assert!(!tree.open(&[]).unwrap().index().groups[0].has_masks, "the other clip has none");
    assert!(tree.open(&[("masks", OptionValue::Text("required".to_owned()))]).is_err());
    tree.npy("testing/test_pixel_mask/02_0128.npy", "(3, 2, 2)", &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0]);
    let set = tree.open(&[]).unwrap();
    assert!(set.index().groups[0].has_masks);
    let mask = |sample| set.read(0, Split::Test, sample).map(|sample| sample.mask.unwrap().into_vec());
    assert_eq!(mask(0).unwrap(), [0, 0, 0, 0]);
    assert_eq!(
        (mask(1).unwrap(), mask(2).unwrap(), mask(5).unwrap()),
        (vec![0, 1, 0, 0], vec![1, 1, 0, 1], vec![0, 0, 1, 0])
    );
    let error = mask(4).unwrap_err();
    assert!(error.message().contains("marks anomalous pixels on a frame that the labels call normal"), "{error}");
}

#[test]
fn labels_and_masks_that_do_not_fit_are_named_with_their_clip() {
    let (labels, masks) = ("testing/test_frame_mask/01_0014.npy", "testing/test_pixel_mask/01_0014.npy");
    let tree = Tree::new();
    tree.npy(labels, "(4,)", &[0, 1, 1, 0]);
    tree.refuses(labels, "01_0014", "has 4 labels, but the clip has 3 frames");
    tree.npy(labels, "(3,)", &[0, 1, 2]);
    tree.refuses(labels, "01_0014", "has 2 for frame 3, expects 0 or 1");
    tree.npy(labels, "(3,)", &[0, 1]);
    tree.refuses(labels, "01_0014", "has 2 bytes of data");
    fs::remove_file(tree.path(labels)).unwrap();
    tree.refuses(labels, "01_0014", "cannot be read");
    let tree = Tree::new();
    tree.npy(masks, "(2, 2, 2)", &[0; 8]);
    tree.refuses(masks, "01_0014", "has 2 masks, but the clip has 3 frames");
    tree.npy(masks, "(3, 4)", &[0; 12]);
    tree.refuses(masks, "01_0014", "expects frames, height and width");
    tree.npy(masks, "(3, 1, 4)", &[0; 12]);
    tree.npy("testing/test_pixel_mask/02_0128.npy", "(3, 2, 2)", &[0; 12]);
    let error = tree.open(&[]).unwrap().read(0, Split::Test, 1).unwrap_err();
    assert!(error.message().contains("is a mask of 4x1 pixels, but its image has 2x2"), "{error}");
}

#[test]
fn the_data_set_for_counting_people_and_other_folders_are_refused() {
    let tree = Tree::new();
    fs::remove_dir_all(tree.path("training")).unwrap();
    assert!(tree.error().next_step().unwrap().contains("training/frames and testing/frames"));
    fs::create_dir(tree.path("part_A")).unwrap();
    assert!(tree.error().message().contains("for counting people"));
}
