//! Stub to be replaced.
use std::path::Path;
pub struct Cell;
pub struct Released {
    pub ended_processes: usize,
    pub notices: Vec<String>,
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct CellError;
impl CellError {
    pub fn code(&self) -> &'static str {
        "x"
    }
    pub fn hint(&self) -> Option<&str> {
        None
    }
}
impl Cell {
    pub async fn start_with(_: &Path, _: &Path, _: &str) -> Result<Self, CellError> {
        Ok(Self)
    }
    pub fn notices(&self) -> &[String] {
        &[]
    }
    pub async fn run_on_host(
        &self,
        _: &str,
        _: &dyn crate::domain::log::Output,
    ) -> Result<crate::communicator::Exit, CellError> {
        Err(CellError)
    }
    pub async fn mount_root(&self, _: &Path, _: &Path, _: &[String]) -> Result<(), CellError> {
        Ok(())
    }
    pub async fn mount_inside(&self, _: &str, _: &str, _: &str) -> Result<(), CellError> {
        Ok(())
    }
    pub async fn copy_in(&self, _: &Path) -> Result<(), CellError> {
        Ok(())
    }
    pub async fn release(&self) -> Result<Released, CellError> {
        Err(CellError)
    }
}
