//! Key files: read with limits, written once.
//!
//! A file with a private key must be closed to other users, as ssh wants it: mode 0600 or less. Exempt are files whose
//! name says `worthless`: example keys come out of git, which does not keep modes, and are public anyway. The check
//! is on the opened file, not on the path. Files with public keys may have any mode.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use super::pem::{self, Block};
use super::{KeyError, KeyUri, Passphrase};
use crate::crypto::{PublicKey, SigningKey};
use crate::tuf::key::Key;

/// Bytes of a key file, at most. An encrypted RSA key of 8,192 bits has some 6,500.
pub const MAX_KEY_FILE: u64 = 64 * 1024;
/// A file name with this word is an example key, which needs no secrecy.
pub const EXAMPLE: &str = "worthless";

pub(super) fn private(uri: &KeyUri, path: &Path, ask: &dyn Passphrase) -> Result<SigningKey, KeyError> {
    let mut file = open(path)?;
    let bytes = read(uri, path, &mut file)?;
    let block = Block::find(uri, &bytes)?;
    if !block.is_public() {
        closed_to_others(path, &file)?;
    }
    block.private(ask)
}

/// From a public block, or from a private one under the rules for those.
pub(super) fn public(uri: &KeyUri, path: &Path, ask: &dyn Passphrase) -> Result<PublicKey, KeyError> {
    let mut file = open(path)?;
    let bytes = read(uri, path, &mut file)?;
    let block = Block::find(uri, &bytes)?;
    if block.is_public() || matches!(uri, KeyUri::Public(_)) {
        return block.public();
    }
    closed_to_others(path, &file)?;
    block.private(ask).map(|key| key.public().clone())
}

