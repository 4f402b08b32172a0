//! The workspace's plugins through real library files: what crosses the boundary arrives as it left.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mimus_core::abi::{Origin, Prober, Registry, Search};
use mimus_core::plugin::{
    BackendRequest, FeatureRequest, Kind, Model, ModelRequest, OptionSpec, OptionValue, Options, Session, Split,
    attention, head,
};
use mimus_core::{ErrorKind, Graph, HostData, HostTensor, Phase};
use mimus_tests::{Artifacts, plugins, prober, repository};

/// The same source, linked into this test: what its library must give too.
#[path = "../../plugins/model-memae/src/lib.rs"]
#[allow(unreachable_pub, reason = "public in its own crate")]
mod memae;

/// Names of the folders below `place` that hold a plugin: not what several of them share.
fn folders(place: &str) -> Vec<String> {
    let entries = std::fs::read_dir(repository().join(place)).unwrap().map(Result::unwrap);
    let is_plugin = |path: &Path| {
        std::fs::read_to_string(path.join("Cargo.toml")).is_ok_and(|manifest| manifest.contains("\"cdylib\""))
    };
    let folders = entries.filter(|entry| is_plugin(&entry.path()));
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Defaults, and what is given.
fn options(specs: &[OptionSpec], given: &[(&str, OptionValue)]) -> Options {
    let given = given.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    Options::resolve(specs, given.collect()).unwrap()
}

fn feature(options: Options, shape: &[usize]) -> FeatureRequest {
    FeatureRequest { options, student: shape.to_vec(), teacher: shape.to_vec(), phase: Phase::Eval }
}

/// A search of `places` alone, as if they were given on the command line.
fn search(places: &[&Path], prober: Prober) -> Search {
    let places = places.iter().map(|place| (Origin::CommandLine, place.to_path_buf())).collect();
    Search { places, lock: None, prober }
}

/// A copy of a plugin's library in `folder`.
fn copy(package: &str, folder: &Path) -> PathBuf {
    let library = Artifacts::of_workspace().unwrap().library(package).unwrap();
    let target = folder.join(library.file_name().unwrap());
    std::fs::copy(library, &target).unwrap();
    target
}

#[test]
fn every_folder_gives_a_component_of_its_kind_and_name() {
    let mut expected: BTreeSet<(Kind, String)> = BTreeSet::new();
    for folder in folders("plugins") {
        let (kind, name) = folder.split_once('-').unwrap();
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind);
        expected.insert((kind.unwrap_or_else(|| panic!("plugins/{folder} begins with no kind")), name.to_owned()));
    }
    expected.extend(folders("datasets").into_iter().map(|name| (Kind::Dataset, name)));
    expected.insert((Kind::Backend, "candle".to_owned()));
    let registry = plugins().unwrap();
    let listed = registry.list();
    assert!(listed.iter().all(|line| line.winner.component.kind() == line.winner.info.kind));
    let listed: BTreeSet<_> =
        listed.iter().map(|line| (line.winner.info.kind, line.winner.info.name.clone())).collect();
    let missing: Vec<_> = expected.difference(&listed).collect();
    assert!(missing.is_empty(), "no library gives {missing:?}; there are {listed:?}");
}

#[test]
fn two_libraries_give_two_names() {
    let folder = tempfile::tempdir().unwrap();
    copy("mimus-attention-ca", folder.path());
    copy("mimus-attention-sa", folder.path());
    let registry = Registry::discover(&search(&[folder.path()], prober().unwrap()), &[]).unwrap();
    let names: Vec<_> = registry.list().iter().map(|line| line.winner.info.name.clone()).collect();
    assert_eq!(names, ["ca", "sa"]);
    assert_eq!(registry.attention("ca").unwrap().info().name, "ca");
    assert_eq!(registry.attention("sa").unwrap().info().name, "sa");
}

#[test]
fn the_first_place_wins_a_name_and_shadows_the_others() {
    let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let winner = copy("mimus-head-l1", first.path());
    let shadowed = copy("mimus-head-l1", second.path());
    let search = search(&[first.path(), second.path()], prober().unwrap());
    let registry = Registry::discover(&search, &[]).unwrap();
    let listed = registry.list();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].winner.place(), winner.display().to_string());
    assert_eq!(listed[0].shadowed[0].place(), shadowed.display().to_string());
}

#[test]
fn a_model_describes_the_same_graphs_through_its_library_as_linked() {
    let registry = plugins().unwrap();
    let models: [(&str, &dyn Model); 2] = [("memae", &memae::Memae), ("memae-video", &memae::MemaeVideo)];
    for (name, linked) in models {
        let loaded = registry.model(name).unwrap();
        assert_eq!(loaded.info(), linked.info());
        let slots = [("slots", OptionValue::Int(7))];
        let options = options(&loaded.info().options, &slots);
        let request = ModelRequest { options, batch: 2, height: 32, width: 48 };
        let (loaded, linked) = (loaded.describe(&request).unwrap(), linked.describe(&request).unwrap());
        let text = |spec: &mimus_core::plugin::ModelSpec| spec.main().unwrap().graph.to_string();
        assert_eq!(text(&loaded), text(&linked));
        assert_eq!(loaded.eval.to_string(), linked.eval.to_string());
        assert_eq!(loaded, linked);
    }
}

