use super::NumberFile;

fn parsed(text: &str) -> Vec<(usize, String, String)> {
    let entries = NumberFile::read(text.as_bytes()).unwrap().entries.into_iter();
    entries.map(|(line, entry)| (line, entry.number, entry.state)).collect()
}

fn rejected(text: &str) -> String {
    format!("{:#}", NumberFile::read(text.as_bytes()).unwrap_err())
}

#[test]
fn blank_lines_and_comments_are_left_out() {
    let text = "# numbers\n\n+12125550100 NY\n  +13105550100\tCA  # Los Angeles\r\n";
    let expected =
        [(3, "+12125550100".to_owned(), "NY".to_owned()), (4, "+13105550100".to_owned(), "CA".to_owned())];
    assert_eq!(parsed(text), expected);
    assert_eq!(parsed(""), []);
}

#[test]
fn a_bad_number_is_named_with_its_line() {
    for bad in
        ["12125550100", "+02125550100", "+123456", "+1234567890123456", "+1212555o100", "+", "+١٢٣٤٥٦٧٨"]
    {
        let error = rejected(&format!("+12125550100 NY\n{bad} NY"));
        assert_eq!(error, format!("line 2: {bad:?} is no E.164 number such as +12125550100"));
    }
}

#[test]
fn the_shortest_and_the_longest_number_are_good() {
    assert_eq!(parsed("+1234567 NY\n+123456789012345 NY").len(), 2);
}

#[test]
fn a_bad_state_is_named_with_its_line() {
    for bad in ["ny", "N", "NYC", "N1", "ÄÖ"] {
        let error = rejected(&format!("+12125550100 {bad}"));
        assert_eq!(error, format!("line 1: {bad:?} is no state of two capital letters such as NY"));
    }
}

#[test]
fn a_line_holds_a_number_and_a_state() {
    for bad in ["+12125550100", "+12125550100 NY more", "+12125550100,NY"] {
        let error = rejected(bad);
        assert!(error.starts_with("line 1: expected a number and a state"), "{error}");
    }
}

#[test]
fn a_number_stands_once_in_a_file() {
    let error = rejected("+12125550100 NY\n\n+12125550100 CA\n");
    assert_eq!(error, "line 3: +12125550100 stands on line 1 already");
}
