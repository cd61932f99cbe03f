//! fournil's own log: one subscriber for the process, to standard error, as text for people or JSON for machines.
//! The logs of builds are another matter and live in `logs`.

use std::{
    fmt,
    io::{self, IsTerminal},
    str::FromStr,
};

use tracing::{Dispatch, Subscriber};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// What is logged when `RUST_LOG` says nothing.
const DEFAULT_FILTER: &str = "info,sqlx=warn";

/// How a line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line a person reads; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("`{other}` is no log format; write `text` or `json`")),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter has no meaning.
    #[error("RUST_LOG cannot be read; write for example `info` or `fournil=debug,sqlx=warn`")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// The process has a subscriber already.
    #[error("logging was set up twice")]
    Twice,
}

/// Sets up logging for the process. `filter` is the text of `RUST_LOG`, if there is one.
///
/// # Errors
/// The filter is malformed, or logging is set up already.
pub fn init(format: LogFormat, filter: Option<&str>) -> Result<(), TelemetryError> {
    let colours = io::stderr().is_terminal();
    let dispatch = subscriber(format, filter, colours, io::stderr)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| TelemetryError::Twice)
}

fn subscriber<W>(
    format: LogFormat,
    filter: Option<&str>,
    colours: bool,
    writer: W,
) -> Result<Dispatch, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter.filter(|filter| !filter.trim().is_empty()).unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::builder().parse(filter).map_err(TelemetryError::Filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match format {
        LogFormat::Text => Box::new(builder.with_ansi(colours).with_target(false).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_current_span(false).finish()),
    };
    Ok(Dispatch::new(subscriber))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use tracing::{debug, dispatcher, info};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: Option<&str>) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let dispatch = subscriber(format, filter, false, move || writer.clone()).unwrap();
        dispatcher::with_default(&dispatch, || {
            info!(run.id = 7, "a run started");
            debug!("a detail");
        });
        String::from_utf8(memory.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn text_lines_read_alone() {
        let text = logged(LogFormat::Text, None);
        assert!(text.contains("INFO a run started run.id=7"), "{text}");
        assert!(!text.contains("a detail"), "{text}");
    }

    #[test]
    fn json_lines_are_objects_with_the_fields() {
        let text = logged(LogFormat::Json, None);
        let value: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((&value["message"], &value["run.id"]), (&"a run started".into(), &7.into()), "{text}");
    }

    #[test]
    fn the_filter_decides_and_a_broken_one_is_refused() {
        assert!(logged(LogFormat::Text, Some("debug")).contains("a detail"));
        assert!(logged(LogFormat::Text, Some(" ")).contains("a run started"));
        let error = subscriber(LogFormat::Text, Some("fournil=louder"), false, io::sink).unwrap_err();
        assert!(error.to_string().contains("RUST_LOG"), "{error}");
    }

    #[test]
    fn formats_are_spelt_as_they_are_shown() {
        for format in [LogFormat::Text, LogFormat::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("xml".parse::<LogFormat>().unwrap_err().contains("`text` or `json`"));
    }
}
