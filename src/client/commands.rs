//! The commands themselves: what each asks and in which order.

use std::{collections::BTreeMap, future::Future, io::Read, path::Path};

use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use uuid::Uuid;

use super::{
    ClientError, Outcome, environment,
    follow::Follower,
    machine,
    model::{Build, BuildList, Line, ResourceList, Validation},
    pack::{self, Package},
    print::{self, Terminal},
    public_keys,
    server::Server,
};
use crate::{
    cli::{
        BuildArgs, BuildRef, ClientCommand, ListArgs, LogsArgs, ReleaseArgs, ServerArgs, TemplateArgs,
        ValidateArgs,
    },
    domain::{BuildId, BuildState, on_error::Release},
};

type Query = Vec<(String, String)>;

/// Which server a command asks.
pub fn server_arguments(command: &ClientCommand) -> &ServerArgs {
    match command {
        ClientCommand::Build(arguments) => &arguments.server,
        ClientCommand::Validate(arguments) => &arguments.server,
        ClientCommand::List(arguments) => &arguments.server,
        ClientCommand::Logs(arguments) => &arguments.server,
        ClientCommand::Release(arguments) => &arguments.server,
        ClientCommand::Destroy(arguments) => &arguments.server,
        ClientCommand::Token(command) => &command.place().server,
        ClientCommand::Audit(arguments) => &arguments.server,
        ClientCommand::Credentials(arguments) => arguments.server(),
        ClientCommand::Show(arguments)
        | ClientCommand::Cancel(arguments)
        | ClientCommand::Cleanup(arguments)
        | ClientCommand::Retry(arguments)
        | ClientCommand::Resources(arguments) => &arguments.server,
    }
}

/// Carries a command out.
pub async fn run(
    command: ClientCommand,
    terminal: &Terminal,
    interrupts: mpsc::Receiver<()>,
) -> Result<Outcome, ClientError> {
    let arguments = server_arguments(&command).clone();
    let server = Server::new(&arguments.server, arguments.token)?;
    let client = Client {
        server: &server,
        terminal,
        json: arguments.json,
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        interrupts: Mutex::new(interrupts),
    };
    let answered = match command {
        ClientCommand::Build(arguments) => return client.build(&arguments).await,
        ClientCommand::Logs(arguments) => return client.logs(&arguments).await,
        ClientCommand::Destroy(arguments) => {
            let destroyed = client.unless_interrupted(client.destroy(&arguments)).await?;
            return Ok(destroyed.unwrap_or(Outcome::Interrupted));
        }
        ClientCommand::Validate(arguments) => client.unless_interrupted(client.validate(&arguments)).await,
        ClientCommand::List(arguments) => client.unless_interrupted(client.list(&arguments)).await,
        ClientCommand::Show(BuildRef { build, .. }) => client.unless_interrupted(client.show(build)).await,
        ClientCommand::Release(arguments) => client.unless_interrupted(client.release(&arguments)).await,
        ClientCommand::Cleanup(BuildRef { build, .. }) => {
            client.unless_interrupted(client.cleanup(build)).await
        }
        ClientCommand::Cancel(BuildRef { build, .. }) => {
            client.unless_interrupted(client.cancel(build)).await
        }
        ClientCommand::Retry(BuildRef { build, .. }) => client.unless_interrupted(client.retry(build)).await,
        ClientCommand::Token(command) => client.unless_interrupted(client.token(&command)).await,
        ClientCommand::Audit(arguments) => client.unless_interrupted(client.audit(&arguments)).await,
        ClientCommand::Credentials(arguments) => {
            client.unless_interrupted(client.credentials(&arguments.command)).await
        }
        ClientCommand::Resources(BuildRef { build, .. }) => {
            client.unless_interrupted(client.resources(build)).await
        }
    };
    Ok(answered?.map_or(Outcome::Interrupted, |()| Outcome::Success))
}

pub(super) struct Client<'a> {
    pub(super) server: &'a Server,
    pub(super) terminal: &'a Terminal,
    pub(super) json: bool,
    pub(super) environment: BTreeMap<String, String>,
    interrupts: Mutex<mpsc::Receiver<()>>,
}