#[test]
fn an_attention_module_and_a_head_compute_what_their_definitions_say() {
    let registry = plugins().unwrap();
    let none = registry.attention("none").unwrap();
    let graph = none.describe(&feature(Options::default(), &[1, 2, 1, 2])).unwrap();
    let student = HostTensor::f32([1, 2, 1, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
    assert_eq!(run(&registry, &graph, &[(attention::STUDENT, &student)])[attention::REFINED], student);

    let mse = registry.head("mse").unwrap();
    let graph = mse.describe(&feature(Options::default(), &[1, 2, 1, 2])).unwrap();
    let teacher = HostTensor::f32([1, 2, 1, 2], vec![1.0, 2.0, 0.0, 4.0]).unwrap();
    let results = run(&registry, &graph, &[(head::TEACHER, &teacher), (head::STUDENT, &student)]);
    assert_eq!(results[head::SCORE_MAP], HostTensor::f32([1, 1, 1, 2], vec![4.5, 0.0]).unwrap());
    assert_eq!(results[head::SCORE], HostTensor::f32([1], vec![2.25]).unwrap());
    assert_eq!(results[head::LOSS], HostTensor::scalar(2.25));
}

#[test]
fn heads_compute_what_their_definitions_say() {
    let registry = plugins().unwrap();
    let check = |name: &str, given: &[(&str, OptionValue)], features: [[f32; 4]; 2], map: [f32; 2], score: f32| {
        let head = registry.head(name).unwrap();
        let graph = head.describe(&feature(options(&head.info().options, given), &[1, 2, 1, 2])).unwrap();
        let [teacher, student] = features.map(|x| HostTensor::f32([1, 2, 1, 2], x.to_vec()).unwrap());
        let results = run(&registry, &graph, &[(head::TEACHER, &teacher), (head::STUDENT, &student)]);
        assert_eq!(results[head::SCORE_MAP], HostTensor::f32([1, 1, 1, 2], map.to_vec()).unwrap(), "{name}");
        assert_eq!(results[head::SCORE], HostTensor::f32([1], vec![score]).unwrap(), "{name}");
        assert_eq!(results[head::LOSS], HostTensor::scalar(score), "{name}");
    };
    // One difference, 3: above beta 3 - 1/2, below it 3^2 / (2 * 4).
    let apart = [[1.0, 2.0, 0.0, 4.0], [1.0, 2.0, 3.0, 4.0]];
    check("smooth-l1", &[], apart, [1.25, 0.0], 0.625);
    check("smooth-l1", &[("beta", OptionValue::Float(4.0))], apart, [0.5625, 0.0], 0.28125);
    // Two positions: (1, 0) and (0, 1) have the cosine 0, (3, 0) and (4, 0) the cosine 1. The Gram matrices are 1/2 on the diagonal, and
    // 25/2 in a corner.
    let turned = [[1.0, 0.0, 0.0, 1.0], [3.0, 4.0, 0.0, 0.0]];
    let relation = |word: &str| [("relation", OptionValue::Text(word.to_owned()))];
    check("relational", &[], turned, [0.5, 0.5], 0.5);
    check("relational", &relation("channels"), turned, [16.0, 64.25], 36.0625);
    check("relational", &relation("both"), turned, [16.5, 64.75], 36.5625);
}

/// The outputs of a graph without variables, by name.
fn run(registry: &Registry, graph: &Graph, inputs: &[(&str, &HostTensor)]) -> BTreeMap<String, HostTensor> {
    let mut session = open(registry, "cpu").unwrap();
    let inputs = inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).clone())).collect();
    let program = session.load(graph).unwrap();
    let names = graph.outputs.iter().map(|output| output.name.clone());
    names.zip(session.run(program, &inputs).unwrap()).collect()
}

/// A session of the embedded backend's library.
fn open(registry: &Registry, device: &str) -> mimus_core::Result<Box<dyn Session>> {
    let request = BackendRequest { device: device.to_owned(), threads: 1, options: Options::default() };
    registry.backend("candle").unwrap().open(&request)
}

