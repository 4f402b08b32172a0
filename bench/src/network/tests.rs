//! Networks that are no more than a function, in the place of an engine.

use mimus_core::Graph;
use mimus_core::plugin::ProgramId;
use tempfile::NamedTempFile;

use super::*;

type Inputs = BTreeMap<String, HostTensor>;
type Answer = fn(&Inputs) -> Vec<HostTensor>;

/// What a file says of its program, and what that gives.
#[derive(Clone)]
pub(crate) struct Fake {
    inputs: Vec<(String, ValueType)>,
    outputs: Vec<FileOutput>,
    answer: Answer,
}

impl Session for Fake {
    fn load(&mut self, _: &Graph) -> Result<ProgramId> {
        Err(Error::backend("runs files alone"))
    }

    fn write(&mut self, _: &str, _: &HostTensor) -> Result<()> {
        Err(Error::backend("runs files alone"))
    }

    fn read(&mut self, _: &str) -> Result<HostTensor> {
        Err(Error::backend("runs files alone"))
    }

    fn run(&mut self, _: ProgramId, inputs: &Inputs) -> Result<Vec<HostTensor>> {
        Ok((self.answer)(inputs))
    }

    fn load_file(&mut self, _: &[u8]) -> Result<LoadedFile> {
        let (inputs, outputs) = (self.inputs.clone(), self.outputs.clone());
        Ok(LoadedFile { program: ProgramId(0), inputs, outputs, metadata: BTreeMap::new() })
    }
}

fn output(name: &str, shape: &[usize]) -> FileOutput {
    // 0 stands for an extent that is not known.
    let shape = shape.iter().map(|extent| Some(*extent).filter(|extent| *extent > 0)).collect();
    FileOutput { name: name.to_owned(), dtype: Dtype::F32, shape }
}

fn tensor<const N: usize>(shape: [usize; N], values: &[f32]) -> HostTensor {
    HostTensor::f32(shape, values.to_vec()).unwrap()
}

/// A detector of pictures of 8 x 10 pixels.
pub(crate) fn detector(answer: Answer) -> Fake {
    let inputs = vec![("image".to_owned(), ValueType::f32([1, 3, 8, 10]))];
    Fake { inputs, outputs: vec![output("scores", &[0]), output("boxes", &[0, 4])], answer }
}

/// A network of flow in pictures of 4 x 8 pixels.
pub(crate) fn flow(answer: Answer) -> Fake {
    let inputs = ["second", "first"].map(|name| (name.to_owned(), ValueType::f32([1, 3, 4, 8])));
    Fake { inputs: inputs.to_vec(), outputs: vec![output("flow", &[1, 2, 4, 8])], answer }
}

/// A gray picture of one level.
pub(crate) fn flat(height: usize, width: usize, level: u8) -> Pixels {
    Pixels { height, width, channels: 1, bytes: vec![level; height * width].into() }
}

fn corners(boxes: &[PixelBox]) -> Vec<[f64; 4]> {
    boxes.iter().map(|one| [one.x1, one.y1, one.x2, one.y2]).collect()
}

/// What a detector says of a frame of 16 x 40 pixels.
fn detect(fake: &Fake) -> Result<Vec<[f64; 4]>> {
    let file = NamedTempFile::new().unwrap();
    let open = || Ok(Box::new(fake.clone()) as Box<dyn Session>);
    let boxes = Detector::new(file.path(), 0.5, &open).unwrap().boxes(&flat(16, 40, 255));
    let named = |error: &Error| error.context_value("file") == Some(&file.path().display().to_string());
    assert!(boxes.as_ref().err().is_none_or(named), "{boxes:?}");
    Ok(corners(&boxes?))
}

#[test]
fn boxes_above_the_confidence_come_in_pixels_of_the_frame_cut_at_its_border() {
    let fake = detector(|inputs| {
        assert!(inputs["image"].as_f32().unwrap().iter().all(|value| *value == 1.0), "white is 1");
        let boxes = [[1.0, 2.0, 3.0, 4.0], [-1.0, 0.0, 5.0, 9.0], [0.0, 0.0, 1.0, 1.0]];
        vec![tensor([3], &[0.9, 0.8, 0.5]), tensor([3, 4], boxes.as_flattened())]
    });
    assert_eq!(detect(&fake).unwrap(), [[4.0, 4.0, 12.0, 8.0], [0.0, 0.0, 20.0, 16.0]]);
    let none = detector(|_| vec![tensor([0], &[]), tensor([0, 4], &[])]);
    assert!(detect(&none).unwrap().is_empty());
    let unscored =
        Fake { outputs: vec![output("boxes", &[1, 4])], ..detector(|_| vec![tensor([1, 4], &[0.0, 0.0, 10.0, 8.0])]) };
    assert_eq!(detect(&unscored).unwrap(), [[0.0, 0.0, 40.0, 16.0]]);
}

