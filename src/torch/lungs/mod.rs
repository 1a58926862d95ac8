//! Segmentation of lungs: the network, its training, and what it says of images.

mod loss;
mod model;
mod net;
mod pairs;
#[cfg(test)]
mod parity;
mod segment;
mod train;

pub(crate) use segment::segment;
pub(crate) use train::train;
