//! What the model says of its own knowledge.

use crate::common::cat;
use decomcam::score::{Support, Verdict, Words};
use decomcam::{Options, Photo, Session};

fn support(session: &Session, photo: &Photo, text: &str) -> (Support, Vec<String>) {
    let options = Options::new().scales(1).refine(false).components(1);
    let explanation = session.explain(photo, &session.prompt(text).unwrap(), &options).unwrap();
    (explanation.support.unwrap(), explanation.warnings)
}

/// On a photo of a tabby: things that are there, things that are not, and words that no class stands for.
#[test]
fn the_bundled_model_says_what_it_does_not_see() {
    let (session, photo) = (Session::open("lite").unwrap(), Photo::open(cat()).unwrap());
    let cases = [
        ("a cat", Verdict::Seen, Words::HaveClass, None),
        ("a tabby", Verdict::Seen, Words::HaveClass, None),
        ("cats", Verdict::Seen, Words::HaveClass, None),
        ("a kitten", Verdict::Seen, Words::NoClass, Some("the model has no class for \"kitten\": it reads")),
        ("two cats", Verdict::Seen, Words::HaveClass, Some("no class of the model stands for \"two\"")),
        ("not a cat", Verdict::Seen, Words::HaveClass, Some("no class of the model stands for \"not\"")),
        ("a dog", Verdict::Doubtful, Words::HaveClass, Some("the model hardly sees \"a dog\" here")),
        ("a truck", Verdict::Doubtful, Words::HaveClass, Some("the model hardly sees \"a truck\" here")),
        ("a volcano", Verdict::NotSeen, Words::HaveClass, Some("the model does not see \"a volcano\" here")),
        ("a person", Verdict::NotSeen, Words::NoClass, Some("the model has no class for \"person\", reads")),
        ("red", Verdict::NotSeen, Words::NoClass, Some("the model has no class for \"red\", reads")),
        ("seven", Verdict::NotSeen, Words::NoClass, Some("the model has no class for \"seven\", reads")),
        ("a raccoon", Verdict::UnknownWords, Words::Unknown, Some("the model knows no word of \"a raccoon\"")),
    ];
    for (text, verdict, words, said) in cases {
        let (support, warnings) = support(&session, &photo, text);
        assert_eq!((support.verdict, support.words), (verdict, words), "{text}: {support:?}");
        let supported = match verdict {
            Verdict::Seen => Some(true),
            Verdict::NotSeen | Verdict::UnknownWords => Some(false),
            Verdict::Doubtful => None,
        };
        assert_eq!(support.supported, supported, "{text}");
        assert_eq!(support.classes, 1000);
        assert_eq!(support.sees.len(), 3);
        assert!(support.sees.iter().all(|class| class.name.contains("cat") || class.name == "tabby"), "{support:?}");
        let named = said.is_none_or(|said| warnings.iter().any(|warning| warning.starts_with(said)));
        let other = said.is_none() && warnings.iter().any(|warning| warning.contains("the model"));
        assert!(named && !other, "{text}: {warnings:?}");
    }
    let rank = |text: &str| support(&session, &photo, text).0.rank;
    assert!(rank("a cat") < rank("a dog") && rank("a dog") < rank("a truck"));
}

/// A share is sum_c e_c p_c: of a class of its own, no more than that class has, and of all classes that look like it, no more than one.
#[test]
fn shares_are_shares() {
    let (session, photo) = (Session::open("lite").unwrap(), Photo::open(cat()).unwrap());
    for text in ["a cat", "a dog", "an animal", "a red fire engine", "a raccoon"] {
        let (support, _) = support(&session, &photo, text);
        assert!((0.0..=1.0).contains(&support.share) && support.meant >= support.read_as.len(), "{text}");
        let total: f32 = support.sees.iter().map(|class| class.share).sum();
        assert!(total <= 1.0 + f32::EPSILON && support.sees.is_sorted_by(|a, b| a.share >= b.share));
    }
}
