//! Files that are read, and what is said of those that are not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mimus_core::Result;
use mimus_core::metrics::PixelBox;
use npyz::WriterBuilder;
use npyz::half::f16;
use tempfile::TempDir;

use super::{BoxFile, FlowFolder, FoundBox};

/// Writes an array as `.npy`.
fn save<T: npyz::AutoSerialize + Copy>(path: &Path, shape: &[u64], values: &[T]) {
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
    fs::write(path, bytes).unwrap();
}

fn flo(height: i32, width: i32, values: &[f32]) -> Vec<u8> {
    let sides = [width, height].map(i32::to_le_bytes);
    [b"PIEH".to_vec(), sides.concat(), values.iter().flat_map(|value| value.to_le_bytes()).collect()].concat()
}

/// An empty folder of one video.
fn video() -> (TempDir, std::path::PathBuf) {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("01");
    fs::create_dir(&folder).unwrap();
    (root, folder)
}

/// 2 x 3 pixels: to the right 0 to 5, down 10 to 15.
const PLANAR: [f32; 12] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

fn interleaved() -> Vec<f32> {
    (0..6).flat_map(|i| [PLANAR[i], PLANAR[i + 6]]).collect()
}

#[test]
fn all_forms_of_flow_are_read_alike() {
    let (root, folder) = video();
    fs::write(folder.join("0001.flo"), flo(2, 3, &interleaved())).unwrap();
    save(&folder.join("frame_2.npy"), &[2, 3, 2], &interleaved());
    save(&folder.join("003.npy"), &[2, 2, 3], &PLANAR);
    save(&folder.join("004.jpg.npy"), &[2, 2, 3], &PLANAR.map(f64::from));
    save(&folder.join("005.npy"), &[2, 2, 3], &PLANAR.map(f16::from_f32));
    let flows = FlowFolder::open(root.path()).unwrap();
    for frame in 1..=5 {
        let flow = flows.flow("01", frame, [2, 3]).unwrap();
        assert_eq!(([flow.height(), flow.width()], flow.values()), ([2, 3], PLANAR.as_slice()), "frame {frame}");
    }
}

#[test]
fn flow_that_is_missing_or_damaged_is_named() {
    let (root, folder) = video();
    let whole = flo(2, 3, &interleaved());
    let mut unknown = interleaved();
    unknown[7] = 1.0e10;
    let mut nan = interleaved();
    nan[4] = f32::NAN;
    let files = [
        (1, whole[..whole.len() - 1].to_vec(), "expects 48"),
        (2, [whole.clone(), vec![0]].concat(), "expects 48"),
        (3, whole[..7].to_vec(), "ends within its header"),
        (4, whole[4..].to_vec(), "does not begin"),
        (5, flo(3, 2, &interleaved()), "3 x 2"),
        (6, flo(-2, i32::MIN, &interleaved()), "-2 x -2147483648"),
        (7, flo(2, 3, &unknown), "not known"),
        (8, flo(2, 3, &nan), "finite"),
        (9, vec![], "is an empty file"),
    ];
    for (frame, bytes, _) in &files {
        fs::write(folder.join(format!("{frame}.flo")), bytes).unwrap();
    }
    save(&folder.join("20.npy"), &[12], &PLANAR);
    save(&folder.join("21.npy"), &[3, 2, 2], &PLANAR);
    save(&folder.join("22.npy"), &[2, 2, 3], &[1_u8; 12]);
    save(&folder.join("23.npy"), &[2, 2, 3], &PLANAR);
    let cut = fs::read(folder.join("23.npy")).unwrap();
    fs::write(folder.join("23.npy"), &cut[..cut.len() - 4]).unwrap();
    let arrays = [(20, "extents [12]"), (21, "extents [3, 2, 2]"), (22, "numbers"), (23, "44 bytes"), (99, "no file")];
    let flows = FlowFolder::open(root.path()).unwrap();
    for (frame, sentence) in files.iter().map(|(frame, _, sentence)| (*frame, *sentence)).chain(arrays) {
        let error = flows.flow("01", frame, [2, 3]).unwrap_err();
        assert!(error.to_string().contains(sentence), "{frame}: {error}");
        let place = ["video", "frame"].map(|key| error.context_value(key).map(str::to_owned));
        assert_eq!(place, [Some("01".to_owned()), Some(frame.to_string())], "{error}");
        assert!(frame == 99 || error.context_value("file").is_some_and(|file| file.contains("01")), "{error}");
    }
    assert!(flows.flow("02", 1, [2, 3]).unwrap_err().to_string().contains("there are 01"));
    flows.check("01", &[1, 2, 23].into()).unwrap();
    let missing = flows.check("01", &[1, 19, 23].into()).unwrap_err();
    assert!(missing.to_string().contains("13 frames, 1 to 23"), "{missing}");
    assert_eq!(["video", "frame"].map(|key| missing.context_value(key)), [Some("01"), Some("19")]);
}

