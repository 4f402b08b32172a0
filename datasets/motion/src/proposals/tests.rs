//! What moves is boxed, and little else.

use mimus_core::metrics::PixelBox;
use mimus_core::plugin::Split;
use mimus_dataset_synthetic_video::Clip;

use super::{Difference, Proposals, boxes};
use crate::Gray;
use crate::scenes::{gray, videos};

/// The exact boxes of bodies of which pixels for a tenth of the box at least are seen to move.
fn exact(clip: &Clip<'_>, frame: u32, width: usize) -> Vec<PixelBox> {
    let flow = clip.flow(frame, frame + 1);
    let moves = |[left, top, right, bottom]: [usize; 4]| {
        let pixels = (top..bottom).flat_map(|y| (left..right).map(move |x| y * width + x));
        let moving = pixels.filter(|i| flow.vectors[*i][0].hypot(flow.vectors[*i][1]) > 1.0).count();
        10 * moving > (right - left) * (bottom - top)
    };
    let bounds = clip.boxes(frame).into_iter().map(|one| one.bounds).filter(|bounds| moves(*bounds));
    let inclusive = bounds.map(|bounds| bounds.map(|side| side as f64));
    inclusive.map(|[x1, y1, x2, y2]| PixelBox { x1, y1, x2: x2 - 1.0, y2: y2 - 1.0 }).collect()
}

#[test]
fn who_moves_is_boxed_and_little_else() {
    // Each set of numbers at the size of its data set's frames.
    let sizes = [[240, 360], [360, 640], [480, 856]];
    for ((name, options), [height, width]) in Proposals::NAMED.into_iter().zip(sizes) {
        let [mut all, mut found, mut wrong] = [0; 3];
        let both = [videos(height, width, 0), videos(height, width, 1)];
        for (videos, group, frame) in
            both.iter().flat_map(|one| [(one, 0, 5), (one, 0, 30), (one, 1, 17), (one, 1, 24)])
        {
            let clip = videos.clip(group, Split::Train, 0).unwrap();
            let [before, now, after] = [frame - 1, frame, frame + 1].map(|frame| gray(&clip, frame));
            let truth = exact(&clip, frame, width as usize);
            let boxes = boxes(&[], &before, &now, &after, &options).unwrap();
            all += truth.len();
            found += truth.iter().filter(|one| boxes.iter().any(|other| one.iou(other) >= 0.3)).count();
            wrong += boxes.iter().filter(|one| truth.iter().all(|other| one.iou(other) < 0.1)).count();
        }
        let what = format!("{name}: {found} of {all} found, {wrong} false in 8 frames");
        assert!(all > 25 && 4 * found >= 3 * all && wrong <= 2, "{what}");
    }
}

/// A black picture of 40 x 60 pixels with white rectangles: left, top, right, bottom, the last two exclusive.
fn picture(rectangles: &[[usize; 4]]) -> Gray {
    let white = |i: usize| {
        let (x, y) = (i % 60, i / 60);
        rectangles.iter().any(|[left, top, right, bottom]| (*left..*right).contains(&x) && (*top..*bottom).contains(&y))
    };
    Gray::new(40, 60, (0..40 * 60).map(|i| if white(i) { 255.0 } else { 0.0 }).collect()).unwrap()
}

/// The corners of what is found where the rectangles are there in one frame only.
fn flash(rectangles: &[[usize; 4]], options: &Proposals) -> Vec<[f64; 4]> {
    let found = boxes(&[], &picture(&[]), &picture(rectangles), &picture(&[]), options).unwrap();
    found.iter().map(|one| [one.x1, one.y1, one.x2, one.y2]).collect()
}

fn plain() -> Proposals {
    Proposals { blur: 1, least_area: 0.0, enlarge: 0, join: [0, 0], ..Proposals::PED2 }
}

#[test]
fn each_option_does_what_it_says() {
    let one = [[10, 5, 20, 15]];
    assert_eq!(flash(&one, &plain()), [[10.0, 5.0, 19.0, 14.0]]);
    assert_eq!(flash(&one, &Proposals { enlarge: 7, ..plain() }), [[3.0, 0.0, 26.0, 21.0]]);
    assert_eq!(flash(&[[50, 30, 60, 40]], &Proposals { enlarge: 7, ..plain() }), [[43.0, 23.0, 59.0, 39.0]]);
    assert_eq!(flash(&one, &Proposals { blur: 5, ..plain() }), [[8.0, 3.0, 21.0, 16.0]]);
    // The published area is 11 x 11, and must be exceeded.
    assert_eq!(flash(&one, &Proposals { least_area: 120.9, ..plain() }).len(), 1);
    assert!(flash(&one, &Proposals { least_area: 121.0, ..plain() }).is_empty());
    assert!(flash(&[[10, 5, 40, 8]], &Proposals { most_aspect: 10.0, ..plain() }).is_empty());
    assert_eq!(flash(&[[10, 5, 40, 8]], &Proposals { most_aspect: 10.1, ..plain() }).len(), 1);
    assert!(flash(&one, &Proposals { threshold: 510.0, ..plain() }).is_empty());
    // Three rows apart, or two columns.
    for (two, join, too_few) in
        [([[10, 5, 20, 10], [10, 13, 20, 20]], [3, 0], [2, 9]), ([[10, 5, 20, 10], [22, 5, 30, 10]], [0, 2], [9, 1])]
    {
        assert_eq!(flash(&two, &Proposals { join, ..plain() }).len(), 1);
        assert_eq!(flash(&two, &Proposals { join: too_few, ..plain() }).len(), 2);
    }
}

