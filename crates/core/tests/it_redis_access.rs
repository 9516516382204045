//! Who may connect: TLS, users, passwords.

mod redis_support;

use redis_support::*;
use writeway_core::cache::{Declaration, Entries, Finished, Lookup};
use writeway_core::error::Kind;
use writeway_core::redis::Redis;
use writeway_testkit::servers;

/// As the documentation of [`Redis`] lists them.
const MINIMAL: &str = "+get +mget +set +del +scan +time +info +evalsha +eval +script|load";

fn login(server: &servers::Redis, user: &str, password: &str) -> String {
    format!("redis://{user}:{password}@127.0.0.1:{}", server.port())
}

#[tokio::test]
async fn a_minimal_user_can_do_everything_under_its_prefix_and_nothing_beside_it() {
    let Some(server) = own() else { return };
    let mut raw = raw(&server.url()).await;
    let mut acl = vec!["ACL", "SETUSER", "app", "on", ">secret", "~prod:*", "resetchannels", "-@all"];
    acl.extend(MINIMAL.split(' '));
    tell(&mut raw, &acl).await.expect("a user");

    let redis = Redis::builder(login(&server, "app", "secret")).prefix("prod").connect().await.expect("let in");
    let k = key("1");
    redis
        .declare(&Declaration { namespace: "users".into(), mode: "strict", no_eviction: true, persistence: false })
        .await
        .expect("declared");
    for forgotten in [false, true] {
        if forgotten {
            tell(&mut raw, &["SCRIPT", "FLUSH"]).await.expect("flushed");
        }
        redis.invalidate(std::slice::from_ref(&k)).await.expect("voided");
        lease(&redis, &k, 1).await.expect("granted");
        fill(&redis, &k, 1, "x").await.expect("filled");
        assert_eq!(redis.get(&[k.clone(), key("2")]).await.ok(), Some(vec![hit("x"), Lookup::Miss]));
        assert_eq!(write(&redis, &k, "y").await.ok(), Some(Finished::Published));
        assert_eq!(get(&redis, &k).await.ok(), Some(hit("y")));
        redis.scan(b"users:", 0).await.expect("a page");
    }
    let beside = Redis::builder(login(&server, "app", "secret")).prefix("other").connect().await.expect("let in");
    for error in [refused(get(&beside, &k).await), refused(lease(&beside, &k, 1).await), refused(begin(&beside, &k, 1).await)] {
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_invalid_and_shown_nowhere() {
    let Some(server) = own() else { return };
    let mut raw = raw(&server.url()).await;
    tell(&mut raw, &["ACL", "SETUSER", "app", "on", ">right", "~*", "+@all"]).await.expect("a user");
    let error = refused(Redis::connect(login(&server, "app", "canary")).await);
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    let source = std::error::Error::source(&error).map(|e| format!("{e} {e:?}"));
    assert!(!format!("{error} {error:?} {source:?}").contains("canary"));
    tell(&mut raw, &["CONFIG", "SET", "requirepass", "right"]).await.expect("set");
    assert_eq!(refused(Redis::connect(server.url()).await).kind(), Kind::Invalid, "no password at all");
}

#[cfg(feature = "tls-rustls")]
mod tls {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).expect("parameters");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().expect("a key");
            Authority(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
        }

        /// Makes the server speak TLS on the returned port, as `name`.
        async fn equip(&self, server: &servers::Redis, name: &str) -> u16 {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
            let certificate = params.signed_by(&key, &self.0).expect("signed");
            let path = |file: &str| server.dir().join(file).to_str().expect("UTF-8").to_owned();
            for (file, pem) in [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem()), ("ca.crt", self.0.pem())] {
                std::fs::write(path(file), pem).expect("written");
            }
            let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
            let (cert, key, ca) = (path("tls.crt"), path("tls.key"), path("ca.crt"));
            let listen = port.to_string();
            let set = ["CONFIG", "SET", "tls-cert-file", &cert, "tls-key-file", &key, "tls-ca-cert-file", &ca];
            let set = [&set[..], &["tls-auth-clients", "no", "tls-port", &listen]].concat();
            tell(&mut raw(&server.url()).await, &set).await.expect("this Redis speaks TLS");
            port
        }
    }

    #[tokio::test]
    async fn only_the_right_certificate_is_accepted() {
        let Some(server) = own() else { return };
        let ours = Authority::new();
        let port = ours.equip(&server, "localhost").await;
        let url = format!("rediss://localhost:{port}");
        let redis = Redis::builder(&url).ca_certificate(ours.0.pem()).connect().await.expect("verified");
        assert_eq!(write(&redis, &key("1"), "x").await.ok(), Some(Finished::Published));

        let wrong_ca = Redis::builder(&url).ca_certificate(Authority::new().0.pem()).connect().await;
        assert_eq!(refused(wrong_ca).kind(), Kind::Invalid);
        assert_eq!(refused(Redis::connect(&url).await).kind(), Kind::Invalid, "the system knows no such authority");
        let wrong_host = Redis::builder(format!("rediss://127.0.0.1:{port}")).ca_certificate(ours.0.pem()).connect().await;
        assert_eq!(refused(wrong_host).kind(), Kind::Invalid);
        let plain = Redis::connect(format!("redis://localhost:{port}")).await;
        assert_eq!(refused(plain).kind(), Kind::Unavailable, "no plaintext there");
    }
}
