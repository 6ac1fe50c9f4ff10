//! What `hrm bench` times, through cargo: training steps, inference segments, adaptive inference and the drawing of batches, beside
//! the largest matrix product rate that the same device reaches in the same run.
//!
//! `cargo bench --bench steps`; `HRM_DEVICE` chooses the device. `cargo bench --bench steps -- hrm-sudoku hrm-width-128/train` measures
//! the rows that have one of these in their names, and `--no-matmuls` leaves the products out. The rows are named as in
//! `docs/results/README.md`.

use clap::Parser;
use hrm::bench::Bench;

#[derive(Parser)]
struct Args {
    /// Only rows with one of these in their names.
    rows: Vec<String>,
    /// Leave the matrix products out, and with them the shares.
    #[arg(long)]
    no_matmuls: bool,
    /// Cargo gives it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut bench = Bench::on(None)?;
    (bench.only, bench.matmuls) = (args.rows, !args.no_matmuls);
    let report = bench.run(|row| eprintln!("{row}"))?;
    println!("{}", report.markdown());
    Ok(())
}
