//! The models compiled into the program.

/// A model in the program: its name, its manifest, its files.
pub(super) struct Bundled {
    pub(super) name: &'static str,
    pub(super) manifest: &'static str,
    pub(super) files: &'static [(&'static str, &'static [u8])],
}

const BUNDLED: &[Bundled] = &[Bundled {
    name: decomcam_model_lite::NAME,
    manifest: decomcam_model_lite::MANIFEST,
    files: decomcam_model_lite::FILES,
}];

/// Names of the models compiled into the program.
pub fn bundled_names() -> Vec<&'static str> {
    BUNDLED.iter().map(|bundled| bundled.name).collect()
}

pub(super) fn find(name: &str) -> Option<&'static Bundled> {
    BUNDLED.iter().find(|bundled| bundled.name == name)
}
