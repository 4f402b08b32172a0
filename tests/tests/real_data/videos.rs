//! Data sets of videos: the published numbers of frames, and what is said of files that were damaged.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use mimus_core::metrics::Ranking;
use mimus_core::{Error, Result};
use mimus_tests::{Ended, ffmpeg, mimus};
use tempfile::TempDir;

use crate::{ensure, row, run, temporary};

/// Frames of the test clips as published: Ped2, Avenue.
const PED2: [usize; 12] = [180, 180, 150, 180, 150, 180, 180, 180, 120, 150, 180, 180];
const AVENUE: [usize; 21] =
    [1439, 1211, 923, 947, 1007, 1283, 605, 36, 1175, 841, 472, 1271, 549, 507, 1001, 740, 426, 294, 248, 273, 76];

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| Error::io("cannot be made", path, &error)
}

/// What `mimus dataset` says of a root, in a folder of its own.
fn says(command: &str, set: &str, root: &Path, options: &[&str]) -> Result<Vec<String>> {
    let folder = temporary()?;
    let ended = run(folder.path(), 0, &[&["dataset", command, set, &root.display().to_string()], options].concat())?;
    Ok(row(&ended.out).into_iter().map(str::to_owned).collect())
}

/// Clips of `lengths` frames in `<root>/<name of the clip>`: the file of one small frame under many names.
fn clips(root: &Path, lengths: impl IntoIterator<Item = (String, usize)>) -> Result<()> {
    fs::create_dir_all(root).map_err(io(root))?;
    let frame = root.with_extension("png");
    image::GrayImage::new(2, 2).save(&frame).map_err(|error| Error::data(error.to_string()))?;
    for (name, length) in lengths {
        let folder = root.join(name);
        fs::create_dir(&folder).map_err(io(&folder))?;
        for number in 0..length {
            let path = folder.join(format!("{number:04}.png"));
            fs::hard_link(&frame, &path).map_err(io(&path))?;
        }
    }
    Ok(())
}

fn numbered(lengths: &[usize]) -> impl Iterator<Item = (String, usize)> {
    lengths.iter().enumerate().map(|(i, length)| (format!("{:02}", i + 1), *length))
}

pub(crate) fn ped2_has_the_published_labels_from_every_source(data: &Path) -> Result<()> {
    let root = data.join("ped2_subset");
    for labels in ["auto", "mat", "m", "masks"] {
        let said = says("list", "ped2", &root, &["--set", &format!("labels={labels}")])?;
        ensure(said == ["ped2_subset", "540", "271", "449", "yes", "anomaly 449"], || format!("{labels}: {said:?}"))?;
    }
    let checked = says("check", "ped2", &root, &[])?;
    ensure(checked[..4] == ["ped2_subset", "1260", "360x240", "3"] && checked[5] == "0", || format!("{checked:?}"))?;
    let folder = temporary()?;
    clips(&folder.path().join("training/frames"), numbered(&[2]))?;
    clips(&folder.path().join("testing/frames"), numbered(&PED2))?;
    for labels in ["ped2.mat", "UCSDped2.m"] {
        let link = folder.path().join(labels);
        symlink(root.join(labels), &link).map_err(io(&link))?;
        let said = says("list", "ped2", folder.path(), &[])?;
        ensure(said[1..4] == ["2", "362", "1648"], || format!("{labels}: {said:?}"))?;
        fs::remove_file(&link).map_err(io(&link))?;
    }
    Ok(())
}

pub(crate) fn the_intervals_of_all_clips_of_avenue_hold_3867_frames(data: &Path) -> Result<()> {
    let folder = temporary()?;
    clips(&folder.path().join("training/frames"), numbered(&[2]))?;
    clips(&folder.path().join("testing/frames"), numbered(&AVENUE))?;
    let link = folder.path().join("avenue.mat");
    symlink(data.join("avenue_subset/avenue.mat"), &link).map_err(io(&link))?;
    let said = says("list", "avenue", folder.path(), &["--set", "labels=intervals"])?;
    ensure(said == ["avenue", "2", "11457", "3867", "no", "anomaly 3867"], || format!("{said:?}"))
}

/// The bytes of an array in an archive of NumPy's: all but the header, of `[u8; N]` each.
fn array<const N: usize>(archive: &Path, name: &str) -> Result<Vec<[u8; N]>> {
    let damaged = |error: String| Error::data(error).with("file", archive.display());
    let file = fs::File::open(archive).map_err(io(archive))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| damaged(error.to_string()))?;
    let mut bytes = Vec::new();
    let mut entry = archive.by_name(name).map_err(|error| damaged(error.to_string()))?;
    entry.read_to_end(&mut bytes).map_err(|error| damaged(error.to_string()))?;
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    Ok(bytes[start..].as_chunks().0.to_vec())
}

