//! The programs of a cell: fournil itself, started again as `fournil cell …`, before it has any thread. One keeps the
//! cell's place on the host clean (`keep`), one is the first process of its pid namespace (`init`), one that of the
//! image's (`root-init`); one comes in for each thing to do (`do`), and one for commands that the host's shell starts
//! inside the image (`enter`).

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::{fd::RawFd, unix::net::UnixStream},
    path::Path,
    process::ExitCode,
};

use rustix::fd::AsFd;

use super::{
    CellError,
    order::{Answer, Begin, Order, Task},
};

mod belongings;
mod command;
mod copies;
mod files;
mod init;
mod keep;
mod mounts;
mod place;
mod release;
mod root;

/// The name of the hidden subcommand.
pub(super) const SUBCOMMAND: &str = "cell";

/// Longest order: a command's text is in it.
const LONGEST_ORDER: u64 = 64 << 20;

/// Does what the arguments after the program's name say if they are those of a program of a cell, and nothing
/// otherwise. To be called first of all, while the process has one thread.
#[must_use]
pub fn as_program_of_a_cell() -> Option<ExitCode> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map_while(|argument| argument.to_str()).collect();
    let ["cell", program, rest @ ..] = arguments.as_slice() else { return None };
    close_what_was_inherited();
    let code = match (*program, rest) {
        ("keep", []) => keep::keep(),
        ("init", [anchor]) => init::init(Path::new(anchor)),
        ("root-init", [anchor]) => init::root_init(Path::new(anchor)),
        ("hold", [root]) => init::hold(Path::new(root)),
        ("do", []) => one_order(),
        ("enter", [anchor, command]) => command::enter(Path::new(anchor), command),
        _ => return None,
    };
    Some(code)
}

/// Closes what whoever started fournil left open in it: it would be open in the image's shell as well.
fn close_what_was_inherited() {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<RawFd> =
        open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // One of them was the list itself, and is closed.
        let _ = nix::unistd::close(number);
    }
}

/// The socket that is the standard input.
fn socket() -> std::io::Result<UnixStream> {
    Ok(UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?))
}

/// Reads one line of JSON. What follows stays in the reader.
fn read_line<T: serde::de::DeserializeOwned>(reader: &mut impl BufRead) -> Result<T, CellError> {
    let mut line = Vec::new();
    reader
        .take(LONGEST_ORDER)
        .read_until(b'\n', &mut line)
        .map_err(|error| CellError::failed("read the order", error))?;
    serde_json::from_slice(&line).map_err(|error| CellError::failed("read the order", error))
}

/// Does one thing and says what came of it.
fn one_order() -> ExitCode {
    let Ok(socket) = socket() else { return ExitCode::FAILURE };
    let mut reader = BufReader::new(&socket);
    let answer = read_line::<Order>(&mut reader).and_then(|order| obey(order, &mut reader, &socket));
    if say(&socket, &answer).is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn say(mut socket: &UnixStream, answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    socket.write_all(&line)
}

fn obey(order: Order, reader: &mut impl BufRead, socket: &UnixStream) -> Answer {
    let place = place::Doors::open(order.place)?;
    match order.task {
        Task::RunOnHost { command, inside } => command::on_host(&place, &command, inside, socket),
        Task::RunInside { command } => command::inside(&place, &command, socket),
        Task::MountRoot { device, path, options } => mounts::root(&place, &device, &path, &options),
        Task::MountInside { kind, source, target } => mounts::inside(&place, &kind, &source, &target),
        Task::CopyIn { file } => copies::copy_in(&place, &file),
        Task::WriteFile { path, mode, size } => files::write(&place, &path, mode, size, reader),
        Task::WriteFolder { path } => files::write_folder(&place, &path, reader),
        Task::ReadFile { path, limit } => files::read(&place, &path, limit),
        Task::ReadFolder { path, limit } => files::read_folder(&place, &path, limit),
        Task::Release => release::release(&place),
    }
}

fn read_begin() -> Result<Begin, CellError> {
    let mut line = Vec::new();
    let mut byte = [0];
    let mut input =
        std::io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from).map_err(CellError::start)?;
    // Byte by byte: the pipe itself goes on to the first process of the cell, whose life it is.
    while input.read(&mut byte).map_err(CellError::start)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    serde_json::from_slice(&line).map_err(CellError::start)
}
