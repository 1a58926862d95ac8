//! Numbers a device can compute in, and what libtorch is told before a training.

use anyhow::{Result, bail, ensure};
use tch::{Cuda, Device, Kind, Tensor, no_grad};
use tomograph::stages::training::Precision;

/// The kind of number, or an error where the device lacks it.
pub(crate) fn kind(precision: Precision, device: Device) -> Result<Kind> {
    let kind = match precision {
        Precision::F32 => return Ok(Kind::Float),
        Precision::Bf16 => Kind::BFloat16,
        Precision::F16 => Kind::Half,
    };
    let name = if kind == Kind::Half { "f16" } else { "bf16" };
    let remedy = "set `precision` to \"f32\"";
    // libtorch would emulate it, many times slower than single precision.
    ensure!(device != Device::Cpu || on_cpu(precision), "this processor has no instructions for {name}: {remedy}");
    let probe = || -> Result<Tensor> {
        let ones = |size: &[i64]| Tensor::f_ones(size, (kind, device));
        Ok(ones(&[1, 8, 4, 4])?.f_conv2d::<Tensor>(&ones(&[8, 8, 3, 3])?, None, [1, 1], [1, 1], [1, 1], 1)?)
    };
    if let Err(error) = no_grad(probe) {
        bail!("this device cannot compute in {name} ({error}): {remedy}");
    }
    Ok(kind)
}

/// Whether the processor computes in it rather than emulates it.
pub(crate) fn on_cpu(precision: Precision) -> bool {
    match precision {
        Precision::F32 => true,
        #[cfg(target_arch = "x86_64")]
        Precision::Bf16 => std::arch::is_x86_feature_detected!("avx512bf16"),
        #[cfg(target_arch = "x86_64")]
        Precision::F16 => std::arch::is_x86_feature_detected!("avx512fp16"),
        #[cfg(target_arch = "aarch64")]
        Precision::Bf16 => std::arch::is_aarch64_feature_detected!("bf16"),
        #[cfg(target_arch = "aarch64")]
        Precision::F16 => std::arch::is_aarch64_feature_detected!("fp16"),
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        Precision::Bf16 | Precision::F16 => false,
    }
}

/// Prepares libtorch for a training of fixed shapes; `deterministic` asks for equal bits from equal inputs.
///
/// The engine has told a GPU's libraries, in the environment, to leave TF32 alone: tch cannot.
pub(crate) fn prepare(device: Device, deterministic: bool) -> Result<()> {
    if device.is_cuda() {
        ensure!(
            !deterministic,
            "a GPU gives other bits from run to run and libtorch cannot be told otherwise here: leave out `deterministic`, or run with --cpu"
        );
        Cuda::cudnn_set_benchmark(true);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_is_there_or_its_lack_is_named() {
        assert_eq!(kind(Precision::F32, Device::Cpu).unwrap(), Kind::Float);
        for (precision, name) in [(Precision::Bf16, "bf16"), (Precision::F16, "f16")] {
            match kind(precision, Device::Cpu) {
                Ok(_) => assert!(on_cpu(precision)),
                Err(error) => assert!(!on_cpu(precision) && error.to_string().contains(name), "{error}"),
            }
        }
    }
}
