//! How long the pixel metrics of a whole category take at full resolution: as many images, defects and pixels as MVTec AD's
//! screw has, 160 of 1024 x 1024.
//!
//! For the peak memory, ask the system: `/usr/bin/time -v cargo bench -p mimus-core --bench pixel_metrics -- --test`.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use mimus_core::Result;
use mimus_core::metrics::{PixelMetrics, PixelScores};
use mimus_core::random::Stream;

const SIDE: usize = 1024;
const IMAGES: usize = 160;
const ANOMALOUS: usize = 119;

/// Uniform scores, raised inside the mask: no two images alike and hardly a tie, which is the slowest case.
fn map(image: usize, mask: &[u8]) -> Vec<f32> {
    let mut stream = Stream::keyed(&format!("map/{image}"));
    mask.iter().map(|&inside| stream.uniform() as f32 + 0.3 * f32::from(inside)).collect()
}

/// A defect of about 0.25 % of the image.
fn mask(image: usize) -> Vec<u8> {
    let inside = |at: usize| (400..460).contains(&(at / SIDE)) && (300 + image..345 + image).contains(&(at % SIDE));
    (0..SIDE * SIDE).map(|at| u8::from(inside(at))).collect()
}

/// The metrics of the category, and the time that they took without the making of the data.
fn category() -> Result<(PixelMetrics, Duration)> {
    let mut scores = PixelScores::new();
    let mut spent = Duration::ZERO;
    for image in 0..IMAGES {
        let mask = if image < ANOMALOUS { mask(image) } else { vec![0; SIDE * SIDE] };
        let map = map(image, &mask);
        let start = Instant::now();
        scores.add([SIDE, SIDE], &map, Some(&mask))?;
        spent += start.elapsed();
    }
    let start = Instant::now();
    let metrics = scores.finish(0.3)?;
    Ok((metrics, spent + start.elapsed()))
}

fn pixel_metrics(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pixel metrics");
    group.sample_size(10);
    group.bench_function("160 images of 1024 x 1024", |bencher| {
        bencher.iter_custom(|iterations| {
            let timed = (0..iterations).map(|_| {
                category().map(|(metrics, spent)| {
                    assert_eq!(metrics.regions, ANOMALOUS);
                    spent
                })
            });
            let spent: Result<Duration> = timed.sum();
            assert!(spent.is_ok(), "{spent:?}");
            spent.unwrap_or_default()
        });
    });
    group.finish();
}

criterion_group!(benches, pixel_metrics);
criterion_main!(benches);