/// The one line of a file that is closed to others: a PIN.
#[cfg(feature = "pkcs11")]
pub(super) fn line(uri: &KeyUri, path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let mut file = open(path)?;
    let bytes = read(uri, path, &mut file)?;
    closed_to_others(path, &file)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() || text.contains('\n') {
        return Err(KeyError::NotLine { path: path.to_owned() });
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// The checks of size and mode, for files that another library then reads.
#[cfg(feature = "tough-keys")]
pub(super) fn check(uri: &KeyUri, path: &Path) -> Result<(), KeyError> {
    let mut file = open(path)?;
    read(uri, path, &mut file)?;
    closed_to_others(path, &file)
}

fn open(path: &Path) -> Result<File, KeyError> {
    File::open(path).map_err(|e| KeyError::io("open the key", path, &e))
}

fn read(uri: &KeyUri, path: &Path, file: &mut File) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut bytes = Zeroizing::new(Vec::new());
    // In one piece: a vector that grows leaves copies of the key behind.
    bytes.reserve_exact(usize::try_from(MAX_KEY_FILE).unwrap_or(usize::MAX).saturating_add(64));
    let mut limited = file.take(MAX_KEY_FILE + 1);
    let length = limited.read_to_end(&mut bytes).map_err(|e| KeyError::io("read the key", path, &e))?;
    if u64::try_from(length).is_ok_and(|length| length <= MAX_KEY_FILE) {
        return Ok(bytes);
    }
    Err(KeyError::TooLarge { uri: uri.clone(), limit: MAX_KEY_FILE })
}

#[cfg(unix)]
fn closed_to_others(path: &Path, file: &File) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt;

    let metadata = file.metadata().map_err(|e| KeyError::io("check the key", path, &e))?;
    let mode = metadata.permissions().mode() & 0o777;
    let example = path.file_name().is_some_and(|name| name.to_string_lossy().contains(EXAMPLE));
    let others = mode & 0o077;
    if others == 0 || example { Ok(()) } else { Err(KeyError::Exposed { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn closed_to_others(_path: &Path, _file: &File) -> Result<(), KeyError> {
    Ok(())
}

/// Writes a private key, given as PKCS#8 DER, to a new file of mode 0600: encrypted under the passphrase if there is
/// one, whole or not at all, on disk when this returns. Gives back the public half.
///
/// # Errors
/// [`KeyError::Exists`] if anything is at `path`; [`KeyError::Unusable`] if the DER is no key. The length of the
/// passphrase is not checked here but by [`Passphrase::for_new`].
pub fn write_new(path: &Path, der: &[u8], passphrase: Option<&str>) -> Result<Key, KeyError> {
    let unusable = |cause| KeyError::Unusable { uri: KeyUri::File(path.to_owned()), cause };
    let public = SigningKey::from_pkcs8(der).map_err(unusable)?.public().clone();
    let scheme = public.default_scheme();
    let key = Key::new(public, scheme).map_err(unusable)?;
    let text = pem::encode(der, passphrase).map_err(unusable)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create(folder, path, text.as_bytes()).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
        _ => KeyError::io("write the key", path, &e),
    })?;
    Ok(key)
}

/// The temporary file has mode 0600 from its first moment.
fn create(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".key-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Given, Nobody};
    use super::*;
    use crate::crypto::NewKey;
    use std::fs;

    const PLAIN: &str = include_str!("fixtures/worthless-ed25519.pem");
    const PUBLIC: &str = include_str!("fixtures/worthless-ed25519.pub.pem");

    fn file(path: &Path) -> KeyUri {
        KeyUri::File(path.to_owned())
    }

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[cfg(unix)]
    fn set_mode(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn an_encrypted_key_is_written_and_opens_with_its_passphrase_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.pem");
        for (kind, name) in [(NewKey::Ed25519, "a.pem"), (NewKey::P256, "b.pem")] {
            let path = folder.path().join(name);
            let key = write_new(&path, &kind.generate().unwrap(), Some("correct horse")).unwrap();
            let opened = private(&file(&path), &path, &Given("correct horse")).unwrap();
            assert_eq!(key.public(), Some(opened.public()));
            assert_eq!(public(&file(&path), &path, &Given("correct horse")).as_ref().ok(), key.public());
            let refused = private(&file(&path), &path, &Given("wrong horse")).unwrap_err();
            assert_eq!(refused, KeyError::WrongPassphrase { uri: file(&path) });
        }
        let key = write_new(&path, &NewKey::Ed25519.generate().unwrap(), None).unwrap();
        assert_eq!(key.public(), Some(private(&file(&path), &path, &Nobody).unwrap().public()));
    }

    #[test]
    fn an_existing_file_is_never_overwritten_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.pem");
        fs::write(&path, "precious").unwrap();
        let der = NewKey::Ed25519.generate().unwrap();
        assert_eq!(write_new(&path, &der, None), Err(KeyError::Exists { path: path.clone() }));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(names(folder.path()), ["root.pem"]);
        let bad = write_new(&folder.path().join("new.pem"), b"garbage", None).unwrap_err();
        assert!(matches!(bad, KeyError::Unusable { .. }));
        let lost = write_new(&folder.path().join("none/new.pem"), &der, None).unwrap_err();
        assert!(matches!(lost, KeyError::Io { kind: io::ErrorKind::NotFound, .. }));
        assert_eq!(names(folder.path()), ["root.pem"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_at_the_name_counts_as_existing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.pem");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        let refused = write_new(&path, &NewKey::Ed25519.generate().unwrap(), None);
        assert_eq!(refused, Err(KeyError::Exists { path }));
        assert_eq!(names(folder.path()), ["root.pem"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_new_key_has_mode_0600_and_one_open_to_others_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.pem");
        write_new(&path, &NewKey::Ed25519.generate().unwrap(), None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        for mode in [0o640, 0o604, 0o620, 0o610] {
            set_mode(&path, mode);
            let exposed = KeyError::Exposed { path: path.clone(), mode };
            assert_eq!(private(&file(&path), &path, &Nobody).unwrap_err(), exposed);
            assert_eq!(public(&file(&path), &path, &Nobody).unwrap_err(), exposed);
            assert!(exposed.hint().unwrap().contains("chmod 600"));
        }
        set_mode(&path, 0o400);
        assert!(private(&file(&path), &path, &Nobody).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn example_keys_and_public_keys_may_have_any_mode() {
        let folder = tempfile::tempdir().unwrap();
        let (example, shared) = (folder.path().join("worthless-a.pem"), folder.path().join("a.pub"));
        fs::write(&example, PLAIN).unwrap();
        fs::write(&shared, PUBLIC).unwrap();
        set_mode(&example, 0o644);
        set_mode(&shared, 0o644);
        let key = private(&file(&example), &example, &Nobody).unwrap();
        assert_eq!(public(&file(&shared), &shared, &Nobody).as_ref(), Ok(key.public()));
        assert_eq!(public(&KeyUri::Public(shared.clone()), &shared, &Nobody).as_ref(), Ok(key.public()));
        let not_public = public(&KeyUri::Public(example.clone()), &example, &Nobody).unwrap_err();
        assert!(matches!(not_public, KeyError::WrongBlock { .. }));
        let folder_named_worthless = folder.path().join("worthless");
        fs::create_dir(&folder_named_worthless).unwrap();
        let real = folder_named_worthless.join("root.pem");
        fs::write(&real, PLAIN).unwrap();
        set_mode(&real, 0o644);
        assert!(matches!(private(&file(&real), &real, &Nobody), Err(KeyError::Exposed { .. })));
    }

    #[test]
    fn oversized_garbage_and_missing_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worthless.pem");
        let uri = file(&path);
        let missing = private(&uri, &path, &Nobody).unwrap_err();
        assert!(matches!(missing, KeyError::Io { kind: io::ErrorKind::NotFound, .. }));
        let padded =
            |length: u64| format!("{PLAIN}{}", " ".repeat(usize::try_from(length).unwrap() - PLAIN.len()));
        fs::write(&path, padded(MAX_KEY_FILE)).unwrap();
        assert!(private(&uri, &path, &Nobody).is_ok());
        fs::write(&path, padded(MAX_KEY_FILE + 1)).unwrap();
        let large = KeyError::TooLarge { uri: uri.clone(), limit: MAX_KEY_FILE };
        assert_eq!(private(&uri, &path, &Nobody).unwrap_err(), large);
        for garbage in ["", "\u{0}\u{1}", "-----BEGIN -----END", "-----BEGIN PRIVATE KEY-----"] {
            fs::write(&path, garbage).unwrap();
            assert!(matches!(private(&uri, &path, &Nobody), Err(KeyError::NotPem { .. })), "{garbage:?}");
        }
        assert!(matches!(private(&uri, folder.path(), &Nobody), Err(KeyError::Io { .. })));
    }
}
