//! Whole repositories on servers: ours in restic's hands, restic's in ours, and both in turn.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;

use lifeboat::storage::BucketStyle;
use lifeboat_tests::{
    Forest, Lifeboat, Restic, Scene, assert_same,
    compare::Options,
    lifeboat_cli::exit,
    scene::restored,
    seed,
    servers::{
        Access, RestServer, S3Server,
        rest::{self, PASSWORD},
        s3::Make,
    },
};

/// Both programs on one vault.
struct Pair {
    scene: Scene,
    lifeboat: Lifeboat,
    restic: Restic,
}

impl Pair {
    fn at(address: &str, access: &Access) -> Self {
        let scene = Scene::new();
        Forest::of_everything(seed(61)).plant(&scene.source());
        let address = Path::new(address);
        Self {
            lifeboat: Lifeboat::new(address, &scene.path("state")).with_access(access),
            restic: Restic::current(address).with_access(access),
            scene,
        }
    }

    fn same(&self, target: &Path) {
        let source = self.scene.source();
        assert_same(&source, &restored(target, &source), &Options::default());
    }

    /// We make it, restic reads it, goes on with it, and we read that.
    fn ours_then_restics(&self) {
        let Self {
            scene,
            lifeboat,
            restic,
        } = self;
        lifeboat.run(["snapshots"]).code(exit::NO_REPOSITORY);
        lifeboat.init();
        lifeboat.run(["init"]).code(exit::FAILED).says("already");
        lifeboat.backup(&scene.source());
        lifeboat.check_read_data();
        let target = scene.path("by-us");
        lifeboat.restore("latest", &target);
        self.same(&target);

        restic.check_read_data();
        let target = scene.path("by-restic");
        restic.restore("latest", &target);
        self.same(&target);

        std::fs::write(scene.source().join("new"), seed(62).to_string().repeat(100_000)).unwrap();
        let summary = restic.backup(&scene.source());
        assert_eq!(summary["files_new"], 1, "{summary}");
        let elsewhere = lifeboat.with_state(&scene.path("another-state"));
        let target = scene.path("by-another-of-us");
        elsewhere.restore("latest", &target);
        self.same(&target);
        elsewhere.check_read_data();
    }
}

#[test]
fn rest_server_with_a_private_authority_and_users() {
    let server = RestServer::start(rest::Options {
        private: true,
        tls: true,
        ..rest::Options::default()
    });
    let pair = Pair::at(&server.address(), &server.access());
    pair.ours_then_restics();
    // The same with the password in the address; and it is not shown.
    let with_password = Lifeboat::new(
        Path::new(&server.address_with(PASSWORD)),
        &pair.scene.path("state"),
    );
    let access = Access {
        variables: vec![],
        ..server.access()
    };
    let finished = with_password.with_access(&access).run(["init"]).refused();
    assert!(!finished.stderr.contains("password%20only"), "{finished}");
    let without = pair.lifeboat.with_access(&Access {
        variables: vec![],
        ..server.access()
    });
    without
        .run(["snapshots"])
        .code(exit::FAILED)
        .says("RESTIC_REST_PASSWORD");
    pair.lifeboat
        .with_access(&Access {
            options: vec![],
            ..server.access()
        })
        .run(["snapshots"])
        .code(exit::FAILED)
        .says("--cacert");
}

#[test]
fn rest_server_that_only_adds() {
    let server = RestServer::start(rest::Options {
        append_only: true,
        ..rest::Options::default()
    });
    let pair = Pair::at(&server.address(), &server.access());
    pair.ours_then_restics();
    pair.lifeboat.forget(&["--keep-last", "1"]).refused();
    assert_eq!(pair.restic.snapshots().len(), 2);
}

#[test]
fn versitygw() {
    let server = S3Server::start(Make::Versity);
    let pair = Pair::at(&server.address(BucketStyle::Path, "users/one"), &server.access());
    pair.ours_then_restics();
    // Another user's place in the same bucket is another repository.
    let other = server.address(BucketStyle::Path, "users/two");
    let other = Lifeboat::new(Path::new(&other), &pair.scene.path("other")).with_access(&server.access());
    other.run(["snapshots"]).code(exit::NO_REPOSITORY);
    // The same bucket before the host's name.
    let by_host = server.address(BucketStyle::VirtualHost, "users/one");
    let access = server.access().option("-o", "s3.bucket-lookup=dns");
    let by_host = Lifeboat::new(Path::new(&by_host), &pair.scene.path("by-host")).with_access(&access);
    by_host.check();
}

#[test]
fn moto() {
    let server = S3Server::start(Make::Moto);
    let pair = Pair::at(&server.address(BucketStyle::Path, ""), &server.access());
    pair.ours_then_restics();
}
