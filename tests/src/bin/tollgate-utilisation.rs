//! The utilisation curve: how much of a budget is spent before the first refusal, for small and large ones, alone and in a crowd.
//!
//! ```text
//! cargo build --release -p tollgate --bins && cargo run --release -p tollgate-tests --bin tollgate-utilisation
//! ```

use tollgate_tests::utilisation::spend;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    println!("| budget | callers | answered | told to retry | spent at first refusal | overshoot |");
    println!("|---|---|---|---|---|---|");
    for limit in [50_000_000i64, 100_000_000, 250_000_000, 500_000_000, 1_000_000_000, 2_500_000_000, 5_000_000_000] {
        for callers in [1, 64] {
            let point = spend(limit, callers).await?;
            println!(
                "| ${:.2} | {callers} | {} | {} | {:.2} % | ${:.9} |",
                limit as f64 / 1e9,
                point.answered,
                point.held,
                point.utilisation(),
                point.overshoot() as f64 / 1e9
            );
        }
    }
    Ok(())
}
