//! Apache with Debian's `libapache2-mod-auth-openidc` before a page.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::StatusCode;

use crate::support::process::Process;
use crate::support::program::{Anteroom, SECRET};
use crate::support::visitor::Visitor;
use crate::support::{eventually, file, free_port, program};

const MODULES: &str = "/usr/lib/apache2/modules";

/// A complete Apache in one directory. `User` and `Group` apply only if root starts it.
const CONFIG: &str = r#"
ServerRoot "{directory}"
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile "{directory}/pid"
Mutex file:{directory} default
ErrorLog "{directory}/error.log"
LogLevel warn auth_openidc:info
User www-data
Group www-data

LoadModule mpm_prefork_module {modules}/mod_mpm_prefork.so
LoadModule authn_core_module {modules}/mod_authn_core.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authz_user_module {modules}/mod_authz_user.so
LoadModule include_module {modules}/mod_include.so
LoadModule auth_openidc_module {modules}/mod_auth_openidc.so

OIDCProviderMetadataURL {issuer}/.well-known/openid-configuration
OIDCClientID Sample
OIDCClientSecret {secret}
OIDCRedirectURI http://127.0.0.1:{port}/callback
OIDCScope "openid profile"
OIDCPKCEMethod S256
OIDCCryptoPassphrase 0123456789abcdef0123456789abcdef
OIDCRemoteUserClaim sub
OIDCPassClaimsAs environment

DocumentRoot "{directory}/pages"
<Directory "{directory}/pages">
    Options +Includes
    SetOutputFilter INCLUDES
</Directory>
<Location />
    AuthType openid-connect
    Require valid-user
</Location>
"#;

/// `REMOTE_USER` comes from the ID token and `OIDC_CLAIM_preferred_username` from userInfo.
const PAGE: &str = "<p>user <!--#echo var=\"REMOTE_USER\" -->, sub <!--#echo var=\"OIDC_CLAIM_sub\" -->, \
                    name <!--#echo var=\"OIDC_CLAIM_preferred_username\" -->.</p>";

/// Apache on `port`, in a directory that its own user can read.
async fn apache(program: &Path, port: u16, issuer: &str) -> (Process, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(root.join("pages")).unwrap();
    fs::write(root.join("pages/index.html"), PAGE).unwrap();
    let config = CONFIG
        .replace("{directory}", root.to_str().unwrap())
        .replace("{port}", &port.to_string())
        .replace("{modules}", MODULES)
        .replace("{issuer}", issuer)
        .replace("{secret}", SECRET);
    fs::write(root.join("httpd.conf"), config).unwrap();
    let mut command = Command::new(program);
    command.arg("-f").arg(root.join("httpd.conf")).arg("-DFOREGROUND");
    let log = root.join("error.log");
    let process = Process::start("apache2", &command, directory);
    eventually("Apache listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
    (process, log)
}

#[tokio::test]
async fn apache_admits_the_third_visitor_when_the_counter_reaches_three() {
    let Some(program) = program("apache2") else { return };
    if file(format!("{MODULES}/mod_auth_openidc.so")).is_none() {
        return;
    }
    let port = free_port();
    let site = format!("http://127.0.0.1:{port}");
    let anteroom = Anteroom::for_client(&format!("{site}/callback")).await;
    let (_apache, log) = apache(&program, port, &anteroom.issuer).await;
    assert_eq!((anteroom.join().await, anteroom.join().await), (1, 2));

    let mut visitor = Visitor::new();
    let page = visitor.open(&format!("{site}/index.html")).await;
    let log = || fs::read_to_string(&log).unwrap_or_default();
    assert_eq!(page.position(), Some(3), "{page:?} {}", log());
    assert_eq!(anteroom.serve(2).await, 2);
    let page = visitor.refresh(&page).await;
    assert_eq!(page.position(), Some(3), "{page:?}");
    assert_eq!(anteroom.serve(1).await, 3);
    let page = visitor.refresh(&page).await;

    assert_eq!((page.status, page.url.as_str()), (StatusCode::OK, &*format!("{site}/index.html")), "{}", log());
    let (_, sub) = page.body.split_once("sub ").unwrap();
    let (sub, _) = sub.split_once(',').unwrap();
    assert_eq!(page.body, format!("<p>user {sub}, sub {sub}, name visitor-3.</p>"), "{}", log());
    assert_eq!(anteroom.position_of(sub).await, 3);
}
