//! `--data-dir`: where commands look for texts.

use std::path::{Path, PathBuf};

use super::output::Output;
use crate::run::origin::{Origin, Piece, Provenance};
use crate::text::corpus::{self, Corpus, CorpusError, DEFAULT, Places, Source, TALES};

/// Where texts are kept.
#[derive(Clone, Debug, clap::Args)]
pub struct DataPlaces {
    /// Folder to look for corpora in before downloading them
    #[arg(long, env = "LAL_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl DataPlaces {
    /// Finds or downloads the text, drawing progress, and remarks on what was not as asked.
    ///
    /// # Errors
    /// As [`corpus::locate`].
    pub fn locate(&self, data: Option<&str>, output: Output) -> Result<Corpus, CorpusError> {
        let cache = corpus::cache_dir();
        let places = Places { data_dir: self.data_dir.as_deref(), cache_dir: cache.as_deref() };
        let mut bar = None;
        let corpus = corpus::locate(data, places, &mut |progress| {
            let drawn = || output.bar("downloading {bar:24} {bytes} of {total_bytes}");
            bar.get_or_insert_with(drawn).at(progress.bytes, progress.total);
        })?;
        drop(bar);
        match &corpus.source {
            Source::Tales { instead: Some(reason), .. } => output.remark(format!(
                "cannot download {} ({reason}): going on with {TALES}, the built-in world",
                corpus::DEFAULT
            )),
            Source::Downloaded(Some(path)) => output.remark(format!("downloaded {}", path.display())),
            Source::Own(path) | Source::Found(path) => output.detail(format!("read {}", path.display())),
            Source::Downloaded(None) | Source::Tales { .. } => {}
        }
        Ok(corpus)
    }

    /// The text of a run that recorded `was` as its data, and what is written to `config.toml` for it: the run's own,
    /// or what is `asked` for if it is the same. What is found is noted in `origin`.
    ///
    /// # Errors
    /// When it is not there, or another.
    pub fn of_run(
        &self,
        origin: &mut Origin,
        was: Option<&str>,
        asked: Option<&str>,
        output: Output,
    ) -> anyhow::Result<(Corpus, String)> {
        let mut places = self.clone();
        if let Some(Piece { provenance: Provenance::Known, path: Some(path), .. }) = origin.part("data") {
            let folder = path.parent().filter(|_| path.exists()).map(Path::to_owned);
            places.data_dir = places.data_dir.or(folder);
        }
        let mut corpus = None;
        let place = origin.again("data", was.unwrap_or(DEFAULT), asked, true, |place| {
            // Of an older run that named none it is whatever can be had.
            let named = was.is_some() || asked.is_some();
            let found = places.locate(named.then_some(place), output)?;
            let piece = Piece::of_corpus(&found)?;
            corpus = Some(found);
            Ok(piece)
        })?;
        let corpus = corpus.ok_or_else(|| anyhow::anyhow!("the data of the run were not looked for"))?;
        Ok((corpus, place))
    }
}
