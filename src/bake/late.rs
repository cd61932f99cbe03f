//! Late templates: what a template leaves open until the source OMI or the VM is known.

use secrecy::{ExposeSecret, SecretString};

use super::{
    error::StepError,
    oven::Cx,
    steps::{Key, ReadyVm, SourceImage},
};
use crate::{
    domain::plan::SshPlan,
    logs::Redactor,
    provision::Render,
    template::{LateData, render_late},
};

/// Renders late templates of one run.
pub struct Late {
    data: LateData,
    redactor: Redactor,
}

impl Late {
    /// With what is known of the source OMI by now.
    #[must_use]
    pub fn new(cx: &Cx, source: Option<&SourceImage>) -> Self {
        Self {
            data: LateData {
                source_omi: source.map(|source| source.id.clone()).unwrap_or_default(),
                source_omi_name: source.map(|source| source.name.clone()).unwrap_or_default(),
                source_omi_tags: source.map(|source| source.tags.clone()).unwrap_or_default(),
                build_region: cx.cloud.region.clone(),
                build_name: cx.plan.packer_name().to_owned(),
                builder_type: cx.plan.packer_type().to_owned(),
                deferred: cx.plan.deferred.clone().into(),
                files: Some(cx.files.to_path_buf()),
                ..LateData::default()
            },
            redactor: cx.log.redactor().clone(),
        }
    }

    /// The same with what is known of the VM and of the way into it: a value for each `{{build "…"}}` that a template may
    /// ask for, empty where there is none, as in Packer. What of it is secret is replaced in the log from now on.
    ///
    /// # Errors
    /// The temporary key was sealed with another master key.
    pub fn with_vm(
        mut self,
        cx: &Cx,
        vm: &ReadyVm,
        way: Option<(&SshPlan, &str)>,
        key: &Key,
    ) -> Result<Self, StepError> {
        let (ssh, host) = way.unzip();
        let own = |key: fn(&SshPlan) -> &Option<SecretString>| ssh.and_then(|ssh| key(ssh).clone());
        let password = own(|ssh| &ssh.password);
        let private_key = match key.private(cx)? {
            Some(temporary) => Some(temporary),
            None => own(|ssh| &ssh.private_key),
        };
        let secrets: Vec<SecretString> = password.iter().chain(&private_key).cloned().collect();
        cx.log.redactor().add(&secrets);
        let text = |secret: Option<SecretString>| {
            secret.map(|secret| secret.expose_secret().to_owned()).unwrap_or_default()
        };
        let pairs = [
            ("ID", vm.id.clone()),
            ("Host", host.unwrap_or_default().to_owned()),
            ("Port", ssh.map(|ssh| ssh.port.to_string()).unwrap_or_default()),
            ("User", ssh.map(|ssh| ssh.username.clone()).unwrap_or_default()),
            ("Password", text(password)),
            ("ConnType", if ssh.is_some() { "ssh" } else { "none" }.to_owned()),
            ("PackerRunUUID", cx.lease.build.to_string()),
            ("SSHPublicKey", key.temporary.as_ref().map(|key| key.public.clone()).unwrap_or_default()),
            ("SSHPrivateKey", text(private_key)),
        ];
        self.data.generated = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(self)
    }

    /// The same for a bake in a chroot on this VM: there is no connection, so that what tells of one is empty.
    #[must_use]
    pub fn in_chroot(mut self, cx: &Cx, vm: &str) -> Self {
        let mut generated: std::collections::BTreeMap<String, String> =
            crate::template::BUILD_KEYS.iter().map(|name| ((*name).to_owned(), String::new())).collect();
        generated.insert("ID".to_owned(), vm.to_owned());
        generated.insert("ConnType".to_owned(), "chroot".to_owned());
        generated.insert("PackerRunUUID".to_owned(), cx.lease.build.to_string());
        self.data.generated = generated;
        self
    }

    /// Renders a text with further fields.
    ///
    /// # Errors
    /// Says what of the template cannot be rendered.
    pub fn render_with(&self, text: &str, fields: &[(&str, &str)]) -> Result<String, StepError> {
        Render::render(self, text, fields).map_err(|reason| template_failed(text, &reason))
    }

    /// Renders a text. What of it is secret is replaced in the log from now on.
    fn rendered(&self, text: &str, data: &LateData) -> Result<String, String> {
        render_late(text, data, &mut |secret| self.redactor.add(&[SecretString::from(secret)]))
    }

    /// Renders one text.
    ///
    /// # Errors
    /// Says what of the template cannot be rendered.
    pub fn render(&self, text: &str) -> Result<String, StepError> {
        self.rendered(text, &self.data).map_err(|reason| template_failed(text, &reason))
    }
}

fn template_failed(text: &str, reason: &str) -> StepError {
    let title = "A template of the build cannot be rendered";
    StepError::found(422, "template_failed", title, format!("`{text}`: {reason}"))
}

impl Render for Late {
    fn render(&self, template: &str, extra: &[(&str, &str)]) -> Result<String, String> {
        let mut data = self.data.clone();
        data.vars.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.rendered(template, &data)
    }
}
