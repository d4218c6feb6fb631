//! Patterns of policies: `*` and `?`, and the variables of the principal. AIC-POL-02, AIC-POL-03

use super::policy::Principal;

/// Region and account of an ARN are not looked at, so a policy of a real account can be tried here unchanged.
pub(super) fn resource_matches(pattern: &str, principal: &Principal, resource: &str) -> bool {
    let parts: Vec<_> = pattern.splitn(6, ':').collect();
    let pattern = match parts.as_slice() {
        ["arn", _, "iot", _, _, pattern] => pattern,
        ["*"] => "*",
        _ => return false,
    };
    tokens(pattern, principal).is_some_and(|tokens| glob(&tokens, resource))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Character(char),
    One,
    Any,
}

pub(super) fn literal(pattern: &str) -> Vec<Token> {
    pattern.chars().map(token).collect()
}

const fn token(character: char) -> Token {
    match character {
        '*' => Token::Any,
        '?' => Token::One,
        character => Token::Character(character),
    }
}

/// The pattern with its variables put in, whose characters stand for themselves: a client id with a `*` matches itself
/// alone. `None` if there is no value, so the statement does not apply.
fn tokens(pattern: &str, principal: &Principal) -> Option<Vec<Token>> {
    let (mut tokens, mut rest) = (Vec::new(), pattern);
    while let Some((before, after)) = rest.split_once("${") {
        let (name, behind) = after.split_once('}')?;
        let value = match name {
            "iot:ClientId" => &principal.client_id,
            "iot:Connection.Thing.ThingName" => principal.thing.as_ref()?,
            _ => return None,
        };
        tokens.extend(before.chars().map(token));
        tokens.extend(value.chars().map(Token::Character));
        rest = behind;
    }
    tokens.extend(rest.chars().map(token));
    Some(tokens)
}

/// `*` is any text, `?` any character. Goes back to the last `*` only, so it needs at most pattern × text steps.
pub(super) fn glob(pattern: &[Token], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while let Some(&character) = text.get(t) {
        match pattern.get(p) {
            Some(Token::Any) => {
                star = Some((p, t));
                p += 1;
            }
            Some(&expected) if expected == Token::One || expected == Token::Character(character) => {
                p += 1;
                t += 1;
            }
            Some(_) | None => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
        }
    }
    pattern.iter().skip(p).all(|token| *token == Token::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_stars_take_no_time() {
        let pattern = literal(&"*a".repeat(1000));
        assert!(!glob(&pattern, &"a".repeat(900)));
        assert!(glob(&literal("*"), ""));
        assert!(!glob(&literal("?"), ""));
    }
}
