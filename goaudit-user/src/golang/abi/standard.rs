//! Structs of the standard library that tell who asks, so that profiles need not declare them: the beginning of each, up
//! to the last field that matters (crypto/x509/x509.go, crypto/x509/pkix/pkix.go, crypto/tls/common.go,
//! net/http/request.go, time/time.go; Go 1.17 to 1.27). `live_go_identity.rs` compares them with the compiler's.
//!
//! Paths go through them, behind pointers. Signatures do not know them: what a signature has by value must be declared
//! beside it, because their sizes differ from release to release.

use super::signature::Declarations;

/// A struct as of a release.
struct Standard {
    /// As signatures and paths write it.
    name: &'static str,
    /// The minor release of Go since which it is so.
    since: u32,
    /// Its underlying type.
    text: &'static str,
}

/// Newest first.
const STANDARD: [Standard; 6] = [
    Standard { name: "time.Time", since: 17, text: "struct { wall uint64; ext int64; loc *time.Location }" },
    Standard {
        name: "pkix.Name",
        since: 17,
        text: "struct { Country, Organization, OrganizationalUnit, Locality, Province, StreetAddress, PostalCode []string; \
               SerialNumber, CommonName string; Names, ExtraNames []pkix.AttributeTypeAndValue }",
    },
    Standard {
        name: "x509.Certificate",
        since: 27,
        text: "struct { Raw, RawTBSCertificate, RawSubjectPublicKeyInfo, RawSubject, RawIssuer, RawSignatureAlgorithm, \
               Signature []byte; SignatureAlgorithm, PublicKeyAlgorithm int; PublicKey any; Version int; \
               SerialNumber *big.Int; Issuer, Subject pkix.Name; NotBefore, NotAfter time.Time; KeyUsage int; \
               Extensions, ExtraExtensions []pkix.Extension; UnhandledCriticalExtensions []asn1.ObjectIdentifier; \
               ExtKeyUsage []x509.ExtKeyUsage; UnknownExtKeyUsage []asn1.ObjectIdentifier; \
               BasicConstraintsValid, IsCA bool; MaxPathLen int; MaxPathLenZero bool; SubjectKeyId []byte }",
    },
    Standard {
        name: "x509.Certificate",
        since: 17,
        text: "struct { Raw, RawTBSCertificate, RawSubjectPublicKeyInfo, RawSubject, RawIssuer, \
               Signature []byte; SignatureAlgorithm, PublicKeyAlgorithm int; PublicKey any; Version int; \
               SerialNumber *big.Int; Issuer, Subject pkix.Name; NotBefore, NotAfter time.Time; KeyUsage int; \
               Extensions, ExtraExtensions []pkix.Extension; UnhandledCriticalExtensions []asn1.ObjectIdentifier; \
               ExtKeyUsage []x509.ExtKeyUsage; UnknownExtKeyUsage []asn1.ObjectIdentifier; \
               BasicConstraintsValid, IsCA bool; MaxPathLen int; MaxPathLenZero bool; SubjectKeyId []byte }",
    },
    Standard {
        name: "tls.ConnectionState",
        since: 17,
        text: "struct { Version uint16; HandshakeComplete, DidResume bool; CipherSuite uint16; \
               NegotiatedProtocol string; NegotiatedProtocolIsMutual bool; ServerName string; \
               PeerCertificates []*x509.Certificate }",
    },
    Standard {
        name: "http.Request",
        since: 17,
        text: "struct { Method string; URL *url.URL; Proto string; ProtoMajor, ProtoMinor int; \
               Header map[string][]string; Body io.ReadCloser; GetBody func() (io.ReadCloser, error); \
               ContentLength int64; TransferEncoding []string; Close bool; Host string; \
               Form, PostForm map[string][]string; MultipartForm *multipart.Form; Trailer map[string][]string; \
               RemoteAddr, RequestURI string; TLS *tls.ConnectionState }",
    },
];

/// The newest declaration of a struct.
pub(super) fn newest(name: &str) -> Option<&'static str> {
    STANDARD.iter().find(|known| known.name == name).map(|known| known.text)
}

/// Declares the structs as a release of Go has them, but for those that are declared already.
pub fn declare(types: &mut Declarations, (major, minor): (u32, u32)) {
    for known in STANDARD.iter().filter(|known| (1, known.since) <= (major, minor)) {
        types.entry(known.name.to_owned()).or_insert_with(|| known.text.to_owned());
    }
}
