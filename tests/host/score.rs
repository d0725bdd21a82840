//! What the model says of its own knowledge.

use crate::common::cat;
use decomcam::encoders::image::ImageVectors;
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
        ("a person", Verdict::NotSeen, Words::NoClass, Some("the model has no class for \"person\": it reads")),
        ("red", Verdict::NotSeen, Words::NoClass, Some("the model has no class for \"red\": it reads")),
        ("seven", Verdict::NotSeen, Words::NoClass, Some("the model has no class for \"seven\": it reads")),
        ("a raccoon", Verdict::UnknownWords, Words::Unknown, Some("the model knows no word of \"a raccoon\"")),
    ];
    for (text, verdict, words, said) in cases {
        let (support, warnings) = support(&session, &photo, text);
        assert_eq!((support.verdict, support.words), (verdict, words), "{text}: {support:?}");
        let supported = match verdict {
            Verdict::Seen => Some(true),
            Verdict::NotSeen | Verdict::UnknownWords => Some(false),
            Verdict::Doubtful | Verdict::Mixed => None,
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

/// Several things are judged one by one, in every spelling of "and", and no negation is heard.
#[test]
fn each_thing_of_a_prompt_is_judged_alone() {
    let (session, photo) = (Session::open("lite").unwrap(), Photo::open(cat()).unwrap());
    for text in
        ["a cat and a volcano", "cat, volcano", "volcanoes & CATS", "a volcano or a cat", "neither cat nor volcano"]
    {
        let (support, warnings) = support(&session, &photo, text);
        assert_eq!((support.verdict, support.supported), (Verdict::Mixed, None), "{text}: {support:?}");
        let verdict = |name: &str| support.things.iter().find(|thing| thing.text.contains(name)).unwrap().verdict;
        assert_eq!((verdict("cat"), verdict("volcano")), (Verdict::Seen, Verdict::NotSeen), "{text}");
        assert!(
            warnings.iter().any(|warning| warning.contains(&format!("judges \"{text}\" by its things"))),
            "{warnings:?}"
        );
    }
    let (without, warnings) = support(&session, &photo, "a volcano without a cat");
    assert_eq!(without.verdict, Verdict::NotSeen);
    assert!(warnings.iter().any(|warning| warning.contains("stands for \"without\"")), "{warnings:?}");
    assert_eq!(support(&session, &photo, "<b>cat</b>").0.verdict, Verdict::Seen);
    let plural = support(&session, &photo, "kitties").0;
    assert_eq!((plural.verdict, plural.read_as), (Verdict::Seen, support(&session, &photo, "kitty").0.read_as));
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

/// The vector that the gradient of a posterior is taken of: q_c = e_c exp(m_c) / sum over the classes with at least 1/32 of the largest evidence e, with m the
/// mean of the logits at the sizes that were looked at. In float64, by a program of its own.
#[test]
fn a_posterior_weighs_classes_by_the_mean_of_their_logits() {
    let session = Session::open("lite").unwrap();
    let prompt = session.prompt("a cat").unwrap();
    let evidence = prompt.evidence();
    let logits = |step: usize| -> Vec<f32> {
        (0..evidence.len()).map(|class| (class * step % 97) as f32 / 12.0 - 4.0).collect()
    };
    let (own, finer) = (logits(37), logits(59));
    let vectors = |logits: &[f32]| ImageVectors::new(&["logits".to_owned()], vec![logits.to_vec()]);
    let found = prompt.target(&[&vectors(&own), &vectors(&finer)]).unwrap();
    let largest = evidence.iter().copied().fold(0.0, f32::max);
    let mass = |class: usize| {
        let counts = evidence[class] >= largest / 32.0;
        let mean = (f64::from(own[class]) + f64::from(finer[class])) / 2.0;
        if counts { f64::from(evidence[class]) * mean.exp() } else { 0.0 }
    };
    let total: f64 = (0..evidence.len()).map(mass).sum();
    let mut counted = 0;
    for (class, found) in found.iter().enumerate() {
        let want = mass(class) / total;
        counted += usize::from(want > 0.0);
        // The mean is rounded to f32, a logit of at most 4 in size: 2^-22, twice over in a quotient; the share is rounded once.
        assert!((f64::from(*found) - want).abs() <= want * 6e-7, "class {class}: {found}, {want}");
    }
    assert!(counted > 1, "one class alone would have all in any formula");
}
