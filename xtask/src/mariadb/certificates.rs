//! A certificate for a server on the loopback address, the authority that signed it, and one that did not.
//!
//! Invariant: every call makes new keys; nothing is written outside the folder given; the authorities' own keys
//! are written nowhere.

use std::fs;
use std::io;

use camino::Utf8Path;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// The authority that signed the server's certificate.
pub(super) const CA: &str = "ca.pem";
/// An authority that did not.
pub(super) const OTHER_CA: &str = "other-ca.pem";
/// The server's certificate, for `localhost` and 127.0.0.1.
pub(super) const SERVER: &str = "server.pem";
/// The server's private key.
pub(super) const SERVER_KEY: &str = "server-key.pem";

/// Writes the four files.
pub(super) fn write(folder: &Utf8Path) -> io::Result<()> {
    let files =
        make().map_err(|error| io::Error::other(format!("a test certificate cannot be made: {error}")))?;
    for (name, pem) in files {
        let path = folder.join(name);
        fs::write(&path, pem).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
    }
    Ok(())
}

/// The files' names and contents.
fn make() -> Result<[(&'static str, String); 4], rcgen::Error> {
    let (ca, other) = (authority("minidvodbcopy test CA")?, authority("minidvodbcopy other CA")?);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(["localhost", "127.0.0.1"].map(str::to_owned))?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let server = params.signed_by(&key, &ca)?;
    Ok([(CA, ca.pem()), (OTHER_CA, other.pem()), (SERVER, server.pem()), (SERVER_KEY, key.serialize_pem())])
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}
