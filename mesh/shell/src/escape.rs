//! Words of strangers on a terminal: nothing in them may move its cursor or turn its text around.

use std::fmt::Write;

/// `bytes` as text, with everything escaped that a terminal would obey.
///
/// Line ends and tabs stay; carriage returns, escapes, C1 controls and bidirectional overrides are
/// shown as what they are.
pub fn escape(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            _ if character.is_control() || is_bidirectional(character) => {
                write!(shown, "{}", character.escape_unicode()).expect("a string takes all text");
            }
            _ => shown.push(character),
        }
    }
    shown
}

/// As [`escape`], in one line.
pub fn escape_line(text: &str) -> String {
    escape(text.as_bytes()).replace(['\n', '\t'], " ")
}

/// `json`, which means the same and holds nothing that a terminal would obey. What JSON itself escapes are
/// only controls below the space.
pub fn escape_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            // Between values, since inside of them they are escaped.
            '\n' => shown.push(character),
            _ if character.is_control() || is_bidirectional(character) => {
                write!(shown, "\\u{:04x}", u32::from(character)).expect("a string takes all text");
            }
            _ => shown.push(character),
        }
    }
    shown
}

/// Bytes before a character that begins at the end and is not complete.
pub fn whole_characters(bytes: &[u8]) -> usize {
    let start = |byte: &u8| byte & 0b1100_0000 != 0b1000_0000;
    let Some(back) = bytes.iter().rev().take(4).position(start) else { return bytes.len() };
    let begins = bytes.len() - 1 - back;
    let needs = match bytes[begins] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    if needs > back + 1 { begins } else { bytes.len() }
}

fn is_bidirectional(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        let hostile = b"ok\x1b]0;owned\x07\r\n\xc2\x9b2J\xe2\x80\xae\xff\tend\n";
        let shown = escape(hostile);
        assert_eq!(shown, "ok\\u{1b}]0;owned\\u{7}\\u{d}\n\\u{9b}2J\\u{202e}\u{fffd}\tend\n");
        assert!(!escape_line("a\nb\tc").contains(char::is_control));
    }

    #[test]
    fn json_means_what_it_meant_and_moves_no_cursor() {
        let hostile = "\u{1b}[2J \u{9b}2J \u{7f} \u{202e} \n é";
        let json = serde_json::to_string_pretty(&[hostile]).expect("text is JSON");
        let shown = escape_json(&json);
        assert!(!shown.contains(|it: char| it != '\n' && it.is_control() || is_bidirectional(it)));
        assert_eq!(serde_json::from_str::<[String; 1]>(&shown).expect("JSON"), [hostile]);
    }
}
