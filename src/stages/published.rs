//! The weight files that Keras publishes for its backbones: where they are, and what they must be.
//!
//! Addresses and checksums as in the source of Keras 3.15, `keras/src/applications`. Nothing here opens a connection.

/// The published files of a backbone.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// The backbone's name.
    pub backbone: &'static str,
    /// Without the classifier of ImageNet.
    pub trunk: PublishedFile,
    /// With it.
    pub whole: PublishedFile,
}

/// A published file.
#[derive(Clone, Copy, Debug)]
pub struct PublishedFile {
    /// Its path below [`BASE`].
    pub path: &'static str,
    /// MD5 in hexadecimal digits; Keras has none for MobileNet and MobileNetV2.
    pub md5: Option<&'static str>,
}

/// Where Keras publishes them.
pub const BASE: &str = "https://storage.googleapis.com";

impl PublishedFile {
    /// The file's name.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

impl Published {
    /// That of a backbone.
    pub fn of(backbone: &str) -> Option<&'static Self> {
        PUBLISHED.iter().find(|one| one.backbone == backbone)
    }
}

macro_rules! published {
    ($($backbone:literal: $folder:literal $trunk:literal $trunk_md5:expr, $whole:literal $whole_md5:expr;)+) => {
        &[$(Published {
            backbone: $backbone,
            trunk: PublishedFile { path: concat!($folder, "/", $trunk), md5: $trunk_md5 },
            whole: PublishedFile { path: concat!($folder, "/", $whole), md5: $whole_md5 },
        }),+]
    };
}

