//! `hrm pull`.

use anyhow::Result;
use clap::Args as Arguments;

use super::import::Settings;
use crate::Outcome;
use crate::console::Console;

/// Download a checkpoint from the Hugging Face hub, compare its checksums, and import it.
///
/// HF_HOME moves the folder of downloaded files, HF_ENDPOINT names a mirror. Needs a program built with `--features hub`.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  hrm pull sapientinc/HRM-checkpoint-sudoku-extreme --out sudoku-extreme")]
#[cfg_attr(not(feature = "hub"), allow(dead_code))]
pub(crate) struct Args {
    /// Repository, as owner/name.
    #[arg(value_name = "REPO")]
    repository: String,
    /// Branch, tag or commit.
    #[arg(long, value_name = "NAME")]
    revision: Option<String>,
    /// Which file of the repository holds the weights, where its name doesn't tell.
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// Downloads and imports. The repository's `all_config.yaml` counts where `--config` names none.
#[cfg(feature = "hub")]
pub(crate) fn run(args: &Args, console: &Console) -> Result<Outcome> {
    use hrm::data::hub::{Hub, HubConfig, Repository};

    args.settings.check_out()?;
    let hub = Hub::new(HubConfig {
        progress: console.shows_progress(),
        ..HubConfig::default()
    })?;
    let repository = Repository::Model(args.repository.clone());
    let files =
        hub.fetch_checkpoint(&repository, args.revision.as_deref(), args.file.as_deref())?;
    console.note(format_args!("downloaded {}", files.weights.display()));
    super::import::import_file(
        &files.weights,
        files.config.as_deref(),
        &args.settings,
        console,
    )
}

/// Says what it would take.
#[cfg(not(feature = "hub"))]
pub(crate) fn run(_args: &Args, _console: &Console) -> Result<Outcome> {
    anyhow::bail!("this program was built without downloads; build it with `--features hub`")
}
