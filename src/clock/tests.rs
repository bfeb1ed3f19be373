//! Guards the clock: how answers of NTP servers set it, what it takes for a step, and that it never goes back.

use super::*;

const HOUR: i64 = 3_600_000_000;

#[test]
fn a_large_correction_needs_another_answer_that_says_the_same() {
    assert!(is_believed(&[], 1_000_000));
    assert!(!is_believed(&[], HOUR));
    assert!(!is_believed(&[-HOUR], HOUR));
    assert!(is_believed(&[-HOUR, HOUR - 500_000], HOUR));
}

#[test]
fn a_disciplined_clock_that_is_ahead_slows_down_and_never_goes_back() {
    let line = Line { offset: 1000 - 100, slew_from: Some((50, 1050)) };
    let said: Vec<_> = (50..400).map(|elapsed| line.at(elapsed)).collect();
    assert!(said.is_sorted());
    assert_eq!(said[0], 1050);
    assert_eq!(line.at(399), 399 + 900, "it meets the right time again");
}

#[test]
fn the_first_answer_sets_the_clock_either_way_and_later_small_ones_do_not_step_back() {
    let clock = Clock::from_local();
    let before = clock.micros_now();
    clock.correct(-HOUR);
    assert!(clock.micros_now() < before - HOUR + 1_000_000);
    let before = clock.micros_now();
    clock.correct(-10_000_000);
    assert!(clock.micros_now() >= before);
    clock.correct(HOUR);
    assert!(clock.micros_now() >= before + HOUR - 10_000_000);
}

const DAY: i64 = 24 * HOUR;

/// An NTP server whose clock is off by this many seconds.
async fn ntp_server(off_by: Arc<std::sync::atomic::AtomicI64>) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut question = [0; 128];
        loop {
            let (_, from) = socket.recv_from(&mut question).await.unwrap();
            let seconds = local() / 1_000_000 + off_by.load(std::sync::atomic::Ordering::SeqCst) + 2_208_988_800;
            let time = [(seconds as u32).to_be_bytes(), [0; 4]].concat();
            let mut answer = [0; 48];
            (answer[0], answer[1]) = ((question[0] & 0b0011_1000) | 4, 1);
            answer[16..24].copy_from_slice(&time);
            answer[24..32].copy_from_slice(&question[40..48]);
            answer[32..40].copy_from_slice(&time);
            answer[40..48].copy_from_slice(&time);
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address.to_string()
}

#[tokio::test]
async fn two_pauses_of_the_machine_leave_the_clock_right_again() {
    // There is one server. By its answers, the clock falls behind by a pause.
    let off_by = Arc::new(std::sync::atomic::AtomicI64::new(0));
    let servers = [ntp_server(Arc::clone(&off_by)).await];
    let (clock, mut learned) = (Clock::from_local(), Learned::default());
    assert!(clock.ask_round(&servers, 0, &mut learned).await);
    for pauses in [3600, 7200] {
        off_by.store(pauses, std::sync::atomic::Ordering::SeqCst);
        assert!(!clock.ask_round(&servers, 0, &mut learned).await, "it is not believed at once");
    }
    assert!(clock.ask_round(&servers, 0, &mut learned).await, "it said the same twice");
    assert!((clock.micros_now() - local() - 2 * HOUR).abs() < 2_000_000);
}

#[test]
fn a_time_is_a_step_if_it_is_a_day_from_all_that_is_known() {
    let now = local();
    let stored = |micros: i64| Some(Timestamp::from_millis((micros / 1000) as u64));
    // Nothing is in the database.
    let clock = Clock::from_local();
    for near in [0, 23 * HOUR, -23 * HOUR] {
        assert!(!clock.is_step(now + near), "{near}");
    }
    for far in [400 * DAY, -400 * DAY, 25 * HOUR, -25 * HOUR] {
        assert!(clock.is_step(now + far), "{far}");
    }
    // The local clock begins at zero, so a time near the newest change is right.
    let clock = Clock::measured_by(stored(now + 400 * DAY), false);
    for near in [0, 23 * HOUR, -23 * HOUR] {
        assert!(!clock.is_step(now + 400 * DAY + near), "{near}");
    }
    for far in [200 * DAY, 402 * DAY, 398 * DAY, -2 * DAY] {
        assert!(clock.is_step(now + far), "{far}");
    }
    // The server was off for long, and the local clock is right.
    let clock = Clock::measured_by(stored(now - 400 * DAY), false);
    assert!(!clock.is_step(now + HOUR) && clock.is_step(now - 200 * DAY));
}

#[tokio::test]
async fn the_time_of_a_local_clock_far_from_the_newest_change_is_written_only_without_servers() {
    let stored = |days: i64| Some(Timestamp::from_millis(((local() + days * DAY) / 1000) as u64));
    assert!(Clock::from_local().is_vouched_for() && Clock::measured_by(stored(0), false).is_vouched_for());
    for days in [400, -400] {
        let clock = Clock::measured_by(stored(days), false);
        assert!(!clock.is_vouched_for(), "{days}");
        // Also after no server has answered.
        clock.0.settled.send_replace(true);
        assert!(!clock.is_vouched_for(), "{days}");
        clock.correct(days * DAY);
        assert!(clock.is_vouched_for(), "{days}");
        let alone = Clock::measured_by(stored(days), false);
        alone.clone().follow(Vec::new()).await;
        assert!(alone.is_vouched_for(), "{days}");
    }
}

#[tokio::test]
async fn the_time_is_settled_at_once_if_nothing_contradicts_it_and_otherwise_after_the_servers_were_asked() {
    let day_ago = |days: i64| Some(Timestamp::from_millis(((local() - days * DAY) / 1000) as u64));
    for newest in [None, day_ago(0), day_ago(-1).map(|day| Timestamp::from_millis(day.as_millis() - 60_000))] {
        Clock::measured_by(newest, false).settled().await;
    }
    let clock = Clock::measured_by(day_ago(2), false);
    let waiting = tokio::spawn({
        let clock = clock.clone();
        async move { clock.settled().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    clock.follow(Vec::new()).await;
    waiting.await.unwrap();
}
