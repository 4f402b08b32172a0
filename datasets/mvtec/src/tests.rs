//! Trees made for each test: what loads, and the error of what does not.

use std::fs;
use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage, ImageFormat, RgbImage, RgbaImage};
use mimus_core::plugin::{Dataset, Index, OpenDataset, OptionValue, Options, Sample, Split};
use mimus_core::{Error, ErrorKind, Result};
use tempfile::TempDir;

use crate::Mvtec;

/// A tree of files in a temporary folder.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A category `screw` with masks: 2 normal to train, 1 normal and 2 `crack` to test.
    fn screw() -> Self {
        let tree = Self::new();
        for image in ["train/good/000", "train/good/001", "test/good/000", "test/crack/000", "test/crack/001"] {
            tree.image(&format!("screw/{image}.png"), gray(6, 4));
        }
        for mask in ["000", "001"] {
            tree.image(&format!("screw/ground_truth/crack/{mask}_mask.png"), gray(6, 4));
        }
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn file(&self, path: &str, bytes: &[u8]) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    /// An image in the format that the extension names.
    fn image(&self, path: &str, image: impl Into<DynamicImage>) -> &Self {
        self.file(path, &encoded(image, ImageFormat::from_path(path).unwrap()))
    }

    fn remove(&self, path: &str) -> &Self {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        self
    }

    fn open_with(&self, path: &str, options: &[(&str, OptionValue)]) -> Result<Box<dyn OpenDataset>> {
        let given = options.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Mvtec.open(Some(&self.path(path)), &Options::resolve(&Mvtec.info().options, given)?)
    }

    fn open(&self) -> Result<Box<dyn OpenDataset>> {
        self.open_with("", &[])
    }

    /// The error of opening or, if that works, of reading the first sample that fails.
    fn error(&self) -> Error {
        let error = match self.open() {
            Err(error) => error,
            Ok(set) => read_all(set.as_ref()).expect_err("something must fail"),
        };
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        assert!(error.next_step().is_some(), "says what to do: {error}");
        error
    }

    /// Asserts that the error names `place` and says `message`.
    fn refuses(&self, place: &str, message: &str) {
        let error = self.error();
        let place = self.path(place);
        let named = [error.context_value("file"), error.context_value("folder")];
        assert!(named.contains(&Some(place.to_str().unwrap())), "{place:?} in: {error}");
        assert!(error.message().contains(message), "{message:?} in: {error}");
    }
}

fn read_all(set: &dyn OpenDataset) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for (g, group) in set.index().groups.iter().enumerate() {
        for split in [Split::Train, Split::Test] {
            for i in 0..group.samples(split).len() {
                samples.push(set.read(g, split, i)?);
            }
        }
    }
    Ok(samples)
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn gray(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| image::Luma([((10 * x + y) % 256) as u8]))
}

fn rgb(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([(10 * x % 256) as u8, 200, y as u8]))
}

fn texts(values: &[&str]) -> OptionValue {
    OptionValue::Texts(values.iter().map(|value| (*value).to_owned()).collect())
}

fn ids(index: &Index) -> Vec<&str> {
    index.groups[0].train.iter().chain(&index.groups[0].test).map(|sample| sample.id.as_str()).collect()
}

#[test]
fn a_category_is_indexed_in_natural_order_with_labels_and_masks() {
    let tree = Tree::screw();
    tree.image("screw/train/good/10.png", gray(6, 4)).image("screw/train/good/9.png", gray(6, 4));
    let set = tree.open().unwrap();
    let ids = ids(set.index());
    assert_eq!(ids[..4], ["train/good/000", "train/good/001", "train/good/9", "train/good/10"]);
    assert_eq!(ids[4..], ["test/crack/000", "test/crack/001", "test/good/000"]);
    let group = &set.index().groups[0];
    assert!(group.has_masks);
    assert_eq!((group.name.as_str(), group.test[0].defect.as_str(), group.test[0].anomalous), ("screw", "crack", true));
    assert_eq!(group.test[0].mask, Some(tree.path("screw/ground_truth/crack/000_mask.png")));
    assert_eq!((group.test[2].defect.as_str(), group.test[2].anomalous, &group.test[2].mask), ("good", false, &None));
}

