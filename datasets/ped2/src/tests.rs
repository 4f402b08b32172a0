//! Trees made for each test, in both layouts: what loads, and the error of what does not.

use std::fs;
use std::path::{Path, PathBuf};

use image::{GrayImage, Luma};
use mimus_core::plugin::{Dataset, Group, OpenDataset, OptionValue, Options, Split};
use mimus_core::{ErrorKind, Result};
use tempfile::TempDir;

use crate::Ped2;

/// A tree of files in a temporary folder.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The published layout: a clip to learn from and two to judge, of 6 frames; the first is anomalous in frames 3 to 5.
    fn published() -> Self {
        let tree = Self::new();
        for clip in ["Train/Train001", "Test/Test001", "Test/Test003"] {
            tree.frames(clip, "tif", 1..7, |_| false);
        }
        tree.frames("Test/Test001_gt", "bmp", 1..7, |frame| (3..6).contains(&frame));
        tree.frames("Test/Test003_gt", "bmp", 1..7, |_| false);
        tree
    }

    /// The layout of conversions, with the same clips and labels.
    fn converted() -> Self {
        let tree = Self::new();
        for clip in ["training/frames/01", "testing/frames/01", "testing/frames/03"] {
            tree.frames(clip, "png", 0..6, |_| false);
        }
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn file(&self, path: &str, bytes: &[u8]) -> &Self {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), bytes).unwrap();
        self
    }

    /// Pictures, each with one white pixel where `marked` says so.
    fn frames(&self, folder: &str, extension: &str, numbers: std::ops::Range<u32>, marked: fn(u32) -> bool) -> &Self {
        fs::create_dir_all(self.path(folder)).unwrap();
        for number in numbers {
            let mut picture = GrayImage::new(6, 4);
            if marked(number) {
                picture.put_pixel(5, 1, Luma([255]));
            }
            picture.save(self.path(&format!("{folder}/{number:03}.{extension}"))).unwrap();
        }
        self
    }

    fn remove(&self, path: &str) -> &Self {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        self
    }

    fn open_with(&self, path: &str, key: &str, word: &str) -> Result<Box<dyn OpenDataset>> {
        open(&self.path(path), key, word)
    }

    fn open(&self) -> Result<Box<dyn OpenDataset>> {
        self.open_with("", "labels", "auto")
    }

    /// Asserts that opening fails, names `place` and clip, and says `message` and what to do.
    fn refuses(&self, place: &str, video: Option<&str>, message: &str) {
        let error = self.open().err().expect("must be refused");
        assert!(error.kind() == ErrorKind::Data && error.next_step().is_some(), "{error}");
        let named = [error.context_value("file"), error.context_value("folder")];
        assert!(named.contains(&Some(self.path(place).to_str().unwrap())), "{place} in: {error}");
        assert_eq!(error.context_value("video"), video, "{error}");
        assert!(error.message().contains(message), "{message} in: {error}");
    }
}

fn open(root: &Path, key: &str, word: &str) -> Result<Box<dyn OpenDataset>> {
    let given = [(key.to_owned(), OptionValue::Text(word.to_owned()))].into();
    Ped2.open(Some(root), &Options::resolve(&Ped2.info().options, given)?)
}

fn anomalous(group: &Group, clip: &str) -> Vec<u64> {
    let frames = group.test.iter().filter(|info| info.anomalous).filter_map(|info| info.frame.clone());
    frames.filter(|(name, _)| name == clip).map(|(_, number)| number).collect()
}

/// A row of 8-bit numbers as NumPy stores it.
fn npy(kind: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    header += &" ".repeat(63 - (10 + header.len()) % 64);
    header.push('\n');
    [b"\x93NUMPY\x01\x00", (header.len() as u16).to_le_bytes().as_slice(), header.as_bytes(), bytes].concat()
}

