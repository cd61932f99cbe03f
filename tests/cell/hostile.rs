//! An image that wants to be written elsewhere than in itself.

use std::{collections::BTreeMap, fs, path::Path};

use fournil::communicator::Communicator as _;

use crate::disk::Mounted;

const LEADS_OUT: &str = "a link in the image leads to what is mounted there";

/// A folder of the host that is lent to the image at `/lent`.
struct Lent {
    folder: tempfile::TempDir,
    before: BTreeMap<String, String>,
}

impl Lent {
    async fn to(mounted: &Mounted) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(folder.path().join("deep/kept"), "the host's").unwrap();
        mounted.cell.mount_inside("bind", folder.path().to_str().unwrap(), "/lent").await.unwrap();
        let before = content(folder.path());
        Self { folder, before }
    }

    /// Nothing in it has changed.
    fn must_be_untouched(&self) {
        assert_eq!(content(self.folder.path()), self.before);
    }
}

/// All that is in a folder.
fn content(folder: &Path) -> BTreeMap<String, String> {
    fn read(folder: &Path, within: &str, into: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{within}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                into.insert(name.clone(), "a folder".to_owned());
                read(&entry.path(), &name, into);
            } else {
                into.insert(name, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    let mut content = BTreeMap::new();
    read(folder, "", &mut content);
    content
}

#[tokio::test]
async fn a_link_to_what_the_host_lent_is_not_followed() {
    let Some(mounted) = Mounted::new().await else { return };
    let lent = Lent::to(&mounted).await;
    let links = "ln -s /lent /alias; ln -s ../lent/deep /etc/alias; ln -s /lent/deep/kept /etc/file;
                 ln -s /lent/new /etc/new; ln -s new /etc/newer; ln -s /lent /dev-of-image";
    mounted.run(links).await;
    for path in ["/alias/x", "/alias/deep/kept", "/etc/alias/kept", "/etc/file", "/etc/new", "/etc/newer"] {
        let error = mounted.upload(path).await.expect_err(path);
        assert!(error.contains(LEADS_OUT), "{path}: {error}");
    }
    let files = tempfile::tempdir().unwrap();
    fs::create_dir(files.path().join("alias")).unwrap();
    fs::write(files.path().join("alias/kept"), "from the build").unwrap();
    for (path, base) in [("/etc", files.path().to_owned()), ("/alias", files.path().join("alias"))] {
        let error = mounted.chroot.upload_folder(&base, path).await.expect_err(path).to_string();
        assert!(error.contains(LEADS_OUT), "{path}: {error}");
    }
    for target in ["/alias", "/alias/made", "/etc/alias"] {
        let error = mounted.cell.mount_inside("tmpfs", "tmpfs", target).await.expect_err(target).to_string();
        assert!(error.contains(LEADS_OUT), "{target}: {error}");
    }
    let to = files.path().join("read");
    let error = mounted.chroot.download("/etc/file", &to, 1000).await.unwrap_err().to_string();
    assert!(error.contains(LEADS_OUT), "{error}");
    assert!(!to.exists());
    lent.must_be_untouched();

    // Who names what was lent means it, and links within the image are good.
    mounted.upload("/lent/deep/given").await.unwrap();
    assert_eq!(content(lent.folder.path())["/deep/given"], "from the build");
    mounted.run("mkdir /opt; ln -s /opt /etc/opt; ln -s ../opt/target /etc/dangling").await;
    mounted.upload("/etc/opt/x").await.unwrap();
    mounted.upload("/etc/dangling").await.unwrap();
    assert_eq!(mounted.run("cat /opt/x /opt/target").await, "from the buildfrom the build");
    mounted.cell.release().await.unwrap();
}

#[tokio::test]
async fn a_file_of_the_host_is_not_copied_through_a_link_either() {
    let Some(mounted) = Mounted::new().await else { return };
    let lent = Lent::to(&mounted).await;
    let source = tempfile::Builder::new().prefix("fournil-copied").tempdir_in("/tmp").unwrap();
    let file = source.path().join("resolv.conf");
    fs::write(&file, "the host's").unwrap();
    mounted.run("rmdir /tmp; ln -s /lent /tmp").await;
    let error = mounted.cell.copy_in(&file).await.unwrap_err().to_string();
    assert!(error.contains(LEADS_OUT), "{error}");
    lent.must_be_untouched();
    mounted.cell.release().await.unwrap();
}

/// In its own namespace the image may move the folders that something is mounted on.
#[tokio::test]
async fn what_was_lent_does_not_come_to_where_the_image_moves_it() {
    let Some(mounted) = Mounted::new().await else { return };
    let lent = Lent::to(&mounted).await;
    mounted.run("umount /lent && mv /etc /old && mv /lent /etc && mkdir /lent").await;
    let error = mounted.upload("/etc/deep/kept").await.unwrap_err();
    assert!(error.contains(LEADS_OUT), "{error}");
    mounted.upload("/lent/new").await.unwrap();
    lent.must_be_untouched();
    mounted.cell.release().await.unwrap();
}

#[tokio::test]
async fn mounts_of_the_image_itself_may_be_linked_to() {
    let Some(mounted) = Mounted::new().await else { return };
    let command = format!("mkdir {0}/boot && mount -t tmpfs none {0}/boot", mounted.path.display());
    mounted.cell.run_on_host(&command, &crate::disk::Written::default()).await.unwrap();
    mounted.run("ln -s /boot /alias").await;
    mounted.upload("/alias/x").await.unwrap();
    mounted.upload("/boot/y").await.unwrap();
    assert_eq!(mounted.run("cat /boot/x").await, "from the build");
    mounted.cell.release().await.unwrap();
}
