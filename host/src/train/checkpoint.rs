//! Everything that a training needs to go on where it was, in one file that is whole or not there.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::files::write_whole;

const MAGIC: &[u8; 8] = b"NEJICKP1";
const HASH_BYTES: usize = 32;

/// What an epoch came to; a row of `losses.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Mean loss over the training batches, while the weights moved.
    pub train: f64,
    /// Mean loss over the validation images at the epoch's end; the training loss where there are none.
    pub validation: f64,
    /// Learning rate.
    pub learning_rate: f64,
}

/// State after an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Hash of the experiment.
    pub config_hash: [u8; 32],
    /// Hash of the data.
    pub data_hash: [u8; 32],
    /// Epochs so far.
    pub epochs: Vec<Epoch>,
    /// Epoch with the best validation loss, from 1.
    pub best_epoch: usize,
    /// Weights now.
    pub model: Vec<u8>,
    /// The optimizer's state now.
    pub optimizer: Vec<u8>,
    /// Weights of the best epoch.
    pub best: Vec<u8>,
}

impl Checkpoint {
    /// Of no epochs.
    pub fn empty(config_hash: [u8; 32], data_hash: [u8; 32]) -> Self {
        Self {
            config_hash,
            data_hash,
            epochs: Vec::new(),
            best_epoch: 0,
            model: Vec::new(),
            optimizer: Vec::new(),
            best: Vec::new(),
        }
    }

    /// The best epoch's figures.
    pub fn best(&self) -> Option<&Epoch> {
        self.epochs.iter().find(|epoch| epoch.epoch == self.best_epoch)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let body = postcard::to_extend(self, MAGIC.to_vec()).context("encoding the checkpoint")?;
        let hash = Sha256::digest(&body);
        write_whole(path, &[&body, hash.as_slice()].concat())
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It can't be read, is damaged, or is another version's.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let damaged = || format!("{} is damaged or another version's; train anew with --force", path.display());
        ensure!(bytes.starts_with(MAGIC) && bytes.len() > MAGIC.len() + HASH_BYTES, "{}", damaged());
        let (body, hash) = bytes.split_at(bytes.len() - HASH_BYTES);
        ensure!(Sha256::digest(body).as_slice() == hash, "{}", damaged());
        postcard::from_bytes(&body[MAGIC.len()..]).with_context(damaged)
    }
}

/// The epochs as CSV.
///
/// # Errors
/// Never in practice: the rows are numbers.
pub fn losses_csv(epochs: &[Epoch]) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    epochs.iter().try_for_each(|epoch| csv.serialize(epoch))?;
    csv.into_inner().context("losses as CSV")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_truncation_and_change_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("c");
        let epoch = Epoch { epoch: 1, train: 0.5, validation: 0.25, learning_rate: 0.1 };
        let checkpoint = Checkpoint {
            config_hash: [1; 32],
            data_hash: [2; 32],
            epochs: vec![epoch],
            best_epoch: 1,
            model: vec![3; 9],
            optimizer: vec![4; 9],
            best: vec![5; 9],
        };
        checkpoint.save(&path).expect("saved");
        assert_eq!(Checkpoint::load(&path).expect("loaded"), checkpoint);
        assert_eq!(checkpoint.best(), Some(&epoch));
        let bytes = std::fs::read(&path).expect("read");
        for at in 0..bytes.len() {
            std::fs::write(&path, &bytes[..at]).expect("written");
            assert!(Checkpoint::load(&path).is_err(), "cut at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            std::fs::write(&path, changed).expect("written");
            assert!(Checkpoint::load(&path).is_err(), "changed at {at}");
        }
    }
}
