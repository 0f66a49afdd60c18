use super::{Checker, site::check_query};
use crate::{
    key::Key,
    site::{CachePolicy, Rule},
    value::PathGlob,
};

/// Checks a site's rules.
pub(super) fn check_rules(checker: &mut Checker<'_>, rules: &[Rule], cache: &CachePolicy) {
    // Rules that could not be read are not in the list, so the list's numbers are the document's only while there are none.
    let keys: Vec<Key> = checker
        .remaining(&Key::of("rules"))
        .into_iter()
        .map(|number| Key::of("rules").index(number))
        .collect();
    for (at, (rule, key)) in rules.iter().zip(&keys).enumerate() {
        check_rule(checker, key, rule);
        let key_cookies = rule.key_cookies.as_deref().unwrap_or(&cache.key_cookies);
        let strip_cookies = rule.strip_cookies.unwrap_or(cache.strip_cookies);
        let said_here = rule.key_cookies.is_some() || rule.strip_cookies.is_some();
        if said_here && strip_cookies && !key_cookies.is_empty() {
            checker.error(
                key,
                "strips cookies and has key_cookies, with what it takes from [cache]: the origin would not see the cookies that tell responses apart",
            );
        }
        let hidden = rules
            .iter()
            .zip(&keys)
            .take(at)
            .any(|(before, before_key)| checker.is_sound(before_key) && covers(before, rule));
        if hidden {
            checker.error(
                key,
                "is never reached: a rule before it fits everything that this one does",
            );
        }
    }
}

/// Whether everything that fits the second rule fits the first one too; only the plain cases are seen.
fn covers(first: &Rule, second: &Rule) -> bool {
    let path = first.path == PathGlob::any() || first.path == second.path;
    let methods = first.methods.is_none() || first.methods == second.methods;
    let status = first.status.is_none() || first.status == second.status;
    path && methods && status
}

fn check_rule(checker: &mut Checker<'_>, key: &Key, rule: &Rule) {
    let freshness = [
        ("ttl", rule.ttl.is_some()),
        (
            "stale_while_revalidate",
            rule.stale_while_revalidate.is_some(),
        ),
        ("stale_if_error", rule.stale_if_error.is_some()),
    ];
    // What decides about the key, before there is a response.
    let keying = [
        ("query", rule.query.is_some()),
        ("key_headers", rule.key_headers.is_some()),
        ("key_cookies", rule.key_cookies.is_some()),
        ("strip_cookies", rule.strip_cookies.is_some()),
    ];
    let given = |list: &[(&str, bool)]| list.iter().any(|(_, given)| *given);
    if !(given(&freshness) || given(&keying) || rule.bypass || rule.browser_ttl.is_some()) {
        checker.error(
            key,
            "changes nothing: give it ttl, bypass or another setting",
        );
    }
    if rule.bypass {
        for (name, given) in freshness.iter().chain(&keying) {
            if *given {
                checker.error(&key.key(name), "does nothing beside bypass = true");
            }
        }
    }
    if let Some(statuses) = &rule.status {
        let list = key.key("status");
        if statuses.is_empty() {
            checker.error(&list, "is empty: the rule would fit nothing");
        }
        let numbers = checker.remaining(&list);
        for (status, at) in statuses.iter().zip(numbers) {
            if !(200..=599).contains(status) {
                checker.error(
                    &list.index(at),
                    format!("{status} is no final status code: write a number from 200 to 599"),
                );
            }
        }
        checker.no_repeats(&list, statuses);
        for (name, given) in keying {
            if given {
                checker.error(
                    &key.key(name),
                    "cannot depend on the status: it is decided before there is a response",
                );
            }
        }
    }
    if rule
        .methods
        .as_ref()
        .is_some_and(crate::value::MethodSet::is_empty)
    {
        checker.error(&key.key("methods"), "is empty: the rule would fit nothing");
    }
    if let Some(query) = &rule.query {
        check_query(checker, &key.key("query"), query);
    }
    checker.no_repeats(
        &key.key("key_headers"),
        rule.key_headers.as_deref().unwrap_or_default(),
    );
    checker.no_repeats(
        &key.key("key_cookies"),
        rule.key_cookies.as_deref().unwrap_or_default(),
    );
}