#[test]
fn boxes_under_larger_ones_are_dropped_and_the_largest_comes_first() {
    let apart = [[0, 0, 4, 4], [10, 10, 30, 30], [31, 12, 37, 20]];
    let corners = flash(&apart, &plain());
    assert_eq!(corners, [[10.0, 10.0, 29.0, 29.0], [31.0, 12.0, 36.0, 19.0], [0.0, 0.0, 3.0, 3.0]]);
    // Enlarged by 2 and cut nowhere, the second loses 3 of its 10 columns to the first.
    let grown = |cover| flash(&apart[1..], &Proposals { enlarge: 2, cover, ..plain() }).len();
    assert_eq!([grown(0.31), grown(0.29)], [2, 1]);
}

#[test]
fn differences_are_taken_together_as_the_option_says() {
    // Black, then white, then black where it stands; a body that goes on by 10 leaves a trace on both sides.
    let [before, now, after] = [0, 10, 20].map(|x| picture(&[[x, 5, x + 10, 15]]));
    let corners = |difference| {
        let found = boxes(&[], &before, &now, &after, &Proposals { difference, ..plain() }).unwrap();
        found.iter().map(|one| [one.x1, one.y1, one.x2, one.y2]).collect::<Vec<_>>()
    };
    assert_eq!(corners(Difference::Both), [[10.0, 5.0, 19.0, 14.0]]);
    assert_eq!(corners(Difference::Sum), [[0.0, 5.0, 29.0, 14.0]]);
    let levels = |level: f32| Gray::new(40, 60, vec![level; 2400]).unwrap();
    let wrapped = |level: f32| {
        let options = Proposals { difference: Difference::WrappedSum, ..plain() };
        boxes(&[], &levels(0.0), &levels(level), &levels(0.0), &options).unwrap().len()
    };
    assert_eq!([wrapped(128.0), wrapped(137.0), wrapped(138.0), wrapped(9.4)], [0, 0, 1, 0]);
}

#[test]
fn a_still_picture_has_no_boxes_and_sizes_must_agree() {
    let videos = videos(64, 64, 0);
    let frame = gray(&videos.clip(0, Split::Train, 0).unwrap(), 10);
    assert!(boxes(&[], &frame, &frame, &frame, &Proposals::default()).unwrap().is_empty());
    let other = picture(&[]);
    assert!(boxes(&[], &frame, &frame, &other, &Proposals::default()).is_err());
    assert!(boxes(&[], &other, &frame, &frame, &Proposals::default()).is_err());
    // A picture narrower than its blur.
    let thin = |level: f32| Gray::new(1, 2, vec![level; 2]).unwrap();
    let options = Proposals { blur: 31, ..plain() };
    assert_eq!(boxes(&[], &thin(0.0), &thin(200.0), &thin(0.0), &options).unwrap().len(), 1);
}

#[test]
fn options_out_of_bounds_and_unknown_names_are_refused() {
    let refused = |key: &str, options: Proposals| {
        let frame = picture(&[]);
        let error = boxes(&[], &frame, &frame, &frame, &options).unwrap_err();
        assert_eq!(error.context_value("key"), Some(key), "{error}");
    };
    refused("blur", Proposals { blur: 4, ..plain() });
    refused("blur", Proposals { blur: 0, ..plain() });
    refused("threshold", Proposals { threshold: f64::NAN, ..plain() });
    refused("least_area", Proposals { least_area: -1.0, ..plain() });
    refused("most_aspect", Proposals { most_aspect: 0.5, ..plain() });
    refused("cover", Proposals { cover: 1.5, ..plain() });
    refused("enlarge", Proposals { enlarge: usize::MAX, ..plain() });
    refused("join", Proposals { join: [0, 1001], ..plain() });
    assert_eq!(Proposals::named("avenue").unwrap(), Proposals::AVENUE);
    assert!(Proposals::named("avenu").unwrap_err().to_string().contains("`avenue`"));
    assert!(Proposals::named("street").unwrap_err().to_string().contains("ped2, avenue, shanghaitech"));
}

#[test]
fn a_table_may_give_any_of_the_numbers() {
    let table = r#"{"threshold": 15, "difference": "wrapped-sum"}"#;
    let expected = Proposals { threshold: 15.0, difference: Difference::WrappedSum, ..Proposals::PED2 };
    assert_eq!(serde_json::from_str::<Proposals>(table).unwrap(), expected);
    assert!(serde_json::from_str::<Proposals>(r#"{"treshold": 15}"#).is_err());
}

#[test]
fn detected_boxes_come_first_and_what_moves_in_them_has_no_other() {
    let options = Proposals { enlarge: 2, least_area: 20.0, least_detected: 30.0, ..plain() };
    let place = |[x1, y1, x2, y2]: [f64; 4]| PixelBox { x1, y1, x2, y2 };
    let moving = picture(&[[10, 10, 16, 20], [30, 10, 36, 20]]);
    let found = |detected: &[[f64; 4]]| {
        let detected: Vec<PixelBox> = detected.iter().copied().map(place).collect();
        boxes(&detected, &picture(&[]), &moving, &picture(&[]), &options).unwrap()
    };
    let both = [[8.0, 8.0, 17.0, 21.0], [28.0, 8.0, 37.0, 21.0]].map(place);
    assert_eq!(found(&[]), both);
    // Its rim of 2 pixels hides what moves too: nothing is left of the left one.
    let detected = [12.0, 12.0, 13.5, 30.0];
    assert_eq!(found(&[detected]), [place(detected), both[1]]);
    // Small and covered ones go.
    let [large, covered, small] = [[0.0, 0.0, 40.0, 39.0], [1.0, 1.0, 9.0, 9.0], [50.0, 30.0, 54.0, 34.0]];
    assert_eq!(found(&[covered, large, small]), [place(large)]);
}