#[test]
fn boxes_that_make_no_sense_name_the_file_of_the_detector() {
    fn one(corners: [f32; 4]) -> Vec<HostTensor> {
        vec![tensor([1], &[0.9]), tensor([1, 4], &corners)]
    }
    let answers: [(Answer, &str); 7] = [
        (|_| one([1.0, 2.0, f32::NAN, 4.0]), "in a picture of 8 x 10 pixels"),
        (|_| one([1.0, 2.0, f32::INFINITY, 4.0]), "in a picture of 8 x 10 pixels"),
        (|_| one([3.0, 2.0, 1.0, 4.0]), "the box 3, 2, 1, 4"),
        (|_| one([10.0, 2.0, 12.0, 4.0]), "the box 10, 2, 12, 4"),
        (|_| vec![tensor([1], &[f32::NAN]), tensor([1, 4], &[1.0; 4])], "the score NaN"),
        (|_| vec![tensor([2], &[0.9; 2]), tensor([1, 4], &[1.0; 4])], "boxes [1, 4] and Some(2) scores"),
        (|_| vec![tensor([1], &[0.9]), tensor([4, 1], &[1.0; 4])], "boxes [4, 1]"),
    ];
    for (answer, sentence) in answers {
        let error = detect(&detector(answer)).unwrap_err();
        assert!(error.message().contains(sentence), "{error}");
    }
}

#[test]
fn a_network_of_another_kind_is_refused_with_what_it_takes_and_what_it_must() {
    let sound = detector(|_| Vec::new());
    let other = |shape: &[usize]| vec![("x".to_owned(), ValueType::f32(shape.to_vec()))];
    let fakes = [
        (Fake { inputs: other(&[3, 8, 10]), ..sound.clone() }, "`x` f32[3, 8, 10]"),
        (Fake { inputs: other(&[2, 3, 8, 10]), ..sound.clone() }, "`x` f32[2, 3, 8, 10]"),
        (Fake { inputs: Vec::new(), ..sound.clone() }, "takes  and gives"),
        (Fake { outputs: vec![output("dets", &[0, 5])], ..sound.clone() }, "gives `dets` f32[?, 5]"),
        (Fake { outputs: vec![output("boxes", &[1, 0, 4])], ..sound.clone() }, "gives `boxes` f32[1, ?, 4]"),
        (Fake { outputs: vec![output("boxes", &[0, 4]), output("scores", &[0, 1])], ..sound }, "`scores` f32[?, 1]"),
        (flow(|_| Vec::new()), "takes `second` f32[1, 3, 4, 8], `first` f32[1, 3, 4, 8] and gives `flow`"),
    ];
    for (fake, sentence) in fakes {
        let error = detect(&fake).unwrap_err();
        assert!(error.message().contains(sentence), "{error}");
        assert!(error.next_step().is_some_and(|hint| hint.contains("`boxes`, f32[M, 4]")), "{error}");
    }
}

#[test]
fn flow_of_a_network_comes_in_pixels_of_the_frame() {
    let file = NamedTempFile::new().unwrap();
    let between = |fake: Fake| {
        let open = || Ok(Box::new(fake.clone()) as Box<dyn Session>);
        let (first, second) = (flat(8, 24, 255), flat(8, 24, 51));
        FlowNetwork::new(file.path(), &open).unwrap().between(&first, &second)
    };
    // Inputs are told apart by their order, not their names.
    let found = between(flow(|inputs| {
        let [a, b] = ["second", "first"].map(|name| inputs[name].as_f32().unwrap()[0]);
        assert_eq!([a, b].map(f32::round), [255.0, 51.0]);
        vec![tensor([1, 2, 4, 8], &[[1.004; 32], [-2.0; 32]].concat())]
    }));
    let found = found.unwrap();
    assert_eq!([found.height(), found.width()], [8, 24]);
    // 3 * 1.004, to the nearest 1/64.
    assert_eq!(found.values(), [[3.015_625_f32; 192], [-4.0; 192]].concat());
    let far = between(flow(|_| vec![tensor([1, 2, 4, 8], &[600.0; 64])])).unwrap_err();
    assert!(far.message().contains("below 512 pixels"), "{far}");
    let unknown = between(flow(|_| vec![tensor([1, 2, 4, 8], &[f32::NAN; 64])])).unwrap_err();
    assert_eq!(unknown.context_value("file"), Some(&*file.path().display().to_string()));
    let two =
        Fake { outputs: [output("low", &[1, 2, 4, 8]), output("up", &[1, 2, 4, 8])].to_vec(), ..flow(|_| Vec::new()) };
    assert!(between(two).unwrap_err().message().contains("gives `low` f32[1, 2, 4, 8], `up` f32[1, 2, 4, 8]"));
}

#[test]
fn a_file_is_opened_once_and_not_before_it_is_run() {
    let (file, opened) = (NamedTempFile::new().unwrap(), std::cell::Cell::new(0));
    let open = || {
        opened.set(opened.get() + 1);
        Ok(Box::new(detector(|_| vec![tensor([0], &[]), tensor([0, 4], &[])])) as Box<dyn Session>)
    };
    let mut found = Detector::new(file.path(), 0.5, &open).unwrap();
    assert_eq!(opened.get(), 0);
    (0..3).for_each(|_| assert!(found.boxes(&flat(8, 10, 0)).unwrap().is_empty()));
    assert_eq!(opened.get(), 1);
    let missing = Detector::new(Path::new("nowhere.onnx"), 0.5, &open).err().unwrap();
    assert_eq!(missing.context_value("file"), Some("nowhere.onnx"));
}
