//! What a file is that was given in place of a network or of a recording.

/// How files of other kinds begin that people give in place of a network or of a recording.
const BEGINNINGS: [(&[u8], &str); 12] = [
    (b"\x89PNG", "a PNG picture"),
    (b"\xFF\xD8\xFF", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"RIFF", "a WebP picture or a sound"),
    (b"PK\x03\x04", "a ZIP archive, as PyTorch and Keras write them"),
    (b"\x1F\x8B", "a gzip archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89HDF", "an HDF5 file, as Keras writes it"),
    (b"version https://git-lfs", "a pointer of Git LFS, in place of the file that `git lfs pull` fetches"),
    (b"DECOMCAM", "a capsule"),
    (b"DCFR", "a frame"),
    (b"<", "HTML or XML"),
];

/// What a file is that is not what was expected, if its bytes tell.
pub(crate) fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    let known = BEGINNINGS.iter().find(|(begin, _)| bytes.starts_with(begin)).map(|(_, kind)| *kind);
    let tflite = (bytes.get(4..8) == Some(b"TFL3")).then_some("a network of TensorFlow Lite");
    known.or(tflite).or(bytes.is_empty().then_some("an empty file"))
}
