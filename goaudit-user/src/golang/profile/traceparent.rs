//! W3C trace context: the value of a `traceparent` header (<https://www.w3.org/TR/trace-context/>).

/// Trace id and span id (there: parent id), if the text is a valid `traceparent` of any version: as the recommendation
/// has it, of versions to come the beginning is read.
pub(super) fn parse(text: &str) -> Option<(&str, &str)> {
    let (version, rest) = text.split_at_checked(2)?;
    let (trace, rest) = rest.strip_prefix('-')?.split_at_checked(32)?;
    let (span, rest) = rest.strip_prefix('-')?.split_at_checked(16)?;
    let (flags, rest) = rest.strip_prefix('-')?.split_at_checked(2)?;
    let digits = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let ends = if version == "00" { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
    let valid = [version, trace, span, flags].into_iter().all(digits)
        && version != "ff"
        && !zero(trace)
        && !zero(span)
        && ends;
    valid.then_some((trace, span))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn what_the_recommendation_gives_as_examples() {
        assert_eq!(parse(&format!("00-{TRACE}-{SPAN}-01")), Some((TRACE, SPAN)));
        assert_eq!(parse(&format!("00-{TRACE}-{SPAN}-00")), Some((TRACE, SPAN)));
        assert_eq!(parse(&format!("cc-{TRACE}-{SPAN}-01-what-the-future-brings")), Some((TRACE, SPAN)));
        for wrong in [
            String::new(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("cc-{TRACE}-{SPAN}-01.more"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}{SPAN}-01"),
            format!("0é-{TRACE}-{SPAN}-01"),
        ] {
            assert_eq!(parse(&wrong), None, "{wrong}");
        }
    }
}
