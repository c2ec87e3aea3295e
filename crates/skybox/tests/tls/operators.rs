//! People at a command line, by the role in their certificate.

use serde_json::json;
use skybox_node::{Answer, AskError, Operator, Outcome, Restarted, Right};

use crate::certs::{Certs, settings};
use crate::node::{Node, PROGRAM, play};

fn denied<T: std::fmt::Debug>(outcome: Result<T, AskError>) -> bool {
    matches!(&outcome, Err(AskError::Call(error)) if error.kind().name() == "denied")
}

#[test]
fn a_role_is_as_much_as_it_says_and_the_log_says_what_was_done() {
    play(|| {
        let certs = Certs::of(PROGRAM);
        let (mut a, at) = Node::running(&settings(&certs.node("a"), &[]));
        let runtime = tokio::runtime::Runtime::new().expect("a test has threads");
        runtime.block_on(async {
            for right in Right::ALL {
                let files = certs.operator(right);
                let operator = Operator::connect_tls(PROGRAM, &at, files).await.expect("it is let in");
                assert_eq!(operator.status().await.expect("everybody may look").node.as_str(), "a");
                let called = operator.call("echo", "echo", None, json!([7]), None).await;
                match right {
                    Right::Read => assert!(denied(called)),
                    _ => assert!(matches!(called, Ok(Answer::Once(Outcome::Returned(n))) if n == 7)),
                }
                let restarted = operator.restart("echo", None).await;
                match right {
                    Right::Admin => {
                        assert!(matches!(&restarted, Ok(Restarted::Replaced { .. })), "{restarted:?}");
                    }
                    _ => assert!(denied(restarted)),
                }
                let drained = operator.drain().await;
                match right {
                    Right::Admin => drained.expect("an admin may"),
                    _ => assert!(denied(drained)),
                }
            }
        });
        a.logs(&["skybox::audit", "calls echo.echo", "operator=call"]);
        a.logs(&["skybox::audit", "restarts echo", "operator=admin"]);
        a.logs(&["skybox::audit", "drains this node", "operator=admin"]);
        assert!(a.end().success());
    });
}

#[test]
fn a_nodes_certificate_is_no_operators() {
    play(|| {
        let certs = Certs::of(PROGRAM);
        let (_a, at) = Node::running(&settings(&certs.node("a"), &[]));
        let runtime = tokio::runtime::Runtime::new().expect("a test has threads");
        let asked = runtime.block_on(Operator::connect_tls(PROGRAM, &at, certs.node("b")));
        assert!(matches!(asked, Err(AskError::NotAnOperator)), "{asked:?}");
    });
}
