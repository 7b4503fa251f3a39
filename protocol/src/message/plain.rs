//! Texts of a peer's, made fit for a log and a terminal: one line, bounded, and nothing in it that
//! moves a cursor or turns the reading direction.

use crate::limits::PATH_BYTES_MAX;

/// What stands for the rest of a text that is too long.
const CUT: &str = "…";

/// The text with every character escaped that is not shown as itself, and no longer than a path.
#[must_use]
pub fn plain_text(bytes: &[u8]) -> String {
    let (mut plain, mut room_for_cut) = (String::new(), 0);
    // Each byte gives at least one: no more of them need to be looked at.
    let bytes = &bytes[..bytes.len().min(PATH_BYTES_MAX + 1)];
    for character in String::from_utf8_lossy(bytes).chars() {
        if is_plain(character) {
            plain.push(character);
        } else {
            plain.extend(character.escape_default());
        }
        if plain.len() + CUT.len() <= PATH_BYTES_MAX {
            room_for_cut = plain.len();
        } else if plain.len() > PATH_BYTES_MAX {
            plain.truncate(room_for_cut);
            plain.push_str(CUT);
            break;
        }
    }
    plain
}

/// Whether a character takes a place of its own. Those of category Cf that are in use do not, nor
/// do the separators of lines and paragraphs.
fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Bytes, Failure, Step};

    #[test]
    fn what_is_shown_as_itself_stays() {
        for text in ["", "/a/two words", "/Ünïcödé/日本", "back\\slash 'quote\""] {
            assert_eq!(plain_text(text.as_bytes()), text);
        }
    }

    #[test]
    fn what_is_not_is_escaped() {
        for (text, told) in [
            ("a\n[2026-01-01 ERROR] forged", "a\\n[2026-01-01 ERROR] forged"),
            ("\u{1b}[2J\u{7}", "\\u{1b}[2J\\u{7}"),
            ("\u{9b}31m\r\t\0", "\\u{9b}31m\\r\\t\\u{0}"),
            ("\u{202e}txt.exe\u{2028}", "\\u{202e}txt.exe\\u{2028}"),
        ] {
            assert_eq!(plain_text(text.as_bytes()), told);
        }
        assert_eq!(plain_text(b"\xff/x"), "\u{fffd}/x");
    }

    #[test]
    fn it_is_no_longer_than_a_path() {
        let path = vec![b'x'; PATH_BYTES_MAX];
        assert_eq!(plain_text(&path).as_bytes(), path);
        for bytes in [vec![b'x'; 1 << 20], vec![b'\n'; 5000], vec![0xff; 5000]] {
            let told = plain_text(&bytes);
            assert!(told.len() <= PATH_BYTES_MAX && told.ends_with(CUT), "{} bytes", told.len());
        }
        // Cut between characters, whatever they are.
        let told = plain_text("日".repeat(3000).as_bytes());
        assert!(told.len() <= PATH_BYTES_MAX && told.ends_with(CUT));
    }

    #[test]
    fn a_failure_is_told_in_one_plain_line() {
        let subject = Bytes::from(&b"/x\nforged \x1b[2J"[..]);
        let told = Failure { step: Step::Chdir, errno: 2, subject }.to_string();
        assert!(
            told.starts_with("failed to change to directory /x\\nforged \\u{1b}[2J: "),
            "{told}"
        );
    }
}
