//! What names of folders say.

/// Words that say that something is as it should be.
const NORMAL_WORDS: [&str; 14] = [
    "good",
    "normal",
    "ok",
    "okay",
    "healthy",
    "free",
    "intact",
    "flawless",
    "undamaged",
    "pass",
    "passed",
    "accepted",
    "nondefective",
    "faultless",
];
/// Words that say that it is not.
const DEFECT_WORDS: [&str; 19] = [
    "bad",
    "def",
    "defect",
    "defects",
    "defective",
    "fault",
    "faults",
    "faulty",
    "abnormal",
    "anomaly",
    "anomalous",
    "anomalies",
    "damage",
    "damaged",
    "broken",
    "rejected",
    "nok",
    "ng",
    "failed",
];
/// Words that turn the others round.
const NEGATIONS: [&str; 4] = ["not", "no", "non", "without"];

/// Whether a folder of this name holds normal samples: `good`, `ok_front`, `Normal`, `MT_Free`, `no-defect`, but not `not_ok`.
pub fn says_normal(name: &str) -> bool {
    let words = words(name);
    let any = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    let (normal, defect, negated) = (any(&NORMAL_WORDS), any(&DEFECT_WORDS), any(&NEGATIONS));
    // A fault that something is free of is none.
    let free = words.iter().any(|word| word == "free");
    if negated { defect && !normal || free } else { normal && (!defect || free) }
}

/// The words of a name in small letters: parted by what is no letter, and where a capital follows a small letter.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        if !c.is_alphabetic() || (c.is_uppercase() && small) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphabetic()) {
            word.extend(c.to_lowercase());
        }
        small = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_folders_have_many_names() {
        for name in [
            "good",
            "Good",
            "normal",
            "OK",
            "ok_front",
            "MT_Free",
            "defect_free",
            "DefectFree",
            "no_defect",
            "NonDefective",
            "non-defective",
            "healthy",
            "Normal_1797",
            "without defects",
        ] {
            assert!(says_normal(name), "{name}");
        }
        for name in [
            "bad",
            "def_front",
            "not_ok",
            "NotGood",
            "nok",
            "abnormal",
            "anomaly",
            "MT_Crack",
            "no_good",
            "defective",
            "scratch",
            "",
            "000",
            "freeze",
        ] {
            assert!(!says_normal(name), "{name}");
        }
    }
}
