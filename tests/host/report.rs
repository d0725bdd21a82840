//! The page for the browser: it holds everything that it needs, and no text can become part of its markup.

use crate::common::cat;
use crate::common::run::decomcam;
use std::fs;
use tempfile::TempDir;

/// A page whose prompt, names and file name try to become markup.
fn hostile_page() -> String {
    let place = TempDir::new().unwrap();
    let photo = place.path().join("<b onload=alert(1)>&amp;\".png");
    fs::copy(cat(), &photo).unwrap();
    let attack = "a cat</script><script>alert(1)</script>\"' onmouseover=alert(2) {{ 7 * 7 }}";
    let out = place.path().join("out");
    decomcam(["explain", "--size", "96", "--text", attack, "--name-parts", "<i>fur</i> cat", "--out"])
        .arg(&out)
        .arg(&photo)
        .ok();
    fs::read_to_string(out.join("report.html")).unwrap()
}

#[test]
fn no_text_becomes_markup() {
    let page = hostile_page();
    assert_eq!(page.matches("<script>").count(), 1);
    assert_eq!(page.matches("</script>").count(), 1);
    for markup in ["<b onload", "<i>", "\"' onmouseover", "alert(1)</script>", "49 in "] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert!(page.contains("&lt;&#x2f;script&gt;") && page.contains("{{ 7 * 7 }}"), "the prompt is shown as it is");
}

/// Pictures are in the page, the browser is forbidden to fetch anything, and nothing names a place to fetch from.
#[test]
fn the_page_is_self_contained() {
    let page = hostile_page();
    assert!(
        page.contains("content=\"default-src &#x27;none&#x27;; img-src data:;")
            || page.contains("content=\"default-src 'none'; img-src data:;")
    );
    for source in page.split(" src=\"").skip(1).chain(page.split("data-grey=\"").skip(1)) {
        assert!(source.starts_with("data:image/"), "{}", &source[..source.len().min(60)]);
    }
    for fetching in ["http://", "https://", "<link", "@import", "url(", "import(", "fetch(", "XMLHttpRequest"] {
        assert!(!page.contains(fetching), "{fetching}");
    }
    assert!(page.contains("lang=\"en\"") && page.contains("<main>") && page.contains("<h1>"));
}