#[test]
fn the_published_layout_is_read_with_its_masks() {
    let tree = Tree::published();
    let set = tree.open().unwrap();
    let group = &set.index().groups[0];
    assert_eq!((group.train.len(), group.test.len(), group.has_masks), (6, 12, true));
    assert_eq!(anomalous(group, "Test001"), [3, 4, 5]);
    assert!(anomalous(group, "Test003").is_empty());
    assert_eq!(group.test[2].id, "test/Test001/0003");
    assert_eq!(group.test[2].path, tree.path("Test/Test001/003.tif"));
    let sample = set.read(0, Split::Test, 2).unwrap();
    assert_eq!((sample.pixels.width, sample.pixels.height, sample.pixels.channels), (6, 4, 1));
    let marked: Vec<usize> =
        sample.mask.unwrap().iter().enumerate().filter(|(_, x)| **x == 1).map(|(i, _)| i).collect();
    assert_eq!(marked, [11]);
    assert!(set.read(0, Split::Train, 0).unwrap().mask.is_none());
    assert!(set.read(0, Split::Train, 6).is_err());
}

#[test]
fn labels_come_from_the_script_by_the_number_of_the_clip() {
    let tree = Tree::published();
    tree.file("Test/UCSDped1.m", b"TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [2, 4:6];\nTestVideoFile{end+1}.gt_frame = [];\nTestVideoFile{end+1}.gt_frame = [1:2 6:6];\n");
    let set = tree.open_with("", "labels", "m").unwrap();
    assert_eq!(anomalous(&set.index().groups[0], "Test001"), [2, 4, 5, 6]);
    assert_eq!(anomalous(&set.index().groups[0], "Test003"), [1, 2, 6]);
    // Frame 3 is marked by its mask and called normal by the script.
    let error = set.read(0, Split::Test, 2).unwrap_err();
    assert_eq!(error.context_value("file"), tree.path("Test/Test001_gt/003.bmp").to_str());
    let from_masks = tree.open_with("", "labels", "masks").unwrap();
    assert_eq!(anomalous(&from_masks.index().groups[0], "Test001"), [3, 4, 5]);
    tree.file("Test/UCSDped1.m", b"TestVideoFile{end+1}.gt_frame = [2:];").refuses(
        "Test/UCSDped1.m",
        None,
        "no list of frames",
    );
    tree.file("Test/UCSDped1.m", b"TestVideoFile{end+1}.gt_frame = [2:7];").refuses(
        "Test/UCSDped1.m",
        Some("Test001"),
        "2 to 7, which does not lie within frames 1 to 6",
    );
    tree.file("Test/UCSDped1.m", b"TestVideoFile{end+1}.gt_frame = [2:5];").refuses(
        "Test/UCSDped1.m",
        Some("Test003"),
        "labels of 1 clips, and none of number 3",
    );
}

#[test]
fn labels_of_all_frames_in_one_row_need_all_frames() {
    let tree = Tree::converted();
    let row = [0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1];
    let labels = |bytes: &[u8], kind, shape| tree.file("frame_labels.npy", &npy(kind, shape, bytes)).open();
    let set = labels(&row, "|i1", "(1, 12)").unwrap();
    let group = &set.index().groups[0];
    assert_eq!((anomalous(group, "01"), anomalous(group, "03"), group.has_masks), (vec![2, 3, 4], vec![5], false));
    assert!(labels(&row, "|b1", "(12,)").is_ok());
    let wide: Vec<u8> = row.iter().flat_map(|x| u64::from(*x).to_le_bytes()).collect();
    assert!(labels(&wide, "<u8", "(12,)").is_ok());
    let refused = |message| tree.refuses("frame_labels.npy", None, message);
    assert!(labels(&row[..11], "|u1", "(11,)").is_err());
    refused("has 11 labels, but the 2 clips have 12 frames");
    assert!(labels(&row[..11], "|u1", "(12,)").is_err());
    refused("has 11 bytes of data, which does not fit the extents [12]");
    assert!(labels(&[2; 12], "|u1", "(12,)").is_err());
    refused("has 2 for frame 1, expects 0 or 1");
    assert!(labels(b"pickle", "|O", "(2,)").is_err());
    refused("holds Python objects");
    assert!(labels(&[0; 12], "|S1", "(12,)").is_err());
    refused("expects numbers");
    tree.file("frame_labels.npy", b"\x93NUMPY\x01\x00\xFF\xFF{").refuses(
        "frame_labels.npy",
        None,
        "is no whole .npy file",
    );
}

