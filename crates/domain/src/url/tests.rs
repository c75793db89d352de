use super::check;

#[test]
fn an_address_has_its_scheme_and_a_host() {
    for address in [
        "https://desk.example",
        "https://desk.example:8443/calls?desk=1#here",
        "https://[::1]/calls",
        "https://ünicode.example/",
        "https://127.0.0.1",
    ] {
        assert_eq!(check("https", address), Ok(()), "{address}");
    }
}

#[test]
fn what_is_no_such_address_is_refused() {
    for text in [
        "",
        "https",
        "https:",
        "https://",
        "https:///path",
        "https://?query",
        "https:desk.example",
        "http://desk.example",
        "wss://desk.example",
        "httpsdesk.example",
        " https://desk.example",
        "https://desk.example ",
        "https://desk .example",
        "https://desk.example/\n",
        "https://desk.example/\0",
    ] {
        assert!(check("https", text).is_err(), "{text:?}");
    }
}

#[test]
fn an_address_has_at_most_2048_bytes() {
    let address = |length: usize| format!("https://{}", "a".repeat(length - "https://".len()));
    assert_eq!(check("https", &address(2048)), Ok(()));
    assert!(check("https", &address(2049)).is_err());
}

#[test]
fn the_refusal_names_the_scheme() {
    let refusal = check("wss", "https://desk.example").unwrap_err().to_string();
    assert!(refusal.starts_with("must be a wss:// URL"), "{refusal}");
}
