//! The trained modules: what is learned of one kind of object (sections 3.3 and 3.4).

use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::double::{Bias, Norm, Style, Weight, halve};
use mimus_core::{Builder, Init, Result, ValueId};

use super::Widths;
use super::latent::{residual_stack, same, strided};

/// How the image reconstruction and the detection begin.
const BEGIN: Init = Init::Normal { mean: 0.0, std: 0.02 };

fn style(weight: Option<Init>) -> Style {
    Style { norm: Norm::Instance, weight: weight.map_or(Weight::Torch, Weight::Given), bias: Bias::Torch }
}

/// Codes with defects to features without, both `[N, C, h, w]`: an autoencoder without skips as module `label`, with the tap
/// `<label>.unet.encoder.block3`.
pub(super) fn restrict(b: &mut Builder, label: &str, x: ValueId, widths: &Widths) -> Result<ValueId> {
    let (style, width, channels) = (style(None), widths.subspace, b.shape(x)[1]);
    let scope = format!("{label}.unet");
    let code = b.scope(&format!("{scope}.encoder"), |b| {
        let x = style.double(b, "block1", x, [width; 2])?;
        let x = halve(b, x)?;
        let x = style.double(b, "block2", x, [2 * width; 2])?;
        let x = halve(b, x)?;
        style.double(b, "block3", x, [4 * width; 2])
    })?;
    b.tap(&format!("{scope}.encoder.block3"), code)?;
    b.scope(&format!("{scope}.decoder"), |b| {
        let x = style.up(b, "up2", code, 2 * width)?;
        let x = style.double(b, "db2", x, [2 * width; 2])?;
        let x = style.up(b, "up3", x, width)?;
        let x = style.double(b, "db3", x, [width; 2])?;
        style.conv(b, x, channels, 3).padding(&[1, 1]).forward(b, "fin_out.0", x)
    })
}

/// The codes of both levels behind one another, `x [N, 2 hidden, H/4, W/4]`, to a picture without defects, `[N, 3, H, W]`, as
/// module `label` with the tap `<label>.pre_vq_conv`.
pub(super) fn reconstruct(b: &mut Builder, label: &str, x: ValueId, widths: &Widths) -> Result<ValueId> {
    let (style, channels, half) = (style(Some(BEGIN)), b.shape(x)[1], widths.hidden / 2);
    let code = b.scope(label, |b| {
        let x = style.double(b, "block1", x, [channels, 2 * channels])?;
        let x = halve(b, x)?;
        let x = style.double(b, "block2", x, [2 * channels, 4 * channels])?;
        let x = halve(b, x)?;
        Conv::new(half, &[1, 1]).init(BEGIN).forward(b, "pre_vq_conv", x)
    })?;
    b.tap(&format!("{label}.pre_vq_conv"), code)?;
    b.scope(label, |b| {
        let x = ["upblock1", "upblock2"].iter().try_fold(code, |x, name| {
            let x = strided(half).init(BEGIN).transposed(b, name, x)?;
            b.relu(x)
        })?;
        let x = same(widths.hidden).init(BEGIN).forward(b, "_conv_1", x)?;
        let x = residual_stack(b, x, widths, Some(BEGIN))?;
        let x = strided(half).init(BEGIN).transposed(b, "_conv_trans_1", x)?;
        let x = b.relu(x)?;
        strided(3).init(BEGIN).transposed(b, "_conv_trans_2", x)
    })
}

/// Logits `[N, 2, H, W]`, the second for "anomalous", from pictures behind one another, `x [N, C, H, W]`: a U-Net as module `label`
/// with the tap `<label>.unet.encoder.block4`. `init` is how its convolutions begin.
pub(super) fn detect(b: &mut Builder, label: &str, x: ValueId, widths: &Widths, init: Option<Init>) -> Result<ValueId> {
    let (style, width) = (style(init), widths.detection);
    let scope = format!("{label}.unet");
    let encoder = format!("{scope}.encoder");
    let mut features = vec![b.scope(&encoder, |b| style.double(b, "block1", x, [width; 2]))?];
    for (i, times) in [2, 4, 4].iter().enumerate() {
        let x = halve(b, features[i])?;
        let block = format!("block{}", i + 2);
        features.push(b.scope(&encoder, |b| style.double(b, &block, x, [times * width; 2]))?);
    }
    b.tap(&format!("{encoder}.block4"), features[3])?;
    b.scope(&format!("{scope}.decoder"), |b| {
        let stages = [(1, 4), (2, 2), (3, 1)];
        let skips = features[..3].iter().rev();
        let x = stages.iter().zip(skips).try_fold(features[3], |x, ((i, times), skip)| {
            let up = style.up(b, &format!("up{i}"), x, times * width)?;
            let both = b.concat(&[up, *skip], 1)?;
            style.double(b, &format!("db{i}"), both, [times * width; 2])
        })?;
        style.conv(b, x, 2, 3).padding(&[1, 1]).forward(b, "fin_out.0", x)
    })
}

/// As [`detect`], begun as the published code begins it.
pub(super) fn detect_begun(b: &mut Builder, label: &str, x: ValueId, widths: &Widths) -> Result<ValueId> {
    detect(b, label, x, widths, Some(BEGIN))
}
