//! Files of others, as they are written and as they should not be: read right, or refused with a sentence and never a panic.

use std::path::PathBuf;

use mimus_core::random::Stream;
use mimus_core::{Error, HostTensor, Result, ValueType};

use super::fit::{Choice, Fit, Wanted};
use super::pickle;
use super::source::Source;
use super::testing::{Pickle, archive};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join("weights.pth");
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn open(bytes: &[u8]) -> Result<Source> {
    Source::open(&Place::new().write(bytes))
}

fn wanted(variables: &[(&str, &[usize])]) -> Wanted {
    variables.iter().map(|(name, shape)| ((*name).to_owned(), ValueType::f32(shape.to_vec()))).collect()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Everything of the file that `wanted` names.
fn read(bytes: &[u8], wanted: &Wanted, choice: &Choice) -> Result<super::Tensors> {
    let mut source = open(bytes)?;
    Fit::new(&source, wanted, choice)?.read(&mut source)
}

fn f32_of(tensor: &HostTensor) -> Vec<f32> {
    tensor.as_f32().unwrap().to_vec()
}

/// A `state_dict` of one weight `[2, 3]`, under `name`.
fn state(pickle: Pickle, name: &str) -> Pickle {
    let dict = pickle.raw(b"ccollections\nOrderedDict\n)R(").text(name);
    let attributes = |pickle: Pickle| pickle.raw(b"}").text("_metadata").raw(b"}sb");
    attributes(dict.tensor("FloatStorage", "0", 6, 0, &[2, 3], &[3, 1]).raw(b"u"))
}

#[test]
fn strides_offsets_and_types_of_a_file_are_followed() {
    let pickle = Pickle::new().raw(b"}(");
    let pickle = pickle.text("turned").tensor("FloatStorage", "0", 7, 1, &[3, 2], &[1, 3]);
    let pickle = pickle.text("repeated").tensor("HalfStorage", "1", 2, 1, &[2, 2], &[0, 0]);
    let pickle = pickle.text("scalar").tensor("DoubleStorage", "2", 1, 0, &[], &[]).raw(b"u");
    let storages: [(&str, &[u8]); 3] = [
        ("0", &floats(&[9.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0])),
        ("1", &[0, 0, 0x00, 0x3e]),
        ("2", &0.25_f64.to_le_bytes()),
    ];
    let wanted = wanted(&[("turned", &[3, 2]), ("repeated", &[2, 2]), ("scalar", &[])]);
    let tensors = read(&archive(&pickle.bytes(), &storages), &wanted, &Choice::default()).unwrap();
    assert_eq!(f32_of(&tensors["turned"]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(f32_of(&tensors["repeated"]), [1.5; 4]);
    assert_eq!((f32_of(&tensors["scalar"]), tensors["scalar"].shape().len()), (vec![0.25], 0));
}

#[test]
fn the_weights_of_a_training_are_found_in_their_section_and_behind_their_wrapper() {
    let pickle = state(Pickle::new().raw(b"}(").text("epoch").int(7).text("net"), "module.w");
    let pickle = state(pickle.text("momentum"), "v").raw(b"u");
    let bytes = archive(&pickle.bytes(), &[("0", &floats(&[1.0; 6]))]);
    let wanted = wanted(&[("w", &[2, 3])]);
    let source = open(&bytes).unwrap();
    let fit = Fit::new(&source, &wanted, &Choice::default()).unwrap();
    let origin = fit.origin(&source);
    assert_eq!((origin.section.as_str(), origin.stripped.as_str(), origin.sha256.len()), ("net", "module.", 64));
    let summary = "1 of 1 variables of the model fit, in the section `net`, without `module.` before every name; tensors that are not used: 0";
    assert_eq!((fit.summary().as_str(), fit.problem()), (summary, None));
    let told = Choice { section: Some("net".to_owned()), strip: Some("mod.".to_owned()) };
    let error = read(&bytes, &wanted, &told).unwrap_err();
    assert_eq!(error.message(), "not all names in the section `net` begin with `mod.`");
}

#[test]
fn two_sections_that_fit_equally_well_must_be_told_apart() {
    let pickle = state(Pickle::new().raw(b"}(").text("model"), "w");
    let pickle = state(pickle.text("average"), "w").raw(b"u");
    let bytes = archive(&pickle.bytes(), &[("0", &floats(&[1.0; 6]))]);
    let wanted = wanted(&[("w", &[2, 3])]);
    let error = read(&bytes, &wanted, &Choice::default()).unwrap_err();
    assert_eq!(error.message(), "two sections hold weights of this model: `average` and `model`");
    let choice = |section: &str| Choice { section: Some(section.to_owned()), strip: None };
    assert!(read(&bytes, &wanted, &choice("model")).is_ok());
    let error = read(&bytes, &wanted, &choice("modle")).unwrap_err();
    assert_eq!(error.next_step(), Some("there are: `average`, `model`"));
}

#[test]
fn what_is_missing_extra_or_of_another_shape_is_listed() {
    let bytes = archive(&state(Pickle::new(), "w").bytes(), &[("0", &floats(&[1.0; 6]))]);
    let source = open(&bytes).unwrap();
    let fit = |variables: &[(&str, &[usize])]| Fit::new(&source, &wanted(variables), &Choice::default()).unwrap();
    let fit_all = fit(&[("w", &[2, 3])]);
    assert!(fit_all.table().is_none() && fit_all.problem().is_none());
    let other = fit(&[("w", &[3, 2]), ("b", &[2])]);
    let expected = "1 of 2 variables of the model are missing in it, 1 of 2 variables of the model have another shape or type in it";
    assert_eq!(other.problem().as_deref(), Some(expected));
    let csv = other.table().unwrap().csv();
    assert!(csv.contains("b,f32[2],,missing") && csv.contains("another type or shape"), "{csv}");
    assert!(fit(&[("x", &[1])]).table().unwrap().csv().contains("w,,\"float32[2, 3]\",not used"));
}

#[track_caller]
fn refused(bytes: &[u8], sentence: &str, hint: &str) {
    let error: Error = open(bytes).err().unwrap();
    assert_eq!(error.kind(), mimus_core::ErrorKind::Data);
    assert!(error.message().contains(sentence) && error.next_step().unwrap_or_default().contains(hint), "{error}");
}

#[test]
fn code_in_a_file_is_refused_and_not_run() {
    let save = "torch.save(model.state_dict(), \"weights.pth\")";
    let system = Pickle::new().raw(b"cposix\nsystem\n(").text("touch x").raw(b"tR").bytes();
    refused(&archive(&system, &[]), "holds `posix.system`, which is no tensor", save);
    let module = Pickle::new().raw(b"c__main__\nNet\n)\x81}b").bytes();
    refused(&archive(&module, &[]), "holds `__main__.Net`", save);
    let by_stack = Pickle::new().text("builtins").text("eval").raw(b"\x93").bytes();
    refused(&archive(&by_stack, &[]), "holds `builtins.eval`", save);
    refused(&archive(&Pickle::new().raw(b")\x81").bytes(), &[]), "holds operation 0x81", save);
}

#[test]
fn files_of_other_kinds_are_refused_with_what_they_are() {
    refused(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", "before version 1.6", "write it anew");
    refused(&Pickle::new().raw(b"}").bytes(), "is a bare pickle", "write it anew");
    refused(b"hello", "is neither a file of torch.save nor safetensors", "give a .pth");
    refused(b"", "is neither", "give a .pth");
    let mut empty = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    empty.start_file("a", zip::write::SimpleFileOptions::default()).unwrap();
    refused(&empty.finish().unwrap().into_inner(), "is a zip archive without data.pkl", "give a .pth");
}

#[test]
fn a_tensor_beyond_its_storage_and_a_pickle_that_holds_itself_are_refused() {
    let wanted = wanted(&[("w", &[2, 3])]);
    for (stored, offset, strides) in [(5, 0, [3, 1]), (6, 1, [3, 1]), (6, 0, [4, 1]), (7, 0, [3, 1])] {
        let pickle = Pickle::new().raw(b"}").text("w").tensor("FloatStorage", "0", stored, offset, &[2, 3], &strides);
        let error =
            read(&archive(&pickle.raw(b"s").bytes(), &[("0", &floats(&[1.0; 6]))]), &wanted, &Choice::default());
        let error = error.unwrap_err();
        assert!(error.message().contains("storage"), "{error}");
        assert_eq!(error.context_value("tensor"), Some("w"));
    }
    let circle = Pickle::new().raw(b"}q\x00").text("a").raw(b"h\x00s").bytes();
    refused(&archive(&circle, &[]), "nested too deeply", "");
    let mut doubling = Pickle::new().raw(b"]q\x00");
    for i in 0..7 {
        doubling = doubling.raw(b"](").raw(&[b'h', i].repeat(100)).raw(b"e").raw(&[b'q', i + 1]);
    }
    refused(&archive(&doubling.bytes(), &[]), "too many values", "");
}

#[test]
fn parts_of_a_model_in_several_files_are_joined_and_a_name_in_two_is_refused() {
    let file = |name| archive(&state(Pickle::new(), name).bytes(), &[("0", &floats(&[1.0; 6]))]);
    let wanted = wanted(&[("a.w", &[2, 3]), ("b.w", &[2, 3])]);
    let fit = |name| Fit::new(&open(&file(name)).unwrap(), &wanted, &Choice::default()).unwrap();
    let alone = Fit::joined(&[fit("a.w")]).unwrap();
    assert!(alone.problem().unwrap().starts_with("1 of 2 variables of the model are missing"));
    let both = Fit::joined(&[fit("a.w"), fit("module.b.w")]).unwrap();
    assert!(both.problem().is_none() && both.summary().starts_with("2 of 2 variables"), "{}", both.summary());
    let error = Fit::joined(&[fit("a.w"), fit("b.w"), fit("b.w")]).map(|_| ()).unwrap_err();
    assert_eq!(error.message(), "`b.w` is in two of the files");
}

#[test]
fn no_bytes_make_the_readers_panic() {
    let pickle = state(Pickle::new().raw(b"}(").text("net"), "module.w").raw(b"u").bytes();
    let whole = archive(&pickle, &[("0", &floats(&[1.0; 6]))]);
    let wanted = wanted(&[("w", &[2, 3])]);
    let place = Place::new();
    let try_file = |bytes: &[u8]| {
        let Ok(mut source) = Source::open(&place.write(bytes)) else { return false };
        Fit::new(&source, &wanted, &Choice::default())
            .and_then(|fit| fit.read(&mut source))
            .is_ok_and(|all| all.len() == 1)
    };
    assert!(try_file(&whole));
    for n in 0..pickle.len() {
        assert!(pickle::tensors(&pickle[..n]).is_err(), "the first {n} bytes pass");
    }
    let mut stream = Stream::new(0, "weights");
    let mut changed = |bytes: &[u8], n: usize| {
        let mut bytes = bytes.to_vec();
        for _ in 0..n {
            let at = stream.next_u64() as usize % bytes.len();
            bytes[at] = (stream.next_u64() & 0xff) as u8;
        }
        bytes
    };
    for round in 0..5000 {
        let _ = pickle::tensors(&changed(&pickle, 1 + round % 4));
    }
    for round in 0..300 {
        try_file(&changed(&whole, 1 + round % 4));
        try_file(&whole[..round.min(whole.len() - 1)]);
    }
}
