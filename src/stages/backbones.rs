//! The names of the backbones, and what `check` and the command line must know of them. The networks themselves are in
//! `tomograph-torch`.

/// A backbone as params see it.
#[derive(Clone, Copy, Debug)]
pub struct BackboneFacts {
    /// The `keras.applications` function's name in lower case.
    pub name: &'static str,
    /// Smallest side in pixels that Keras accepts.
    pub min_side: u32,
    /// Side in pixels that Keras takes unless told otherwise.
    pub default_side: u32,
    /// Channels of the last feature map.
    pub features: u32,
    /// Numbers in all variables without the classifier, as `model.count_params()` counts them.
    pub parameters: u64,
    /// How Keras scales pixels for it: `tf`, `caffe`, `torch`, or `built in`.
    pub scaling: &'static str,
}

const fn row(name: &'static str, sides: [u32; 2], features: u32, parameters: u64, scaling: &'static str) -> BackboneFacts {
    BackboneFacts { name, min_side: sides[0], default_side: sides[1], features, parameters, scaling }
}

/// Every backbone.
pub static BACKBONES: &[BackboneFacts] = &[
    row("mobilenet", [32, 224], 1024, 3_228_864, "tf"),
    row("mobilenetv2", [32, 224], 1280, 2_257_984, "tf"),
    row("vgg16", [32, 224], 512, 14_714_688, "caffe"),
    row("vgg19", [32, 224], 512, 20_024_384, "caffe"),
    row("resnet50", [32, 224], 2048, 23_587_712, "caffe"),
    row("resnet101", [32, 224], 2048, 42_658_176, "caffe"),
    row("resnet152", [32, 224], 2048, 58_370_944, "caffe"),
    row("resnet50v2", [32, 224], 2048, 23_564_800, "tf"),
    row("resnet101v2", [32, 224], 2048, 42_626_560, "tf"),
    row("resnet152v2", [32, 224], 2048, 58_331_648, "tf"),
    row("densenet121", [32, 224], 1024, 7_037_504, "torch"),
    row("densenet169", [32, 224], 1664, 12_642_880, "torch"),
    row("densenet201", [32, 224], 1920, 18_321_984, "torch"),
    row("xception", [71, 299], 2048, 20_861_480, "tf"),
    row("inceptionv3", [75, 299], 2048, 21_802_784, "tf"),
    row("inceptionresnetv2", [75, 299], 1536, 54_336_736, "tf"),
    row("nasnetmobile", [32, 224], 1056, 4_269_716, "tf"),
    row("efficientnetb0", [32, 224], 1280, 4_049_571, "built in"),
    row("efficientnetb1", [32, 240], 1280, 6_575_239, "built in"),
    row("efficientnetb2", [32, 260], 1408, 7_768_569, "built in"),
    row("efficientnetb3", [32, 300], 1536, 10_783_535, "built in"),
    row("efficientnetb4", [32, 380], 1792, 17_673_823, "built in"),
    row("efficientnetb5", [32, 456], 2048, 28_513_527, "built in"),
    row("efficientnetb6", [32, 528], 2304, 40_960_143, "built in"),
    row("efficientnetb7", [32, 600], 2560, 64_097_687, "built in"),
];

/// The backbone of that name.
pub fn find(name: &str) -> Option<&'static BackboneFacts> {
    BACKBONES.iter().find(|one| one.name == name)
}

/// The names, as a message lists them.
pub fn names() -> String {
    let names: Vec<&str> = BACKBONES.iter().map(|one| one.name).collect();
    names.join(", ")
}
