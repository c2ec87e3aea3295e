//! What a client of the service can see, from outside, against the built program.
//!
//! No test leans on which process answers: several may serve one port, and several share a database.

#[path = "http/client.rs"]
mod client;
#[path = "http/program.rs"]
mod program;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::client::Client;
use self::program::{Database, Program};

/// How long a test waits for anything; far above what a loaded machine needs.
const WAIT_MAX: Duration = Duration::from_secs(60);

const RIGHT: &str = "correct horse";
const WRONG: &str = "battery staple";

/// Three attempts, in a window that no test outlives.
const STRICT: [&str; 4] = ["--login-attempts-max", "3", "--login-window-secs", "3600"];

#[test]
fn a_user_signs_up_logs_in_and_keeps_notes() {
    let database = Database::missing();
    let program = Program::start(&database, &[]);
    program.get("/healthz", None).expect(200);

    let account = program.sign_up("Ann", RIGHT).expect(201);
    assert_eq!(account.body["name"], "ann");
    let token = program.log_in("ann", RIGHT).token();

    assert!(program.notes(&token).is_empty());
    let note = program.add_note(&token, "buy milk").expect(201);
    assert_eq!(note.body["text"], "buy milk");
    program.add_note(&token, "çà et là 🧺").expect(201);
    assert_eq!(program.notes(&token), ["çà et là 🧺", "buy milk"]);
    program.stop();
}

#[test]
fn what_is_wrong_is_refused() {
    let database = Database::missing();
    let program = Program::start(&database, &[]);
    let token = program.new_user("ann", RIGHT);

    program.sign_up("ANN", RIGHT).expect(409);
    program.sign_up("bob", "short").expect(422);
    program.sign_up("", RIGHT).expect(422);
    program.sign_up("no spaces", RIGHT).expect(422);
    program.post("/signup", None, json!({ "name": "bob" })).expect(422);
    program.log_in("ann", WRONG).expect(401);
    program.log_in("nobody", RIGHT).expect(401);
    program.add_note(&token, "").expect(422);
    program.add_note(&token, &"x".repeat(200 * 1024)).expect(413);
    for token in [None, Some(""), Some("00"), Some(&token[1..])] {
        program.get("/notes", token).expect(401);
        program.post("/notes", token, json!({ "text": "mine" })).expect(401);
    }
    assert!(program.notes(&token).is_empty());
    program.stop();
}

#[test]
fn notes_belong_to_their_user() {
    let database = Database::missing();
    let program = Program::start(&database, &[]);
    let ann = program.new_user("ann", RIGHT);
    let bob = program.new_user("bob", RIGHT);

    program.add_note(&ann, "from Ann").expect(201);
    program.add_note(&bob, "from Bob").expect(201);
    assert_eq!(program.notes(&ann), ["from Ann"]);
    assert_eq!(program.notes(&bob), ["from Bob"]);
    program.stop();
}

#[test]
fn too_many_wrong_passwords_lock_the_account_and_no_other() {
    let database = Database::missing();
    let program = Program::start(&database, &STRICT);
    program.sign_up("ann", RIGHT).expect(201);
    program.sign_up("bob", RIGHT).expect(201);

    for _ in 0..3 {
        program.log_in("ann", WRONG).expect(401);
    }
    for password in [WRONG, RIGHT] {
        let refused = program.log_in("ann", password).expect(429);
        let secs = refused.retry_after_secs.expect("a locked account says for how long");
        assert!((1..=3601).contains(&secs), "{secs}");
    }
    program.log_in("Ann", RIGHT).expect(429);
    program.log_in("bob", RIGHT).expect(200);

    // A name that does not exist is locked like any other, so that it cannot be told from one that does.
    for status in [401, 401, 401, 429] {
        program.log_in("nobody", WRONG).expect(status);
    }
    program.stop();
}

#[test]
fn guesses_sent_at_once_are_counted_too() {
    let database = Database::missing();
    let program = Program::start(&database, &STRICT);
    program.sign_up("ann", RIGHT).expect(201);

    let client: &Client = &program;
    let mut statuses: Vec<u16> = thread::scope(|scope| {
        let guesses: Vec<_> = (0..12).map(|_| scope.spawn(|| client.log_in("ann", WRONG).status)).collect();
        guesses.into_iter().map(|guess| guess.join().expect("a guess is answered")).collect()
    });
    statuses.sort_unstable();
    let expected: Vec<u16> = [401; 3].into_iter().chain([429; 9]).collect();
    assert_eq!(statuses, expected);
    program.stop();
}

#[test]
fn the_right_password_gives_the_attempts_back() {
    let database = Database::missing();
    let program = Program::start(&database, &STRICT);
    program.sign_up("ann", RIGHT).expect(201);

    for _ in 0..3 {
        program.log_in("ann", WRONG).expect(401);
        program.log_in("ann", WRONG).expect(401);
        program.log_in("ann", RIGHT).expect(200);
    }
    program.stop();
}

