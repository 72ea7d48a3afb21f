//! A budget is spent to its end, and no further, by calls that name no limit.

use tollgate_tests::utilisation::spend;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_budgets_are_spent_to_ninety_five_percent_before_the_first_refusal() {
    for (limit, callers) in [(50_000_000, 1), (50_000_000, 64), (500_000_000, 64)] {
        let point = spend(limit, callers).await.unwrap();
        assert!(point.utilisation() >= 95.0, "{point:?}");
        assert_eq!(point.overshoot(), 0, "{point:?}");
        assert!(point.spent <= limit, "{point:?}");
    }
}
