use super::curl_lines;

fn lines(address: &str) -> [String; 3] {
    curl_lines("http", address.parse().unwrap(), "ApiKey_1.secret")
}

#[test]
fn the_three_lines_create_list_and_get() {
    let expected = [
        "curl -sS -H 'X-API-Key: ApiKey_1.secret' -H 'Content-Type: application/json' \
         -d '{\"agent_handle\":\"sales-agent\"}' http://127.0.0.1:8080/api/v1/identities",
        "curl -sS -H 'X-API-Key: ApiKey_1.secret' http://127.0.0.1:8080/api/v1/identities",
        "curl -sS -H 'X-API-Key: ApiKey_1.secret' http://127.0.0.1:8080/api/v1/identities/sales-agent",
    ];
    assert_eq!(lines("127.0.0.1:8080"), expected);
}

#[test]
fn a_service_on_every_address_is_called_on_this_machine() {
    assert_eq!(lines("0.0.0.0:1"), lines("127.0.0.1:1"));
    assert_eq!(lines("[::]:1"), lines("[::1]:1"));
}