#[test]
fn a_locked_account_opens_when_its_window_ends() {
    let database = Database::missing();
    let program = Program::start(&database, &["--login-attempts-max", "1", "--login-window-secs", "2"]);
    program.sign_up("ann", RIGHT).expect(201);

    program.log_in("ann", WRONG).expect(401);
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let reply = program.log_in("ann", RIGHT);
        if reply.status == 200 {
            break;
        }
        assert!(Instant::now() < deadline, "still locked: {reply:?}");
        reply.expect(429);
    }
    program.stop();
}

#[test]
fn a_session_ends() {
    let database = Database::missing();
    let program = Program::start(&database, &["--session-secs", "0"]);
    let token = program.new_user("ann", RIGHT);
    program.get("/notes", Some(&token)).expect(401);
    program.stop();
}

#[test]
fn a_restart_keeps_accounts_sessions_and_notes() {
    let database = Database::missing();
    let program = Program::start(&database, &[]);
    let token = program.new_user("ann", RIGHT);
    program.add_note(&token, "before").expect(201);
    program.stop();

    let program = Program::start(&database, &[]);
    program.add_note(&token, "after").expect(201);
    let token = program.log_in("ann", RIGHT).token();
    assert_eq!(program.notes(&token), ["after", "before"]);
    program.stop();
}

#[test]
fn a_killed_program_loses_nothing_that_it_confirmed() {
    let database = Database::missing();
    let program = Program::start(&database, &[]);
    let token = program.new_user("ann", RIGHT);
    program.add_note(&token, "kept").expect(201);
    program.kill();

    let program = Program::start(&database, &[]);
    assert_eq!(program.notes(&token), ["kept"]);
    program.stop();
}

#[test]
fn an_empty_file_becomes_a_database() {
    let database = Database::missing();
    File::create(database.path()).expect("a file in a new directory");
    let program = Program::start(&database, &[]);
    let token = program.new_user("ann", RIGHT);
    assert!(program.notes(&token).is_empty());
    program.stop();
}

#[test]
fn a_file_that_is_no_database_is_an_error_at_start() {
    let database = Database::missing();
    let text = "nothing that a database would begin with ".repeat(100);
    std::fs::write(database.path(), &text).expect("a file in a new directory");

    let mut program = Program::spawn(&database, &[]);
    let status = program.wait_until_it_ends();
    assert!(!status.success(), "{status}");
    assert!(program.log().contains("not a database"), "{}", program.log());
    assert_eq!(std::fs::read_to_string(database.path()).expect("the file"), text);
}

#[test]
fn programs_started_at_once_create_one_database() {
    const DATABASES: usize = 4;
    const PROGRAMS: usize = 6;
    for _ in 0..DATABASES {
        let database = Database::missing();
        let mut programs: Vec<_> = (0..PROGRAMS).map(|_| Program::spawn(&database, &[])).collect();
        for program in &mut programs {
            program.wait_until_it_listens();
        }
        programs[0].sign_up("ann", RIGHT).expect(201);
        for program in programs {
            program.sign_up("ann", RIGHT).expect(409);
            program.stop();
        }
    }
}

#[test]
fn two_programs_share_a_database() {
    const NOTES: usize = 20;
    let database = Database::missing();
    let one = Program::start(&database, &[]);
    let other = Program::start(&database, &[]);

    one.sign_up("ann", RIGHT).expect(201);
    other.sign_up("ann", RIGHT).expect(409);
    let token = other.log_in("ann", RIGHT).token();
    thread::scope(|scope| {
        for client in [&*one, &*other] {
            let token = &token;
            scope.spawn(move || {
                for index in 0..NOTES {
                    client.add_note(token, &format!("note {index}")).expect(201);
                }
            });
        }
    });
    assert_eq!(one.notes(&token).len(), 2 * NOTES);

    one.stop();
    assert_eq!(other.notes(&token).len(), 2 * NOTES);
    other.stop();
}

#[test]
fn sigterm_ends_the_program_after_the_requests_it_has_begun() {
    const USERS: [&str; 6] = ["ann", "bob", "cid", "dan", "eve", "fay"];
    let database = Database::missing();
    let mut program = Program::start(&database, &[]);
    for user in USERS {
        program.sign_up(user, RIGHT).expect(201);
    }

    let begun = USERS.map(|user| Begun::post(&program, "/login", json!({ "name": user, "password": RIGHT })));
    program.terminate();
    for request in begun {
        let answer = request.finish();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}\n{}", program.log());
    }

    let status = program.wait_until_it_ends();
    assert!(status.success(), "after SIGTERM: {status}");
}

/// A request whose handler waits for the body.
struct Begun {
    stream: TcpStream,
    body: String,
}

impl Begun {
    fn post(client: &Client, path: &str, body: Value) -> Begun {
        let body = body.to_string();
        let mut stream = client.connect();
        let head =
            "Host: adopt\r\nContent-Type: application/json\r\nConnection: close\r\nExpect: 100-continue";
        write!(stream, "POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n", body.len())
            .expect("the head is sent");
        // The interim answer is the sign that the request has begun.
        let mut interim = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut interim).expect("an interim answer");
        assert!(interim.starts_with(b"HTTP/1.1 100 "), "{}", interim.escape_ascii());
        Begun { stream, body }
    }

    /// The whole answer.
    fn finish(mut self) -> String {
        self.stream.write_all(self.body.as_bytes()).expect("the body is sent");
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}
