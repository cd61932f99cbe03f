//! The OpenAPI document: what no handler says by itself, the forms of the bodies that a build can be asked for with,
//! and the routes that show the document.

use std::collections::BTreeMap;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::{
    OpenApi, ToSchema,
    openapi::{
        ContentBuilder, Ref, RefOr, ResponseBuilder, Schema, Type,
        content::Content,
        path::{Operation, Parameter, ParameterIn},
        response::Response as Described,
        schema::SchemaType,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use crate::{
    auth::{
        Role,
        policy::{self, Access},
    },
    domain::Problem,
};

/// The name of the security scheme.
const SCHEME: &str = "bearer";

/// The head of the document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "fournil",
        description = "Bakes OUTSCALE machine images (OMIs) as a service. A build is accepted as a Packer template and ends in a final state; nothing it made in the cloud is left behind.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This server.")),
    components(schemas(Problem)),
    modifiers(&BearerToken),
    tags(
        (name = "builds", description = "Asking for builds, watching them, and ending them."),
        (name = "access", description = "Tokens, and who did what."),
        (name = "logs", description = "Logs and events, as they happen."),
        (name = "operation", description = "For whoever runs the service."),
    ),
)]
pub struct ApiDocument;

/// Says how a token is sent.
struct BearerToken;

impl utoipa::Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        let text = "A token of fournil, or a JWT of the OpenID provider. A server that listens on loopback asks for none as long as none was made.";
        scheme.description = Some(text.to_owned());
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    }
}

/// What to bake.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum BuildRequestBody {
    /// A template with options beside it.
    Envelope(Box<Envelope>),
    /// A Packer JSON template as it is.
    Template(PackerTemplate),
    /// One builder.
    Short(ShortForm),
}

/// A template with options beside it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "template": {
        "builders": [{
            "type": "osc-bsu", "region": "eu-west-2", "vm_type": "tinav6.c2r4p2", "source_omi": "ami-12345678",
            "ssh_username": "outscale", "omi_name": "nginx-{{timestamp}}",
        }],
        "provisioners": [{ "type": "shell", "inline": ["sudo apt-get install -y nginx"] }],
    },
    "variables": {}, "labels": { "team": "web" }, "name": "nginx", "timeout": "2h",
}))]
pub struct Envelope {
    /// A Packer JSON template as an object, or the text of a JSON or HCL2 template. Absent: the template is in the folder.
    #[schema(required = false)]
    pub template: TemplateOrText,
    /// With a folder: the path in it of the template, or of a folder of HCL2 files.
    pub template_path: Option<String>,
    /// Values of user variables, as with `-var`.
    pub variables: Option<BTreeMap<String, Scalar>>,
    /// Variables of the client's environment: `PKR_VAR_…` for HCL2, and those that the template reads with `env`.
    pub env: Option<BTreeMap<String, Scalar>>,
    /// With a folder: the paths in it of files with variables, as with `-var-file`; later ones win.
    pub var_files: Option<Vec<String>>,
    /// Names of the runs to make.
    pub only: Option<Vec<String>>,
    /// Names of the runs to leave out.
    pub except: Option<Vec<String>>,
    /// Marks by which the build can be found again.
    pub labels: Option<BTreeMap<String, String>>,
    /// The stored set of credentials to use.
    pub credentials: Option<String>,
    /// Builds of higher priority start first.
    pub priority: Option<i32>,
    /// How long the build may take from the start of its first run, e.g. `2h`.
    pub timeout: Option<String>,
    /// What happens after an error: `cleanup` (the default), `abort` (what was made is kept for a while), `hold` (the VM
    /// waits for a person; Packer's `ask`) or `run-cleanup-provisioner` (that provisioner, then as `abort`).
    pub on_error: Option<String>,
    /// How long things are kept or held after an error, e.g. `2h`; usually 1 h for `hold`, 24 h for the others.
    pub keep_for: Option<String>,
    /// Public keys that a held or kept VM lets in, in OpenSSH's form.
    pub authorized_keys: Option<Vec<String>>,
    /// What people call the build.
    pub name: Option<String>,
}

