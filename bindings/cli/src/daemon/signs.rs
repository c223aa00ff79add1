//! Signs that something has changed: the kernel tells of networks, of power, and of files; and SIGHUP asks to look.
//!
//! Where the system has no such signs, or does not let a process of this sort see them, there is a look a minute.

use std::{path::PathBuf, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

/// Signs come in bursts: one look for all of them.
const SETTLE: Duration = Duration::from_millis(100);

pub(super) struct Signs {
    hangup: Option<Signal>,
    asked: bool,
    kernel: kernel::Kernel,
}

impl Signs {
    /// `folders` are those in which a file may change that matters.
    pub(super) fn listen(folders: &[PathBuf]) -> Self {
        Self {
            hangup: signal(SignalKind::hangup()).ok(),
            asked: false,
            kernel: kernel::Kernel::listen(folders),
        }
    }

    /// Waits for a sign, or for as long as that.
    pub(super) async fn next(&mut self, at_most: Duration) {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = hangup => self.asked = true,
            () = self.kernel.next() => {
                sleep(SETTLE).await;
                self.kernel.drain();
            }
            () = sleep(at_most) => {}
        }
    }

    /// Whether somebody asked to look since the last call.
    pub(super) fn take_asked(&mut self) -> bool {
        std::mem::take(&mut self.asked)
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::{os, path::PathBuf, sync::Arc, thread};

    use rustix::{
        fs::inotify,
        net::{
            AddressFamily, Protocol, SocketFlags, SocketType, bind,
            netlink::{self, SocketAddrNetlink},
            socket_with,
        },
    };
    use tokio::{net::UnixDatagram, sync::Notify};

    /// Of `rtnetlink`: links, and the addresses and routes of both families.
    const ROUTE_GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
    /// What the kernel itself says, such as of chargers that are plugged in.
    const UEVENT_GROUPS: u32 = 0x1;

    pub(super) struct Kernel {
        networks: Option<UnixDatagram>,
        power: Option<UnixDatagram>,
        files: Arc<Notify>,
    }

    impl Kernel {
        pub(super) fn listen(folders: &[PathBuf]) -> Self {
            let files = Arc::new(Notify::new());
            if !folders.is_empty() {
                watch(folders.to_vec(), files.clone());
            }
            Self {
                // `NETLINK_ROUTE` is zero, which is what nothing says.
                networks: told(None, ROUTE_GROUPS),
                power: told(Some(netlink::KOBJECT_UEVENT), UEVENT_GROUPS),
                files,
            }
        }

        pub(super) async fn next(&self) {
            tokio::select! {
                () = ready(self.networks.as_ref()) => {}
                () = ready(self.power.as_ref()) => {}
                () = self.files.notified() => {}
            }
        }

        /// What a sign says does not matter: everything is looked at anew.
        pub(super) fn drain(&self) {
            let mut buffer = [0_u8; 8192];
            for source in self.networks.iter().chain(&self.power) {
                while source.try_recv(&mut buffer).is_ok() {}
            }
        }
    }

    async fn ready(source: Option<&UnixDatagram>) {
        match source {
            Some(source) if source.readable().await.is_ok() => {}
            _ => std::future::pending().await,
        }
    }

    /// A socket on which the kernel tells. It is a datagram socket of another family, and is waited for and read like one.
    fn told(protocol: Option<Protocol>, groups: u32) -> Option<UnixDatagram> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol).ok()?;
        bind(&socket, &SocketAddrNetlink::new(0, groups)).ok()?;
        UnixDatagram::from_std(os::unix::net::UnixDatagram::from(socket)).ok()
    }

    /// A thread that sleeps until a file is written or replaced. It ends with the process, and holds nothing that matters.
    fn watch(folders: Vec<PathBuf>, changed: Arc<Notify>) {
        let look = move || -> rustix::io::Result<()> {
            let watcher = inotify::init(inotify::CreateFlags::CLOEXEC)?;
            let changes = inotify::WatchFlags::CLOSE_WRITE | inotify::WatchFlags::MOVED_TO;
            for folder in &folders {
                inotify::add_watch(&watcher, folder, changes)?;
            }
            let mut buffer = [0_u8; 8192];
            loop {
                rustix::io::read(&watcher, &mut buffer)?;
                changed.notify_one();
            }
        };
        // Without it, there is a look a minute.
        let _ = thread::Builder::new().name("files".into()).spawn(look);
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::path::PathBuf;

    pub(super) struct Kernel;

    impl Kernel {
        pub(super) fn listen(_: &[PathBuf]) -> Self {
            Self
        }

        pub(super) async fn next(&self) {
            std::future::pending().await
        }

        pub(super) fn drain(&self) {}
    }
}
