//! Which way up a photo is, wherever its file says so.

use image::ImageDecoder;
use image::metadata::Orientation;

/// What makes the stored pixels upright. TIFF files say it themselves; elsewhere EXIF counts before ImageMagick's profile in PNG files, and that before XMP.
pub(super) fn orientation(decoder: &mut impl ImageDecoder, bytes: &[u8]) -> Orientation {
    if bytes.starts_with(b"II") || bytes.starts_with(b"MM") {
        return decoder.orientation().unwrap_or(Orientation::NoTransforms);
    }
    let png = if bytes.starts_with(b"\x89PNG") { of_png(bytes) } else { Found::default() };
    let exif = decoder.exif_metadata().ok().flatten().and_then(|exif| of_exif(&exif));
    let xmp = decoder.xmp_metadata().ok().flatten().and_then(|xmp| of_xmp(&xmp));
    exif.or(png.exif).or(png.profile).or(xmp).or(png.xmp).unwrap_or(Orientation::NoTransforms)
}

/// What makes pixels upright by what a file says in EXIF, or else in XMP.
pub(super) fn said(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    exif.and_then(of_exif).or_else(|| of_xmp(xmp?)).unwrap_or(Orientation::NoTransforms)
}

/// EXIF with or without the six bytes that JPEG files have before it.
fn of_exif(exif: &[u8]) -> Option<Orientation> {
    Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif))
}

/// The attribute or element `Orientation` of TIFF's names.
fn of_xmp(xmp: &[u8]) -> Option<Orientation> {
    const TIFF: &str = "http://ns.adobe.com/tiff/1.0/";
    let text = String::from_utf8_lossy(xmp);
    // Packets are filled up, and may be cut.
    let text = &text[text.find('<')?..=text.rfind('>')?];
    let document = roxmltree::Document::parse(text).ok()?;
    let number = document.descendants().find_map(|node| {
        let element = node.has_tag_name((TIFF, "Orientation")).then(|| node.text()).flatten();
        node.attribute((TIFF, "Orientation")).or(element)
    });
    Orientation::from_exif(number?.trim().parse().ok()?)
}

/// What the chunks of a PNG file say.
#[derive(Default)]
struct Found {
    exif: Option<Orientation>,
    profile: Option<Orientation>,
    xmp: Option<Orientation>,
}

/// All chunks, also those after the pixels.
fn of_png(bytes: &[u8]) -> Found {
    let mut found = Found::default();
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((kind, after)) = after.split_first_chunk::<4>() else { break };
        let Some((body, after)) = after.split_at_checked(length) else { break };
        match kind {
            b"eXIf" => found.exif = found.exif.or_else(|| of_exif(body)),
            b"tEXt" | b"zTXt" | b"iTXt" => {
                if let Some((keyword, text)) = text_chunk(kind, body) {
                    match keyword {
                        b"Raw profile type exif" | b"Raw profile type APP1" => {
                            found.profile = found.profile.or_else(|| of_exif(&raw_profile(&text)?));
                        }
                        b"XML:com.adobe.xmp" | b"Raw profile type xmp" => {
                            let packet = if keyword.starts_with(b"Raw") { raw_profile(&text) } else { Some(text) };
                            found.xmp = found.xmp.or_else(|| of_xmp(&packet?));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        rest = after.get(4..).unwrap_or_default();
    }
    found
}

/// Keyword and text of a chunk; none if it is malformed.
fn text_chunk<'a>(kind: &[u8; 4], body: &'a [u8]) -> Option<(&'a [u8], Vec<u8>)> {
    let (keyword, body) = until_zero(body)?;
    let text = match kind {
        b"tEXt" => body.to_vec(),
        b"zTXt" => inflated(body.get(1..)?)?,
        _ => {
            let [compressed, _, body @ ..] = body else { return None };
            let (_, body) = until_zero(body)?;
            let (_, body) = until_zero(body)?;
            if *compressed == 1 { inflated(body)? } else { body.to_vec() }
        }
    };
    Some((keyword, text))
}

fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn inflated(bytes: &[u8]) -> Option<Vec<u8>> {
    const MOST: usize = 1 << 20;
    miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(bytes, MOST).ok()
}

/// ImageMagick's way to put a profile into text: an empty line, its name, its length, hexadecimal digits.
fn raw_profile(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut lines = text.trim_start().lines().skip(1);
    let length: usize = lines.next()?.trim().parse().ok()?;
    let digits: Vec<u8> =
        lines.flat_map(str::chars).filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    let bytes: Vec<u8> = digits.as_chunks::<2>().0.iter().map(|[high, low]| 16 * high + low).collect();
    (bytes.len() >= length).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xmp_says_it_in_two_ways_and_under_any_prefix() {
        let rdf = |inner: &str| {
            format!(
                "<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF \
                 xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>{inner}</rdf:RDF></x:xmpmeta>  <?xpacket end='w'?>\n\0"
            )
        };
        let names = "xmlns:t='http://ns.adobe.com/tiff/1.0/'";
        for inner in [
            format!("<rdf:Description {names} t:Orientation='6'/>"),
            format!("<rdf:Description {names}><t:Orientation> 6 </t:Orientation></rdf:Description>"),
        ] {
            assert_eq!(of_xmp(rdf(&inner).as_bytes()), Some(Orientation::Rotate90), "{inner}");
        }
        assert_eq!(of_xmp(rdf("<rdf:Description Orientation='6'/>").as_bytes()), None);
        assert_eq!(of_xmp(b"no packet"), None);
    }

    #[test]
    fn raw_profiles_are_hexadecimal() {
        assert_eq!(raw_profile(b"\nexif\n       3\n0a0B\n0c\n").unwrap(), [10, 11, 12]);
        assert!(raw_profile(b"\nexif\n       4\n0a0b0c\n").is_none() && raw_profile(b"").is_none());
    }
}
