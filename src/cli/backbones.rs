//! `tomograph backbones`: the table of the networks that a classifier may have behind its head.

use super::exit::{Exit, print};
use super::grid::grid;
use crate::stages::backbones::BACKBONES;
use anyhow::Result;
use clap::Args;
use std::fmt::Write as _;

/// List the backbones: sides, features, parameters, scaling
///
/// The networks of `keras.applications`, by the names of their functions in lower case, as the param `backbone` and `tomograph
/// features` take them. Each gives the features that Keras gives with the same weights file.
///
/// `least` is the smallest side of an image in pixels, `default` the one that Keras takes unless told otherwise. `features` are
/// the channels of the last feature map, `parameters` all numbers of the network without the classifier of ImageNet. `scaling`
/// is what is done to pixels of 0 to 255, by Keras' names: tf (to -1…1), caffe (blue, green, red, less ImageNet's means), torch
/// (less ImageNet's means, by its deviations), built in (a part of the network).
#[derive(Args)]
pub(super) struct BackbonesArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn backbones(args: &BackbonesArgs) -> Result<Exit> {
    let mut text = String::new();
    if args.json {
        for one in BACKBONES {
            let row = serde_json::json!({
                "name": one.name, "min_side": one.min_side, "default_side": one.default_side, "features": one.features,
                "parameters": one.parameters, "scaling": one.scaling,
            });
            let _ = writeln!(text, "{row}");
        }
    } else {
        let mut rows = vec![["backbone", "least", "default", "features", "parameters", "scaling"].map(str::to_owned).to_vec()];
        for one in BACKBONES {
            let numbers = [u64::from(one.min_side), u64::from(one.default_side), u64::from(one.features), one.parameters];
            let mut row = vec![one.name.to_owned()];
            row.extend(numbers.map(|number| number.to_string()));
            row.push(one.scaling.to_owned());
            rows.push(row);
        }
        text = grid(&rows, "");
    }
    print(&text)?;
    Ok(Exit::Done)
}
