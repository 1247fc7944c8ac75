//! What `detector.kind = "auto"` tried and why it chose as it did.

use super::html::{escape, section, table};
use super::run::RunFolder;
use super::sections::number;
use crate::auto::Tried;

/// The table of `auto.json`; empty where nothing was to choose.
pub fn choice(folder: &RunFolder) -> String {
    let Some(choice) = &folder.auto else { return String::new() };
    let row = |one: &Tried| {
        let name = if one.name == choice.chosen { format!("{} (chosen)", one.name) } else { one.name.clone() };
        let figures = match one.measured {
            Some(found) => {
                let auroc = format!("{} ± {}", number(found.auroc), number(found.error));
                [auroc, found.flash.to_string(), found.ram.to_string()]
            }
            None => ["-", "-", "-"].map(str::to_owned),
        };
        let what = one.out.as_ref().map_or_else(|| one.what.clone(), |out| format!("{}; out: {out}", one.what));
        std::iter::once(name).chain(figures).chain([what]).collect::<Vec<_>>()
    };
    let rows: Vec<_> = choice.tried.iter().map(row).collect();
    let content = format!(
        "<p>{}.</p><p class=\"note\">Judged on {} normal samples held out of training and {} defects made of them, none of them real; \
         ± is a standard error. The likeliest to do well on real defects comes first.</p>{}",
        escape(choice.reason.trim_end_matches('.')),
        choice.normals,
        choice.defects,
        table(&["candidate", "AUROC of made defects", "flash, bytes", "RAM, bytes", "what it does"], &rows)
    );
    section("How the detector was chosen", &content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auto::{Choice, Measured};
    use crate::report::html::check_balance;

    #[test]
    fn the_chosen_one_is_marked_and_what_is_out_says_why() {
        let tried = |name: &str, measured, out: Option<&str>| Tried {
            name: name.into(),
            what: "does".into(),
            measured,
            out: out.map(str::to_owned),
        };
        let measured = Some(Measured { auroc: 0.91, error: 0.02, flash: 1000, ram: 100 });
        let auto = Choice {
            chosen: "a".into(),
            reason: "a is <best>".into(),
            normals: 48,
            defects: 240,
            tried: vec![tried("a", measured, None), tried("b", None, Some("no Burn"))],
        };
        let html = choice(&RunFolder { auto: Some(auto), ..RunFolder::default() });
        check_balance(&html).expect("balanced");
        for text in ["a (chosen)", "0.910 ± 0.020", "does; out: no Burn", "a is &lt;best&gt;."] {
            assert!(html.contains(text), "{text} is missing from {html}");
        }
        assert_eq!(choice(&RunFolder::default()), "");
    }
}
