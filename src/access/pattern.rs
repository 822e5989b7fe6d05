//! Names of streams with `*` in them.

/// Whether `pattern`, in which `*` stands for any characters or none, is `name`. Takes no more
/// steps than the product of their lengths.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where the last `*` was, and how much of the name it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == name[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match &mut star {
                None => return false,
                Some((from, taken)) => {
                    *taken += 1;
                    (at, seen) = (*from + 1, *taken);
                }
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name) in [
            ("a", "a"),
            ("*", "a"),
            ("*", ""),
            ("room-*", "room-"),
            ("room-*", "room-7-x"),
            ("*-cam", "a-cam-cam"),
            ("a*b*c", "axxbxbxc"),
            ("a**c", "ac"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("a", "b"), ("a", "ab"), ("", "a"), ("room-*", "room"), ("a*b", "abc"), ("A*", "a")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
