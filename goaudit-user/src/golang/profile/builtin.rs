//! The profiles that come with goaudit: `goaudit-user/profiles`.

/// Each with its file's name.
pub const BUILTIN: [(&str, &str); 1] = [("casbin.toml", include_str!("../../../profiles/casbin.toml"))];
