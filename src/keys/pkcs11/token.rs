//! Modules and tokens of this process: each module is loaded once, each token is logged in to once.
//!
//! A PIN that a token refused is never tried again, by nobody in this process: three wrong ones lock most tokens.
//! Before the last try that a token allows, none is made at all. Sessions are lent to one thread at a time.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::error::TokenError;
use super::uri::{Module as ModuleName, TokenUri};
use crate::keys::KeyError;

/// The environment variable that names the module where the URI does not.
pub const MODULE_VARIABLE: &str = "WHEELSEAL_PKCS11_MODULE";
/// Sessions on one token at a time, at most. More gain nothing: a token computes one signature after the other.
const MAX_SESSIONS: u64 = 8;
/// Where systems keep modules, for those that are given by name.
const MODULE_FOLDERS: [&str; 9] = [
    "/usr/lib/pkcs11",
    "/usr/lib64/pkcs11",
    "/usr/lib/x86_64-linux-gnu/pkcs11",
    "/usr/lib/aarch64-linux-gnu/pkcs11",
    "/usr/lib/softhsm",
    "/usr/lib64/softhsm",
    "/usr/lib",
    "/usr/local/lib",
    "/opt/homebrew/lib",
];

type Tokens = BTreeMap<(PathBuf, u64, String), Arc<Token>>;
static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());
static TOKENS: Mutex<Tokens> = Mutex::new(BTreeMap::new());

/// A token in its slot.
pub(super) struct Token {
    module: Pkcs11,
    slot: Slot,
    login: Mutex<Login>,
    idle: Mutex<Vec<Session>>,
    permits: Semaphore,
}

enum Login {
    NotYet,
    Done,
    Refused,
}

/// The token that a URI means.
pub(super) fn find(uri: &TokenUri) -> Result<Arc<Token>, TokenError> {
    let (path, module) = load(uri)?;
    let failed = |error| failed("list its slots", &error);
    let mut fitting = Vec::new();
    let mut present = Vec::new();
    for slot in module.get_slots_with_initialized_token().map_err(failed)? {
        let info = module.get_token_info(slot).map_err(failed)?;
        present.push(format!("{:?} (serial {:?})", info.label(), info.serial_number()));
        if fits(uri, slot, &info) {
            fitting.push((slot, info));
        }
    }
    let [(slot, info)] = fitting.as_slice() else {
        return Err(TokenError::Token { fitting: fitting.len(), present });
    };
    let key = (path, slot.id(), info.serial_number().to_owned());
    let known = || Arc::new(Token::new(module.clone(), *slot, info));
    Ok(Arc::clone(locked(&TOKENS).entry(key).or_insert_with(known)))
}

fn load(uri: &TokenUri) -> Result<(PathBuf, Pkcs11), TokenError> {
    let path = match &uri.module {
        Some(ModuleName::Path(path)) => path.clone(),
        Some(ModuleName::Name(name)) => by_name(name)?,
        None => env::var_os(MODULE_VARIABLE)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .ok_or(TokenError::NoModule)?,
    };
    let bad = |message: String| TokenError::Module { path: path.clone(), message };
    // One name for one file, and never a search along the loader's path.
    let whole = path.canonicalize().map_err(|error| bad(error.to_string()))?;
    let mut modules = locked(&MODULES);
    if let Some(module) = modules.get(&whole) {
        return Ok((whole, module.clone()));
    }
    let module = Pkcs11::new(&whole).map_err(|error| bad(error.to_string()))?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(bad(error.to_string())),
    }
    modules.insert(whole.clone(), module.clone());
    Ok((whole, module))
}

fn by_name(name: &str) -> Result<PathBuf, TokenError> {
    let files = [format!("lib{name}.so"), format!("{name}.so"), format!("lib{name}.dylib")];
    let places =
        MODULE_FOLDERS.iter().flat_map(|folder| files.iter().map(|file| Path::new(folder).join(file)));
    let message = format!("looked for {} in {}", files.join(", "), MODULE_FOLDERS.join(", "));
    let missing = TokenError::Module { path: name.into(), message };
    places.into_iter().find(|path| path.is_file()).ok_or(missing)
}

fn fits(uri: &TokenUri, slot: Slot, info: &TokenInfo) -> bool {
    let same = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    same(&uri.token, info.label())
        && same(&uri.manufacturer, info.manufacturer_id())
        && same(&uri.model, info.model())
        && same(&uri.serial, info.serial_number())
        && uri.slot.is_none_or(|wanted| wanted == slot.id())
}

