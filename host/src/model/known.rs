//! Models of Hugging Face's hub that have networks in `onnx/`, for people who look for one.

/// A model that `--model hf:OWNER/NAME` takes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct KnownModel {
    /// OWNER/NAME.
    pub name: &'static str,
    /// What it is.
    pub kind: &'static str,
    /// Millions of weights, of both towers; in f32 each takes four bytes.
    pub weights: f32,
    /// As its makers say.
    pub licence: &'static str,
    /// Whether it takes words, else it predicts a class.
    pub takes_words: bool,
    /// What of it was tested.
    pub tested: &'static str,
}

const SAME_EXPORT: &str = "a folder of this architecture and size with random weights, in f32";
const SMALLER: &str = "a smaller network of this architecture with random weights";
const PREPARATION: &str = "how photos and prompts are prepared for it, not its networks";
const ARCHITECTURE: &str = "this architecture as timm has it, with random weights";
const OPEN_CLIP: &str = "this architecture as open_clip has it, with random weights";

/// Well-known models. None of these files could be reached from where this program was written, so each says what was tested instead.
pub const KNOWN: [KnownModel; 8] = [
    encoder(
        "Xenova/clip-vit-base-patch32",
        "CLIP ViT-B/32 of OpenAI",
        151.0,
        "MIT, of OpenAI's repository",
        SAME_EXPORT,
    ),
    encoder("Xenova/clip-vit-base-patch16", "CLIP ViT-B/16 of OpenAI", 150.0, "MIT, of OpenAI's repository", SMALLER),
    encoder("Xenova/clip-vit-large-patch14", "CLIP ViT-L/14 of OpenAI", 428.0, "MIT, of OpenAI's repository", SMALLER),
    encoder("Xenova/siglip-base-patch16-224", "SigLIP base", 203.0, "Apache-2.0", PREPARATION),
    encoder("onnx-community/siglip2-base-patch16-224-ONNX", "SigLIP 2 base", 375.0, "Apache-2.0", PREPARATION),
    encoder("Xenova/mobileclip_s0", "MobileCLIP-S0 of Apple", 54.0, "Apple's own", OPEN_CLIP),
    classifier("Xenova/resnet-50", "ResNet-50, 1000 classes", 25.6, "Apache-2.0", ARCHITECTURE),
    classifier("Xenova/vit-base-patch16-224", "ViT-B/16, 1000 classes", 86.6, "Apache-2.0", ARCHITECTURE),
];

const fn encoder(
    name: &'static str,
    kind: &'static str,
    weights: f32,
    licence: &'static str,
    tested: &'static str,
) -> KnownModel {
    KnownModel { name, kind, weights, licence, takes_words: true, tested }
}

const fn classifier(
    name: &'static str,
    kind: &'static str,
    weights: f32,
    licence: &'static str,
    tested: &'static str,
) -> KnownModel {
    KnownModel { name, kind, weights, licence, takes_words: false, tested }
}

impl KnownModel {
    /// A command that explains a photo with it.
    pub fn command(&self) -> String {
        let text = if self.takes_words { " -t \"a cat\"" } else { "" };
        format!("decomcam explain photo.jpg{text} -m hf:{}", self.name)
    }
}
