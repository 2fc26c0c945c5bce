use super::*;
use crate::aws::budget::Limits;
use std::collections::VecDeque;
use std::sync::Mutex as Lock;
use tokio::task::JoinSet;

const ID: &str = "00000000-0000-0000-0000-000000000001";

type Page = Result<RunningPage, AwsError>;
type Answer = Result<OperationStatus, AwsError>;

/// Answers from a script; the last line of each is said again and again.
#[derive(Default)]
struct Script {
    lists: VecDeque<Page>,
    answers: VecDeque<Answer>,
    listed: Vec<Instant>,
    pages: Vec<Option<String>>,
    described: Vec<Instant>,
}

#[derive(Clone, Default)]
struct Reader(Arc<Lock<Script>>);

fn next<T: Clone>(lines: &mut VecDeque<T>) -> T {
    if lines.len() > 1 {
        lines.pop_front().unwrap()
    } else {
        lines.front().unwrap().clone()
    }
}

#[async_trait]
impl OperationReader for Reader {
    async fn running(&self, _kind: OperationKind, page: Option<String>) -> Page {
        let mut script = self.0.lock().unwrap();
        script.listed.push(Instant::now());
        script.pages.push(page);
        next(&mut script.lists)
    }

    async fn describe(&self, _kind: OperationKind, _id: &str) -> Answer {
        let mut script = self.0.lock().unwrap();
        script.described.push(Instant::now());
        next(&mut script.answers)
    }
}

fn page(ids: &[&str]) -> Page {
    Ok(RunningPage {
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        next: None,
    })
}

fn trouble<T>(class: ErrorClass) -> Result<T, AwsError> {
    Err(error(class))
}

struct Story {
    reader: Reader,
    operations: Operations,
    budget: Budget,
    began: Instant,
}

fn story(lists: &[Page], answers: &[Answer]) -> Story {
    let reader = Reader::default();
    {
        let mut script = reader.0.lock().unwrap();
        script.lists = lists.iter().cloned().collect();
        script.answers = answers.iter().cloned().collect();
    }
    let budget = Budget::new(Limits::IDENTITY_CENTER);
    Story {
        operations: Operations::new(Arc::new(reader.clone()), budget.clone()),
        reader,
        budget,
        began: Instant::now(),
    }
}

impl Story {
    async fn watch(&self, seconds: u64) -> Finished {
        let watched = Watched {
            kind: OperationKind::Creation,
            id: ID,
            turn: Turn::Start,
        };
        let deadline = Instant::now() + Duration::from_secs(seconds);
        self.operations.watch(watched, deadline).await
    }

    fn counts(&self) -> (usize, usize) {
        let script = self.reader.0.lock().unwrap();
        (script.listed.len(), script.described.len())
    }
}

