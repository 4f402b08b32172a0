//! Trees made for each test: what loads, and the error of what does not.

use std::fs;
use std::path::PathBuf;

use image::{GrayImage, Luma};
use mimus_core::Result;
use mimus_core::plugin::{Dataset, OpenDataset, Options};
use mimus_video::Cache;
use tempfile::TempDir;

use crate::VideoFolder;

struct Tree(TempDir);

impl Tree {
    /// A clip to learn from and two to judge, of 4 frames numbered from 1.
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for clip in ["train/monday", "test/tuesday", "test/wednesday"] {
            tree.frames(clip, &[0; 4]);
        }
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn frames(&self, folder: &str, values: &[u8]) {
        fs::create_dir_all(self.path(folder)).unwrap();
        for (number, value) in (1..).zip(values) {
            GrayImage::from_pixel(2, 2, Luma([*value])).save(self.path(&format!("{folder}/{number}.png"))).unwrap();
        }
    }

    fn open(&self) -> Result<Box<dyn OpenDataset>> {
        let options = Options::resolve(&VideoFolder.info().options, Default::default())?;
        crate::open(self.0.path(), &options, &Cache::new(&self.path("cache"), 0))
    }

    fn labelled(&self, text: &str) -> Result<Box<dyn OpenDataset>> {
        fs::write(self.path("labels.csv"), text).unwrap();
        self.open()
    }

    /// Asserts that opening with these labels names their file, and says `message`.
    fn refuses(&self, text: &str, message: &str) {
        let error = self.labelled(text).err().expect("must be refused");
        assert_eq!(error.context_value("file"), self.path("labels.csv").to_str(), "{error}");
        assert!(error.to_string().contains(message), "{message} in: {error}");
    }
}

fn anomalous(set: &dyn OpenDataset) -> Vec<&str> {
    set.index().groups[0].test.iter().filter(|info| info.anomalous).map(|info| info.id.as_str()).collect()
}

#[test]
fn intervals_count_from_one_and_clips_without_one_are_normal() {
    let tree = Tree::new();
    let set = tree.labelled("\u{feff}video,start,end\r\ntuesday, 2, 3\r\n\r\ntuesday,3,4\r\n").unwrap();
    let group = &set.index().groups[0];
    assert_eq!((group.train.len(), group.test.len(), group.has_masks), (4, 8, false));
    assert_eq!(anomalous(set.as_ref()), ["test/tuesday/0002", "test/tuesday/0003", "test/tuesday/0004"]);
    assert!(anomalous(tree.labelled("video,start,end\n").unwrap().as_ref()).is_empty());
}

#[test]
fn masks_are_labels_where_there_are_no_intervals() {
    let tree = Tree::new();
    tree.frames("masks/tuesday", &[0, 255, 255, 0]);
    let error = tree.open().err().unwrap();
    assert_eq!((error.context_value("video"), error.message()), (Some("wednesday"), "has neither labels nor masks"));
    tree.frames("masks/wednesday", &[0; 4]);
    let set = tree.open().unwrap();
    assert!(set.index().groups[0].has_masks);
    assert_eq!(anomalous(set.as_ref()), ["test/tuesday/0002", "test/tuesday/0003"]);
    assert!(tree.labelled("video,start,end\ntuesday,2,3\n").unwrap().index().groups[0].has_masks);
    fs::remove_dir_all(tree.path("masks/tuesday")).unwrap();
    assert!(!tree.open().unwrap().index().groups[0].has_masks);
}

#[test]
fn a_line_that_is_wrong_is_named() {
    let tree = Tree::new();
    tree.refuses("tuesday,2,3\n", "does not begin with the line `video,start,end`");
    tree.refuses("video,start,end\ntuesday,2\n", "line `2`: is no name and two frame numbers: tuesday,2");
    tree.refuses("video,start,end\ntuesday,2,-3\n", "is no name and two frame numbers");
    tree.refuses("video,start,end\n\ntusday,2,3\n", "line `3`: names the clip `tusday`, which is not in test");
    tree.refuses("video,start,end\ntusday,2,3\n", "did you mean `tuesday`?");
    for interval in ["0,3", "3,2", "2,5"] {
        tree.refuses(&format!("video,start,end\ntuesday,{interval}\n"), "does not lie within frames 1 to 4");
    }
}

#[test]
fn what_is_no_clip_or_one_of_two_is_named() {
    let tree = Tree::new();
    let message = |tree: &Tree| tree.labelled("video,start,end\n").err().unwrap().to_string();
    fs::write(tree.path("test/notes.docx"), b"x").unwrap();
    assert!(message(&tree).contains("notes.docx`: is no clip"));
    fs::remove_file(tree.path("test/notes.docx")).unwrap();
    fs::write(tree.path("test/notes.txt"), b"texts may lie there").unwrap();
    assert!(tree.open().is_ok());
    fs::remove_dir_all(tree.path("train/monday")).unwrap();
    assert!(message(&tree).contains("holds no clip"));
    fs::remove_dir_all(tree.path("train")).unwrap();
    assert!(message(&tree).contains("expected the folders train and test"));
}