#[test]
fn a_data_set_is_read_through_its_library_by_several_threads() {
    let synthetic = plugins().unwrap().dataset("synthetic").unwrap();
    let given = [("size", OptionValue::Int(32)), ("train", OptionValue::Int(3))];
    let options = options(&synthetic.info().options, &given);
    let open = synthetic.open(None, &options).unwrap();
    assert!(open.index().groups.iter().all(|group| group.train.len() == 3 && group.has_masks));
    let last = open.index().groups[0].test.len() - 1;
    let samples: Vec<_> = std::thread::scope(|scope| {
        let read = || open.read(0, Split::Test, last).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(read)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(samples.iter().all(|sample| *sample == samples[0]));
    let pixels = &samples[0].pixels;
    assert_eq!(pixels.bytes.len(), 32 * 32 * pixels.channels);
    assert!(samples[0].mask.as_ref().unwrap().iter().any(|pixel| *pixel != 0));
    let error = open.read(99, Split::Test, 0).err().unwrap();
    assert_eq!(error.message(), "group 99 has no sample 0 in split Test");
}

#[test]
fn a_backend_runs_a_program_through_its_library() {
    let text = "graph \"count\"\nvariable \"n\": f32[2] buffer constant(0.0)\n\
        %0: f32[2] = input \"\" name=\"step\" dtype=\"f32\" shape=[2] ()\n\
        %1: f32[2] = variable \"\" name=\"n\" dtype=\"f32\" shape=[2] ()\n\
        %2: f32[2] = add \"\" (%0, %1)\noutput \"sum\" %2\nassign \"n\" %2\n";
    let registry = plugins().unwrap();
    assert_eq!(registry.backend("candle").unwrap().devices().unwrap()[0].name, "cpu");
    let mut session = open(&registry, "auto").unwrap();
    let program = session.load(&text.parse().unwrap()).unwrap();
    session.write("n", &HostTensor::f32([2], vec![10.0, 20.0]).unwrap()).unwrap();
    let inputs = BTreeMap::from([("step".to_owned(), HostTensor::f32([2], vec![1.0, f32::NAN]).unwrap())]);
    session.run(program, &inputs).unwrap();
    let outputs = session.run(program, &inputs).unwrap();
    assert_eq!(outputs[0], session.read("n").unwrap());
    assert!(matches!(outputs[0].data(), HostData::F32(v) if v[0] == 12.0 && v[1].is_nan()));
    let error = session.run(program, &BTreeMap::new()).unwrap_err();
    assert!(error.one_line().starts_with("plugin `mimus-candle`: backend `candle`: method `run`: "), "{error}");
    assert_eq!(open(&registry, "cuda:9").err().unwrap().kind(), ErrorKind::Backend);
}

#[test]
fn a_refused_option_crosses_with_its_key_and_the_plugin() {
    let sa = plugins().unwrap().attention("sa").unwrap();
    let even = options(&sa.info().options, &[("kernel", OptionValue::Int(4))]);
    let error = sa.describe(&feature(even, &[1, 2, 8, 8])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.one_line(),
        "plugin `mimus-attention-sa`: attention `sa`: method `describe`: key `kernel`: is 4, expects an odd number"
    );
}

#[test]
fn a_good_verdict_is_kept_by_the_hash_of_the_file() {
    let [folder, cache] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let library = copy("mimus-head-cosine", folder.path());
    let cached = Prober { cache: Some(cache.path().to_owned()), ..prober().unwrap() };
    let broken = Prober { program: "/nonexistent".into(), ..cached.clone() };
    let refused = |prober: Prober| Registry::discover(&search(&[folder.path()], prober), &[]).unwrap().refused;
    assert_eq!(refused(broken.clone()).len(), 1);
    assert_eq!(refused(cached).len(), 0);
    assert_eq!(refused(broken.clone()).len(), 0, "the verdict was not kept");
    let mut changed = std::fs::read(&library).unwrap();
    changed.push(0);
    std::fs::remove_file(&library).unwrap();
    std::fs::write(&library, changed).unwrap();
    assert_eq!(refused(broken).len(), 1, "the verdict of another file was used");
}

#[test]
fn the_lock_admits_only_the_pinned_file() {
    let folder = tempfile::tempdir().unwrap();
    let library = copy("mimus-head-mse", folder.path());
    let file = library.file_name().unwrap().to_str().unwrap().to_owned();
    let with_lock = |lock: BTreeMap<String, String>| {
        let search = Search { lock: Some(lock), ..search(&[folder.path()], prober().unwrap()) };
        Registry::discover(&search, &[]).unwrap()
    };
    let registry = with_lock(BTreeMap::from([(file.clone(), "0".repeat(64))]));
    let (_, _, error) = &registry.refused[0];
    assert!(error.message().ends_with(&format!("mimus.lock says {}", "0".repeat(64))), "{error}");
    let (_, _, error) = &with_lock(BTreeMap::new()).refused[0];
    let hash = error.message().strip_prefix("it is not in mimus.lock (SHA-256 ").unwrap().trim_end_matches(')');
    assert!(with_lock(BTreeMap::from([(file, hash.to_owned())])).refused.is_empty());
}

#[test]
fn a_place_that_the_user_named_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("plugins");
    let error = Registry::discover(&search(&[&missing], prober().unwrap()), &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Plugin);
    assert_eq!(error.context_value("file"), Some(missing.to_str().unwrap()));
    assert_eq!(error.context_value("searched as"), Some("--plugin-dir"));
}
