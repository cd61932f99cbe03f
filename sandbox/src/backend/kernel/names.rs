//! What a disk is called in a VM, from what the template calls it.

/// The letters of a name that OAPI takes: `/dev/xvdf`, `/dev/sdf` → `f`; nothing for others.
pub(super) fn letters(device_name: &str) -> Option<&str> {
    let name = device_name.strip_prefix("/dev/").unwrap_or(device_name);
    let letters = name.strip_prefix("xvd").or_else(|| name.strip_prefix("sd"))?;
    let is_plain = !letters.is_empty() && letters.bytes().all(|byte| byte.is_ascii_lowercase());
    is_plain.then_some(letters)
}

#[cfg(test)]
mod tests {
    use super::letters;

    #[test]
    fn both_kinds_of_names_have_letters() {
        assert_eq!(
            (letters("/dev/xvdf"), letters("/dev/sdba"), letters("xvdb")),
            (Some("f"), Some("ba"), Some("b"))
        );
        for other in ["/dev/sda1", "/dev/vdb", "/dev/sd", "", "/dev/xvd/f"] {
            assert_eq!(letters(other), None, "{other}");
        }
    }
}
