//! The text of an HTML fragment: without tags, scripts and styles, with a line for every block.
//!
//! It is for people who read a signature as plain text. It is never rendered as HTML, so a malformed fragment does no
//! harm: its text only looks worse.

/// Elements whose content is not text.
const HIDDEN: [&str; 4] = ["head", "script", "style", "title"];

/// Elements that begin and end a line.
const BLOCKS: [&str; 16] = [
    "address",
    "blockquote",
    "br",
    "div",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "hr",
    "li",
    "ol",
    "p",
    "table",
    "tr",
    "ul",
];

/// The text of the fragment. White space is collapsed as a browser does it.
pub(crate) fn text_of(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, tag_and_rest)) = rest.split_once('<') {
        text.push_str(&without_breaks(before));
        rest = after_tag(tag_and_rest, &mut text);
    }
    text.push_str(&without_breaks(rest));
    lines_of(&text)
}

/// A line break in the source is no line break in the text.
fn without_breaks(source: &str) -> String {
    decoded(&source.replace(['\n', '\r', '\t'], " "))
}

/// Adds the text for a tag, and returns what follows the tag. A `<` that begins no tag is text.
fn after_tag<'a>(source: &'a str, text: &mut String) -> &'a str {
    if let Some(comment) = source.strip_prefix("!--") {
        return comment.split_once("-->").map_or("", |(_, rest)| rest);
    }
    if !source.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/' || first == '!') {
        text.push('<');
        return source;
    }
    let (tag, rest) = source.split_once('>').unwrap_or((source, ""));
    let name = tag.trim_start_matches('/').split([' ', '\n', '\t', '\r', '/']).next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    if BLOCKS.contains(&name.as_str()) {
        text.push('\n');
    } else if name == "td" || name == "th" {
        text.push(' ');
    }
    if HIDDEN.contains(&name.as_str()) && !tag.starts_with('/') { after_element(rest, &name) } else { rest }
}

/// The source after the end tag of an element.
fn after_element<'a>(source: &'a str, name: &str) -> &'a str {
    let end = source.to_ascii_lowercase().find(&format!("</{name}"));
    let rest = end.and_then(|end| source.get(end..)).unwrap_or_default();
    rest.split_once('>').map_or("", |(_, rest)| rest)
}

/// The text with its character references replaced. An unknown reference stays as it is.
fn decoded(source: &str) -> String {
    let mut text = String::new();
    let mut rest = source;
    while let Some((before, after)) = rest.split_once('&') {
        text.push_str(before);
        let found = after.split_once(';').and_then(|(name, rest)| Some((character(name)?, rest)));
        if let Some((character, rest_after)) = found {
            text.push(character);
            rest = rest_after;
        } else {
            text.push('&');
            rest = after;
        }
    }
    text.push_str(rest);
    text
}

fn character(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "apos" => '\'',
        "bull" => '•',
        "copy" => '©',
        "gt" => '>',
        "lt" => '<',
        "mdash" => '—',
        "middot" => '·',
        "nbsp" => ' ',
        "ndash" => '–',
        "quot" => '"',
        "reg" => '®',
        _ => return numbered(name),
    })
}

/// A numeric character reference. NUL is not replaced, since Postgres cannot store it (D18).
fn numbered(name: &str) -> Option<char> {
    let digits = name.strip_prefix('#')?;
    let number = match digits.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    char::from_u32(number.ok()?).filter(|character| *character != '\0')
}

/// The lines that are not empty, without white space at their ends.
fn lines_of(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::text_of;

    #[test]
    fn a_signature_reads_as_text() {
        let html = "<p><b>Alex</b> &amp; Co&nbsp;&mdash; Pier&#160;3</p>\n<a href=\"https://a.example\">a.example</a><br/>+1 212";
        assert_eq!(text_of(html), "Alex & Co — Pier 3\na.example\n+1 212");
    }

    #[test]
    fn what_is_not_shown_is_no_text() {
        let html = "<STYLE>b { color: red }</STYLE><!-- a > b -->A<script>alert('<b>')</script>B<style>";
        assert_eq!(text_of(html), "AB");
    }

    #[test]
    fn rows_of_a_table_are_lines() {
        assert_eq!(text_of("<table><tr><td>A</td><td>B</td></tr><tr><td>C</td></tr></table>"), "A B\nC");
    }

    #[test]
    fn what_is_no_markup_stays() {
        assert_eq!(text_of("a < b & c &unknown; 1<2 &#0; &#xD800;"), "a < b & c &unknown; 1<2 &#0; &#xD800;");
        assert_eq!(text_of("plain"), "plain");
        assert_eq!(text_of(""), "");
        assert_eq!(text_of("<img src=x>"), "");
        assert_eq!(text_of("a<b"), "a");
    }

    #[test]
    fn no_text_is_longer_than_its_source() {
        for html in ["<", "&", "<br>", "&lt;", "a<!--", "</p", "ſtyle<ſtyle>", "<script>ſ</SCRIPT>x"] {
            assert!(text_of(html).len() <= html.len(), "{html}");
        }
    }
}
