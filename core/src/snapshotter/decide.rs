//! The order of a run. Pure: what ended goes in, what to do next comes out.

use crate::{
    error::{Error, Kind},
    limits,
};

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Learning what the vault holds.
    Looking,
    /// Walking, sealing, and sending what is sealed.
    Sealing,
    /// The Uploader confirms and publishes.
    Publishing,
    Ended,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    Looked(Result<(), Error>),
    /// The tree is complete. `same_as_parent`: and it is the one of the last snapshot.
    Sealed(Result<Sealed, Error>),
    Published(Result<Published, Error>),
    /// A pack could not be stored: the run cannot succeed any more.
    PackRefused(Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) same_as_parent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    Done,
    /// The vault does not hold everything that the tree names any more.
    Lost,
}

#[derive(Debug)]
pub(super) enum Effect {
    Look,
    Seal,
    Publish,
    /// Stop walking and sealing; `Sealed` follows.
    Abort,
    /// Answer, with what there is or with the error.
    Finish(Result<(), Error>),
}

/// One run.
#[derive(Debug)]
pub(super) struct Run {
    state: State,
    attempt: u32,
    skip_if_unchanged: bool,
    /// Why the run is being given up while threads still work.
    failure: Option<Error>,
}

impl Run {
    pub(super) fn begin(skip_if_unchanged: bool) -> (Self, Effect) {
        let run = Self {
            state: State::Looking,
            attempt: 1,
            skip_if_unchanged,
            failure: None,
        };
        (run, Effect::Look)
    }

    /// Goes on with a run whose tree was completed in an earlier window.
    pub(super) fn resume(skip_if_unchanged: bool) -> (Self, Effect) {
        let (begun, _) = Self::begin(skip_if_unchanged);
        let run = Self {
            state: State::Publishing,
            ..begun
        };
        (run, Effect::Publish)
    }

    /// Whether this is a repetition because the vault lost blobs.
    pub(super) fn is_again(&self) -> bool {
        self.attempt > 1
    }

    pub(super) fn apply(&mut self, event: Event) -> Vec<Effect> {
        match (self.state, event) {
            (State::Ended, _) => vec![],
            (State::Looking, Event::Looked(Ok(()))) => {
                self.state = State::Sealing;
                vec![Effect::Seal]
            }
            (State::Sealing, Event::Sealed(Ok(sealed))) => match self.failure.take() {
                Some(error) => self.end(Err(error)),
                None if sealed.same_as_parent && self.skip_if_unchanged => self.end(Ok(())),
                None => {
                    self.state = State::Publishing;
                    vec![Effect::Publish]
                }
            },
            // What the walk failed with is a consequence where the run was given up.
            (State::Sealing, Event::Sealed(Err(error))) => {
                let error = self.failure.take().unwrap_or(error);
                self.end(Err(error))
            }
            (State::Sealing, Event::PackRefused(error)) => {
                let first = self.failure.is_none();
                self.failure.get_or_insert(error);
                if first { vec![Effect::Abort] } else { vec![] }
            }
            // The Uploader answers `Publish` with the same error.
            (State::Looking | State::Publishing, Event::PackRefused(_)) => vec![],
            (State::Publishing, Event::Published(Ok(Published::Done))) => self.end(Ok(())),
            (State::Publishing, Event::Published(Ok(Published::Lost))) => {
                if self.attempt >= limits::PUBLISH_ATTEMPTS_MAX {
                    let text = "the vault kept losing packs while they were being published: is another client \
                                pruning it? What was sealed is kept; try again later";
                    return self.end(Err(Error::new(Kind::Locked, text)));
                }
                self.attempt += 1;
                self.state = State::Looking;
                vec![Effect::Look]
            }
            (State::Looking, Event::Looked(Err(error)))
            | (State::Publishing, Event::Published(Err(error))) => self.end(Err(error)),
            (_, event) => self.end(Err(Error::bug(format!(
                "a run was told {event:?} while {:?}",
                self.state
            )))),
        }
    }

    fn end(&mut self, result: Result<(), Error>) -> Vec<Effect> {
        self.state = State::Ended;
        vec![Effect::Finish(result)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Sealed = Sealed {
        same_as_parent: false,
    };
    const SAME: Sealed = Sealed { same_as_parent: true };

    fn names(effects: &[Effect]) -> String {
        let name = |effect: &Effect| match effect {
            Effect::Look => "look".into(),
            Effect::Seal => "seal".into(),
            Effect::Publish => "publish".into(),
            Effect::Abort => "abort".into(),
            Effect::Finish(Ok(())) => "done".into(),
            Effect::Finish(Err(error)) => format!("{:?}", error.kind()),
        };
        effects.iter().map(name).collect::<Vec<String>>().join(" ")
    }

    fn play(skip: bool, events: Vec<Event>) -> String {
        let (mut run, first) = Run::begin(skip);
        let mut effects = vec![first];
        for event in events {
            effects.extend(run.apply(event));
        }
        names(&effects)
    }

    fn full() -> Error {
        Error::new(Kind::OutOfSpace(crate::error::Place::Vault), "full")
    }

    #[test]
    fn a_run_looks_seals_and_publishes_in_this_order() {
        let events = || {
            vec![
                Event::Looked(Ok(())),
                Event::Sealed(Ok(NEW)),
                Event::Published(Ok(Published::Done)),
            ]
        };
        assert_eq!(play(false, events()), "look seal publish done");
        assert_eq!(play(true, events()), "look seal publish done");
        let same = vec![Event::Looked(Ok(())), Event::Sealed(Ok(SAME))];
        assert_eq!(play(true, same), "look seal done");
    }

    #[test]
    fn blobs_lost_meanwhile_are_sealed_again_but_not_for_ever() {
        let mut events = Vec::new();
        for _ in 0..limits::PUBLISH_ATTEMPTS_MAX {
            events.extend([
                Event::Looked(Ok(())),
                Event::Sealed(Ok(NEW)),
                Event::Published(Ok(Published::Lost)),
            ]);
        }
        let turns = vec!["look seal publish"; limits::PUBLISH_ATTEMPTS_MAX as usize].join(" ");
        assert_eq!(play(false, events), format!("{turns} Locked"));
    }

    #[test]
    fn a_refused_pack_ends_the_run_once_with_its_own_reason() {
        let events = vec![
            Event::Looked(Ok(())),
            Event::PackRefused(full()),
            Event::PackRefused(Error::cancelled()),
            Event::Sealed(Err(Error::cancelled())),
            Event::PackRefused(Error::cancelled()),
        ];
        assert_eq!(play(false, events), "look seal abort OutOfSpace(Vault)");
        let late = vec![
            Event::Looked(Ok(())),
            Event::PackRefused(full()),
            Event::Sealed(Ok(NEW)),
        ];
        assert_eq!(play(false, late), "look seal abort OutOfSpace(Vault)");
    }

    #[test]
    fn a_run_with_its_tree_only_publishes_and_walks_if_something_was_lost_meanwhile() {
        let (mut run, first) = Run::resume(false);
        assert!(matches!(first, Effect::Publish));
        let lost = run.apply(Event::Published(Ok(Published::Lost)));
        assert_eq!(names(&lost), "look");
        assert!(run.is_again());
    }

    #[test]
    fn an_event_out_of_order_is_a_defect_and_ends_the_run() {
        assert_eq!(
            play(false, vec![Event::Published(Ok(Published::Done))]),
            "look Bug"
        );
    }
}