/// A row of 8-bit numbers as NumPy stores it.
fn npy(numbers: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({},), }}", numbers.len());
    let header = format!("{header:<117}\n");
    [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), numbers].concat()
}

pub(crate) fn shanghaitech_has_107_clips_and_17326_anomalous_frames(data: &Path) -> Result<()> {
    let archive = data.join("golden/frame_labels_shanghaitech.npz");
    let text =
        |name: &[u8; 44]| name.iter().filter(|byte| **byte != 0).map(|byte| char::from(*byte)).collect::<String>();
    let names: Vec<String> = array::<44>(&archive, "names.npy")?.iter().map(text).collect();
    let lengths = array::<8>(&archive, "lengths.npy")?.into_iter().map(|length| i64::from_le_bytes(length) as usize);
    let labels = array::<1>(&archive, "labels.npy")?.concat();
    let named: Vec<(String, usize)> = names.iter().map(|name| name.replace(".npy", "")).zip(lengths).collect();
    ensure(named.len() == 107, || format!("{} clips", named.len()))?;
    let folder = temporary()?;
    let root = folder.path();
    let scenes = (1..=13).map(|scene| (format!("{scene:02}_001"), 1));
    clips(&root.join("training/frames"), scenes)?;
    clips(&root.join("testing/frames"), named.clone())?;
    let masks = root.join("testing/test_frame_mask");
    fs::create_dir(&masks).map_err(io(&masks))?;
    let mut rest = labels.as_slice();
    for (name, length) in &named {
        let (of_clip, after) = rest.split_at(*length);
        let path = masks.join(format!("{name}.npy"));
        fs::write(&path, npy(of_clip)).map_err(io(&path))?;
        rest = after;
    }
    let said = says("list", "shanghaitech", root, &[])?;
    ensure(said == ["shanghaitech", "13", "23465", "17326", "no", "anomaly 17326"], || format!("{said:?}"))?;
    let ended =
        run(root, 0, &["dataset", "list", "shanghaitech", &root.display().to_string(), "--set", "scenes=true"])?;
    ensure(ended.out.lines().count() == 2 + 12, || ended.out.clone())
}

pub(crate) fn the_recorded_scores_of_shanghaitech_have_their_auroc(data: &Path) -> Result<()> {
    let archive = data.join("golden/shanghaitech_scores.npz");
    let labels: Vec<bool> = array::<1>(&archive, "labels.npy")?.iter().map(|label| label[0] == 1).collect();
    let normality = array::<8>(&archive, "stg_nf_normality.npy")?;
    let scores: Vec<f64> = normality.into_iter().map(|score| -f64::from_le_bytes(score)).collect();
    let auroc = Ranking::of("frame", &scores, &labels)?.auroc;
    ensure(auroc.value().is_some_and(|value| (value - 0.859372).abs() < 5e-7), || format!("{auroc:?}"))
}

/// Avenue, a link for each file, in a temporary folder whose files can be replaced.
struct Avenue {
    folder: TempDir,
}

impl Avenue {
    fn new(data: &Path) -> Result<Self> {
        let folder = temporary()?;
        for part in ["training_videos", "testing_videos", "ground_truth_demo/testing_label_mask", "."] {
            let (from, to) = (data.join("avenue_subset").join(part), folder.path().join("avenue").join(part));
            fs::create_dir_all(&to).map_err(io(&to))?;
            for entry in fs::read_dir(&from).map_err(io(&from))?.flatten().filter(|entry| entry.path().is_file()) {
                let link = to.join(entry.file_name());
                symlink(entry.path(), &link).map_err(io(&link))?;
            }
        }
        Ok(Self { folder })
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join("avenue").join(below)
    }

    /// Puts `bytes` in the place of a file.
    fn replace(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(file);
        fs::remove_file(&path).and_then(|()| fs::write(&path, bytes)).map_err(io(&path))
    }

    fn read(&self, file: &str) -> Result<Vec<u8>> {
        fs::read(self.path(file)).map_err(io(&self.path(file)))
    }

    /// Lists it, with environment variables; what was decoded stays for the next time.
    fn list(&self, variables: &[(&str, &str)]) -> Result<Ended> {
        let mut command = mimus(self.folder.path())?;
        command.args(["dataset", "list", "avenue", "avenue"]).env("MIMUS_FFMPEG", ffmpeg()?);
        variables.iter().for_each(|(name, value)| {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        });
        Ended::of(&mut command)
    }

    /// Asserts that listing ends with the code of bad data, and says all `parts`.
    fn refuses(&self, variables: &[(&str, &str)], parts: &[&str]) -> Result<()> {
        let ended = self.list(variables)?;
        ensure(ended.code == Some(4), || format!("ended with {:?}: {} {}", ended.code, ended.out, ended.err))?;
        parts
            .iter()
            .try_for_each(|part| ensure(ended.err.contains(part), || format!("{part} is not in: {}", ended.err)))
    }
}

