//! `fournil serve` as a process: where it listens, and who is let in, from the first token on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use sqlx::{ConnectOptions, PgPool};

/// fournil with nothing of this environment but the database; ended with the test however that ends.
fn fournil(database: &str, data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_fournil")]).args(arguments).env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("DATABASE_URL", database).env("FOURNIL_DATA_DIR", data).env("FOURNIL_WORKERS", "0");
    command.env("FOURNIL_MASTER_KEY", "0123456789abcdef".repeat(4)).env("NO_PROXY", "*").stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}: {out}{error}", output.status)
}

/// A server that runs, and its port.
struct Server(Child, u16);

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended: {told}");
            told.push_str(&line);
            let Some((_, address)) = line.split_once(" on http://") else { continue };
            let port = address.trim().rsplit(':').next().unwrap();
            let port = port.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
            // Whatever it still has to say must find a reader.
            std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
            return Self(child, port);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[sqlx::test(migrations = false)]
async fn strangers_are_kept_out_and_a_token_lets_in(pool: PgPool) {
    let database = pool.connect_options().to_url_lossy().to_string();
    let data = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        fournil(&database, data.path(), arguments).envs(variables.iter().copied()).output().unwrap()
    };
    // No token, not loopback: it does not start, and says what to do.
    let refused = run(&["serve", "--listen", "0.0.0.0:0"], &[]);
    assert!(!refused.status.success(), "{}", text(&refused));
    assert!(text(&refused).contains("fournil token create"), "{}", text(&refused));
    // A weak token of the environment is none.
    let weak = run(&["serve", "--listen", "0.0.0.0:0"], &[("FOURNIL_BOOTSTRAP_TOKEN", "hunter2")]);
    assert!(!weak.status.success() && !text(&weak).contains("hunter2"), "{}", text(&weak));

    let made = run(&["token", "create", "ops", "--role", "admin", "--database-url"], &[]);
    assert!(made.status.success(), "{}", text(&made));
    let token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert!(token.starts_with("fournil_"));

    let Server(_, port) =
        &Server::start(fournil(&database, data.path(), &["serve", "--listen", "0.0.0.0:0"]));
    let url = format!("http://127.0.0.1:{port}");
    let ask = |arguments: &[&str], token: Option<&str>| {
        let token = token.map(|token| ("FOURNIL_TOKEN", token));
        run(arguments, &[("FOURNIL_URL", url.as_str())].into_iter().chain(token).collect::<Vec<_>>())
    };
    let outside = ask(&["list"], None);
    assert!(!outside.status.success() && text(&outside).contains("token_missing"), "{}", text(&outside));
    let inside = ask(&["list"], Some(&token));
    assert!(inside.status.success(), "{}", text(&inside));

    let create = ["token", "create", "ci", "--role", "builder", "--label", "team=web", "--expires", "90d"];
    let made = ask(&create, Some(&token));
    assert!(made.status.success(), "{}", text(&made));
    let second = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let listed = ask(&["token", "list"], Some(&token));
    assert!(text(&listed).contains("team=web") && !text(&listed).contains(&second), "{}", text(&listed));
    let low = ask(&["token", "list"], Some(&second));
    assert!(text(&low).contains("role_too_low"), "{}", text(&low));
    let revoked = ask(&["token", "revoke", "ci"], Some(&token));
    assert!(revoked.status.success(), "{}", text(&revoked));
    let gone = ask(&["list"], Some(&second));
    assert!(text(&gone).contains("token_unknown"), "{}", text(&gone));
    let audit = text(&ask(&["audit"], Some(&token)));
    for word in ["database", "token.create", "token.revoke", "denied", "127.0.0.1"] {
        assert!(audit.contains(word), "{word} is not in {audit}");
    }
}
