//! Where the private cluster lies and whom it belongs to. PostgreSQL refuses to run as root, so as root the cluster
//! belongs to another user, who must be able to reach it; and one data folder serves one fournil.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::EmbeddedPostgresError as Error;
use crate::config::is_root;

/// Holds clusters whose data folder the server's user cannot reach.
const ELSEWHERE: &str = "/var/lib/fournil-postgres";

/// Prefix of clusters that `initdb` has not finished.
const DRAFT: &str = "cluster.new-";

/// The most bytes that the path of a Unix socket can have on Linux, the final NUL excluded.
const LONGEST_SOCKET_PATH: usize = 107;

/// The socket's name for port 5432.
pub const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// The user that the server runs as when fournil runs as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerUser {
    /// User id, never 0.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The folders of a cluster, locked for this process.
#[derive(Debug)]
pub struct Place {
    /// Holds the cluster, the socket, the lock and the server's log.
    pub home: PathBuf,
    /// Whom the cluster belongs to; absent: us.
    pub user: Option<ServerUser>,
    /// Held as long as fournil runs; the kernel lets go of it however fournil ends.
    _lock: File,
}

impl Place {
    /// Makes the folders under `data_folder` as far as they are missing, and locks them.
    ///
    /// # Errors
    /// Another fournil has them, nobody but root is there to own them, or they cannot be made.
    pub fn prepare(data_folder: &Path) -> Result<Self, Error> {
        make_folder(data_folder)?;
        let data_folder = data_folder.canonicalize().map_err(Error::folder("find", data_folder))?;
        let link = data_folder.join("postgres");
        let user = if is_root() { Some(server_user(&link.join("cluster"))?) } else { None };
        let home = match user {
            None => {
                make_folder(&link)?;
                link
            }
            Some(user) => home_for(user, &data_folder, &link)?,
        };
        let lock = lock(&home.join("lock"), &data_folder)?;
        let place = Self { home, user, _lock: lock };
        place.remove_drafts()?;
        Ok(place)
    }

    /// PostgreSQL's data directory.
    pub fn cluster(&self) -> PathBuf {
        self.home.join("cluster")
    }

    /// What the server writes to its standard error.
    pub fn log(&self) -> PathBuf {
        self.home.join("server.log")
    }

    /// Opens the server's log behind its end, or empties it when it has more than `largest` bytes.
    pub fn open_log(&self, largest: u64) -> Result<File, Error> {
        let path = self.log();
        let open = || {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
            if file.metadata()?.len() > largest {
                file.set_len(0)?;
            }
            Ok(file)
        };
        open().map_err(Error::folder("write", &path))
    }

    /// An empty folder for `initdb`. The name is new each time: an `initdb` that outlived its fournil may still be
    /// writing into the last one.
    pub fn new_draft(&self) -> Result<PathBuf, Error> {
        let draft = self.home.join(format!("{DRAFT}{}", Uuid::new_v4()));
        self.make_server_folder(&draft)?;
        Ok(draft)
    }

    fn make_server_folder(&self, path: &Path) -> Result<(), Error> {
        make_folder(path)?;
        match self.user {
            Some(user) => {
                chown(path, Some(user.uid), Some(user.gid)).map_err(Error::folder("give away", path))
            }
            None => Ok(()),
        }
    }

    fn remove_drafts(&self) -> Result<(), Error> {
        let entries = fs::read_dir(&self.home).map_err(Error::folder("read", &self.home))?;
        for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(DRAFT))
        {
            fs::remove_dir_all(entry.path()).map_err(Error::folder("remove", &entry.path()))?;
        }
        Ok(())
    }
}

/// Where the server's socket is: beside the cluster, or in a temporary folder when that path is too long for a socket.
#[derive(Debug)]
pub enum SocketFolder {
    /// Beside the cluster.
    Beside(PathBuf),
    /// Removed when fournil ends.
    Temporary(tempfile::TempDir),
}