#[test]
fn folders_that_are_no_flow_are_refused() {
    let refused = |files: &[&str], sentence: &str| {
        let (root, folder) = video();
        files.iter().for_each(|file| fs::write(folder.join(file), b"").unwrap());
        let error = FlowFolder::open(root.path()).unwrap_err().to_string();
        assert!(error.contains(sentence), "{error}");
    };
    refused(&["1.flo", "001.npy"], "001.npy");
    refused(&["one.flo"], "frame's number");
    refused(&["1.png"], "no .flo and no .npy");
    let empty = TempDir::new().unwrap();
    assert!(FlowFolder::open(empty.path()).unwrap_err().to_string().contains("no folder of a video"));
    assert!(FlowFolder::open(&empty.path().join("none")).is_err());
}

fn found(x1: f64, y1: f64, x2: f64, y2: f64, score: Option<f64>) -> FoundBox {
    FoundBox { place: PixelBox { x1, y1, x2, y2 }, score }
}

fn parse(text: &str) -> Result<BoxFile> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("boxes.json");
    fs::write(&file, text).unwrap();
    BoxFile::open(&file)
}

#[test]
fn boxes_are_read_from_json_arrays_and_folders() {
    let file = parse(r#"{"01": {"0003": [[1, 2, 3.5, 4, 0.9], [0, 0, 10, 8]], "4": []}, "02": {}}"#).unwrap();
    let first = [found(1.0, 2.0, 3.5, 4.0, Some(0.9)), found(0.0, 0.0, 10.0, 8.0, None)];
    assert_eq!(file.boxes("01", 3).unwrap(), first);
    assert!(file.boxes("01", 4).unwrap().is_empty() && file.boxes("02", 1).unwrap().is_empty());
    file.check("01", &(1..5).collect(), [8, 10]).unwrap();
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.json"), r#"{"01": {"1": [[0, 0, 1, 1]]}}"#).unwrap();
    save(&folder.path().join("02.npy"), &[2, 5], &[7.0_f32, 0.0, 1.0, 2.0, 3.0, 7.0, 4.0, 4.0, 5.0, 6.5]);
    save(&folder.path().join("03.npy"), &[1, 5], &[0_i64, 0, 1, 2, 3]);
    let file = BoxFile::open(folder.path()).unwrap();
    assert_eq!(file.boxes("02", 7).unwrap(), [found(0.0, 1.0, 2.0, 3.0, None), found(4.0, 4.0, 5.0, 6.5, None)]);
    assert_eq!(file.boxes("03", 0).unwrap().len(), 1);
}

#[test]
fn boxes_that_make_no_sense_are_named() {
    for (text, sentence) in [
        (r#"{"01": {"1": [[1, 2, 3]]}}"#, "3 numbers"),
        (r#"{"01": {"1": [[5, 2, 3, 4]]}}"#, "ends before it begins"),
        (r#"{"01": {"1": [[1, 2, 3, null]]}}"#, "no JSON of boxes"),
        (r#"{"01": {"1": [[1, 2, 3, 1e999]]}}"#, "no JSON of boxes"),
        (r#"{"01": {"one": [[1, 2, 3, 4]]}}"#, "no number of a frame"),
        (r#"{"01": {"1": [], "01": []}}"#, "twice"),
        (r#"{"01": {"1": [], "1": []}}"#, "twice"),
        (r#"{"01": {}, "01": {}}"#, "twice"),
        (r#"[[1, 2, 3, 4]]"#, "no JSON of boxes"),
        (r#"{}"#, "no boxes of any video"),
        ("", "is an empty file"),
        ("x", "no JSON of boxes"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.to_string().contains(sentence) && error.context_value("file").is_some(), "{text}: {error}");
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("01.npy");
    let row = |values: [f64; 5]| {
        save(&path, &[1, 5], &values);
        BoxFile::open(&path).unwrap_err().to_string()
    };
    assert!(row([1.0, 0.0, 0.0, f64::NAN, 1.0]).contains("no finite number"));
    assert!(row([1.5, 0.0, 0.0, 1.0, 1.0]).contains("no number of a frame"));
    assert!(row([-1.0, 0.0, 0.0, 1.0, 1.0]).contains("no number of a frame"));
    assert!(row([1.0, 0.0, 3.0, 1.0, 1.0]).contains("row `0`"));
    save(&path, &[1, 4], &[0.0_f64; 4]);
    assert!(BoxFile::open(&path).unwrap_err().to_string().contains("expects [M, 5]"));
    fs::write(folder.path().join("01.json"), r#"{"01": {}}"#).unwrap();
    save(&path, &[1, 5], &[0.0_f64; 5]);
    assert!(BoxFile::open(folder.path()).unwrap_err().to_string().contains("remove one of them"));
    fs::write(folder.path().join("boxes.pkl"), b"x").unwrap();
    assert!(BoxFile::open(&folder.path().join("boxes.pkl")).unwrap_err().to_string().contains("no .json"));
}

#[test]
fn boxes_that_do_not_fit_the_video_are_named() {
    let file = parse(r#"{"01": {"3": [[1, 2, 3, 4]], "7": [[0, 0, 11, 4]]}}"#).unwrap();
    let frames: BTreeSet<u64> = (1..8).collect();
    let place = |error: &mimus_core::Error| ["file", "video", "frame"].map(|key| error.context_value(key).is_some());
    let outside = file.check("01", &frames, [8, 10]).unwrap_err();
    assert!(outside.to_string().contains("reaches out of the picture of 8 x 10"), "{outside}");
    let missing = file.check("01", &(1..7).collect(), [8, 11]).unwrap_err();
    assert!(missing.to_string().contains("6 frames, 1 to 6"), "{missing}");
    assert_eq!([place(&outside), place(&missing)], [[true; 3]; 2]);
    file.check("01", &frames, [8, 11]).unwrap();
    let unknown = file.check("02", &frames, [8, 11]).unwrap_err();
    assert!(unknown.to_string().contains("there are 01"), "{unknown}");
}

#[test]
fn arrays_of_python_objects_are_refused_with_a_line_that_converts_them() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ped2_bboxes_train.npy");
    let header = "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }\n";
    let bytes =
        [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes(), b"\x80\x03."];
    fs::write(&path, bytes.concat()).unwrap();
    let error = BoxFile::open(&path).unwrap_err();
    assert!(error.message().contains("Python objects"), "{error}");
    assert!(
        error.next_step().is_some_and(|hint| hint.contains("allow_pickle=True") && hint.contains("json")),
        "{error}"
    );
}

#[test]
fn no_header_makes_the_reader_allocate_or_panic() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("01.npy");
    let shapes = [
        "(18446744073709551615, 5)",
        "(1000000000000, 5)",
        "(4294967296, 4294967296, 5)",
        "(0, 5)",
        "()",
        "(-1, 5)",
        "(0xffffffffffffffff, 5)",
        "(0, 18446744073709551615, 5)",
        "(1_000, 5)",
    ];
    for shape in shapes {
        let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n");
        let bytes = [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
        fs::write(&path, &bytes).unwrap();
        assert_eq!(BoxFile::open(&path).is_ok(), shape == "(0, 5)", "{shape}");
        for end in 0..bytes.len() {
            fs::write(&path, &bytes[..end]).unwrap();
            assert!(BoxFile::open(&path).is_err(), "{shape} up to {end}");
        }
    }
}