/// A template as part of a JSON body.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TemplateOrText {
    /// A Packer JSON template.
    #[schema(value_type = Object)]
    Json(Value),
    /// The text of a JSON or HCL2 template.
    Text(String),
}

/// A text, or what is taken as one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// As it is.
    Text(String),
    /// As it is written.
    Number(f64),
    /// `true` or `false`.
    Bool(bool),
}

/// A Packer JSON template as it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct PackerTemplate {
    /// At least one.
    #[schema(value_type = Vec<Object>, min_items = 1)]
    pub builders: Vec<Value>,
    /// What happens inside the VM.
    #[schema(value_type = Option<Vec<Object>>)]
    pub provisioners: Option<Vec<Value>>,
    /// User variables with their defaults; null: must be given.
    #[schema(value_type = Option<Object>)]
    pub variables: Option<Value>,
    /// Names of variables whose values are never shown.
    #[serde(rename = "sensitive-variables")]
    pub sensitive_variables: Option<Vec<String>>,
}

/// One builder; the envelope's options can stand beside it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "builder": {
        "type": "osc-bsu", "region": "eu-west-2", "vm_type": "tinav6.c2r4p2", "source_omi": "ami-12345678",
        "ssh_username": "outscale", "omi_name": "nginx-{{timestamp}}",
    },
    "provisioners": [{ "type": "shell", "inline": ["sudo apt-get install -y nginx"] }],
}))]
pub struct ShortForm {
    /// Its `type` and options as in a template.
    #[schema(value_type = Object)]
    pub builder: Value,
    /// What happens inside the VM.
    #[schema(value_type = Option<Vec<Object>>)]
    pub provisioners: Option<Vec<Value>>,
}

/// An HCL2 template; options are query parameters.
#[derive(Debug, Serialize, ToSchema)]
pub struct Hcl2Text(pub String);

/// A tar or tar.gz of a folder with the template and the files it names.
#[derive(Debug, Serialize, ToSchema)]
#[schema(value_type = String, format = Binary)]
pub struct Archive(pub Vec<u8>);

/// A request and a folder.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MultipartBody {
    /// The JSON, as in an `application/json` body.
    pub request: BuildRequestBody,
    /// A tar or tar.gz of a folder.
    #[schema(value_type = Option<String>, format = Binary)]
    pub context: Option<Vec<u8>>,
}

/// A token to make. The server reads it field by field, so as to name every wrong one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(title = "A token to make", example = json!({ "name": "ci", "role": "builder", "labels": { "team": "web" }, "max_builds": 4 }))]
pub struct NewToken {
    /// What it is called in lists and in the audit: letters, digits, `.`, `_` and `-`.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// It asks for builds with these builders only.
    #[schema(min_items = 1)]
    pub builders: Option<Vec<BuilderName>>,
    /// Its builds name one of these stored sets of keys.
    #[schema(min_items = 1, max_items = 32)]
    pub credentials: Option<Vec<String>>,
    /// Its builds get these labels, and it sees and acts on builds with all of them only.
    pub labels: Option<BTreeMap<String, String>>,
    /// So many of its builds may be queued or running at once.
    #[schema(minimum = 1)]
    pub max_builds: Option<u32>,
    /// When it ends to be valid, within ten years; absent: never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A builder.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BuilderName {
    /// An OMI of the VM's own disk.
    OscBsu,
    /// An OMI of another disk of the VM.
    OscBsusurrogate,
    /// An OMI without a VM.
    OscChroot,
    /// Volumes.
    OscBsuvolume,
}