#[test]
fn the_root_may_be_one_category_or_hold_several() {
    let tree = Tree::screw();
    tree.image("bolt/train/good/a.bmp", rgb(3, 3)).image("bolt/test/bent/a.bmp", rgb(3, 3)).file("readme.txt", b"x");
    let names = |set: &dyn OpenDataset| -> Vec<String> { set.index().groups.iter().map(|g| g.name.clone()).collect() };
    assert_eq!(names(tree.open().unwrap().as_ref()), ["bolt", "screw"]);
    assert_eq!(names(tree.open_with("screw", &[]).unwrap().as_ref()), ["screw"]);
    assert_eq!(names(tree.open_with("", &[("groups", texts(&["bolt"]))]).unwrap().as_ref()), ["bolt"]);
    let error = tree.open_with("", &[("groups", texts(&["bolts"]))]).err().unwrap();
    assert_eq!(error.next_step(), Some("did you mean \"bolt\"?"));
}

#[test]
fn other_names_of_the_normal_folder_and_masks_without_suffix_load() {
    let tree = Tree::new();
    for image in ["train/ok/0", "test/ok/0", "test/ko/0"] {
        tree.image(&format!("01/{image}.bmp"), rgb(5, 5));
    }
    tree.image("01/ground_truth/ko/0.png", gray(5, 5));
    let set = tree.open().unwrap();
    let group = &set.index().groups[0];
    assert!(group.has_masks && group.test[0].anomalous && !group.test[1].anomalous);
    assert_eq!(group.test[1].defect, "good");
    let error = tree.open_with("", &[("normal", texts(&["normal"]))]).err().unwrap();
    assert_eq!(error.context_value("folder"), tree.path("01/train/ok").to_str());
    assert!(tree.open_with("", &[("normal", texts(&[]))]).is_err());
}

#[test]
fn gray_and_rgb_png_jpeg_and_bmp_are_read_with_their_pixels() {
    let cases: [(&str, DynamicImage, usize, u8); 9] = [
        ("0.png", gray(6, 4).into(), 1, 0),
        ("1.png", rgb(6, 4).into(), 3, 0),
        ("2.png", RgbaImage::from_pixel(6, 4, image::Rgba([1, 2, 3, 255])).into(), 3, 0),
        ("3.JPG", gray(6, 4).into(), 1, 8),
        ("4.jpeg", rgb(6, 4).into(), 3, 8),
        // A gray BMP is one with a palette of grays, which decodes to colour.
        ("5.bmp", gray(6, 4).into(), 3, 0),
        ("6.bmp", rgb(6, 4).into(), 3, 0),
        ("7.tif", gray(6, 4).into(), 1, 0),
        ("8.TIFF", rgb(6, 4).into(), 3, 0),
    ];
    let tree = Tree::new();
    for (name, image, ..) in &cases {
        tree.image(&format!("train/good/{name}"), image.clone()).image(&format!("test/good/{name}"), image.clone());
    }
    let samples = read_all(tree.open().unwrap().as_ref()).unwrap();
    assert_eq!(samples.len(), 2 * cases.len());
    for ((name, image, channels, tolerance), sample) in cases.iter().cycle().zip(&samples) {
        let pixels = &sample.pixels;
        assert_eq!((pixels.height, pixels.width, pixels.channels), (4, 6, *channels), "{name}");
        let expected = if *channels == 1 { image.to_luma8().into_raw() } else { image.to_rgb8().into_raw() };
        assert_eq!(expected.len(), pixels.bytes.len(), "{name}");
        let worst = expected.iter().zip(pixels.bytes.iter()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst.is_some_and(|worst| worst <= *tolerance), "{name}: off by {worst:?}");
    }
}

