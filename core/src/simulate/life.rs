//! Daily life, made from a seed: seven sorts of it, each with what such a phone has to live with.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    rng::Rng,
    trace::{Change, Data, Moment, Platform, Trace},
};
use crate::scheduler::{Exit, Network, Standing, Thermal};

const MIB: u64 = 1 << 20;
const HOUR: i64 = 60;

/// A sort of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// Android, Wi-Fi at home and at work, charged every night.
    Commuter,
    /// Android, mobile data most of the day, charged when it is empty.
    Student,
    /// Android, away for a week of every month: flights, roaming, other zones.
    Traveller,
    /// Android, on a shelf, often switched off, the app seldom used.
    Tablet,
    /// Android of a maker who puts apps to sleep, and a user who force-stops them.
    Putaside,
    /// An iPhone with Wi-Fi at home, and low-power mode in the evening.
    Iphone,
    /// Android without any Wi-Fi.
    Mobile,
}

impl Life {
    pub const ALL: [Self; 7] = [
        Self::Commuter,
        Self::Student,
        Self::Traveller,
        Self::Tablet,
        Self::Putaside,
        Self::Iphone,
        Self::Mobile,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Commuter => "commuter",
            Self::Student => "student",
            Self::Traveller => "traveller",
            Self::Tablet => "tablet",
            Self::Putaside => "put-aside",
            Self::Iphone => "iphone",
            Self::Mobile => "mobile",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|life| life.name() == name)
    }
}

/// The first so many days of a life from 2026-01-01 on. The same seed gives the same days, whatever their number.
pub fn live(life: Life, seed: u64, days: u32) -> Trace {
    let mut rng = Rng::new(seed ^ (life as u64) << 56);
    let zones = [
        "Europe/Berlin",
        "America/New_York",
        "Asia/Tokyo",
        "Europe/London",
        "America/Sao_Paulo",
        "Asia/Kolkata",
    ];
    let zone = zones[usize::try_from(rng.between(0, 6)).unwrap_or(0)];
    let home = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let first = jiff::civil::date(2026, 1, 1);
    let start = midnight(first, &home);
    // Whoever lives without Wi-Fi does not keep gigabytes in an app.
    let most_mib = if life == Life::Mobile { 200 } else { 4000 };
    let data = Data {
        first_bytes: rng.between(20, most_mib).unsigned_abs() * MIB,
        fast: rng.between(500, 4000).unsigned_abs() << 10,
        slow: rng.between(60, 800).unsigned_abs() << 10,
    };
    let mut days_of = Days {
        life,
        rng,
        start,
        zone: home,
        moments: Vec::new(),
        away: 0,
    };
    days_of.first_minute();
    let mut date = first;
    for day in 0..days {
        days_of.day(day, date);
        date = date.tomorrow().unwrap_or(date);
    }
    let Days { mut moments, .. } = days_of;
    moments.sort_by_key(|(minute, _)| *minute);
    let last = i64::from(days) * 24 * HOUR;
    let mut trace = Trace {
        format: 1,
        life: life.name().to_owned(),
        platform: if life == Life::Iphone {
            Platform::Ios
        } else {
            Platform::Android
        },
        zone: zone.to_owned(),
        start_ms: start.as_millisecond(),
        days,
        data,
        moments: Vec::new(),
    };
    for (minute, change) in moments
        .into_iter()
        .filter(|(minute, _)| (0..last).contains(minute))
    {
        let minute = u32::try_from(minute).unwrap_or(0);
        match trace.moments.last_mut().filter(|moment| moment.minute == minute) {
            Some(moment) => moment.changes.push(change),
            None => trace.moments.push(Moment {
                minute,
                changes: vec![change],
            }),
        }
    }
    trace
}

fn midnight(date: Date, zone: &TimeZone) -> Timestamp {
    let zoned = date.to_zoned(zone.clone());
    zoned.map_or(Timestamp::UNIX_EPOCH, |zoned| zoned.timestamp())
}

struct Days {
    life: Life,
    rng: Rng,
    start: Timestamp,
    zone: TimeZone,
    moments: Vec<(i64, Change)>,
    /// Days that are left of a journey.
    away: i64,
}

impl Days {
    fn at(&mut self, minute: i64, change: Change) {
        self.moments.push((minute, change));
    }

    fn first_minute(&mut self) {
        let standing = match self.life {
            Life::Iphone => Standing::Unknown,
            Life::Tablet => Standing::Rare,
            Life::Student | Life::Commuter => Standing::Active,
            _ => Standing::WorkingSet,
        };
        let network = if self.life == Life::Mobile {
            Network::Metered
        } else {
            Network::Unmetered
        };
        for change in [
            Change::Standing(standing),
            Change::Network(network),
            Change::Battery(90),
            Change::Charging(true),
            Change::LowPower(false),
            Change::Idle(true),
            Change::Locked(true),
            Change::Thermal(Thermal::Nominal),
            Change::FreeBytes(20 << 30),
            Change::Vault(true),
        ] {
            self.at(0, change);
        }
        // Somebody has just installed the app, and looks at it.
        let open = self.rng.between(9 * HOUR, 21 * HOUR);
        self.at(open, Change::InFront(true));
        self.at(open + 6, Change::InFront(false));
    }

