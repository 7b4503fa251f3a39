//! What was probably meant by a word that is not known, and how choices are told.

/// The known word that was probably meant: a third of its letters may be wrong, or its end missing.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = |known: &&'k str| {
        let errors = distance(word, known);
        let longer = word.chars().count().max(known.len());
        let cut = word.len() >= 3 && (known.starts_with(word) || word.starts_with(known));
        (errors <= (longer / 3).max(1) || cut).then_some((errors, *known))
    };
    known.iter().filter_map(near).min().map(|(_, known)| known)
}

/// How many letters have to be inserted, deleted, replaced or swapped with their neighbour to make
/// one into the other (Damerau 1964).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.iter().enumerate() {
        let mut next = vec![index + 1];
        for (column, counterpart) in other.iter().enumerate() {
            let replaced = row[column] + usize::from(letter != counterpart);
            let mut least = replaced.min(row[column + 1] + 1).min(next[column] + 1);
            let swapped = index > 0
                && column > 0
                && one[index - 1] == *counterpart
                && other[column - 1] == *letter;
            if swapped {
                least = least.min(before[column - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[other.len()]
}

/// That `word` is none of the values that `key` may have; `other` is what it may be besides.
pub(super) fn none_of(key: &str, word: &str, values: &[&str], other: Option<&str>) -> String {
    let mut choices: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    choices.extend(other.map(str::to_owned));
    let last = choices.pop().unwrap_or_default();
    let joined =
        if choices.is_empty() { last } else { format!("{} or {last}", choices.join(", ")) };
    let hint = nearest(word, values).map(|value| format!("; did you mean {value:?}?"));
    format!("`{key}` must be {joined}, unlike {word:?}{}", hint.unwrap_or_default())
}