#[test]
fn a_mask_marks_what_is_not_zero_and_half_way_up_in_a_lossy_one() {
    let mask = GrayImage::from_fn(16, 8, |x, _| image::Luma([if x < 8 { 0 } else { 255 }]));
    let mut faint = mask.clone();
    faint.pixels_mut().for_each(|pixel| pixel.0[0] /= 255);
    for (name, mask) in [("000.png", &faint), ("000_mask.bmp", &mask), ("000_mask.jpg", &mask)] {
        let tree = Tree::new();
        for image in ["train/good/000", "test/good/000", "test/crack/000"] {
            tree.image(&format!("{image}.png"), gray(16, 8));
        }
        tree.image(&format!("ground_truth/crack/{name}"), mask.clone());
        let set = tree.open().unwrap();
        let read = set.read(0, Split::Test, 0).unwrap().mask.unwrap();
        let expected: Vec<u8> = mask.pixels().map(|pixel| u8::from(pixel.0[0] > 0)).collect();
        assert_eq!(read.as_slice(), expected, "{name}");
        assert!(set.read(0, Split::Test, 1).unwrap().mask.is_none());
    }
}

#[test]
fn the_fingerprint_follows_names_and_contents_and_nothing_else() {
    let tree = Tree::screw();
    let fingerprint = |tree: &Tree| tree.open().unwrap().index().fingerprint.clone();
    let first = fingerprint(&tree);
    assert_eq!(first.len(), 64);
    assert_eq!(first, fingerprint(&Tree::screw()), "place and time do not matter");
    assert_eq!(first, tree.open_with("screw", &[]).unwrap().index().fingerprint);
    tree.file("screw/readme.txt", b"x").file("screw/train/good/Thumbs.db", b"x").file("screw/test/good/.hidden", b"x");
    assert_eq!(first, fingerprint(&tree), "litter does not matter");
    fs::rename(tree.path("screw/train/good/001.png"), tree.path("screw/train/good/002.png")).unwrap();
    let renamed = fingerprint(&tree);
    tree.image("screw/ground_truth/crack/001_mask.png", GrayImage::new(6, 4));
    assert!(first != renamed && renamed != fingerprint(&tree));
}

#[test]
fn masks_are_all_or_none_unless_the_option_says_otherwise() {
    let masks = |word: &str| [("masks", OptionValue::Text(word.to_owned()))];
    let tree = Tree::screw();
    tree.remove("screw/ground_truth/crack/001_mask.png").image("screw/ground_truth/crack/7_mask.png", gray(6, 4));
    let error = tree.error();
    assert_eq!(
        error.message(),
        "1 image(s) without a mask: test/crack/001.png; 1 mask(s) without an image: ground_truth/crack/7_mask.png"
    );
    assert_eq!(error.context_value("folder"), tree.path("screw").to_str());
    assert!(!tree.open_with("", &masks("ignore")).unwrap().index().groups[0].has_masks);
    tree.remove("screw/ground_truth");
    assert!(!tree.open().unwrap().index().groups[0].has_masks);
    let error = tree.open_with("", &masks("required")).err().unwrap();
    assert!(
        error.message().starts_with("2 image(s) without a mask: test/crack/000.png, test/crack/001.png"),
        "{error}"
    );
}

#[test]
fn what_is_missing_is_named() {
    let tree = Tree::screw();
    let error = tree.open_with("scew", &[]).err().unwrap();
    assert_eq!(error.context_value("folder"), tree.path("scew").to_str());
    assert_eq!((error.kind(), error.message()), (ErrorKind::Data, "does not exist"));
    assert!(tree.open_with("screw/test/good/000.png", &[]).err().unwrap().message().contains("is a file"));
    assert_eq!(Mvtec.open(None, &Options::default()).err().unwrap().context_value("key"), Some("root"));
    Tree::new().refuses("", "holds no category");

    fs::create_dir(tree.path("empty")).unwrap();
    tree.refuses("empty", "has no folder `train`");
    tree.remove("empty").remove("screw/train/good").refuses("screw/train", "no folder of normal images");
    fs::create_dir(tree.path("screw/train/good")).unwrap();
    tree.refuses("screw/train/good", "holds no image");
    tree.remove("screw/train").refuses("screw", "has no folder `train`");

    let tree = Tree::screw();
    tree.remove("screw/test/crack").remove("screw/test/good").refuses("screw/test", "holds no folder of images");
    tree.remove("screw/test").refuses("screw", "has no folder `test`");
}

