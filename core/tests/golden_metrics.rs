//! Our metrics against scikit-learn's, and against published post-processing of video scores, on stored vectors.
//!
//! The folder is the one that `MIMUS_GOLDEN` names, else `tests/golden`; its format is described in the README there.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use mimus_core::metrics::{Metric, PixelMetrics, PixelScores, Protocol, Ranking};
use mimus_core::random::Stream;
use safetensors::{Dtype, SafeTensors};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// The reference sums in another order; both sides are in double precision.
const TOLERANCE: f64 = 1e-12;

fn read(file: &str) -> Outcome<Vec<u8>> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");
    let path = env::var_os("MIMUS_GOLDEN").map_or_else(|| PathBuf::from(default), PathBuf::from).join(file);
    fs::read(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// The bytes of a tensor of `dtype`, in elements of `N` bytes.
fn elements<'a, const N: usize>(file: &SafeTensors<'a>, name: &str, dtype: Dtype) -> Outcome<&'a [[u8; N]]> {
    let tensor = file.tensor(name)?;
    if tensor.dtype() != dtype {
        return Err(format!("{name} is {:?}, not {dtype:?}", tensor.dtype()).into());
    }
    Ok(tensor.data().as_chunks().0)
}

fn doubles(file: &SafeTensors<'_>, name: &str) -> Outcome<Vec<f64>> {
    Ok(elements(file, name, Dtype::F64)?.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect())
}

fn labels(file: &SafeTensors<'_>, name: &str) -> Outcome<Vec<bool>> {
    Ok(elements(file, name, Dtype::U8)?.iter().map(|&[label]| label != 0).collect())
}

/// The names before `suffix`, sorted.
fn cases(file: &SafeTensors<'_>, suffix: &str) -> Vec<String> {
    let mut cases: Vec<String> =
        file.names().iter().filter_map(|name| Some(name.strip_suffix(suffix)?.to_owned())).collect();
    cases.sort();
    cases
}

/// Compares with the stored scalar `name`, of which not-a-number means undefined.
fn check(file: &SafeTensors<'_>, name: &str, found: &Metric) -> Outcome {
    let stored = doubles(file, name)?;
    let [expected] = stored[..] else { return Err(format!("{name} is not a scalar").into()) };
    match found.value() {
        Some(value) => assert!((value - expected).abs() <= TOLERANCE, "{name}: {value} instead of {expected}"),
        None => assert!(expected.is_nan(), "{name}: {found} instead of {expected}"),
    }
    Ok(())
}

#[test]
fn rankings_agree_with_scikit_learn() -> Outcome {
    let bytes = read("metrics.safetensors")?;
    let file = SafeTensors::deserialize(&bytes)?;
    let cases = cases(&file, ".scores");
    assert!(!cases.is_empty());
    for case in cases {
        let scores = doubles(&file, &format!("{case}.scores"))?;
        let found = Ranking::of("image", &scores, &labels(&file, &format!("{case}.labels"))?)?;
        check(&file, &format!("{case}.auroc"), &found.auroc)?;
        check(&file, &format!("{case}.ap"), &found.ap)?;
        check(&file, &format!("{case}.f1max"), &found.f1max)?;
    }
    Ok(())
}

fn pixel_metrics(file: &SafeTensors<'_>, case: &str, limit: f64) -> Outcome<PixelMetrics> {
    let maps = format!("{case}.maps");
    let shape = file.tensor(&maps)?.shape().to_vec();
    let [_, height, width] = shape[..] else { return Err(format!("{maps} has shape {shape:?}, not [N, H, W]").into()) };
    let map: Vec<f32> = elements(file, &maps, Dtype::F32)?.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let mask: &[[u8; 1]] = elements(file, &format!("{case}.masks"), Dtype::U8)?;
    let mut scores = PixelScores::new();
    for (map, mask) in map.chunks(height * width).zip(mask.chunks(height * width)) {
        scores.add([height, width], map, Some(mask.as_flattened()))?;
    }
    Ok(scores.finish(limit)?)
}