/// Every backbone's, in the order of [`super::backbones::BACKBONES`].
pub static PUBLISHED: &[Published] = published![
    "mobilenet": "tensorflow/keras-applications/mobilenet" "mobilenet_1_0_224_tf_no_top.h5" None,
        "mobilenet_1_0_224_tf.h5" None;
    "mobilenetv2": "tensorflow/keras-applications/mobilenet_v2" "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5" None,
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5" None;
    "vgg16": "tensorflow/keras-applications/vgg16" "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5" Some("6d6bbae143d832006294945121d1f1fc"),
        "vgg16_weights_tf_dim_ordering_tf_kernels.h5" Some("64373286793e3c8b2b4e3219cbf3544b");
    "vgg19": "tensorflow/keras-applications/vgg19" "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5" Some("253f8cb515780f3b799900260a226db6"),
        "vgg19_weights_tf_dim_ordering_tf_kernels.h5" Some("cbe5617147190e668d6c5d5026f83318");
    "resnet50": "tensorflow/keras-applications/resnet" "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5" Some("4d473c1dd8becc155b73f8504c6f6626"),
        "resnet50_weights_tf_dim_ordering_tf_kernels.h5" Some("2cb95161c43110f7111970584f804107");
    "resnet101": "tensorflow/keras-applications/resnet" "resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5" Some("88cf7a10940856eca736dc7b7e228a21"),
        "resnet101_weights_tf_dim_ordering_tf_kernels.h5" Some("f1aeb4b969a6efcfb50fad2f0c20cfc5");
    "resnet152": "tensorflow/keras-applications/resnet" "resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5" Some("ee4c566cf9a93f14d82f913c2dc6dd0c"),
        "resnet152_weights_tf_dim_ordering_tf_kernels.h5" Some("100835be76be38e30d865e96f2aaae62");
    "resnet50v2": "tensorflow/keras-applications/resnet" "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5" Some("fac2f116257151a9d068a22e544a4917"),
        "resnet50v2_weights_tf_dim_ordering_tf_kernels.h5" Some("3ef43a0b657b3be2300d5770ece849e0");
    "resnet101v2": "tensorflow/keras-applications/resnet" "resnet101v2_weights_tf_dim_ordering_tf_kernels_notop.h5" Some("c0ed64b8031c3730f411d2eb4eea35b5"),
        "resnet101v2_weights_tf_dim_ordering_tf_kernels.h5" Some("6343647c601c52e1368623803854d971");
    "resnet152v2": "tensorflow/keras-applications/resnet" "resnet152v2_weights_tf_dim_ordering_tf_kernels_notop.h5" Some("ed17cf2e0169df9d443503ef94b23b33"),
        "resnet152v2_weights_tf_dim_ordering_tf_kernels.h5" Some("a49b44d1979771252814e80f8ec446f9");
    "densenet121": "tensorflow/keras-applications/densenet" "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5" Some("30ee3e1110167f948a6b9946edeeb738"),
        "densenet121_weights_tf_dim_ordering_tf_kernels.h5" Some("9d60b8095a5708f2dcce2bca79d332c7");
    "densenet169": "tensorflow/keras-applications/densenet" "densenet169_weights_tf_dim_ordering_tf_kernels_notop.h5" Some("b8c4d4c20dd625c148057b9ff1c1176b"),
        "densenet169_weights_tf_dim_ordering_tf_kernels.h5" Some("d699b8f76981ab1b30698df4c175e90b");
    "densenet201": "tensorflow/keras-applications/densenet" "densenet201_weights_tf_dim_ordering_tf_kernels_notop.h5" Some("c13680b51ded0fb44dff2d8f86ac8bb1"),
        "densenet201_weights_tf_dim_ordering_tf_kernels.h5" Some("1ceb130c1ea1b78c3bf6114dbdfd8807");
    "xception": "tensorflow/keras-applications/xception" "xception_weights_tf_dim_ordering_tf_kernels_notop.h5" Some("b0042744bf5b25fce3cb969f33bebb97"),
        "xception_weights_tf_dim_ordering_tf_kernels.h5" Some("0a58e3b7378bc2990ea3b43d5981f1f6");
    "inceptionv3": "tensorflow/keras-applications/inception_v3" "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5" Some("bcbd6486424b2319ff4ef7d526e38f63"),
        "inception_v3_weights_tf_dim_ordering_tf_kernels.h5" Some("9a0d58056eeedaa3f26cb7ebd46da564");
    "inceptionresnetv2": "tensorflow/keras-applications/inception_resnet_v2" "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5" Some("d19885ff4a710c122648d3b5c3b684e4"),
        "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5" Some("e693bd0210a403b3192acc6073ad2e96");
    "nasnetmobile": "tensorflow/keras-applications/nasnet" "NASNet-mobile-no-top.h5" Some("1ed92395b5b598bdda52abe5c0dbfd63"),
        "NASNet-mobile.h5" Some("020fb642bf7360b370c678b08e0adf61");
    "efficientnetb0": "keras-applications" "efficientnetb0_notop.h5" Some("50bc09e76180e00e4465e1a485ddc09d"),
        "efficientnetb0.h5" Some("902e53a9f72be733fc0bcb005b3ebbac");
    "efficientnetb1": "keras-applications" "efficientnetb1_notop.h5" Some("74c4e6b3e1f6a1eea24c589628592432"),
        "efficientnetb1.h5" Some("1d254153d4ab51201f1646940f018540");
    "efficientnetb2": "keras-applications" "efficientnetb2_notop.h5" Some("111f8e2ac8aa800a7a99e3239f7bfb39"),
        "efficientnetb2.h5" Some("b15cce36ff4dcbd00b6dd88e7857a6ad");
    "efficientnetb3": "keras-applications" "efficientnetb3_notop.h5" Some("af6d107764bb5b1abb91932881670226"),
        "efficientnetb3.h5" Some("ffd1fdc53d0ce67064dc6a9c7960ede0");
    "efficientnetb4": "keras-applications" "efficientnetb4_notop.h5" Some("ebc24e6d6c33eaebbd558eafbeedf1ba"),
        "efficientnetb4.h5" Some("18c95ad55216b8f92d7e70b3a046e2fc");
    "efficientnetb5": "keras-applications" "efficientnetb5_notop.h5" Some("38879255a25d3c92d5e44e04ae6cec6f"),
        "efficientnetb5.h5" Some("ace28f2a6363774853a83a0b21b9421a");
    "efficientnetb6": "keras-applications" "efficientnetb6_notop.h5" Some("9ecce42647a20130c1f39a5d4cb75743"),
        "efficientnetb6.h5" Some("165f6e37dce68623721b423839de8be5");
    "efficientnetb7": "keras-applications" "efficientnetb7_notop.h5" Some("cbcfe4450ddf6f3ad90b1b398090fe4a"),
        "efficientnetb7.h5" Some("8c03f828fec3ef71311cd463b6759d99");
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::backbones::BACKBONES;

    #[test]
    fn every_backbone_has_its_files() {
        let backbones: Vec<&str> = BACKBONES.iter().map(|one| one.name).collect();
        assert_eq!(PUBLISHED.iter().map(|one| one.backbone).collect::<Vec<_>>(), backbones);
        let mut sums: Vec<&str> = PUBLISHED.iter().flat_map(|one| [one.trunk.md5, one.whole.md5]).flatten().collect();
        assert!(sums.iter().all(|sum| sum.len() == 32));
        sums.sort_unstable();
        sums.dedup();
        // All but MobileNet and MobileNetV2, each with a sum of its own.
        assert_eq!(sums.len(), 2 * (backbones.len() - 2));
    }
}