fn failed(reason: &str) -> Answer {
    Ok(OperationStatus::Failed {
        reason: reason.to_owned(),
    })
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_listed_once_a_second_and_described_once_when_it_has_ended() {
    let story = story(
        &[page(&[ID]), page(&[ID, "another"]), page(&[ID]), page(&[])],
        &[failed("Not supported policy")],
    );
    let finished = story.watch(60).await;
    assert!(matches!(finished, Finished::Failed { reason } if reason == "Not supported policy"));
    assert_eq!(story.counts(), (4, 1));
    assert_eq!(story.began.elapsed(), Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn many_who_wait_share_one_list_a_second() {
    let mut lists = vec![page(&["a", ID]); 10];
    lists.push(page(&[]));
    let story = story(&lists, &[Ok(OperationStatus::Succeeded)]);
    let mut all = JoinSet::new();
    for _ in 0..15 {
        let operations = story.operations.clone();
        all.spawn(async move {
            let watched = Watched {
                kind: OperationKind::Deletion,
                id: ID,
                turn: Turn::End,
            };
            let deadline = Instant::now() + Duration::from_secs(60);
            operations.watch(watched, deadline).await
        });
    }
    let finished = all.join_all().await;
    assert!(
        finished
            .iter()
            .all(|one| matches!(one, Finished::Succeeded))
    );
    assert_eq!(story.counts(), (11, 15));
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_cannot_be_seen_yet_is_looked_for_with_growing_waits() {
    let unknown = Ok(OperationStatus::Unknown);
    let story = story(
        &[page(&[])],
        &[
            unknown.clone(),
            unknown.clone(),
            unknown,
            Ok(OperationStatus::InProgress),
            Ok(OperationStatus::Succeeded),
        ],
    );
    assert!(matches!(story.watch(60).await, Finished::Succeeded));
    assert_eq!(story.counts().1, 5);
    assert!(story.began.elapsed() >= Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_is_never_found_is_lost_at_the_deadline_and_never_a_success() {
    let story = story(&[page(&[])], &[Ok(OperationStatus::Unknown)]);
    let finished = story.watch(60).await;
    assert!(matches!(finished, Finished::Lost { trouble: None }));
    assert_eq!(story.began.elapsed(), Duration::from_secs(60));
    assert!(story.counts().1 <= 12, "{:?}", story.counts());
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_never_ends_is_lost_at_the_deadline_without_being_described() {
    let story = story(&[page(&[ID])], &[Ok(OperationStatus::InProgress)]);
    let finished = story.watch(30).await;
    assert!(matches!(finished, Finished::Lost { trouble: None }));
    assert_eq!(story.began.elapsed(), Duration::from_secs(30));
    assert_eq!(story.counts().1, 0);
}

#[tokio::test(start_paused = true)]
async fn an_operation_on_a_later_page_still_runs() {
    let first = Ok(RunningPage {
        ids: vec!["another".to_owned()],
        next: Some("two".to_owned()),
    });
    let story = story(
        &[first.clone(), page(&[ID]), first, page(&[])],
        &[Ok(OperationStatus::Succeeded)],
    );
    assert!(matches!(story.watch(60).await, Finished::Succeeded));
    assert_eq!(story.counts(), (4, 1));
    let pages = story.reader.0.lock().unwrap().pages.clone();
    let two = Some("two".to_owned());
    assert_eq!(pages, [None, two.clone(), None, two]);
}

#[tokio::test(start_paused = true)]
async fn a_list_without_an_end_is_cut_and_the_operation_asked_for() {
    let endless = Ok(RunningPage {
        ids: Vec::new(),
        next: Some("more".to_owned()),
    });
    let story = story(&[endless], &[Ok(OperationStatus::Succeeded)]);
    assert!(matches!(story.watch(60).await, Finished::Succeeded));
    assert_eq!(story.counts(), (MOST_PAGES, 1));
}

#[tokio::test(start_paused = true)]
async fn throttled_lists_slow_the_pace_and_come_back() {
    let throttled = || trouble(ErrorClass::Throttled);
    let story = story(
        &[throttled(), throttled(), throttled(), page(&[])],
        &[
            trouble(ErrorClass::Transient),
            Ok(OperationStatus::Succeeded),
        ],
    );
    assert!(matches!(story.watch(60).await, Finished::Succeeded));
    assert!(story.budget.usage().requests_per_second < 20);
    let listed = story.reader.0.lock().unwrap().listed.clone();
    let waits: Vec<_> = listed
        .windows(2)
        .map(|two| (two[1] - two[0]).as_secs())
        .collect();
    assert_eq!(waits[..3], [1, 2, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_status_that_may_not_be_read_is_never_a_success() {
    let story_list = story(&[trouble(ErrorClass::NeedsOperator)], &[]);
    let finished = story_list.watch(60).await;
    assert!(
        matches!(finished, Finished::Lost { trouble: Some(error) } if error.class() == ErrorClass::NeedsOperator)
    );
    let story_one = story(&[page(&[])], &[trouble(ErrorClass::NeedsOperator)]);
    let finished = story_one.watch(60).await;
    assert!(matches!(finished, Finished::Lost { trouble: Some(_) }));
    assert_eq!(story_one.counts(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_last_trouble_is_told_when_the_deadline_comes() {
    let story = story(&[trouble(ErrorClass::Transient)], &[]);
    let finished = story.watch(20).await;
    assert!(
        matches!(finished, Finished::Lost { trouble: Some(error) } if error.class() == ErrorClass::Transient)
    );
    assert!(story.counts().0 <= 6);
}

#[tokio::test(start_paused = true)]
async fn when_the_one_who_lists_is_cancelled_another_goes_on() {
    let mut lists = vec![page(&[ID]); 8];
    lists.push(page(&[]));
    let story = story(&lists, &[Ok(OperationStatus::Succeeded)]);
    for moment in [0, 500, 1_000, 2_300] {
        let stopped = tokio::time::timeout(Duration::from_millis(moment), story.watch(60)).await;
        assert!(stopped.is_err());
    }
    let first = tokio::time::timeout(Duration::from_millis(1_500), story.watch(60));
    let (stopped, finished) = tokio::join!(first, story.watch(60));
    assert!(stopped.is_err());
    assert!(matches!(finished, Finished::Succeeded));
    let listed = story.reader.0.lock().unwrap().listed.clone();
    assert!(listed.windows(2).all(|two| two[1] - two[0] >= LIST_EVERY));
    assert_eq!(story.budget.usage().waiting, [0; 4]);
}

fn error(class: ErrorClass) -> AwsError {
    AwsError::new("sso:Test", class, "test", "a trouble of the test")
}
