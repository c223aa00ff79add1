//! MinIO, an S3 server that gives out keys for a session, and asks for their token. It is large to build, and so used for that alone.

use std::process::Command;

use lifeboat::storage::Credentials;
use tempfile::TempDir;

use super::{Process, program};

const ROOT: &str = "root-of-tests";
const ROOT_SECRET: &str = "a secret only for tests";

pub struct Minio {
    process: Process,
    _dir: TempDir,
}

/// Asks for keys with Amazon's own client, and prints them line by line: as root makes a bucket, and as a session has its keys.
const ASK: &str = "
import boto3, sys
endpoint, key, secret = sys.argv[1:]
common = dict(endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret, region_name='us-east-1')
boto3.client('s3', **common).create_bucket(Bucket='vaults')
keys = boto3.client('sts', **common).assume_role(RoleArn='arn:xxx:xxx:xxx:xxxx', RoleSessionName='tests', DurationSeconds=900)['Credentials']
print(keys['AccessKeyId'], keys['SecretAccessKey'], keys['SessionToken'], sep='\\n')
";

impl Minio {
    pub fn start() -> Self {
        let binary = program("LIFEBOAT_MINIO");
        let dir = tempfile::Builder::new()
            .prefix("lifeboat-minio-")
            .tempdir()
            .expect("a temporary folder");
        let data = dir.path().join("data");
        let process = Process::start(&dir.path().join("log"), |port| {
            let mut command = Command::new(&binary);
            command
                .env("HOME", dir.path())
                .env("MINIO_ROOT_USER", ROOT)
                .env("MINIO_ROOT_PASSWORD", ROOT_SECRET)
                .env("MINIO_BROWSER", "off")
                .args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")])
                .arg(&data);
            command
        });
        Self { process, _dir: dir }
    }

    pub fn address(&self, prefix: &str) -> String {
        format!("s3:http://127.0.0.1:{}/vaults/{prefix}", self.process.port)
    }

    /// Keys for a session of a quarter of an hour.
    pub fn session(&self) -> Credentials {
        // The interpreter that runs moto has Amazon's client, too.
        let python = program("LIFEBOAT_MOTO_SERVER").with_file_name("python");
        let output = Command::new(python)
            .args([
                "-c",
                ASK,
                &format!("http://127.0.0.1:{}", self.process.port),
                ROOT,
                ROOT_SECRET,
            ])
            .output()
            .expect("Python runs");
        let said = String::from_utf8(output.stdout).expect("keys are text");
        let lines: Vec<&str> = said.lines().collect();
        let [key, secret, token] = lines[..] else {
            panic!(
                "no keys: {said}{}\n{}",
                String::from_utf8_lossy(&output.stderr),
                self.process.log()
            );
        };
        let mut credentials = Credentials::new(key, secret);
        credentials.session_token = Some(token.to_owned().into());
        credentials
    }
}
