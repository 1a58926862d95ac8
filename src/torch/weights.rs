//! Named tensors and safetensors bytes. Knows nothing of what the names mean.

use anyhow::{Context as _, Result, bail, ensure};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeMap, HashMap};
use tch::{Device, Kind, Tensor, nn, no_grad};

/// Variables by name, sorted.
pub(crate) type Named = BTreeMap<String, Tensor>;

/// Every variable of a store, running statistics included; the tensors share memory with the store's.
pub(crate) fn variables(store: &nn::VarStore) -> Named {
    store.variables().into_iter().collect()
}

/// Values apart from the variables they were copied from.
pub(crate) fn copies(named: &Named) -> Named {
    no_grad(|| named.iter().map(|(name, tensor)| (name.clone(), tensor.detach().copy())).collect())
}

/// Safetensors bytes (little-endian, as every machine with libtorch is); equal values give equal bytes. All tensors are float32.
pub(crate) fn to_bytes(named: &Named, about: Option<&str>) -> Result<Vec<u8>> {
    let mut values = Vec::with_capacity(named.len());
    for (name, tensor) in named {
        let flat = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
        let count = flat.numel();
        let mut bytes = vec![0; count * 4];
        flat.f_copy_data_u8(&mut bytes, count).with_context(|| format!("cannot read variable {name}"))?;
        let shape: Vec<usize> = tensor.size().iter().map(|side| *side as usize).collect();
        values.push((name, shape, bytes));
    }
    let views = values.iter().map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)));
    let views: Vec<_> = views.collect::<Result<_>>()?;
    let about = about.map(|text| HashMap::from([("about".to_owned(), text.to_owned())]));
    safetensors::serialize(views, about).context("cannot lay out the tensors")
}

/// The tensors in safetensors bytes, on the CPU, and the text kept with them.
pub(crate) fn from_bytes(bytes: &[u8]) -> Result<(Named, Option<String>)> {
    let file = SafeTensors::deserialize(bytes).context("not a whole safetensors file")?;
    let mut named = Named::new();
    for (name, view) in file.iter() {
        ensure!(view.dtype() == Dtype::F32, "variable {name} is not float32");
        let shape: Vec<i64> = view.shape().iter().map(|side| *side as i64).collect();
        named.insert(name.to_owned(), Tensor::f_from_data_size(view.data(), &shape, Kind::Float)?);
    }
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let about = metadata.metadata().as_ref().and_then(|map| map.get("about").cloned());
    Ok((named, about))
}

/// Copies values into variables once every name and shape is known to fit.
pub(crate) fn assign(into: &Named, from: &Named) -> Result<()> {
    for (name, variable) in into {
        let Some(value) = from.get(name) else { bail!("variable {name} is missing") };
        ensure!(variable.size() == value.size(), "variable {name} is {:?} where {:?} is wanted", value.size(), variable.size());
    }
    if let Some(name) = from.keys().find(|name| !into.contains_key(*name)) {
        bail!("variable {name} belongs to another network");
    }
    no_grad(|| {
        for (variable, value) in into.values().zip(from.values()) {
            variable.shallow_clone().copy_(value);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_survive_bytes_and_misfits_are_named() {
        let one = Named::from([("b".to_owned(), Tensor::from_slice(&[1f32, 2.0])), ("a".to_owned(), Tensor::from_slice(&[3f32]))]);
        let bytes = to_bytes(&one, Some("text")).unwrap();
        let (back, about) = from_bytes(&bytes).unwrap();
        assert_eq!((about.as_deref(), to_bytes(&back, Some("text")).unwrap()), (Some("text"), bytes.clone()));
        assert!(from_bytes(&bytes[..bytes.len() - 1]).is_err());
        let other = Named::from([("a".to_owned(), Tensor::from_slice(&[3f32, 4.0])), ("b".to_owned(), Tensor::from_slice(&[1f32, 2.0]))]);
        assert_eq!(assign(&one, &other).unwrap_err().to_string(), "variable a is [2] where [1] is wanted");
    }
}
