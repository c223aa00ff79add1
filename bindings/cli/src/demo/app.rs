//! The app: a folder such as a messenger has it. Made from a seed, so that each time it is the same.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::exit::{Failure, Result};

const PHOTOS: u64 = 40;
const CHATS: u64 = 80;
const CONTACTS: u64 = 160;
const DRAFTS: u64 = 60;

const FIRST_NAMES: [&str; 12] = [
    "Ada", "Bruno", "Chiara", "Deniz", "Elif", "Farid", "Grace", "Hiro", "Inés", "Jonas", "Kofi", "Lena",
];
const LAST_NAMES: [&str; 9] = [
    "Almeida", "Berg", "Costa", "Dogan", "Eriksen", "Fischer", "Green", "Haddad", "Ito",
];
const PHRASES: [&str; 8] = [
    "See you at the harbour at eight",
    "The photos from Sunday are so good",
    "Can you send me the address again?",
    "Happy birthday!",
    "I am ten minutes late, sorry",
    "Did you see the sea today?",
    "Let us meet where the boats are",
    "Bring a coat, it is windy",
];

pub(super) struct App {
    folder: PathBuf,
    pub(super) photos: Kind,
    pub(super) documents: Kind,
}

/// How much there is of a sort of file.
#[derive(Default)]
pub(super) struct Kind {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl App {
    /// Makes the app's files. Its database is made by its process.
    pub(super) fn install(folder: &Path) -> Result<Self> {
        let mut app = Self {
            folder: folder.to_owned(),
            photos: Kind::default(),
            documents: Kind::default(),
        };
        app.fill()
            .map_err(|error| Failure::io("making the app's files", error))?;
        Ok(app)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn database(&self) -> PathBuf {
        self.database_in(&self.folder)
    }

    /// Where the database is when the app's folder is there.
    pub(super) fn database_in(&self, folder: &Path) -> PathBuf {
        folder.join("databases/messages.db")
    }

    /// What a person does in an afternoon.
    pub(super) fn change(&mut self) -> Result<()> {
        let change = || -> io::Result<()> {
            fs::write(self.photo_path(PHOTOS), photo(PHOTOS))?;
            let contact = self.folder.join("contacts/0042.json");
            let text = fs::read_to_string(&contact)?;
            fs::write(
                contact,
                text.replace("\"favourite\": false", "\"favourite\": true"),
            )?;
            fs::remove_file(self.folder.join("drafts/0007.json"))
        };
        change().map_err(|error| Failure::io("changing the app's files", error))
    }

    fn photo_path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("photos/IMG_{:04}.jpg", 2100 + number))
    }

    fn fill(&mut self) -> io::Result<()> {
        for folder in ["photos", "chats", "contacts", "drafts", "databases"] {
            fs::create_dir_all(self.folder.join(folder))?;
        }
        for number in 0..PHOTOS {
            let bytes = photo(number);
            self.photos.files += 1;
            self.photos.bytes += bytes.len() as u64;
            fs::write(self.photo_path(number), bytes)?;
        }
        let mut random = Random(7);
        for number in 0..CHATS {
            let settings = json!({
                "title": random.one_of(&PHRASES),
                "members": (0..2 + random.below(6)).map(|_| random.below(CONTACTS)).collect::<Vec<_>>(),
                "muted": random.below(4) == 0,
                "theme": {"background": "sand", "bubble": "#1f6f8b", "textSize": 16},
                "lastRead": 1_700_000_000 + random.below(30_000_000),
            });
            self.document("chats", number, &settings)?;
        }
        for number in 0..CONTACTS {
            let contact = json!({
                "name": {"first": random.one_of(&FIRST_NAMES), "last": random.one_of(&LAST_NAMES)},
                "phone": format!("+1 555 01{:02} {:04}", random.below(100), random.below(10_000)),
                "key": format!("{:016x}{:016x}", random.next(), random.next()),
                "favourite": number != 42 && random.below(10) == 0,
            });
            self.document("contacts", number, &contact)?;
        }
        for number in 0..DRAFTS {
            let phrases: Vec<&str> = (0..1 + random.below(5))
                .map(|_| random.one_of(&PHRASES))
                .collect();
            let draft = json!({"chat": random.below(CHATS), "text": phrases.join(". ")});
            self.document("drafts", number, &draft)?;
        }
        Ok(())
    }

    fn document(&mut self, folder: &str, number: u64, value: &serde_json::Value) -> io::Result<()> {
        let text = format!("{value:#}\n");
        self.documents.files += 1;
        self.documents.bytes += text.len() as u64;
        fs::write(self.folder.join(format!("{folder}/{number:04}.json")), text)
    }
}

/// What no compressor makes smaller, between the first and the last bytes of a JPEG file.
fn photo(number: u64) -> Vec<u8> {
    const HEAD: &[u8] = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x02\x00\x00\x48\x00\x48\x00\x00";
    let mut random = Random(1000 + number);
    let size = 300_000 + random.below(1_700_000) as usize;
    let mut bytes = Vec::with_capacity(size + 16);
    bytes.extend_from_slice(HEAD);
    while bytes.len() < size {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.extend_from_slice(b"\xff\xd9");
    bytes
}

/// A phrase for a message.
pub(super) fn phrase(number: u64) -> &'static str {
    Random(number).one_of(&PHRASES)
}

/// SplitMix64: numbers that look like chance and are the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_afternoon_changes_three_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut app = App::install(dir.path()).unwrap();
        assert_eq!(app.photos.files, PHOTOS);
        assert!(!app.photo_path(PHOTOS).exists());
        let contact = dir.path().join("contacts/0042.json");
        let before = fs::read(&contact).unwrap();
        app.change().unwrap();
        assert!(app.photo_path(PHOTOS).exists());
        assert_ne!(fs::read(&contact).unwrap(), before);
        assert!(!dir.path().join("drafts/0007.json").exists());
    }
}
