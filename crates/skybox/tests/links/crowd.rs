//! A crowd that falls with one.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use skybox::{App, Exit, Handle};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::{Walker, fell_with, told, within};

/// The lines of the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Line>>>);

#[derive(Default)]
struct Line {
    text: String,
    others: Option<u64>,
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "others" {
            self.others = Some(value);
        }
    }

    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        write!(self.text, "{value:?} ").expect("a string takes all");
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().expect("nobody panics with it").push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What a person sees of it is the cause, and how many there were: not ten thousand lines.
#[tokio::test]
async fn a_crowd_that_falls_with_one_hides_no_cause() {
    const CROWD: u64 = 10_000;
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let app = App::builder().aside().start().await.unwrap();
    let falls = app.spawn::<Walker>("ada".to_owned()).await.unwrap();
    let (mut crowd, mut ends) = (Vec::new(), Vec::new());
    for n in 0..CROWD {
        let walker = app.spawn::<Walker>(format!("walker {n}")).await.unwrap();
        Handle::link(&walker, &falls).await.unwrap();
        ends.push(Handle::monitor(&walker));
        crowd.push(walker);
    }
    assert_eq!(app.status().linked, 2 * CROWD);
    app.enter(falls.fall()).await.unwrap_err();
    for end in ends {
        fell_with(&told(end).await, "ada");
    }
    assert_eq!(app.status().linked, 0);
    let told_of = || {
        let log = log.0.lock().expect("nobody panics with it");
        let of_crowd = log.iter().filter(|line| line.text.contains("killed by its link"));
        of_crowd.fold((0, 0), |(lines, others), line| (lines + 1, others + line.others.unwrap_or(0)))
    };
    let each_is_told_of = async {
        while told_of().0 + told_of().1 < CROWD {
            tokio::task::yield_now().await;
        }
    };
    within("each is told of or counted", each_is_told_of).await;
    {
        let log = log.0.lock().unwrap();
        let of_crowd: Vec<_> = log.iter().filter(|line| line.text.contains("killed by its link")).collect();
        assert!(of_crowd.iter().all(|line| line.text.contains("ada falls")), "each says why");
        let others: u64 = of_crowd.iter().filter_map(|line| line.others).sum();
        assert_eq!(of_crowd.len() as u64 + others, CROWD, "each is told of or counted");
        // A line a second.
        assert!(of_crowd.len() < 1_000, "{} lines", of_crowd.len());
        assert!(log.iter().any(|line| line.text.contains("ada falls") && !line.text.contains("killed by")));
    }
    let status = app.status();
    let module = status.modules.iter().find(|module| module.module == "walker").expect("it is there");
    let endings: Vec<_> = module.endings.iter().map(|ending| (&ending.exit, ending.others)).collect();
    let [(Exit::Crashed { .. }, 0), (Exit::Linked { .. }, others)] = endings[..] else {
        panic!("one fell and took the others along: {endings:?}")
    };
    assert_eq!((others, module.ended), (CROWD - 1, CROWD + 1));
    // Who asks too late is told of the last thousand still: of 16 in each of 64 parts, and perhaps of the one in the list.
    let mut known = 0;
    for walker in &crowd {
        match told(Handle::monitor(walker)).await {
            Exit::NoSuchInstance => {}
            exit => {
                fell_with(&exit, "ada");
                known += 1;
            }
        }
    }
    assert!((1_024..=1_025).contains(&known), "{known}");
    app.shutdown().await;
}