impl Client<'_> {
    async fn build(&self, arguments: &BuildArgs) -> Result<Outcome, ClientError> {
        if arguments.force.as_deref().is_some_and(|value| value != "false") {
            let text = "`-force` has no meaning here: set `force_deregister` and `force_delete_snapshot` in the template";
            return Err(ClientError::Usage(text.to_owned()));
        }
        if arguments.debug.as_deref().is_some_and(|value| value != "false") {
            return Err(ClientError::Usage(
                "`-debug` stops after each step, which a server cannot do".to_owned(),
            ));
        }
        let package = package(&arguments.template)?;
        let mut request = self.request(&arguments.template, &package, arguments.machine_readable)?;
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                request[name] = value;
            }
        };
        add("on_error", arguments.on_error.clone().map(Value::from));
        add("keep_for", arguments.keep_for.clone().map(Value::from));
        let keys = public_keys::public_keys(&arguments.authorized_keys, arguments.on_error.as_deref())?;
        add("authorized_keys", (!keys.is_empty()).then(|| json!(keys)));
        add("name", arguments.name.clone().map(Value::from));
        add("credentials", arguments.credentials.clone().map(Value::from));
        add("priority", arguments.priority.map(Value::from));
        add("timeout", arguments.timeout.clone().map(Value::from));
        let pairs = arguments.labels.iter().map(|label| pair(label, "--label", "KEY=VALUE"));
        let labels: BTreeMap<_, _> = pairs.collect::<Result<_, _>>()?;
        add("labels", (!labels.is_empty()).then(|| json!(labels)));
        let key = Uuid::now_v7().to_string();
        let sending = self.send("builds", &request, &package, &key);
        let Some(accepted) = self.unless_interrupted(sending).await? else {
            self.terminal.remark(
                "left before the server answered; `fournil list` shows whether the build was accepted",
            )?;
            return Ok(Outcome::Interrupted);
        };
        let build: Build = self.server.read(accepted.clone())?;
        if arguments.detach {
            match self.json {
                true => self.terminal.json(&accepted)?,
                false => self.terminal.say(&build.id.to_string())?,
            }
            return Ok(Outcome::Success);
        }
        let id = build.id;
        self.terminal.remark(&format!("build {id} is accepted by {}", self.server.address()))?;
        for notice in &build.notices {
            self.terminal.remark(&format!("notice: {notice}"))?;
        }
        let follower = self.follower(id, None, 0);
        let print = |line: &Line| {
            Ok(match (arguments.machine_readable, self.json) {
                (true, _) => self.terminal.say(&machine::line(line)),
                (false, true) => self.terminal.aside(&print::line(line, arguments.timestamps)),
                (false, false) => self.terminal.say(&print::line(line, arguments.timestamps)),
            }?)
        };
        let Some(ended) = self.until_the_end(follower, &print, true).await? else {
            return Ok(Outcome::Interrupted);
        };
        let build: Build = self.server.read(ended.clone())?;
        if arguments.machine_readable {
            for row in machine::result(&build) {
                self.terminal.say(&row)?;
            }
        } else if self.json {
            self.terminal.json(&ended)?;
        } else {
            self.terminal.say(&print::result(&build))?;
        }
        Ok(outcome(build.state))
    }

    /// The envelope of a request: variables, selection, and what the template needs of this machine.
    fn request(
        &self,
        arguments: &TemplateArgs,
        package: &Package,
        is_for_machines: bool,
    ) -> Result<Value, ClientError> {
        let pairs = arguments.variables.iter().map(|variable| pair(variable, "-var", "NAME=VALUE"));
        let variables: BTreeMap<_, _> = pairs.collect::<Result<_, _>>()?;
        let env = environment::of_template(&package.texts, &self.environment);
        if !env.is_empty() && !self.json && !is_for_machines {
            let names: Vec<&str> = env.keys().map(String::as_str).collect();
            self.terminal.remark(&format!("sends from the environment: {}", names.join(", ")))?;
        }
        let mut request = json!({ "variables": variables, "env": env });
        let mut add = |name: &str, value: Value| request[name] = value;
        if let Some(template) = &package.template {
            add("template_path", json!(template));
        }
        for (name, list) in
            [("var_files", &package.variable_files), ("only", &arguments.only), ("except", &arguments.except)]
        {
            if !list.is_empty() {
                add(name, json!(list));
            }
        }
        Ok(request)
    }

    async fn send(
        &self,
        path: &str,
        request: &Value,
        package: &Package,
        key: &str,
    ) -> Result<Value, ClientError> {
        let sent = self.server.post_folder(path, request, &package.archive, key).await;
        sent.map_err(|error| match error {
            ClientError::Refused(problem) if !problem.errors.is_empty() => {
                ClientError::Wrong { shown: package.sources.show(&problem), problem }
            }
            other => other,
        })
    }

    async fn validate(&self, arguments: &ValidateArgs) -> Result<(), ClientError> {
        let package = package(&arguments.template)?;
        let request = self.request(&arguments.template, &package, false)?;
        let answer = self.send("validate", &request, &package, &Uuid::now_v7().to_string()).await?;
        if self.json {
            self.terminal.json(&answer)?;
            return Ok(());
        }
        let validation: Validation = self.server.read(answer)?;
        self.terminal.say("The template is valid.")?;
        for run in &validation.runs {
            let makes = run.omi_name.as_ref().map(|name| format!(", makes OMI `{name}`")).unwrap_or_default();
            let steps = match run.provisioners.len() {
                0 => String::new(),
                _ => format!(", provisions with {}", run.provisioners.join(", ")),
            };
            self.terminal.say(&format!("--> {}: {}{makes}{steps}", run.name, run.builder))?;
        }
        for notice in &validation.notices {
            self.terminal.say(&format!("Notice: {notice}"))?;
        }
        Ok(())
    }

    async fn list(&self, arguments: &ListArgs) -> Result<(), ClientError> {
        let mut query: Query = vec![("limit".to_owned(), arguments.limit.to_string())];
        query.extend(arguments.state.iter().map(|state| ("state".to_owned(), state.to_string())));
        query.extend(arguments.name.iter().map(|name| ("name".to_owned(), name.clone())));
        for label in &arguments.labels {
            pair(label, "--label", "KEY=VALUE")?;
            query.push(("label".to_owned(), label.clone()));
        }
        let answer = self.server.get("builds", &query).await?;
        if self.json {
            self.terminal.json(&answer)?;
            return Ok(());
        }
        let list: BuildList = self.server.read(answer)?;
        if list.builds.is_empty() {
            self.terminal.remark("no builds")?;
            return Ok(());
        }
        let head = ["ID", "STATE", "CREATED (UTC)", "NAME", "RESULT"];
        self.terminal.say(&print::table(&head, list.builds.iter().map(print::list_row)))?;
        if list.next.is_some() {
            self.terminal.remark(&format!("there are more than {}; --limit shows more", arguments.limit))?;
        }
        Ok(())
    }

    async fn show(&self, build: BuildId) -> Result<(), ClientError> {
        let answer = self.server.get(&format!("builds/{build}"), &[]).await?;
        if self.json {
            self.terminal.json(&answer)?;
        } else {
            self.terminal.say(&print::build(&self.server.read(answer)?))?;
        }
        Ok(())
    }

    async fn logs(&self, arguments: &LogsArgs) -> Result<Outcome, ClientError> {
        let print = |line: &Line| {
            Ok(match self.json {
                true => self.terminal.say(&line_json(line)),
                false => self.terminal.say(&print::line(line, arguments.timestamps)),
            }?)
        };
        let mut after = i64::from(arguments.after.unwrap_or(0));
        // The end of the log first: what `--tail` asks for, or all there is.
        if !arguments.follow || arguments.tail.is_some() {
            let printed = self.unless_interrupted(self.print_stored(arguments, &print)).await?;
            let Some(last) = printed else { return Ok(Outcome::Interrupted) };
            after = after.max(last);
        }
        if !arguments.follow {
            return Ok(Outcome::Success);
        }
        let follower = self.follower(arguments.build, arguments.run.clone(), after);
        let Some(ended) = self.until_the_end(follower, &print, false).await? else {
            return Ok(Outcome::Interrupted);
        };
        Ok(outcome(self.server.read::<Build>(ended)?.state))
    }

    /// Prints the lines that there are; returns the number of the last one.
    async fn print_stored(
        &self,
        arguments: &LogsArgs,
        print: &(dyn Fn(&Line) -> Result<(), ClientError> + Sync),
    ) -> Result<i64, ClientError> {
        let mut query: Query = Vec::new();
        query.extend(arguments.run.iter().map(|run| ("run".to_owned(), run.clone())));
        query.extend(arguments.tail.map(|tail| ("tail".to_owned(), tail.to_string())));
        query.extend(arguments.after.map(|after| ("after".to_owned(), after.to_string())));
        let path = format!("builds/{}/logs", arguments.build);
        let mut response = self.server.stream(&path, &query, "application/x-ndjson", None).await?;
        let mut rest = Vec::new();
        let mut last = 0;
        loop {
            let chunk = response.chunk().await.map_err(|source| ClientError::Unreachable {
                server: self.server.address().to_owned(),
                source: source.without_url(),
            })?;
            let is_end = chunk.is_none();
            rest.extend_from_slice(&chunk.unwrap_or_default());
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let text: Vec<u8> = rest.drain(..=end).collect();
                let line: Line = serde_json::from_slice(&text)
                    .map_err(|error| self.server.strange(format!("a log line: {error}")))?;
                print(&line)?;
                last = line.seq;
            }
            if is_end {
                return Ok(last);
            }
        }
    }

    async fn cancel(&self, build: BuildId) -> Result<(), ClientError> {
        let answer = self.server.post(&format!("builds/{build}/cancel"), &Uuid::now_v7().to_string()).await?;
        if self.json {
            self.terminal.json(&answer)?;
            return Ok(());
        }
        match self.server.read::<Build>(answer)?.state {
            BuildState::Cancelled => self.terminal.say(&format!("Build {build} is cancelled."))?,
            _ => self
                .terminal
                .say(&format!("Build {build} is being cancelled; what it made is removed first."))?,
        }
        Ok(())
    }

    async fn release(&self, arguments: &ReleaseArgs) -> Result<(), ClientError> {
        let build = arguments.build;
        let mut body = json!({ "then": arguments.then });
        if let Some(run) = &arguments.run {
            body["run"] = json!(run);
        }
        let answer = self.server.post_json(&format!("builds/{build}/release"), &body).await?;
        if self.json {
            self.terminal.json(&answer)?;
            return Ok(());
        }
        let then = match arguments.then {
            Release::Cleanup => "what it made is being removed",
            Release::Keep => "what it made stays for a while",
            Release::Retry => "the failed step is run again",
        };
        self.terminal.say(&format!("Build {build} goes on: {then}."))?;
        Ok(())
    }

    async fn cleanup(&self, build: BuildId) -> Result<(), ClientError> {
        let answer = self.server.post_json(&format!("builds/{build}/cleanup"), &json!({})).await?;
        if self.json {
            self.terminal.json(&answer)?;
            return Ok(());
        }
        let text = match self.server.read::<Build>(answer)?.leftovers.len() {
            0 => format!("Nothing of build {build} is left."),
            1 => format!("1 thing that build {build} left is being removed."),
            count => format!("{count} things that build {build} left are being removed."),
        };
        self.terminal.say(&text)?;
        Ok(())
    }

    async fn retry(&self, build: BuildId) -> Result<(), ClientError> {
        let answer = self.server.post(&format!("builds/{build}/retry"), &Uuid::now_v7().to_string()).await?;
        if self.json {
            self.terminal.json(&answer)?;
        } else {
            self.terminal.say(&self.server.read::<Build>(answer)?.id.to_string())?;
        }
        Ok(())
    }

    async fn resources(&self, build: BuildId) -> Result<(), ClientError> {
        let answer = self.server.get(&format!("builds/{build}/resources"), &[]).await?;
        if self.json {
            self.terminal.json(&answer)?;
            return Ok(());
        }
        let list: ResourceList = self.server.read(answer)?;
        let rows = list.resources.into_iter().map(|resource| {
            let id = resource.cloud_id.unwrap_or_else(|| "?".to_owned());
            let created = resource.created_at.map(print::moment).unwrap_or_default();
            vec![
                resource.kind,
                id,
                resource.region,
                resource.state,
                created,
                resource.last_error.unwrap_or_default(),
            ]
        });
        let head = ["KIND", "ID", "REGION", "STATE", "CREATED (UTC)", "LAST ERROR"];
        self.terminal.say(&print::table(&head, rows))?;
        Ok(())
    }

    fn follower(&self, build: BuildId, run: Option<String>, after: i64) -> Follower<'_> {
        Follower { server: self.server, terminal: self.terminal, build, run, after, hole: None }
    }

    /// Follows to the end; `None` if the user left. The first interrupt cancels the build if it is ours, and only
    /// leaves if we merely look on.
    async fn until_the_end(
        &self,
        mut follower: Follower<'_>,
        print: &(dyn Fn(&Line) -> Result<(), ClientError> + Sync),
        is_ours: bool,
    ) -> Result<Option<Value>, ClientError> {
        let build = follower.build;
        let mut following = std::pin::pin!(follower.follow(print));
        tokio::select! {
            ended = &mut following => return ended.map(Some),
            () = self.wish() => {}
        }
        if !is_ours {
            return Ok(None);
        }
        self.terminal
            .remark("cancelling the build; once more leaves at once (the build then ends by itself)")?;
        tokio::select! {
            ended = &mut following => ended.map(Some),
            () = self.wish() => Ok(None),
            () = async {
                self.ask_to_cancel(build).await;
                std::future::pending().await
            } => Ok(None),
        }
    }

    /// The answer to `work`, or nothing if the user does not want to wait for it.
    async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<Option<T>, ClientError> {
        tokio::select! {
            done = work => done.map(Some),
            () = self.wish() => Ok(None),
        }
    }

    /// Waits for the user's wish to stop; for ever if nobody is there to have one.
    async fn wish(&self) {
        if self.interrupts.lock().await.recv().await.is_none() {
            std::future::pending().await
        }
    }

    async fn ask_to_cancel(&self, build: BuildId) {
        let asked = self.server.post(&format!("builds/{build}/cancel"), &Uuid::now_v7().to_string()).await;
        match asked {
            // It ended in the meantime, and its end is about to be read.
            Err(ClientError::Refused(problem)) if problem.status == 409 => {}
            Err(error) => {
                // A closed standard error ends the command elsewhere.
                let _ = self.terminal.remark(&format!("the build could not be cancelled: {error}"));
            }
            Ok(_) => {}
        }
    }
}

const fn outcome(state: BuildState) -> Outcome {
    match state {
        BuildState::Succeeded => Outcome::Success,
        _ => Outcome::Failure,
    }
}

fn line_json(line: &Line) -> String {
    let Line { seq, at, run, stream, line } = line;
    serde_json::json!({ "seq": seq, "at": at, "run": run, "stream": stream, "line": line }).to_string()
}

pub(super) fn pair(text: &str, flag: &str, form: &str) -> Result<(String, String), ClientError> {
    // The value is not repeated: it may be a secret.
    let wrong = || ClientError::Usage(format!("`{flag}` needs {form}"));
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.trim().is_empty()).ok_or_else(wrong)?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

fn package(arguments: &TemplateArgs) -> Result<Package, ClientError> {
    let variable_files = &arguments.variable_files;
    if arguments.template != Path::new("-") {
        return pack::pack(&arguments.template, arguments.context.as_deref(), variable_files);
    }
    let mut text = String::new();
    let read = std::io::stdin().take(pack::LARGEST_TEXT).read_to_string(&mut text);
    read.map_err(|error| {
        ClientError::Usage(format!("cannot read the template from standard input: {error}"))
    })?;
    pack::pack_text(&text, variable_files)
}
