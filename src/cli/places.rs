//! `--data-dir` and `--cache-dir`: where commands look for texts, and keep what they make of them.

use std::path::{Path, PathBuf};

use super::failure::Usage;
use super::output::Output;
use crate::run::origin::{Origin, Piece, Provenance};
use crate::text::collection::Collection;
use crate::text::corpus::{self, Corpus, CorpusError, DEFAULT, Places, Source, TALES};
use crate::text::data::{Data, is_short};
use crate::text::documents::Reading;
use crate::text::store::Store;

/// Where texts are kept.
#[derive(Clone, Debug, clap::Args)]
pub struct DataPlaces {
    /// Folder to look for corpora in before downloading them
    #[arg(long, env = "LAL_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Folder to keep downloads and prepared tokens in [default: the system's folder of caches]
    #[arg(long, env = "LAL_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
}

impl DataPlaces {
    fn cache(&self) -> Option<PathBuf> {
        self.cache_dir.clone().or_else(corpus::cache_dir)
    }

    /// Where prepared tokens are.
    pub fn store(&self) -> Result<Store, Usage> {
        let missing = || Usage("this machine has no folder of caches: name one by --cache-dir".into());
        self.cache().as_deref().map(Store::new).ok_or_else(missing)
    }

    /// What `data` names, without the default corpus if it is none.
    pub fn locate(&self, data: Option<&str>, reading: &Reading, output: Output) -> anyhow::Result<Data> {
        match data.filter(|data| !is_short(data, reading)) {
            Some(data) => Ok(Data::Files(self.files(data, reading, output)?)),
            None => Ok(Data::Text(self.corpus(data, output)?)),
        }
    }

    /// The files that `data` names.
    pub fn files(&self, data: &str, reading: &Reading, output: Output) -> anyhow::Result<Collection> {
        let mut bar = None;
        let kept = self.store()?.facts();
        let files = Collection::find(data, reading, Some(&kept), &mut |done, total| {
            let drawn = || output.bar("reading {bar:24} {bytes} of {total_bytes}");
            bar.get_or_insert_with(drawn).at(done, total);
        })?;
        drop(bar);
        if let [first, rest @ ..] = &files.left_out[..] {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            output.remark(format!("left out: {}{more}, no texts by their names", first.display()));
        }
        Ok(files)
    }

    /// Finds or downloads a text, drawing progress, and remarks on what was not as asked.
    ///
    /// # Errors
    /// As [`corpus::locate`].
    pub fn corpus(&self, data: Option<&str>, output: Output) -> Result<Corpus, CorpusError> {
        let cache = self.cache();
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

    /// The data of a run that recorded `was` as its data, and what is written to `config.toml` for it: the run's own,
    /// or what is `asked` for if it is the same. What is found is noted in `origin`.
    ///
    /// # Errors
    /// When it is not there, or another.
    pub fn of_run(
        &self,
        origin: &mut Origin,
        was: Option<&str>,
        asked: Option<&str>,
        reading: &Reading,
        output: Output,
    ) -> anyhow::Result<(Data, String)> {
        // Of an older run that named none it is whatever can be had.
        let named = was.is_some() || asked.is_some();
        self.part_of_run("data", origin, was.unwrap_or(DEFAULT), asked, &mut |places, place| {
            places.locate(named.then_some(place), reading, output)
        })
    }

    /// The same for what a run validates on.
    pub fn val_of_run(
        &self,
        origin: &mut Origin,
        was: &str,
        asked: Option<&str>,
        reading: &Reading,
        output: Output,
    ) -> anyhow::Result<(Data, String)> {
        self.part_of_run("val-data", origin, was, asked, &mut |places, place| {
            places.locate(Some(place), reading, output)
        })
    }

    fn part_of_run(
        &self,
        part: &str,
        origin: &mut Origin,
        was: &str,
        asked: Option<&str>,
        locate: &mut dyn FnMut(&Self, &str) -> anyhow::Result<Data>,
    ) -> anyhow::Result<(Data, String)> {
        let mut places = self.clone();
        if let Some(Piece { provenance: Provenance::Known, path: Some(path), .. }) = origin.part(part) {
            let folder = path.parent().filter(|_| path.exists()).map(Path::to_owned);
            places.data_dir = places.data_dir.or(folder);
        }
        let mut data = None;
        let place = origin.again(part, was, asked, true, |place| {
            let found = locate(&places, place)?;
            let piece = Piece::of_data(&found)?;
            data = Some(found);
            Ok(piece)
        })?;
        let data = data.ok_or_else(|| anyhow::anyhow!("the {part} of the run was not looked for"))?;
        Ok((data, place))
    }
}