pub(crate) fn avenue_has_both_conventions_and_is_decoded_once(data: &Path) -> Result<()> {
    let avenue = Avenue::new(data)?;
    let listed = avenue.list(&[])?;
    ensure(row(&listed.out) == ["avenue", "389", "142", "243", "yes", "anomaly 243"], || format!("{listed:?}"))?;
    let again = avenue.list(&[("MIMUS_FFMPEG", "/bin/false")])?;
    ensure(again.out == listed.out, || format!("{again:?}"))?;
    let arguments = ["dataset", "list", "avenue", "avenue", "--set", "labels=intervals"];
    let intervals = run(avenue.folder.path(), 0, &arguments)?;
    ensure(row(&intervals.out) == ["avenue", "389", "168", "217", "no", "anomaly 217"], || intervals.out.clone())?;
    let checked = run(avenue.folder.path(), 0, &["dataset", "check", "avenue", "avenue"])?;
    let cells = row(&checked.out);
    ensure(cells[..4] == ["avenue", "774", "640x360", "3"] && cells[5] == "0", || checked.out.clone())?;
    // A byte in a frame that was decoded changes: its checksum tells, and the next run makes it again.
    let cache = avenue.folder.path().join("cache/mimus/frames");
    let frames = fs::read_dir(&cache).map_err(io(&cache))?.flatten().map(|entry| entry.path().join("000003.png"));
    let frame =
        frames.filter(|frame| frame.is_file()).max_by_key(|frame| fs::metadata(frame).map_or(0, |data| data.len()));
    let frame = frame.ok_or_else(|| Error::data("no frame is in the cache"))?;
    let mut bytes = fs::read(&frame).map_err(io(&frame))?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xFF;
    fs::write(&frame, &bytes).map_err(io(&frame))?;
    let damaged = run(avenue.folder.path(), 4, &["dataset", "check", "avenue", "avenue"])?;
    ensure(damaged.out.contains("a file in the cache is damaged"), || damaged.out.clone())?;
    run(avenue.folder.path(), 0, &["dataset", "check", "avenue", "avenue"]).map(|_| ())
}

pub(crate) fn damaged_videos_and_labels_are_named(data: &Path) -> Result<()> {
    let avenue = Avenue::new(data)?;
    let (video, labels) = ("testing_videos/21.avi", "ground_truth_demo/testing_label_mask/21_label.mat");
    let whole = avenue.read(video)?;
    avenue.refuses(&[("MIMUS_FFMPEG", "/no/program")], &["video `12`", "12.avi", "/no/program cannot be started"])?;
    let none = avenue.folder.path().display().to_string();
    avenue.refuses(
        &[("MIMUS_FFMPEG", ""), ("PATH", &none)],
        &["video `12`", "ffmpeg, which decodes it, is not installed", "mimus backend install ffmpeg"],
    )?;
    avenue.replace(video, &whole[..whole.len() / 2])?;
    avenue.refuses(&[], &["video `21`", "21.avi", "is cut short"])?;
    let mut damaged = whole.clone();
    damaged[500_000..500_012].copy_from_slice(&[0x55, 0xAA, 0x12, 0x99].repeat(3));
    avenue.replace(video, &damaged)?;
    avenue.refuses(&[], &["video `21`", "21.avi", "ffmpeg does not decode it without errors"])?;
    avenue.replace(video, &whole)?;
    let masks = avenue.read(labels)?;
    for (bytes, message) in [
        (avenue.read("ground_truth_demo/testing_label_mask/8_label.mat")?, "has 36 masks, but the clip has 76 frames"),
        (avenue.read("avenue.mat")?, "holds no variable `volLabel`, only: gt"),
        (masks[..masks.len() / 2].to_vec(), "is cut short"),
    ] {
        avenue.replace(labels, &bytes)?;
        avenue.refuses(&[], &["video `21`", "21_label.mat", message])?;
    }
    fs::remove_file(avenue.path(labels)).map_err(io(&avenue.path(labels)))?;
    avenue.refuses(&[], &["video `21`", "testing_label_mask/21_label.mat is missing", "labels = \"intervals\""])
}

pub(crate) fn a_run_killed_while_it_decodes_leaves_no_half_of_a_video(data: &Path) -> Result<()> {
    let avenue = Avenue::new(data)?;
    let script = avenue.folder.path().join("killer");
    fs::write(&script, "#!/bin/sh\necho half > 000000.png\nkill -9 $PPID\n").map_err(io(&script))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).map_err(io(&script))?;
    let killed = avenue.list(&[("MIMUS_FFMPEG", &script.display().to_string())])?;
    ensure(killed.code.is_none(), || format!("{killed:?}"))?;
    let listed = avenue.list(&[])?;
    ensure(row(&listed.out)[..4] == ["avenue", "389", "142", "243"], || format!("{listed:?}"))
}
