//! The rules for single values that are not paths. Each takes what is written, and returns what is
//! meant or what is wrong with it.

use zyg_protocol::limits::{HOSTNAME_BYTES_MAX, PROFILE_NAME_BYTES_MAX};

/// Bytes of one part of a host name (hostname(7)).
const HOSTNAME_PART_BYTES_MAX: usize = 63;

/// Bytes of a system call's name: twice what the longest needs.
const SYSTEM_CALL_BYTES_MAX: usize = 64;

/// A name that can stand in a file name and on a command line without being quoted.
pub(super) fn profile_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        Err("a profile's name must not be empty".into())
    } else if name.len() > PROFILE_NAME_BYTES_MAX {
        Err(format!(
            "a profile's name has at most {PROFILE_NAME_BYTES_MAX} bytes, not {}",
            name.len()
        ))
    } else if !name.chars().all(plain) {
        Err(format!("a profile's name consists of A-Z a-z 0-9 . _ -, unlike {name:?}"))
    } else if name.starts_with(['.', '-']) {
        Err(format!("a profile's name starts with a letter, a digit or _, unlike {name:?}"))
    } else {
        Ok(())
    }
}

/// A host name by the rules of hostname(7), which are those of RFC 1123.
pub(super) fn hostname(name: &str) -> Result<String, String> {
    let valid_part = |part: &str| {
        !part.is_empty()
            && part.len() <= HOSTNAME_PART_BYTES_MAX
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if name.len() > HOSTNAME_BYTES_MAX {
        Err(format!("a host name has at most {HOSTNAME_BYTES_MAX} bytes, not {}", name.len()))
    } else if !name.split('.').all(valid_part) {
        Err(format!(
            "{name:?} is no host name: parts of A-Z a-z 0-9 and inner -, separated by dots"
        ))
    } else {
        Ok(name.to_owned())
    }
}

/// A name that may stand in passwd(5) or group(5), as `kind` says which. Directory services allow
/// almost anything else.
pub(super) fn account(name: &str, kind: &str) -> Result<String, String> {
    if name.is_empty() || name.contains([':', '/']) || name.contains(char::is_control) {
        return Err(format!("{name:?} is no {kind} name"));
    }
    Ok(name.to_owned())
}

/// Such a name where a number may stand as well.
pub(super) fn principal(name: &str, kind: &str) -> Result<String, String> {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{name:?} is no {kind} name: write the number without quotes"));
    }
    account(name, kind)
}

/// A file mode in octal digits, that of a socket: who may write to it may connect (unix(7)).
pub(super) fn socket_mode(text: &str) -> Result<u32, String> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
    mode.ok_or_else(|| {
        format!("{text:?} is no mode: octal digits from \"0000\" to \"0777\", such as \"0660\"")
    })
}

/// The name of a variable of the environment.
pub(super) fn variable(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("{name:?} is no name of a variable: it is not empty and has no ="));
    }
    Ok(())
}

/// The value of a variable of the environment.
pub(super) fn variable_value(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err(format!("a variable has no zero byte, unlike {text:?}"));
    }
    Ok(text.to_owned())
}

/// A name that may be one of syscalls(2).
pub(super) fn system_call(name: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || name.len() > SYSTEM_CALL_BYTES_MAX || !name.bytes().all(plain) {
        return Err(format!("{name:?} is no system call: names are those of syscalls(2)"));
    }
    Ok(name.to_owned())
}