impl SocketFolder {
    /// Makes the folder, closed to everybody but the server's user.
    pub fn prepare(place: &Place) -> Result<Self, Error> {
        let beside = place.home.join("socket");
        if beside.join(SOCKET_NAME).as_os_str().len() <= LONGEST_SOCKET_PATH {
            place.make_server_folder(&beside)?;
            return Ok(Self::Beside(beside));
        }
        // Not `env::temp_dir`: TMPDIR may be just as long, and a folder of root's own that nobody else can pass.
        let folder = tempfile::Builder::new()
            .prefix("fournil-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in("/tmp")
            .map_err(Error::folder("make a folder in", Path::new("/tmp")))?;
        place.make_server_folder(folder.path())?;
        Ok(Self::Temporary(folder))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        match self {
            Self::Beside(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// The owner of the cluster if there is one, else `postgres`, which Debian's package makes, else `nobody`.
fn server_user(cluster: &Path) -> Result<ServerUser, Error> {
    if let Ok(metadata) = fs::metadata(cluster)
        && metadata.uid() != 0
    {
        return Ok(ServerUser { uid: metadata.uid(), gid: metadata.gid() });
    }
    let passwd = Path::new("/etc/passwd");
    let text = fs::read_to_string(passwd).map_err(Error::folder("read", passwd))?;
    ["postgres", "nobody"].iter().find_map(|name| user_in(&text, name)).ok_or(Error::NoUser)
}

fn user_in(passwd: &str, name: &str) -> Option<ServerUser> {
    passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [found, _, uid, gid, ..] = fields[..] else { return None };
        let user = ServerUser { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
        (found == name && user.uid != 0).then_some(user)
    })
}

/// The home of a cluster that belongs to `user`. The data folder is ours, so it may be opened to that user's group.
/// The folders above it are not, and stay as they are: where one is closed (as /root is), the cluster lies under
/// /var/lib, and a link in the data folder leads there. The link, not the path, says which cluster belongs to which
/// data folder, so a data folder that was removed and made again gets a new cluster.
fn home_for(user: ServerUser, data_folder: &Path, link: &Path) -> Result<PathBuf, Error> {
    let closed = closed_folder(data_folder.parent().unwrap_or(data_folder), user)?;
    let exists = link.symlink_metadata().is_ok();
    let home = match (exists, closed) {
        (true, _) => link.canonicalize().map_err(Error::folder("find", link))?,
        (false, None) => link.to_owned(),
        (false, Some(closed)) => {
            let home = Path::new(ELSEWHERE).join(Uuid::new_v4().to_string());
            make_folder(&home)?;
            open_to(user, Path::new(ELSEWHERE))?;
            symlink(&home, link).map_err(Error::folder("make", link))?;
            tracing::info!(
                "the database of {} is put into {}: the server's user may not pass {}",
                data_folder.display(),
                home.display(),
                closed.display()
            );
            home
        }
    };
    make_folder(&home)?;
    open_to(user, &home)?;
    if home == link {
        open_to(user, data_folder)?;
    }
    match closed_folder(&home, user)? {
        Some(folder) => Err(Error::Impassable { folder, uid: user.uid }),
        None => Ok(home),
    }
}

/// The first folder from the root to `path` that `user` may not pass.
fn closed_folder(path: &Path, user: ServerUser) -> Result<Option<PathBuf>, Error> {
    let mut folders: Vec<_> = path.ancestors().collect();
    folders.reverse();
    for folder in folders {
        let metadata = fs::metadata(folder).map_err(Error::folder("read", folder))?;
        if !may_pass(user, metadata.uid(), metadata.gid(), metadata.mode()) {
            return Ok(Some(folder.to_owned()));
        }
    }
    Ok(None)
}

/// As the kernel judges: only the first class that fits counts.
const fn may_pass(user: ServerUser, owner: u32, group: u32, mode: u32) -> bool {
    if owner == user.uid {
        mode & 0o100 != 0
    } else if group == user.gid {
        mode & 0o010 != 0
    } else {
        mode & 0o001 != 0
    }
}

/// Lets the user's group pass a folder of ours, unless the user can pass it already.
fn open_to(user: ServerUser, folder: &Path) -> Result<(), Error> {
    let metadata = fs::metadata(folder).map_err(Error::folder("read", folder))?;
    if may_pass(user, metadata.uid(), metadata.gid(), metadata.mode()) {
        return Ok(());
    }
    let open = || {
        chown(folder, None, Some(user.gid))?;
        // Whatever the former group was allowed is not meant for the new one.
        fs::set_permissions(folder, Permissions::from_mode((metadata.mode() & 0o7707) | 0o010))
    };
    open().map_err(Error::folder("open", folder))
}

/// Makes a folder that is closed to others. Those above it, as far as they are missing, are made as open as usual: the
/// server's user has to pass them.
fn make_folder(path: &Path) -> Result<(), Error> {
    let make = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    };
    make().map_err(Error::folder("make", path))
}

fn lock(path: &Path, data_folder: &Path) -> Result<File, Error> {
    let failed = Error::folder("lock", path);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            return Err(Error::Occupied { folder: data_folder.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let mut write = || {
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())
    };
    write().map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_class_that_fits_opens_a_folder() {
        let user = ServerUser { uid: 7, gid: 8 };
        assert!(may_pass(user, 7, 0, 0o100));
        assert!(!may_pass(user, 7, 8, 0o011));
        assert!(may_pass(user, 0, 8, 0o010));
        assert!(!may_pass(user, 0, 8, 0o701));
        assert!(may_pass(user, 0, 0, 0o001));
        assert!(!may_pass(user, 0, 0, 0o770));
    }

    #[test]
    fn users_are_found_in_passwd_and_root_is_never_taken() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nbroken\npostgres:x:104:106::/var/lib/postgresql:/bin/bash\n";
        assert_eq!(user_in(passwd, "postgres"), Some(ServerUser { uid: 104, gid: 106 }));
        assert_eq!(user_in(passwd, "root"), None);
        assert_eq!(user_in(passwd, "nobody"), None);
    }
}