#[test]
fn pixel_metrics_agree_with_scikit_learn_and_the_definition_of_aupro() -> Outcome {
    let bytes = read("metrics.safetensors")?;
    let file = SafeTensors::deserialize(&bytes)?;
    let index: serde_json::Value = serde_json::from_slice(&read("index.json")?)?;
    let cases = cases(&file, ".maps");
    assert!(!cases.is_empty());
    for case in cases {
        let prefix = format!("{case}.aupro_");
        // The values that end with `_mvtec3d_100` are approximations from 100 thresholds, for orientation only.
        let limits =
            file.names().into_iter().filter_map(|name| Some((name, name.strip_prefix(&prefix)?.parse().ok()?)));
        let limits: Vec<(&str, f64)> = limits.collect();
        assert!(!limits.is_empty(), "{case}");
        for (name, limit) in limits {
            let found = pixel_metrics(&file, &case, limit)?;
            check(&file, name, &found.aupro)?;
            check(&file, &format!("{case}.pixel_auroc"), &found.ranking.auroc)?;
            check(&file, &format!("{case}.pixel_ap"), &found.ranking.ap)?;
            check(&file, &format!("{case}.pixel_f1max"), &found.ranking.f1max)?;
            let regions = &index["models"]["metrics"]["results"][&case]["regions"];
            assert_eq!(regions.as_u64(), Some(found.regions as u64), "regions of {case}");
        }
    }
    Ok(())
}

/// The generated raw score of a video, before an anomalous frame's is raised.
fn generated(name: &str, frames: usize, lo: f64, hi: f64) -> Vec<f64> {
    let mut stream = Stream::keyed(&format!("golden-a/input:{name}"));
    // Values are rounded to single precision once.
    (0..frames).map(|_| f64::from(stream.range(lo, hi) as f32)).collect()
}

#[test]
fn protocols_agree_with_published_post_processing() -> Outcome {
    let bytes = read("video_scores.safetensors")?;
    let file = SafeTensors::deserialize(&bytes)?;
    let (mut mnad, mut memae, mut hf2vad) = (Vec::new(), Vec::new(), Vec::new());
    assert_eq!(cases(&file, ".normality"), ["mnad_0.6", "mnad_0.7"]);
    for video in 0..cases(&file, ".labels").len() {
        let labels = labels(&file, &format!("v{video}.labels"))?;
        let raised = |kind: &str, lo, hi, by: f64| -> Vec<f64> {
            let raw = generated(&format!("v{video}.{kind}"), labels.len(), lo, hi);
            raw.iter().zip(&labels).map(|(score, label)| score + if *label { by } else { 0.0 }).collect()
        };
        let psnr = raised("psnr", 20.0, 40.0, -6.0);
        let (distance, error) = (raised("dist", 0.001, 0.01, 0.003), raised("err", 10.0, 50.0, 15.0));
        for name in ["mnad", "mnad-reconstruction"] {
            let protocol = Protocol::named(name)?;
            let [first, second] = &protocol.parts[..] else { return Err(format!("{name} has not two parts").into()) };
            assert_eq!([&first.output, &second.output], ["psnr", "compactness"]);
            mnad.push(protocol.scores(&[(first.weight, &psnr), (second.weight, &distance)])?);
        }
        memae.extend(Protocol::named("memae")?.scores(&[(1.0, &error)])?);
        hf2vad.extend(Protocol::named("hf2vad")?.scores(&[(1.0, &error)])?);
    }
    let of_weight = |i: usize| mnad.iter().skip(i).step_by(2).flatten().map(|score| 1.0 - score).collect();
    let found: [(&str, Vec<f64>); 4] = [
        ("mnad_0.6.normality", of_weight(0)),
        ("mnad_0.7.normality", of_weight(1)),
        ("memae.regularity", memae.iter().map(|score| 1.0 - score).collect()),
        ("hf2vad.filtered", hf2vad),
    ];
    for (name, found) in found {
        let expected = doubles(&file, name)?;
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(found.len() == expected.len() && worst <= 1e-9, "{name}: {worst}");
    }
    Ok(())
}

#[test]
fn frame_auroc_agrees_with_published_video_scores() -> Outcome {
    let bytes = read("video_scores.safetensors")?;
    let file = SafeTensors::deserialize(&bytes)?;
    let mut anomalous = Vec::new();
    for video in 0..cases(&file, ".labels").len() {
        anomalous.extend(labels(&file, &format!("v{video}.labels"))?);
    }
    // Kind of score, and its sign where more means more anomalous.
    for (kind, sign) in [(".normality", -1.0), (".regularity", -1.0), (".filtered", 1.0)] {
        let cases = cases(&file, kind);
        assert!(!cases.is_empty(), "{kind}");
        for case in cases {
            let scores: Vec<f64> = doubles(&file, &format!("{case}{kind}"))?.iter().map(|score| sign * score).collect();
            check(&file, &format!("{case}.auc"), &Ranking::of("frame", &scores, &anomalous)?.auroc)?;
        }
    }
    Ok(())
}