/// Adds to every operation the answers that any of them can give.
pub fn add_common_responses(document: &mut utoipa::openapi::OpenApi) {
    let problem = |description: &str| {
        let content: Content =
            ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("Problem")))).build();
        ResponseBuilder::new().description(description).content(super::problem::PROBLEM_JSON, content).build()
    };
    let common: [(&str, Described); 2] = [
        ("500", problem("Something went wrong in fournil; its log has the details under the request id.")),
        ("503", problem("The database does not answer right now; `Retry-After` says when to ask again.")),
    ];
    let unauthorized = problem("A token is needed, or the one that was sent is not valid.");
    let forbidden = |role: Role| {
        problem(&format!(
            "This needs the role `{role}`, a limit of the token forbids it, or a page of another site sent the request."
        ))
    };
    let too_many = problem(
        "Too many wrong tokens came from this address, too many streams are open, or too many builds, in all or of the token, have not ended; `Retry-After` says when to ask again.",
    );
    for (path, item) in &mut document.paths.paths {
        let operations: [(&str, &mut Option<Operation>); 4] = [
            ("GET", &mut item.get),
            ("POST", &mut item.post),
            ("PUT", &mut item.put),
            ("DELETE", &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            let mut all = common.to_vec();
            // OpenAPI has no path parameter that spans slashes.
            let pattern = path.replace("/{path}", "/{*path}");
            if let Access::From(role) = policy::rule(method, &pattern).access {
                operation.security = Some(vec![SecurityRequirement::new(SCHEME, [""; 0])]);
                operation.responses.responses.insert("403".to_owned(), RefOr::T(forbidden(role)));
                all.extend([("401", unauthorized.clone()), ("429", too_many.clone())]);
            }
            for (status, response) in &all {
                let responses = &mut operation.responses.responses;
                responses.entry((*status).to_owned()).or_insert_with(|| RefOr::T(response.clone()));
            }
        }
    }
}

/// Says of every parameter and every body what its type alone does not.
pub fn sharpen_requests(document: &mut utoipa::openapi::OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    sharpen(parameter);
                }
            }
            let Some(RefOr::T(body)) = &mut operation.request_body else { continue };
            for content in body.content.values_mut() {
                if let RefOr::T(content) = content {
                    content.schema.as_mut().map(without_null);
                }
            }
        }
    }
}

/// A body that may be left out is there or not; `null` is none.
fn without_null(schema: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::OneOf(choice)) = schema
        && let [body, RefOr::T(Schema::Object(null))] = choice.items.as_slice()
        && null.schema_type == SchemaType::Type(Type::Null)
    {
        *schema = body.clone();
    }
}

fn sharpen(parameter: &mut Parameter) {
    let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema else { return };
    // It is there or not; HTTP has no null.
    if let SchemaType::Array(types) = &schema.schema_type
        && let [one, Type::Null] | [Type::Null, one] = types.as_slice()
    {
        schema.schema_type = SchemaType::Type(one.clone());
    }
    if parameter.parameter_in != ParameterIn::Query {
        return;
    }
    match &schema.schema_type {
        // `?follow` is `?follow=true`.
        SchemaType::Type(Type::Boolean) => {
            let bare = [("allowEmptyValue", true)].into_iter().collect();
            parameter.extensions.get_or_insert_default().merge(bare);
        }
        // No stored text holds a NUL character.
        SchemaType::Type(Type::String) if schema.format.is_none() => {
            schema.pattern.get_or_insert_with(|| r"^[^\u0000]*$".to_owned());
        }
        _ => {}
    }
}

/// Shows the OpenAPI document.
#[utoipa::path(
    get, path = "/openapi.yaml", operation_id = "openapi", tag = "operation",
    responses((status = 200, description = "This document.", body = Object, content_type = "application/yaml")),
)]
pub async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], super::openapi_yaml()).into_response()
}

/// Shows where the documentation is.
#[utoipa::path(
    get, path = "/docs", operation_id = "docs", tag = "operation",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html")),
)]
pub async fn docs() -> Response {
    super::dashboard::file("text/html; charset=utf-8", include_str!("dashboard/docs.html")).await
}
