use futures::FutureExt as _;

use super::super::turns::tests::key;
use super::{BulkBudgets, FREE_BYTES, KeyRow, KeyScope, Size, Taken};

const MEGABYTE: u64 = 1024 * 1024;

fn is_let_in(budgets: &BulkBudgets, key: &KeyRow, size: Size) -> bool {
    budgets.admit(key, size).now_or_never().is_some_and(|admitted| admitted.is_ok())
}

fn agent(id: u128, organization_id: &str) -> KeyRow {
    KeyRow { scope: KeyScope::Agent, ..key(id, organization_id) }
}

#[tokio::test]
async fn a_write_that_costs_something_is_refused_at_once_while_the_debt_is_great() {
    let budgets = BulkBudgets::new(1);
    let (hostile, victim) = (key(1, "hostile"), key(2, "victim"));
    assert!(is_let_in(&budgets, &hostile, Size::Known(MEGABYTE)), "a full budget may go into debt");
    for size in [Size::Known(FREE_BYTES + 1), Size::WithAnswer(0), Size::Unknown] {
        let refused = budgets.admit(&hostile, size).now_or_never();
        assert!(matches!(refused, Some(Err(1_000_000..))), "{size:?}");
        assert!(is_let_in(&budgets, &victim, Size::WithAnswer(0)));
    }
    assert!(is_let_in(&budgets, &hostile, Size::Known(FREE_BYTES)), "an ordinary write costs nothing");
}

#[tokio::test]
async fn writes_of_unknown_size_are_let_in_one_by_one() {
    let budgets = BulkBudgets::new(1);
    let key = key(1, "a");
    let taken = budgets.admit(&key, Size::Unknown).await.unwrap();
    assert!(taken.is_bulk());
    let mut next = Box::pin(budgets.admit(&key, Size::Unknown));
    assert!(next.as_mut().now_or_never().is_none());
    budgets.settle(&key, taken, FREE_BYTES);
    assert!(next.await.is_ok(), "it was small, so everything is given back");
}

#[tokio::test]
async fn the_true_size_counts_and_not_what_was_known_before() {
    let budgets = BulkBudgets::new(1);
    let key = key(1, "a");
    let taken = budgets.admit(&key, Size::Known(0)).await.unwrap();
    assert_eq!(taken, Taken::Bytes(0));
    budgets.settle(&key, taken, MEGABYTE);
    assert!(!is_let_in(&budgets, &key, Size::Known(MEGABYTE)));
}

#[tokio::test]
async fn an_agent_key_leaves_the_rest_of_its_organization_something() {
    let budgets = BulkBudgets::new(1024);
    let (hostile, neighbour) = (agent(1, "a"), agent(2, "a"));
    assert!(is_let_in(&budgets, &hostile, Size::Known(FREE_BYTES + 2048)));
    assert!(!is_let_in(&budgets, &hostile, Size::Known(FREE_BYTES + 2048)));
    assert!(is_let_in(&budgets, &neighbour, Size::Known(FREE_BYTES + 2048)));
}

#[tokio::test]
async fn no_limit_is_no_limit() {
    let budgets = BulkBudgets::new(0);
    let key = key(1, "a");
    for _ in 0..4 {
        assert!(is_let_in(&budgets, &key, Size::Unknown));
    }
}