impl Token {
    fn new(module: Pkcs11, slot: Slot, info: &TokenInfo) -> Self {
        let allowed = Option::<u64>::from(info.max_session_count()).filter(|allowed| *allowed > 0);
        let sessions = allowed.unwrap_or(MAX_SESSIONS).min(MAX_SESSIONS);
        Self {
            module,
            slot,
            login: Mutex::new(Login::NotYet),
            idle: Mutex::new(Vec::new()),
            permits: Semaphore::new(usize::try_from(sessions).unwrap_or(1)),
        }
    }

    /// Limits the sessions in use; whoever has a permit may call [`Token::with_session`].
    pub(super) fn permits(&self) -> &Semaphore {
        &self.permits
    }

    /// Lends a session. One that failed is not lent again.
    pub(super) fn with_session<T>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        // Not in one expression with the next: the lock would be held while the token works.
        let idle = locked(&self.idle).pop();
        let session = match idle {
            Some(session) => session,
            None => self.module.open_ro_session(self.slot).map_err(|e| failed("open a session", &e))?,
        };
        let done = work(&session);
        match done {
            Ok(_) => locked(&self.idle).push(session),
            Err(TokenError::Gone { .. }) => self.forget(),
            Err(_) => {}
        }
        done
    }

    /// A token that was pulled out has ended its sessions, and wants a login when it is back. A PIN that was refused
    /// stays so.
    fn forget(&self) {
        let mut login = locked(&self.login);
        if matches!(*login, Login::Done) {
            *login = Login::NotYet;
        }
        locked(&self.idle).clear();
    }

    /// A session that may write, for making keys.
    pub(super) fn writing(&self) -> Result<Session, TokenError> {
        self.module.open_rw_session(self.slot).map_err(|e| failed("open a session for writing", &e))
    }

    /// Logs in, once: whoever comes later finds it done, or refused.
    pub(super) fn log_in(
        &self,
        pin: impl FnOnce() -> Result<Zeroizing<String>, KeyError>,
        wrapped: impl Fn(TokenError) -> KeyError,
    ) -> Result<(), KeyError> {
        let mut login = locked(&self.login);
        match *login {
            Login::Done => return Ok(()),
            Login::Refused => return Err(wrapped(TokenError::RefusedBefore)),
            Login::NotYet => {}
        }
        let info = self.module.get_token_info(self.slot);
        let info = info.map_err(|error| wrapped(failed("say what it is", &error)))?;
        if !info.login_required() {
            return Ok(());
        }
        may_try(&info).map_err(&wrapped)?;
        // Some tokens have a keypad of their own.
        let keypad = info.protected_authentication_path();
        let pin = if keypad { None } else { Some(AuthPin::from(pin()?.as_str())) };
        let session = self.module.open_ro_session(self.slot);
        let session = session.map_err(|error| wrapped(failed("open a session", &error)))?;
        *login = Login::Refused;
        match session.login(UserType::User, pin.as_ref()) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(wrapped(not_logged_in(&error))),
        }
        *login = Login::Done;
        // The login lasts as long as any session does; this one is kept for the first signature.
        locked(&self.idle).push(session);
        Ok(())
    }
}

/// Whether a try of the PIN cannot do harm.
fn may_try(info: &TokenInfo) -> Result<(), TokenError> {
    if info.user_pin_locked() {
        return Err(TokenError::Locked);
    }
    if info.user_pin_final_try() {
        return Err(TokenError::FinalTry);
    }
    if info.user_pin_initialized() { Ok(()) } else { Err(TokenError::NoPinSet) }
}

fn not_logged_in(error: &Error) -> TokenError {
    match error {
        Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _) => {
            TokenError::WrongPin
        }
        Error::Pkcs11(RvError::PinLocked, _) => TokenError::Locked,
        error => failed("log in", error),
    }
}

/// What a module's answer means.
pub(super) fn failed(what: &'static str, error: &Error) -> TokenError {
    let message = match error {
        Error::Pkcs11(code, function) => format!("{function:?}: {code:?}"),
        other => other.to_string(),
    };
    let gone = matches!(
        error,
        Error::Pkcs11(
            RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::DeviceRemoved
                | RvError::DeviceError
                | RvError::SlotIdInvalid
                | RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::ObjectHandleInvalid
                | RvError::KeyHandleInvalid
                | RvError::UserNotLoggedIn,
            _
        )
    );
    if gone { TokenError::Gone { message } } else { TokenError::Failed { what, message } }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