    fn day(&mut self, day: u32, date: Date) {
        let midnight = midnight(date, &self.zone).duration_since(self.start).as_mins();
        let weekend = matches!(
            date.weekday(),
            jiff::civil::Weekday::Saturday | jiff::civil::Weekday::Sunday
        );
        let rise = midnight + 6 * HOUR + self.rng.between(0, 90) + if weekend { 90 } else { 0 };
        let bed = midnight + 22 * HOUR + self.rng.between(0, 110);
        if self.life == Life::Tablet {
            self.shelf(midnight);
        } else {
            self.travel(day, midnight, rise);
            self.networks(rise, bed, weekend);
            self.power(rise, bed);
            self.use_phone(rise, bed);
        }
        self.use_app(rise, bed);
        self.misfortunes(rise, bed);
        let new = match self.life {
            Life::Tablet => self.rng.between(0, 300) << 10,
            _ if self.rng.percent(20) => self.rng.between(20, 160) << 20,
            _ => self.rng.between(200, 9000) << 10,
        };
        let when = self.rng.between(rise, bed);
        self.at(when, Change::NewBytes(new.unsigned_abs()));
    }

    fn networks(&mut self, rise: i64, bed: i64, weekend: bool) {
        // Abroad, home is a hotel with Wi-Fi.
        let home = if self.life == Life::Mobile {
            Network::Metered
        } else {
            Network::Unmetered
        };
        let out = if self.away > 0 {
            Network::Roaming
        } else {
            self.mobile_data()
        };
        let work = match self.life {
            Life::Commuter | Life::Iphone | Life::Traveller if self.away == 0 => Network::Unmetered,
            _ => out,
        };
        // Some places have no network at all.
        let tunnel = |rng: &mut Rng| if rng.percent(30) { Network::Offline } else { out };
        let leave = rise + self.rng.between(40, 120);
        let back = if weekend {
            leave + self.rng.between(60, 400)
        } else {
            bed - self.rng.between(150, 330)
        };
        if weekend && self.rng.percent(40) {
            return;
        }
        let commute = tunnel(&mut self.rng);
        self.at(leave, Change::Network(commute));
        let arrive = leave + self.rng.between(20, 60);
        if arrive < back {
            self.at(arrive, Change::Network(if weekend { out } else { work }));
            let commute = tunnel(&mut self.rng);
            let ride = self.rng.between(20, 50).min(back - arrive - 1);
            self.at(back - ride, Change::Network(commute));
        }
        self.at(back, Change::Network(home));
    }

    fn power(&mut self, rise: i64, bed: i64) {
        let charges = match self.life {
            Life::Student => 45,
            Life::Putaside | Life::Mobile => 70,
            _ => 92,
        };
        self.at(rise, Change::Charging(false));
        let mut level = if self.rng.percent(charges) {
            100
        } else {
            self.rng.between(25, 70)
        };
        let mut minute = rise;
        while minute < bed {
            self.at(
                minute,
                Change::Battery(u8::try_from(level.clamp(3, 100)).unwrap_or(3)),
            );
            if level < 20 && self.rng.percent(50) {
                // A while at the plug.
                self.at(minute + 5, Change::Charging(true));
                self.at(minute + 60, Change::Charging(false));
                level += 50;
            }
            if self.life == Life::Iphone && level < 25 {
                self.at(minute, Change::LowPower(true));
                self.at(bed + 60, Change::LowPower(false));
            }
            level -= self.rng.between(4, 13);
            minute += 2 * HOUR;
        }
        if self.rng.percent(charges) {
            let plug = bed + self.rng.between(-20, 30);
            self.at(plug, Change::Charging(true));
            self.at(plug + 90, Change::Battery(100));
        }
    }

    fn use_phone(&mut self, rise: i64, bed: i64) {
        self.at(bed, Change::Idle(true));
        self.at(bed, Change::Locked(true));
        let mut minute = rise;
        while minute < bed {
            let looks = self.rng.between(3, 40);
            self.at(minute, Change::Idle(false));
            self.at(minute, Change::Locked(false));
            self.at((minute + looks).min(bed), Change::Locked(true));
            let rests = self.rng.between(15, 150);
            if rests > 60 {
                self.at((minute + looks + 30).min(bed), Change::Idle(true));
            }
            minute += looks + rests;
        }
        if self.rng.percent(5) {
            let hot = self.rng.between(rise, bed);
            self.at(hot, Change::Thermal(Thermal::Serious));
            self.at(hot + 45, Change::Thermal(Thermal::Nominal));
        }
    }

