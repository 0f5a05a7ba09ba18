//! Plain data among ranks, as JSON: what is short or seldom.

use crate::error::CommError;
use crate::ranks::Ranks;
use serde::Serialize;
use serde::de::DeserializeOwned;

impl Ranks {
    /// What each rank has, by its number.
    ///
    /// # Errors
    /// A rank that is gone, or out of step.
    ///
    /// # Panics
    /// If `own` cannot be JSON, as maps without names for keys.
    pub fn gather_data<T: Serialize + DeserializeOwned>(
        &mut self,
        own: T,
    ) -> Result<Vec<T>, CommError> {
        if self.world() == 1 {
            return Ok(vec![own]);
        }
        let all = self.gather(&bytes(&own))?;
        let all = (0..).zip(&all);
        all.map(|(rank, bytes)| self.parsed(rank, bytes)).collect()
    }

    /// What rank `from` has; others pass nothing.
    ///
    /// # Errors
    /// As [`Self::gather_data`].
    ///
    /// # Panics
    /// If rank `from` has nothing; as [`Self::gather_data`].
    pub fn broadcast_data<T: Serialize + DeserializeOwned>(
        &mut self,
        from: usize,
        own: Option<T>,
    ) -> Result<T, CommError> {
        if self.rank() != from {
            let bytes = self.broadcast(from, Vec::new())?;
            return self.parsed(from, &bytes);
        }
        let own = own.expect("who tells has something to tell");
        if self.world() > 1 {
            self.broadcast(from, bytes(&own))?;
        }
        Ok(own)
    }

    fn parsed<T: DeserializeOwned>(&self, rank: usize, bytes: &[u8]) -> Result<T, CommError> {
        serde_json::from_slice(bytes).map_err(|error| {
            self.close();
            CommError::OutOfStep {
                rank,
                found: error.to_string(),
                expected: "other data".into(),
            }
        })
    }
}

fn bytes(own: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(own).expect("plain data")
}
