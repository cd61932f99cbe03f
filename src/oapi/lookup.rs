//! What image builders ask for often: one resource by its id, what a lost answer may have made, tags and removals.

use base64::Engine;

use super::client::Client;
use super::error::OapiError;
use super::types::{
    CreateTags, FiltersImage, FiltersKeypair, FiltersPublicIp, FiltersSecurityGroup, FiltersSnapshot,
    FiltersVm, FiltersVolume, Image, Keypair, PublicIp, ReadAccounts, ReadConsoleOutput, ReadImages,
    ReadKeypairs, ReadPublicIps, ReadSecurityGroups, ReadSnapshots, ReadVms, ReadVolumes, Request,
    ResourceTag, SecurityGroup, Snapshot, UnlinkPublicIp, Vm, Volume,
};

/// Writes "one resource by its id".
macro_rules! by_id {
    ($(#[$meta:meta])* $name:ident, $read:ident, $filters:ident { $field:ident } -> $item:ty) => {
        $(#[$meta])*
        pub async fn $name(&self, id: &str) -> Result<Option<$item>, OapiError> {
            let filters = $filters { $field: vec![id.to_owned()], ..Default::default() };
            Ok(self.read_all(&$read::filtered(filters)).await?.into_iter().next())
        }
    };
}

/// Writes "what a call with this token has made".
macro_rules! by_token {
    ($(#[$meta:meta])* $name:ident, $read:ident, $filters:ident -> $item:ty) => {
        $(#[$meta])*
        pub async fn $name(&self, client_token: &str) -> Result<Vec<$item>, OapiError> {
            let filters = $filters { client_tokens: vec![client_token.to_owned()], ..Default::default() };
            self.read_all(&$read::filtered(filters)).await
        }
    };
}

impl Client {
    /// The account that the keys belong to; asked once a client (ReadAccounts).
    pub async fn account_id(&self) -> Result<String, OapiError> {
        let ask = async || {
            let accounts = self.call(&ReadAccounts {}).await?.accounts;
            accounts.into_iter().next().map(|account| account.account_id).ok_or_else(|| {
                OapiError::BadAnswer {
                    action: ReadAccounts::ACTION,
                    status: 200,
                    excerpt: "no account".to_owned(),
                    maybe_done: false,
                }
            })
        };
        self.account_id_cell().get_or_try_init(ask).await.cloned()
    }

    /// Makes sure that OUTSCALE takes the keys (ReadVms as a dry run).
    pub async fn check_keys(&self) -> Result<(), OapiError> {
        self.call(&ReadVms { dry_run: Some(true), ..ReadVms::default() }).await.map(drop)
    }

    by_id! {
        /// The VM of this id, if OAPI lists it.
        vm, ReadVms, FiltersVm { vm_ids } -> Vm
    }
    by_id! {
        /// The volume of this id, if OAPI lists it.
        volume, ReadVolumes, FiltersVolume { volume_ids } -> Volume
    }
    by_id! {
        /// The snapshot of this id, if OAPI lists it.
        snapshot, ReadSnapshots, FiltersSnapshot { snapshot_ids } -> Snapshot
    }
    by_id! {
        /// The image of this id, if OAPI lists it.
        image, ReadImages, FiltersImage { image_ids } -> Image
    }
    by_id! {
        /// The security group of this id, if OAPI lists it.
        security_group, ReadSecurityGroups, FiltersSecurityGroup { security_group_ids } -> SecurityGroup
    }
    by_id! {
        /// The key pair of this name, if OAPI lists it.
        keypair_named, ReadKeypairs, FiltersKeypair { keypair_names } -> Keypair
    }
    by_token! {
        /// The VMs that CreateVms made with this token.
        vms_of_token, ReadVms, FiltersVm -> Vm
    }
    by_token! {
        /// The volumes that CreateVolume made with this token.
        volumes_of_token, ReadVolumes, FiltersVolume -> Volume
    }
    by_token! {
        /// The snapshots that CreateSnapshot made with this token.
        snapshots_of_token, ReadSnapshots, FiltersSnapshot -> Snapshot
    }

    /// The account's own images of exactly this name; OAPI keeps it to one. A `*` in the name is no wildcard here.
    pub async fn own_images_named(&self, name: &str) -> Result<Vec<Image>, OapiError> {
        let filters = FiltersImage {
            image_names: vec![name.to_owned()],
            account_ids: vec![self.account_id().await?],
            ..FiltersImage::default()
        };
        let mut images = self.read_all(&ReadImages::filtered(filters)).await?;
        images.retain(|image| image.image_name.as_deref() == Some(name));
        Ok(images)
    }

    /// The security group of exactly this name in a Net, or in the public cloud.
    pub async fn security_group_named(
        &self,
        name: &str,
        net_id: Option<&str>,
    ) -> Result<Option<SecurityGroup>, OapiError> {
        let filters = FiltersSecurityGroup {
            security_group_names: vec![name.to_owned()],
            net_ids: net_id.map(str::to_owned).into_iter().collect(),
            ..FiltersSecurityGroup::default()
        };
        let groups = self.read_all(&ReadSecurityGroups::filtered(filters)).await?;
        Ok(groups.into_iter().find(|group| {
            group.security_group_name.as_deref() == Some(name) && group.net_id.as_deref() == net_id
        }))
    }

    /// All public IPs of the account: what a lost CreatePublicIp is found by.
    pub async fn public_ips(&self) -> Result<Vec<PublicIp>, OapiError> {
        self.read_all(&ReadPublicIps::default()).await
    }

    /// What the console of a VM showed last, at most 64 KiB (ReadConsoleOutput); empty if nothing yet. Bytes that are no
    /// UTF-8 are replaced.
    pub async fn console(&self, vm_id: &str) -> Result<String, OapiError> {
        let encoded = self.call(&ReadConsoleOutput { vm_id: vm_id.to_owned() }).await?.console_output;
        let compact: String = encoded.split_ascii_whitespace().collect();
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(compact).map_err(|_| OapiError::BadAnswer {
                action: ReadConsoleOutput::ACTION,
                status: 200,
                excerpt: "the console output is not base64".to_owned(),
                maybe_done: false,
            })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sets tags on resources of any kinds (CreateTags). Nothing to do is no call.
    pub async fn tag(&self, resource_ids: &[&str], tags: &[ResourceTag]) -> Result<(), OapiError> {
        if resource_ids.is_empty() || tags.is_empty() {
            return Ok(());
        }
        let resource_ids = resource_ids.iter().map(|id| (*id).to_owned()).collect();
        self.call(&CreateTags { resource_ids, tags: tags.to_vec() }).await.map(drop)
    }

    /// Takes a public IP off whatever it is linked to, as it has to be before it is deleted (ReadPublicIps, UnlinkPublicIp).
    pub async fn unlink_public_ip(&self, public_ip_id: &str) -> Result<(), OapiError> {
        let filters =
            FiltersPublicIp { public_ip_ids: vec![public_ip_id.to_owned()], ..FiltersPublicIp::default() };
        let found = self.read_all(&ReadPublicIps::filtered(filters)).await?.into_iter().next();
        // Outside a Net the link has no id, and the address names it.
        let linked = found.and_then(|ip| ip.link_public_ip_id.or_else(|| ip.vm_id.map(|_| ip.public_ip)));
        let Some(link) = linked else { return Ok(()) };
        let request = if link.starts_with("eipassoc-") {
            UnlinkPublicIp { link_public_ip_id: Some(link), public_ip: None }
        } else {
            UnlinkPublicIp { link_public_ip_id: None, public_ip: Some(link) }
        };
        match self.call(&request).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a deleting call for one resource; "does not exist" is as good as done. (Of several VMs in one DeleteVms, an
    /// unknown one makes OAPI refuse all.)
    pub async fn delete<R: Request>(&self, request: &R) -> Result<(), OapiError> {
        match self.call(request).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