#[test]
fn what_is_out_of_place_is_named() {
    let refuses = |file: &str, place: &str, message: &str| {
        let tree = Tree::screw();
        tree.file(file, &encoded(gray(6, 4), ImageFormat::Png)).refuses(place, message);
    };
    refuses("screw/groundtruth/crack/000.png", "screw/groundtruth", "no folder that the layout knows");
    refuses("screw/train/000.png", "screw/train/000.png", "is a file where only folders belong");
    refuses("screw/train/bad/000.png", "screw/train/bad", "does not hold normal images");
    refuses("screw/train/good/deep/000.png", "screw/train/good/deep", "is a folder where only images belong");
    refuses("screw/train/good/notes.txt", "screw/train/good/notes.txt", "is no image");
    refuses("screw/train/good/000.jpg", "screw/train/good/000.jpg", "two images share the name 000");
    refuses("screw/ground_truth/crack/000.png", "screw/test/crack/000.png", "has two masks");
    refuses("screw/ground_truth/good/000.png", "screw/ground_truth/good/000.png", "anomalous pixels on a normal image");
}

#[test]
fn unusable_files_are_named_with_the_reason() {
    let file = "screw/train/good/001.png";
    let refuses = |bytes: &[u8], message: &str| Tree::screw().file(file, bytes).refuses(file, message);
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let whole = encoded(rgb(40, 40), format);
        for end in [whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            refuses(&whole[..end], "is cut short");
        }
    }
    for format in [ImageFormat::Bmp, ImageFormat::Tiff] {
        let whole = encoded(rgb(40, 40), format);
        refuses(&whole[..whole.len() / 2], "cannot be decoded");
    }
    let mut pages = std::io::Cursor::new(Vec::new());
    let mut tiff = tiff::encoder::TiffEncoder::new(&mut pages).unwrap();
    for _ in 0..2 {
        tiff.write_image::<tiff::encoder::colortype::Gray8>(2, 2, &[0; 4]).unwrap();
    }
    refuses(&pages.into_inner(), "is a TIFF of several pictures, expects one");
    let mut damaged = encoded(rgb(40, 40), ImageFormat::Png);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xFF;
    refuses(&damaged, "cannot be decoded");
    refuses(b"", "is an empty file");
    refuses(b"GIF89a some GIF", "is no PNG, JPEG, BMP or TIFF");
    let deep = image::ImageBuffer::<image::Luma<u16>, _>::new(6, 4);
    refuses(&encoded(deep, ImageFormat::Png), "has 16 bits a channel, expects 8");
    refuses(&encoded(RgbaImage::new(6, 4), ImageFormat::Png), "has transparent pixels");
    let mut huge = encoded(gray(6, 4), ImageFormat::Bmp);
    huge[18..22].copy_from_slice(&60_000u32.to_le_bytes());
    huge[22..26].copy_from_slice(&60_000u32.to_le_bytes());
    refuses(&huge, "claims 60000x60000 pixels");
}

#[test]
fn a_mask_of_another_size_is_refused_on_opening() {
    let tree = Tree::screw();
    tree.image("screw/ground_truth/crack/000_mask.png", gray(4, 6));
    assert!(tree.open().is_err());
    tree.refuses("screw/ground_truth/crack/000_mask.png", "is a mask of 4x6 pixels, but its image has 6x4");
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_reached_is_named() {
    let tree = Tree::screw();
    std::os::unix::fs::symlink(tree.path("gone.png"), tree.path("screw/train/good/002.png")).unwrap();
    tree.refuses("screw/train/good/002.png", "cannot be read");
}

#[test]
fn a_file_that_changed_after_opening_is_an_error_and_not_a_panic() {
    let tree = Tree::screw();
    let set = tree.open().unwrap();
    tree.remove("screw/train/good/000.png").image("screw/test/crack/000.png", gray(8, 8));
    let path = |error: Error, key: &str| Path::new(error.context_value(key).unwrap()).to_owned();
    let gone = set.read(0, Split::Train, 0).unwrap_err();
    assert_eq!(path(gone, "file"), tree.path("screw/train/good/000.png"));
    let resized = set.read(0, Split::Test, 0).unwrap_err();
    assert!(resized.message().contains("is a mask of 6x4 pixels, but its image has 8x8"));
    assert!(set.read(0, Split::Train, 9).unwrap_err().message().contains("no sample 9"));
    assert!(set.read(1, Split::Train, 0).is_err());
}
