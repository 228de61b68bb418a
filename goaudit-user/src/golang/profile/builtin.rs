//! The profiles that come with goaudit: `goaudit-user/profiles`.

/// Each with its file's name.
pub const BUILTIN: [(&str, &str); 9] = [
    ("casbin.toml", include_str!("../../../profiles/casbin.toml")),
    ("cedar.toml", include_str!("../../../profiles/cedar.toml")),
    ("etcd.toml", include_str!("../../../profiles/etcd.toml")),
    ("grpc.toml", include_str!("../../../profiles/grpc.toml")),
    ("http.toml", include_str!("../../../profiles/http.toml")),
    ("kubernetes.toml", include_str!("../../../profiles/kubernetes.toml")),
    ("ladon.toml", include_str!("../../../profiles/ladon.toml")),
    ("opa.toml", include_str!("../../../profiles/opa.toml")),
    ("openfga.toml", include_str!("../../../profiles/openfga.toml")),
];
