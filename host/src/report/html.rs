//! The little HTML that the report needs: escaping, tables, the page around the sections.

use std::fmt::Write as _;

/// Escapes text for use between tags and in quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A section with a heading; `content` is HTML.
pub fn section(title: &str, content: &str) -> String {
    format!("<section><h2>{}</h2>{content}</section>\n", escape(title))
}

/// A table of text cells; columns after the first are right-aligned numbers.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = String::from("<div class=\"wide\"><table><thead><tr>");
    for cell in head {
        let _ = write!(out, "<th>{}</th>", escape(cell));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{}</td>", escape(cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #2a6fb0; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.9rem; margin: 0 0 .25rem; } h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
.note { opacity: .72; margin: .25rem 0; }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0; }
.tile { background: var(--soft); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem 1rem; min-width: 8rem; }
.tile b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; } .charts svg { max-width: 100%; height: auto; }
.wide, pre { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; } th { vertical-align: bottom; } td { white-space: nowrap; }
th.cell, td.cell { text-align: center; min-width: 3rem; padding: .3rem .4rem; }
.case { display: flex; gap: .75rem; align-items: center; flex-wrap: wrap; margin: .5rem 0; }
.prose td { white-space: normal; min-width: 7rem; max-width: 22rem; vertical-align: top; }
.beside th, .beside td { text-align: left; vertical-align: top; }
.case img { image-rendering: pixelated; height: 68px; border-radius: .25rem; } .case span { font-size: .85rem; }
.beside .case { flex-direction: column; align-items: flex-start; gap: .25rem; margin: 0; } .beside .case img { height: 44px; }
";

/// What a browser lets the page do: show the pictures and the styles in it. No script runs and nothing is fetched, even if
/// text should become markup one day.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The whole document; `body` is HTML.
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta \
         http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><link rel=\"icon\" href=\"data:,\"><title>{}</title>\
         <style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n",
        escape(title)
    )
}

/// Checks that every tag that opens also closes, in order; for tests of the report.
///
/// # Errors
/// The first tag that does not match.
pub fn check_balance(document: &str) -> Result<(), String> {
    const VOID: [&str; 6] = ["meta", "link", "img", "br", "wbr", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = document;
    while let Some(start) = rest.find('<') {
        let end = rest[start..].find('>').ok_or("a tag without an end")? + start;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap_or("");
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes nothing"));
            }
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
    }
    open.pop().map_or(Ok(()), |name| Err(format!("<{name}> stays open")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
        let cells = table(&["<b>"], &[vec!["</td>".into()]]);
        assert_eq!(check_balance(&page("<title>", &cells)), Ok(()));
    }

    #[test]
    fn balance_is_checked() {
        assert!(check_balance("<p><b></p></b>").is_err());
        assert!(check_balance("<p>").is_err());
        assert!(check_balance("</p>").is_err());
    }
}
