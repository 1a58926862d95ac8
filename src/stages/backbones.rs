//! The names of the backbones, and what `check` must know of them. The networks themselves are in `tomograph-torch`.

/// A backbone as params see it.
#[derive(Clone, Copy, Debug)]
pub struct BackboneFacts {
    /// The `keras.applications` function's name in lower case.
    pub name: &'static str,
    /// Smallest side in pixels that Keras accepts.
    pub min_side: u32,
}

/// Every backbone.
pub static BACKBONES: &[BackboneFacts] = &[BackboneFacts { name: "mobilenet", min_side: 32 }];

/// The backbone of that name.
pub fn find(name: &str) -> Option<&'static BackboneFacts> {
    BACKBONES.iter().find(|one| one.name == name)
}

/// The names, as a message lists them.
pub fn names() -> String {
    let names: Vec<&str> = BACKBONES.iter().map(|one| one.name).collect();
    names.join(", ")
}
