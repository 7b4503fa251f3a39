//! How busy a pool has been of late, in a few grades, of which the higher ones are the busier ones.
//!
//! *Recent acquires* are those that have come, each counting less as it gets older. They halve from
//! grade to grade; where next to none are left, it is the silence since the latest acquire that
//! doubles.

/// The time in which an acquire comes to count a third (1/e), in seconds. Long enough for a few
/// hundred builds, so that a grade says something; short enough to notice that a burst has begun or
/// ended before much is built for nothing.
pub(super) const RECENT: f64 = 0.1;

/// Fewer recent acquires than this are none.
const FEWEST: f64 = 0.25;

/// Grades of silence, the longest first, up to `RECENT · 2²⁴`: weeks.
const SILENT: usize = 24;

/// Grades in which there are recent acquires, up to `FEWEST · 2¹⁶`.
const LIVELY: usize = 16;

/// All grades.
pub(super) const GRADES: usize = SILENT + LIVELY;

/// A span of time in one grade, by the silence at its beginning and at its end, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub(super) grade: usize,
    pub(super) from: f64,
    pub(super) until: f64,
}

/// The grades that follow, from a silence of `from` seconds on, if there were so many recent acquires
/// at the latest of them and none comes. The last span has no end.
pub(super) fn spans(recent: f64, from: f64) -> impl Iterator<Item = Span> {
    let mut next = Some(Span { grade: grade(recent, from), from, until: from });
    std::iter::from_fn(move || {
        let mut span = next?;
        span.until = left_at(recent, span.grade).max(span.from);
        next = (span.grade > 0).then(|| {
            // Out of the lively grades the way leads to whatever silence has been reached.
            let grade = if span.grade > SILENT { span.grade - 1 } else { silent(span.until) };
            Span { grade: grade.min(span.grade - 1), from: span.until, until: span.until }
        });
        Some(span)
    })
}

/// The grade after a silence of so many seconds.
pub(super) fn grade(recent: f64, silence: f64) -> usize {
    let left = recent * (-silence / RECENT).exp();
    if left >= FEWEST {
        SILENT + ((left / FEWEST).log2() as usize).min(LIVELY - 1)
    } else {
        silent(silence)
    }
}

fn silent(silence: f64) -> usize {
    let octave = (silence / RECENT).max(1.0).log2() as usize;
    SILENT - 1 - octave.min(SILENT - 1)
}

/// The silence at which a grade is left.
fn left_at(recent: f64, grade: usize) -> f64 {
    if grade == 0 {
        f64::INFINITY
    } else if let Some(lively) = grade.checked_sub(SILENT) {
        RECENT * (recent / (FEWEST * (lively as f64).exp2())).ln()
    } else {
        RECENT * ((SILENT - grade) as f64).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_the_grades_one_after_the_other() {
        for recent in [1.0, 3.7, 500.0, 1e9] {
            let all: Vec<Span> = spans(recent, 0.0).collect();
            assert!(all.windows(2).all(|two| two[0].until == two[1].from));
            assert!(all.is_sorted_by(|before, after| before.grade > after.grade));
            assert_eq!((all[0].from, all[all.len() - 1].until), (0.0, f64::INFINITY));
            for span in all {
                let end = span.until.min(1e9);
                for part in [0.001, 0.5, 0.999] {
                    let within = span.from + part * (end - span.from);
                    assert_eq!(grade(recent, within), span.grade, "{recent} {span:?}");
                }
            }
        }
    }

    #[test]
    fn what_begins_later_goes_on_the_same() {
        let all: Vec<Span> = spans(100.0, 0.0).collect();
        let later: Vec<Span> = spans(100.0, 5.0).collect();
        assert_eq!(later[0].from, 5.0);
        assert_eq!(later[1..], all[all.len() - later.len() + 1..]);
    }
}