    fn use_app(&mut self, rise: i64, bed: i64) {
        let a_day_in_percent = match self.life {
            Life::Tablet => 7,
            Life::Putaside => 35,
            Life::Mobile => 60,
            _ => 180,
        };
        let mut left: u64 = a_day_in_percent;
        while left > 0 {
            if self.rng.percent(left.min(100)) {
                let open = self.rng.between(rise + 5, bed - 10);
                self.at(open, Change::InFront(true));
                let minutes = self.rng.between(1, 9);
                self.at(open + minutes, Change::InFront(false));
            }
            left = left.saturating_sub(100);
        }
    }

    fn shelf(&mut self, midnight: i64) {
        if self.rng.percent(15) {
            let off = midnight + self.rng.between(0, 20 * HOUR);
            self.at(off, Change::Power(false));
            let back = off + self.rng.between(8 * HOUR, 200 * HOUR);
            self.at(back, Change::Power(true));
        }
        let plugged = self.rng.percent(40);
        self.at(midnight + 18 * HOUR, Change::Charging(plugged));
        let level = u8::try_from(self.rng.between(15, 100)).unwrap_or(50);
        self.at(midnight + 18 * HOUR, Change::Battery(level));
    }

    fn travel(&mut self, day: u32, midnight: i64, rise: i64) {
        if self.life != Life::Traveller {
            return;
        }
        self.away = (self.away - 1).max(0);
        let (leaves, returns) = (day % 30 == 12, self.away == 1);
        if !leaves && !returns {
            return;
        }
        if leaves {
            self.away = 7;
        }
        let abroad = ["Asia/Singapore", "America/Los_Angeles", "Pacific/Auckland"];
        let to = if leaves {
            abroad[(day as usize / 30) % 3].to_owned()
        } else {
            self.home()
        };
        let flight = self.rng.between(3 * HOUR, 13 * HOUR);
        let board = rise.max(midnight + 8 * HOUR);
        self.at(board, Change::Network(Network::Offline));
        self.at(board + flight, Change::Zone(to));
        let landed = if leaves {
            Network::Roaming
        } else {
            self.mobile_data()
        };
        self.at(board + flight, Change::Network(landed));
    }

    /// As each operating system calls it.
    fn mobile_data(&self) -> Network {
        if self.life == Life::Iphone {
            Network::Expensive
        } else {
            Network::Metered
        }
    }

    fn home(&self) -> String {
        self.zone.iana_name().unwrap_or("UTC").to_owned()
    }

    /// What keeps a backup from running, now and then.
    fn misfortunes(&mut self, rise: i64, bed: i64) {
        let per_mille = |common: u64, put_aside: u64| {
            if self.life == Life::Putaside {
                put_aside
            } else {
                common
            }
        };
        let (kills, stops, sleeps) = (per_mille(20, 60), per_mille(2, 30), per_mille(0, 60));
        let when = self.rng.between(rise, bed);
        if self.rng.permille(kills) {
            let exits = [None, Some(Exit::Memory), Some(Exit::Crash), Some(Exit::Update)];
            let exit = exits[usize::try_from(self.rng.between(0, 4)).unwrap_or(0)];
            self.at(when, Change::Kill(exit));
        }
        if self.rng.permille(stops) && self.life != Life::Iphone {
            self.at(when, Change::ForceStop);
        }
        if self.rng.permille(sleeps) {
            self.at(when, Change::Asleep(true));
            let until = when + self.rng.between(24 * HOUR, 200 * HOUR);
            self.at(until, Change::Asleep(false));
        }
        if self.rng.permille(4) {
            self.at(when, Change::Vault(false));
            let until = when + self.rng.between(HOUR, 40 * HOUR);
            self.at(until, Change::Vault(true));
        }
        if self.rng.permille(5) {
            self.at(when, Change::FreeBytes(60 << 20));
            let until = when + self.rng.between(4 * HOUR, 60 * HOUR);
            self.at(until, Change::FreeBytes(8 << 30));
        }
        if self.rng.permille(3) {
            let standing = if self.life == Life::Iphone {
                Standing::Off
            } else {
                Standing::Restricted
            };
            self.at(when, Change::Standing(standing));
            let until = when + self.rng.between(48 * HOUR, 300 * HOUR);
            let back = if self.life == Life::Iphone {
                Standing::Unknown
            } else {
                Standing::WorkingSet
            };
            self.at(until, Change::Standing(back));
        }
        if self.rng.permille(2) {
            self.at(
                when,
                Change::ClockWrong(self.rng.clone().between(-3 * 24 * HOUR, 24 * HOUR)),
            );
            self.at(when + 2 * HOUR, Change::ClockWrong(0));
        }
        if self.rng.permille(8) {
            self.at(when, Change::Power(false));
            self.at(when + 3, Change::Power(true));
        }
    }
}