#[test]
fn a_frame_that_is_missing_or_no_frame_is_named_with_its_clip() {
    let tree = Tree::published();
    tree.remove("Test/Test003/004.tif").refuses(
        "Test/Test003/005.tif",
        Some("Test003"),
        "is frame 5, but frame 4 is missing",
    );
    let tree = Tree::published();
    tree.remove("Train/Train001/001.tif").refuses(
        "Train/Train001/002.tif",
        Some("Train001"),
        "is frame 2, but frame 1 is missing",
    );
    let tree = Tree::published();
    tree.frames("Test/Test003", "png", 4..5, |_| false).remove("Test/Test003/004.tif").file("Test/Test003/4.bmp", b"x");
    tree.refuses("Test/Test003/4.bmp", Some("Test003"), "is frame 4 once more");
    let tree = Tree::published();
    tree.file("Test/Test003/cover.png", b"x").refuses("Test/Test003/cover.png", Some("Test003"), "has no frame number");
    let tree = Tree::published();
    tree.file("Test/Test003/003.tif", b"").refuses("Test/Test003/003.tif", Some("Test003"), "is an empty file");
    let tree = Tree::published();
    GrayImage::new(4, 6).save(tree.path("Train/Train001/003.tif")).unwrap();
    tree.refuses("Train/Train001/003.tif", Some("Train001"), "is 4x6, but the frames before it are 6x4");
}

#[test]
fn masks_fit_their_clip_or_are_named() {
    let tree = Tree::published();
    tree.remove("Test/Test001_gt/006.bmp").refuses(
        "Test/Test001_gt",
        Some("Test001"),
        "has masks 1 to 5, but its frames are 1 to 6",
    );
    let tree = Tree::published();
    GrayImage::new(4, 6).save(tree.path("Test/Test001_gt/002.bmp")).unwrap();
    tree.refuses("Test/Test001_gt/002.bmp", Some("Test001"), "is a mask of 4x6 pixels, but its image has 6x4");
    tree.remove("Test/Test001_gt").refuses("", Some("Test001"), "has neither labels nor masks");
    tree.file("UCSDped2.m", b"x.gt_frame = [1:3];\nx.gt_frame = [];\nx.gt_frame = [];");
    assert!(!tree.open().unwrap().index().groups[0].has_masks);
    let error = tree.open_with("", "masks", "required").err().unwrap();
    assert_eq!(error.context_value("video"), Some("Test001"));
}

#[test]
fn both_data_sets_below_one_folder_are_groups_and_what_is_missing_is_named() {
    let tree = Tree::new();
    tree.refuses("", None, "holds neither Ped1 nor Ped2");
    for place in ["UCSDped1", "UCSDped2"] {
        tree.frames(&format!("{place}/Train/Train001"), "tif", 1..3, |_| false);
        tree.frames(&format!("{place}/Test/Test001"), "tif", 1..3, |_| false);
        tree.frames(&format!("{place}/Test/Test001_gt"), "bmp", 1..3, |frame| frame == 2);
    }
    let set = tree.open().unwrap();
    let names: Vec<&str> = set.index().groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["UCSDped1", "UCSDped2"]);
    let error = tree.open_with("UCSDped1", "labels", "mat").err().unwrap();
    assert_eq!(error.message(), "holds no .mat file with labels");
    let error = Ped2.open(None, &Options::default()).err().unwrap();
    assert_eq!(error.context_value("key"), Some("root"));
}

#[test]
fn the_fingerprint_follows_frames_labels_and_masks() {
    let tree = Tree::published();
    let fingerprint = |tree: &Tree| tree.open().unwrap().index().fingerprint.clone();
    let first = fingerprint(&tree);
    assert_eq!(first, fingerprint(&Tree::published()), "place and time do not matter");
    tree.file("Test/UCSDped2.m", b"x.gt_frame = [3:6];\nx.gt_frame = [];\nx.gt_frame = [];");
    let labelled = fingerprint(&tree);
    GrayImage::from_pixel(6, 4, Luma([9])).save(tree.path("Train/Train001/003.tif")).unwrap();
    let painted = fingerprint(&tree);
    GrayImage::from_pixel(6, 4, Luma([9])).save(tree.path("Test/Test001_gt/004.bmp")).unwrap();
    let all = [first, labelled, painted, fingerprint(&tree)];
    let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}
