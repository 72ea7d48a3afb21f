//! Answers printed: tables for people, the contract's own messages for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use futures::{Stream, TryStreamExt};
use prost::{Message, Name};
use serde_json::Value;
use tollgate_client::{Error, json};

use crate::Failure;

/// How answers are printed.
#[derive(ValueEnum, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// The contract's messages in proto3's JSON form: an array for lists, a line each for what goes on.
    Json,
    /// The same as YAML.
    Yaml,
    /// The table's columns with commas, RFC 4180.
    Csv,
}

/// A message as a row of a table.
pub(crate) trait Row: Message + Name {
    /// What the columns are called.
    const COLUMNS: &'static [&'static str];

    /// One text for each column.
    fn cells(&self) -> Vec<String>;
}

/// Prints as it was told.
pub(crate) struct Printer {
    output: Output,
}

impl Printer {
    pub(crate) fn new(output: Output) -> Self {
        Self { output }
    }

    /// Prints one thing: upright for people, since it has all its fields.
    pub(crate) fn one<M: Row>(&self, message: &M) -> Result<(), Failure> {
        match self.output {
            Output::Table => {
                let mut table = plain();
                for (name, cell) in M::COLUMNS.iter().zip(message.cells()) {
                    table.add_row([(*name).to_owned(), cell]);
                }
                print(&format!("{table}\n"))
            }
            Output::Json => print(&format!("{:#}\n", value(message)?)),
            Output::Yaml => print(&yaml(&value(message)?)?),
            Output::Csv => print(&csv_of(M::COLUMNS, [message.cells()])?),
        }
    }

    /// Prints a message whose table shows a part of it: all of it, for programs.
    pub(crate) fn whole<M: Message + Name>(&self, message: &M) -> Result<(), Failure> {
        let whole = value(message)?;
        print(&if self.output == Output::Yaml { yaml(&whole)? } else { format!("{whole:#}\n") })
    }

    /// Prints a list.
    pub(crate) async fn all<M: Row>(&self, list: impl Stream<Item = Result<M, Error>>) -> Result<(), Failure> {
        let all: Vec<M> = list.try_collect().await?;
        self.rows(&all)
    }

    /// Prints the rows of a list.
    pub(crate) fn rows<M: Row>(&self, all: &[M]) -> Result<(), Failure> {
        match self.output {
            Output::Table => {
                let mut table = plain();
                table.set_header(M::COLUMNS.iter().map(|name| name.to_uppercase()));
                table.add_rows(all.iter().map(M::cells));
                print(&format!("{table}\n"))
            }
            Output::Csv => print(&csv_of(M::COLUMNS, all.iter().map(M::cells))?),
            Output::Json | Output::Yaml => {
                let all = Value::Array(all.iter().map(value).collect::<Result<_, _>>()?);
                print(&if self.output == Output::Json { format!("{all:#}\n") } else { yaml(&all)? })
            }
        }
    }

    /// Prints what comes, as it comes.
    pub(crate) async fn each<M: Row>(&self, stream: impl Stream<Item = Result<M, Error>>) -> Result<(), Failure> {
        let mut stream = std::pin::pin!(stream);
        if self.output == Output::Csv {
            print(&csv_of(M::COLUMNS, [])?)?;
        }
        while let Some(message) = stream.try_next().await? {
            match self.output {
                Output::Table => print(&format!("{}\n", message.cells().join("  ")))?,
                Output::Json => print(&format!("{}\n", value(&message)?))?,
                Output::Yaml => print(&format!("---\n{}", yaml(&value(&message)?)?))?,
                Output::Csv => print(&csv_line(&message.cells())?)?,
            }
        }
        Ok(())
    }

    /// Says what was done, where people read.
    pub(crate) fn note(&self, text: &str) {
        if self.output == Output::Table {
            eprintln!("{text}");
        }
    }
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// A message as JSON.
pub(crate) fn value<M: Message + Name>(message: &M) -> Result<Value, Failure> {
    json::to_value(message).map_err(|error| Failure::Other(error.to_string()))
}

fn yaml(value: &Value) -> Result<String, Failure> {
    serde_yaml_ng::to_string(value).map_err(|error| Failure::Other(error.to_string()))
}

fn csv_of(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Result<String, Failure> {
    let mut text = csv_line(columns)?;
    for row in rows {
        text += &csv_line(&row)?;
    }
    Ok(text)
}

fn csv_line(cells: &[impl AsRef<[u8]>]) -> Result<String, Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let broken = |error: &dyn std::error::Error| Failure::Other(error.to_string());
    writer.write_record(cells).map_err(|error| broken(&error))?;
    let bytes = writer.into_inner().map_err(|error| broken(&error))?;
    String::from_utf8(bytes).map_err(|error| broken(&error))
}

/// To standard output; a reader that went away ends the program quietly.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        done => Ok(done?),
    }
}
