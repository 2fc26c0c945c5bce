use super::*;
use futures_util::FutureExt;
use futures_util::future::join_all;
use std::future::Future;
use std::pin::{Pin, pin};

fn account(number: u32) -> &'static AccountId {
    Box::leak(Box::new(
        AccountId::parse(&format!("{number:012}")).unwrap(),
    ))
}

fn budget() -> Budget {
    Budget::new(Limits::IDENTITY_CENTER)
}

fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    future.now_or_never()
}

/// Takes as many turns as are given without waiting, each in an account of its own.
fn take_all(budget: &Budget, turn: Turn, first: u32) -> Vec<OperationTurn> {
    (first..first + 100)
        .map_while(|number| now_or_never(budget.assignment(turn, account(number))))
        .collect()
}

type Wait<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Waits for everything at once and notes the order in which it was let through.
async fn order<'a>(waits: Vec<(&'a str, Wait<'a>)>) -> Vec<&'a str> {
    let seen = Mutex::new(Vec::new());
    join_all(waits.into_iter().map(|(name, wait)| {
        let seen = &seen;
        async move {
            wait.await;
            seen.lock().unwrap().push(name);
        }
    }))
    .await;
    seen.into_inner().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_quarter_of_the_pace_and_of_each_window_is_for_ends_alone() {
    let budget = budget();
    let leave = |turn| {
        (0..100)
            .take_while(|_| now_or_never(budget.request(turn)).is_some())
            .count()
    };
    assert_eq!((leave(Turn::Start), leave(Turn::End)), (15, 5));

    let starts = take_all(&budget, Turn::Start, 0);
    let ends = take_all(&budget, Turn::End, 100);
    assert_eq!((starts.len(), ends.len()), (11, 4));

    let provision = |turn, number| now_or_never(budget.provisioning(turn, account(number)));
    let two = (provision(Turn::Start, 201), provision(Turn::CleanUp, 202));
    assert!(two.0.is_some() && two.1.is_some());
    assert!(provision(Turn::Start, 203).is_none());
    assert!(provision(Turn::End, 204).is_some());
}

#[tokio::test(start_paused = true)]
async fn ends_use_everything_when_nothing_else_needs_it() {
    let budget = budget();
    assert_eq!(take_all(&budget, Turn::End, 0).len(), 15);
}

#[tokio::test(start_paused = true)]
async fn ends_go_before_starts_before_clean_up_before_reads() {
    let budget = budget();
    // Spread out, so that they leave the window one after the other.
    for _ in 0..20 {
        budget.request(Turn::End).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let wait = |turn| -> Wait<'_> { Box::pin(budget.request(turn)) };
    let seen = order(vec![
        ("read", wait(Turn::Read)),
        ("clean-up", wait(Turn::CleanUp)),
        ("start", wait(Turn::Start)),
        ("end", wait(Turn::End)),
        ("second end", wait(Turn::End)),
    ])
    .await;
    assert_eq!(seen, ["end", "second end", "start", "clean-up", "read"]);
}

#[tokio::test(start_paused = true)]
async fn operations_go_in_the_same_order() {
    let budget = budget();
    let mut held = take_all(&budget, Turn::End, 0);
    let wait = |turn, number| -> Wait<'_> {
        let budget = &budget;
        Box::pin(async move { drop(budget.assignment(turn, account(number)).await) })
    };
    let freeing = Box::pin(async {
        while let Some(one) = held.pop() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            one.finished();
        }
    });
    let seen = order(vec![
        ("clean-up", wait(Turn::CleanUp, 103)),
        ("start", wait(Turn::Start, 102)),
        ("end", wait(Turn::End, 101)),
        ("all freed", freeing),
    ])
    .await;
    assert_eq!(seen, ["end", "start", "clean-up", "all freed"]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_account_holds_up_only_those_who_want_it() {
    let budget = budget();
    let busy = budget.assignment(Turn::Start, account(1)).await;
    let mut behind: Vec<_> = (0..50)
        .map(|_| Box::pin(budget.assignment(Turn::End, account(1))))
        .collect();
    for wait in &mut behind {
        assert!(wait.now_or_never().is_none());
    }
    assert!(now_or_never(budget.assignment(Turn::CleanUp, account(2))).is_some());
    assert!(now_or_never(budget.provisioning(Turn::CleanUp, account(1))).is_none());
    busy.finished();
    let next = behind.remove(0).await;
    assert_eq!(next.account, *account(1));
    assert!((&mut behind[0]).now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_start_does_not_take_the_account_an_end_waits_for() {
    let budget = budget();
    let held = take_all(&budget, Turn::End, 0);
    let mut end = pin!(budget.assignment(Turn::End, account(500)));
    assert!((&mut end).now_or_never().is_none());
    // The window of provisionings has room; the account is spoken for all the same.
    assert!(now_or_never(budget.provisioning(Turn::Start, account(500))).is_none());
    drop(held);
    drop(end.await);
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_gives_back_what_was_given_meanwhile() {
    let budget = budget();
    for round in 0..200 {
        let held = take_all(&budget, Turn::End, 0);
        assert_eq!(held.len(), 15, "round {round}");
        let mut first = Box::pin(budget.assignment(Turn::End, account(100)));
        let mut second = Box::pin(budget.assignment(Turn::Start, account(101)));
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        let before = round % 2 == 0;
        if before {
            drop(first);
            drop(held);
        } else {
            // Let through by the end of the others, and gone before it noticed.
            drop(held);
            drop(first);
        }
        drop(second.await);
        assert_eq!(budget.usage().assignments, 0, "round {round}");
        assert_eq!(budget.usage().busy_accounts, 0, "round {round}");
    }
    assert_eq!(budget.usage().waiting, [0; 4]);
}

#[tokio::test(start_paused = true)]
async fn when_the_first_in_line_leaves_the_second_keeps_the_time() {
    let budget = budget();
    while now_or_never(budget.request(Turn::End)).is_some() {}
    let mut first = Box::pin(budget.request(Turn::End));
    assert!((&mut first).now_or_never().is_none());
    let began = Instant::now();
    let leaving = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(first);
    };
    tokio::join!(leaving, budget.request(Turn::Start));
    assert!(began.elapsed() <= rate::SPAN + Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn a_read_never_makes_a_start_wait_for_a_whole_window() {
    let budget = budget();
    let reads = async {
        for _ in 0..200 {
            budget.request(Turn::Read).await;
        }
    };
    let starts = async {
        let mut longest = Duration::ZERO;
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(173)).await;
            let began = Instant::now();
            budget.request(Turn::Start).await;
            longest = longest.max(began.elapsed());
        }
        longest
    };
    let ((), longest) = tokio::join!(reads, starts);
    assert!(longest <= rate::SPAN / 4, "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_was_sent_counts_on_when_its_task_is_cancelled() {
    let budget = budget();
    let mut turn = budget.assignment(Turn::Start, account(1)).await;
    turn.sent();
    drop(turn);
    assert_eq!(budget.usage().assignments, 1);
    // The account is free: an end is not held up.
    budget.assignment(Turn::End, account(1)).await.finished();
    let held = take_all(&budget, Turn::End, 100);
    assert_eq!(held.len(), 14);
    let began = Instant::now();
    let next = budget.assignment(Turn::End, account(200)).await;
    assert_eq!(began.elapsed(), COUNTED_UNWATCHED);
    drop((held, next));
    assert_eq!(budget.usage().assignments, 0);

    let mut turn = budget.assignment(Turn::Start, account(1)).await;
    turn.sent();
    turn.finished();
    assert_eq!(budget.usage().assignments, 0);
}

#[tokio::test(start_paused = true)]
async fn the_pace_is_halved_by_a_refusal_and_comes_back() {
    let budget = budget();
    let pace = || budget.usage().requests_per_second;
    for _ in 0..30 {
        // A burst of refusals is one refusal.
        budget.throttled(Throttle::Rate);
    }
    assert_eq!(pace(), 10);
    for expected in [5, 2, 2] {
        tokio::time::sleep(rate::SPAN).await;
        budget.throttled(Throttle::Rate);
        assert_eq!(pace(), expected);
    }
    // Even then, one end and one other request per window go.
    budget.request(Turn::Start).await;
    budget.request(Turn::End).await;
    assert!(now_or_never(budget.request(Turn::End)).is_none());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(pace(), 20);
}

#[tokio::test(start_paused = true)]
async fn the_window_shrinks_to_what_the_service_took_and_comes_back() {
    let budget = budget();
    let mut held = take_all(&budget, Turn::End, 0);
    // The service took nine of fifteen: somebody else uses the window too.
    for refused in held.drain(9..) {
        refused.throttled(Throttle::Outstanding);
    }
    let usage = budget.usage();
    assert_eq!((usage.assignments, usage.assignments_at_most), (9, 9));
    assert_eq!(usage.requests_per_second, 20);
    assert_eq!(usage.provisionings_at_most, 3);
    let began = Instant::now();
    held.push(budget.assignment(Turn::End, account(100)).await);
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(budget.usage().assignments_at_most, 15);
}

#[tokio::test(start_paused = true)]
async fn a_window_that_others_fill_whole_is_tried_one_by_one() {
    let budget = budget();
    for _ in 0..3 {
        budget
            .assignment(Turn::Start, account(1))
            .await
            .throttled(Throttle::Unclear);
    }
    let usage = budget.usage();
    assert_eq!((usage.assignments, usage.assignments_at_most), (0, 1));
    assert_eq!(usage.requests_per_second, 10);
    assert!(now_or_never(budget.assignment(Turn::Start, account(1))).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_instance_has_one_budget() {
    let budgets = Budgets::default();
    let one = budgets.of("arn:aws:sso:::instance/ssoins-1");
    let _turn = one.assignment(Turn::Start, account(1)).await;
    assert_eq!(
        budgets
            .of("arn:aws:sso:::instance/ssoins-1")
            .usage()
            .assignments,
        1
    );
    assert_eq!(
        budgets
            .of("arn:aws:sso:::instance/ssoins-2")
            .usage()
            .assignments,
        0
    );
    for number in 0..1000 {
        drop(budgets.of(&format!("arn:aws:sso:::instance/ssoins-x{number}")));
    }
    assert!(budgets.known.lock().unwrap().len() <= MOST_BUDGETS);
    assert_eq!(
        budgets
            .of("arn:aws:sso:::instance/ssoins-1")
            .usage()
            .assignments,
        1
    );
}

#[test]
fn a_quarter_is_rounded_up_but_something_is_left_for_the_rest() {
    assert_eq!([1, 2, 3, 4, 15, 20].map(kept_for_ends), [0, 1, 1, 1, 4, 5]);
}
